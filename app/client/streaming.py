"""Answers that come part by part, each part a line of JSON.

Where one breaks off, what is left of it is asked for again.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import orjson
import pydantic

from app.client import calls
from app.client.answers import Answer, BatchResult
from app.client.errors import InvalidInput, Refused, ServerFull
from app.client.images import FilePart, ImageLike, check_several, sendable
from app.client.results import TaskResult
from app.client.task import Tasks, json_bytes, wire_tasks
from app.client.wire import NDJSON, Request

T_co = TypeVar("T_co", covariant=True)
K = TypeVar("K")

# What one request carries: as many images as a server takes, and bytes that arrive in good time.
BLOCK_IMAGES = 256
BLOCK_BYTES = 64_000_000

_TOO_LARGE = 413


class Exchange(Protocol[T_co]):
    """What is asked for in one request or several, and answered line by line."""

    @property
    def ended(self) -> bool:
        """Whether all is answered."""

    @property
    def answered(self) -> bool:
        """Whether the last request is."""

    def request(self) -> Request:
        """What to send, for what is not answered yet."""

    def read(self, line: bytes) -> Iterator[T_co]:
        """What a line tells.

        Raises:
            Refused: the server failed, or is none of Sightgraph.
        """

    def refused(self, error: Refused) -> Iterator[T_co]:
        """What is told of a request that was refused.

        Raises:
            Refused: that all further ones would be too.
        """


class Lines:
    """Takes bytes as they come, and gives whole lines. A line feed ends one: other breaks stand in JSON."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def of(self, chunk: bytes) -> list[bytes]:
        self._rest += chunk
        if b"\n" not in chunk:
            return []
        *lines, self._rest = self._rest.split(b"\n")
        return [bytes(line) for line in lines if line]


class TaskByTask:
    """An image, whose tasks are answered as they finish."""

    def __init__(self, image: ImageLike, tasks: Tasks, deadline: float | None) -> None:
        self._request = calls.analysis(image, tasks, deadline, accept=NDJSON)
        self._told: set[str] = set()
        self.ended = False

    @property
    def answered(self) -> bool:
        return self.ended

    def request(self) -> Request:
        return self._request

    def read(self, line: bytes) -> Iterator[tuple[str, TaskResult]]:
        match _parsed(line):
            case {"operation_id": str() as id_, "result": {} as raw}:
                if id_ not in self._told:
                    self._told.add(id_)
                    yield id_, _read(TaskResult.of_json, id_, raw)
            case {"detail": str() as detail}:
                raise Refused(500, detail)
            case {"image_url": _}:
                pass
            case {"timings_ms": _}:
                self.ended = True
            case _:
                raise _foreign()

    def refused(self, error: Refused) -> Iterator[tuple[str, TaskResult]]:
        raise error


class Block(Generic[K]):
    """Images that are sent together, and answered as they finish. All are behind URLs, or none is."""

    def __init__(self, tasks: bytes, deadline: float | None) -> None:
        self._tasks = tasks
        self._deadline = deadline
        self._left: dict[K, str | FilePart] = {}
        self._bytes = 0
        self._most = BLOCK_IMAGES
        self._sent: list[K] = []
        self._whole = False

    def __len__(self) -> int:
        return len(self._left)

    def has_room_for(self, size: int) -> bool:
        return not self._left or (len(self) < BLOCK_IMAGES and self._bytes + size <= BLOCK_BYTES)

    def add(self, key: K, image: str | FilePart, size: int) -> None:
        self._left[key] = image
        self._bytes += size

    @property
    def ended(self) -> bool:
        return not self._left

    @property
    def answered(self) -> bool:
        return self._whole and self._left.keys().isdisjoint(self._sent)

    def request(self) -> Request:
        self._sent, self._whole = list(islice(self._left, self._most)), False
        images = [self._left[key] for key in self._sent]
        headers = calls.asked_for(self._deadline, NDJSON)
        files = [image for image in images if isinstance(image, FilePart)]
        if files:
            form = {"tasks_json": self._tasks.decode()}
            return Request("POST", "/analyze_batch/", headers=headers, form=form, files=files)
        body = json_bytes("images", {"images": images, "tasks": orjson.Fragment(self._tasks)})
        return Request("POST", "/analyze_batch/", headers=headers, json=body)

    def read(self, line: bytes) -> Iterator[BatchResult[K]]:
        match _parsed(line):
            case {"index": int() as index, "detail": str() as detail, "status": int() as status}:
                error = ServerFull(status, detail) if status == 503 else Refused(status, detail)
                yield BatchResult(self._told(index), error=error)
            case {"index": int() as index} as raw:
                yield BatchResult(self._told(index), _read(Answer, raw))
            case {"done": _, "failed": _}:
                self._whole = True
            case {"detail": str() as detail}:
                raise Refused(500, detail)
            case _:
                raise _foreign()

    def refused(self, error: Refused) -> Iterator[BatchResult[K]]:
        if error.status != _TOO_LARGE:
            raise error
        # A proxy may take less than the server.
        self._most = len(self._sent) // 2
        if self._most == 0:
            self._most = 1
            yield BatchResult(self._told(0), error=error)

    def _told(self, index: int) -> K:
        """The key of an image that is answered now."""
        try:
            key = self._sent[index]
            del self._left[key]
        except LookupError:
            raise _foreign() from None
        return key


def blocks(
    images: "Iterable[ImageLike] | Mapping[Any, ImageLike]", tasks: Tasks, deadline: float | None
) -> "Iterator[Block[Any] | BatchResult[Any]]":
    """Images in blocks, and those that cannot be sent.

    Raises:
        InvalidInput: there are no tasks, or one is none; or the images are a single one.
    """
    check_several(images)
    return _blocks(images, json_bytes("tasks", wire_tasks(tasks)), deadline)


def _blocks(
    images: "Iterable[ImageLike] | Mapping[Any, ImageLike]", tasks: bytes, deadline: float | None
) -> "Iterator[Block[Any] | BatchResult[Any]]":
    pairs = images.items() if isinstance(images, Mapping) else enumerate(images)
    filling = {kind: Block[Any](tasks, deadline) for kind in (str, FilePart)}
    for key, image in pairs:
        try:
            given = sendable(image)
            size = 0 if isinstance(given, str) else given.size
            if isinstance(given, FilePart) and size <= BLOCK_BYTES:
                # Read now, its failure is its own.
                given = given.loaded()
        except (OSError, InvalidInput) as error:
            yield BatchResult(key, error=error)
            continue
        kind = type(given)
        if not filling[kind].has_room_for(size):
            yield filling[kind]
            filling[kind] = Block(tasks, deadline)
        filling[kind].add(key, given, size)
    yield from (block for block in filling.values() if len(block))


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _read(read: Any, *raw: Any) -> Any:
    try:
        return read(*raw)
    except pydantic.ValidationError:
        raise _foreign() from None


def _foreign() -> Refused:
    return Refused(200, "A part of the answer is not as a server of Sightgraph sends it.")
