"""`sightgraph analyze`: tasks on images, from the shell."""

from app.cli.analyze.command import analyze

__all__ = ["analyze"]
