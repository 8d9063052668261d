"""`sightgraph plan`: the graph of a request, without running it."""

from app.cli.plan.command import plan

__all__ = ["plan"]
