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
from app.client.wire import BLOCK_BYTES, BLOCK_IMAGES, NDJSON, TOO_LARGE, Request, is_too_much, parsed

T_co = TypeVar("T_co", covariant=True)
K = TypeVar("K")

_FULL = 503


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
        match parsed(line):
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
        self._put_off: dict[K, str] = {}
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
        self._put_off = {}
        images = [self._left[key] for key in self._sent]
        headers = calls.asked_for(self._deadline, NDJSON)
        files = [image for image in images if isinstance(image, FilePart)]
        if files:
            form = {"tasks_json": self._tasks.decode()}
            return Request("POST", "/analyze_batch/", headers=headers, form=form, files=files)
        body = json_bytes("images", {"images": images, "tasks": orjson.Fragment(self._tasks)})
        return Request("POST", "/analyze_batch/", headers=headers, json=body)

    def read(self, line: bytes) -> Iterator[BatchResult[K]]:
        match parsed(line):
            case {"index": int() as index, "detail": str() as detail, "status": int() as status} if (
                status == _FULL
            ):
                self._put_off[self._key(index)] = detail
            case {"index": int() as index, "detail": str() as detail, "status": int() as status}:
                yield BatchResult(self._told(index), error=Refused(status, detail))
            case {"index": int() as index} as raw:
                yield BatchResult(self._told(index), _read(Answer, raw))
            case {"done": _, "failed": _}:
                self._whole = True
                if self._put_off:
                    raise ServerFull(_FULL, next(iter(self._put_off.values())))
            case {"detail": str() as detail}:
                raise Refused(500, detail)
            case _:
                raise _foreign()

    def refused(self, error: Refused) -> Iterator[BatchResult[K]]:
        if not is_too_much(error):
            raise error
        if len(self._sent) > 1:
            self._most = len(self._sent) // 2
        elif error.status == TOO_LARGE:
            yield BatchResult(self._told(0), error=error)
        else:
            raise error

    def given_up(self, error: OSError | ServerFull) -> Iterator[BatchResult[K]]:
        """What is told of the images that are not asked for again.

        Raises:
            OSError, ServerFull: it is not about single ones.
        """
        if isinstance(error, ServerFull):
            lost: dict[K, OSError | ServerFull] = {
                key: ServerFull(_FULL, detail) for key, detail in self._put_off.items()
            }
        else:
            # A file that is read while it is sent is alone.
            lost = dict.fromkeys(self._sent, error) if len(self._sent) == 1 else {}
        if not lost:
            raise error
        for key, reason in lost.items():
            del self._left[key]
            yield BatchResult(key, error=reason)

    def _told(self, index: int) -> K:
        """The key of an image that is answered now."""
        key = self._key(index)
        del self._left[key]
        return key

    def _key(self, index: int) -> K:
        """The key of an image that is not answered yet."""
        if not 0 <= index < len(self._sent) or self._sent[index] not in self._left:
            raise _foreign()
        return self._sent[index]


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
        kind = FilePart if isinstance(given, FilePart) else str
        if not filling[kind].has_room_for(size):
            yield filling[kind]
            filling[kind] = Block(tasks, deadline)
        filling[kind].add(key, given, size)
    yield from (block for block in filling.values() if len(block))


def _read(read: Any, *raw: Any) -> Any:
    try:
        return read(*raw)
    except pydantic.ValidationError:
        raise _foreign() from None


def _foreign() -> Refused:
    return Refused(200, "A part of the answer is not as a server of Sightgraph sends it.")
