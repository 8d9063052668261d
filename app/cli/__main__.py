"""`python -m app.cli`, as `sightgraph`."""

from app.cli import main

main()
