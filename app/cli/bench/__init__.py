"""`sightgraph bench`: how fast a server answers, alone and under load."""

from app.cli.bench.command import bench

__all__ = ["bench"]
