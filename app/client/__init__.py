"""The Python client: a server asked from scripts and notebooks.

    from app.client import Sightgraph, Task

    with Sightgraph("http://127.0.0.1:8000") as server:
        answer = server.analyze("photo.jpg", Task("detect_bounding_box", id="face", target="prominent_face"))
        print(answer["face"].box)

`AsyncSightgraph` is the same for asyncio.
"""

from app.client.adding import Upload
from app.client.answers import Answer, BatchResult, ImageFacts, Readiness
from app.client.asynchronous import AsyncSightgraph
from app.client.blocking import Sightgraph
from app.client.errors import (
    InvalidInput,
    Refused,
    ServerFull,
    SightgraphError,
    TaskFailed,
    Unreachable,
)
from app.client.images import ImageLike
from app.client.results import Cause, Item, Model, TaskResult
from app.client.task import Task

__all__ = [
    "Answer",
    "AsyncSightgraph",
    "BatchResult",
    "Cause",
    "ImageFacts",
    "ImageLike",
    "InvalidInput",
    "Item",
    "Model",
    "Readiness",
    "Refused",
    "ServerFull",
    "Sightgraph",
    "SightgraphError",
    "Task",
    "TaskFailed",
    "TaskResult",
    "Unreachable",
    "Upload",
]
