"""`sightgraph doctor`: whether everything that a server needs is here, and what to do where it is not."""

from app.cli.doctor.command import doctor

__all__ = ["doctor"]
