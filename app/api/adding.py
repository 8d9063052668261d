"""Adding to a collection: every item is read, embedded and kept by itself, so that a bad one fails alone."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from app.api.embedding import Embedded, embedded_image
from app.api.room import Room
from app.core.errors import (
    DeadlineExceeded,
    Fault,
    Overloaded,
    RegionNotFound,
    RequestError,
    SpaceMismatch,
    TaskError,
)
from app.core.geometry import Box
from app.core.operation import Ref
from app.core.wording import quoted
from app.index.collections import StoredCollection
from app.index.storage import ItemRegion, NewItem
from app.runtime.decode import sha256_of

T = TypeVar("T")

# Images of one request that are worked on at once: enough to fill a batch, few enough for memory.
AT_ONCE = 8

_MEMORY_AGAIN_SECONDS = 0.2


@dataclass(frozen=True)
class Arrival:
    """An item as it came: an image, which `read` gives, or a vector in a space."""

    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    read: Callable[[], Awaitable[bytes]] | None = None
    vector: Sequence[float] = ()
    space: str = ""
    bbox: Box | None = None


async def added(
    room: Room, collection: StoredCollection, arrivals: Sequence[Arrival], *, thumbnails: bool
) -> list[dict[str, Any]]:
    """Add items; what became of each, in their order, as `AddedItem` describes it."""
    embedding = collection.embedding()
    adding = _Adding(
        room,
        collection,
        embedding,
        collection.hashing(embedding),
        room.index.planned_space(embedding) or "",
        deadline=time.monotonic() + room.limits.seconds,
        thumbnails=thumbnails,
    )
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(arrival: Arrival) -> dict[str, Any]:
        async with at_once:
            if arrival.read is None:
                return await adding.vector(arrival)
            return await adding.image(arrival, arrival.read)

    return list(await asyncio.gather(*(one(arrival) for arrival in arrivals)))


async def embedded_in_time(
    read: Callable[[], Awaitable[bytes]],
    embed: Callable[[bytes, float], Awaitable[T]],
    deadline: float,
) -> T:
    """What is made of one image of many.

    Each has the time that is left for all, and waits for memory that others take instead of failing.

    Raises:
        RequestError: it cannot be read, or memory does not come free in time.
        DeadlineExceeded: the time is up before it is read.
    """
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            data = await read()
    except TimeoutError:
        raise DeadlineExceeded("The request's deadline passed before the image was read.") from None
    while True:
        left = deadline - time.monotonic()
        try:
            return await embed(data, left)
        except Overloaded:
            if left < _MEMORY_AGAIN_SECONDS:
                raise
            await asyncio.sleep(_MEMORY_AGAIN_SECONDS)


@dataclass(frozen=True)
class _Adding:
    """One request that adds."""

    room: Room
    collection: StoredCollection
    embedding: Ref
    hashing: Ref | None
    planned_space: str
    deadline: float
    thumbnails: bool

    async def vector(self, arrival: Arrival) -> dict[str, Any]:
        if self.collection.space is None and arrival.space != self.planned_space:
            # The first vector fixes the space: it must be one that images can be added to afterwards.
            error = SpaceMismatch(
                f"The collection '{self.collection.name}' is empty, and its first vectors must lie in the "
                f"space that this server makes now, {self.planned_space}; not in {quoted(arrival.space)}."
            )
            return _answer(arrival.id, None, fault=error.fault())
        # What does not fit a float becomes infinite, and is refused as such.
        with np.errstate(over="ignore"):
            values = np.array(arrival.vector, np.float32)
        item_id = arrival.id or uuid.uuid4().hex
        item = NewItem(item_id, (ItemRegion(values, arrival.bbox),), arrival.metadata)
        return await self._kept(item, arrival.space)

    async def image(self, arrival: Arrival, read: Callable[[], Awaitable[bytes]]) -> dict[str, Any]:
        sha256 = None

        async def embed(data: bytes, seconds: float) -> Embedded:
            nonlocal sha256
            sha256 = await asyncio.to_thread(sha256_of, data)
            return await embedded_image(
                self.room, data, self.embedding, self.hashing, seconds=seconds, thumbnail=self.thumbnails
            )

        try:
            made = await embedded_in_time(read, embed, self.deadline)
        except RequestError as error:
            return _answer(arrival.id or sha256, sha256, fault=fault_of(error))
        except TaskError as error:
            return _answer(arrival.id or sha256, sha256, fault=error.fault())
        warnings = made.warnings
        if made.fault is not None and made.fault.code == RegionNotFound.code:
            # There is nothing to embed, which stays so: the item is kept like one without any faces.
            warnings = (*warnings, made.fault.message)
        elif made.fault is not None:
            return _answer(arrival.id or sha256, sha256, warnings, fault=made.fault)
        assert made.info is not None  # what was embedded was decoded
        item = NewItem(
            id=arrival.id or made.info.sha256,
            regions=made.regions,
            metadata=arrival.metadata,
            sha256=made.info.sha256,
            width=made.info.width,
            height=made.info.height,
            thumbnail=made.thumbnail,
        )
        return await self._kept(item, made.space or self.planned_space, warnings)

    async def _kept(self, item: NewItem, space: str, warnings: Sequence[str] = ()) -> dict[str, Any]:
        try:
            replaced = await self.room.index.call(self.collection.add, item, space)
        except RequestError as error:
            return _answer(item.id, item.sha256, warnings, fault=fault_of(error))
        except TaskError as error:
            return _answer(item.id, item.sha256, warnings, fault=error.fault())
        return _answer(item.id, item.sha256, warnings, replaced=replaced, regions=len(item.regions))


def fault_of(error: RequestError) -> Fault:
    """What would refuse a whole request, as the failure of one item."""
    return Fault("error", error.code, str(error))


def _answer(
    item_id: str | None,
    sha256: str | None,
    warnings: Sequence[str] = (),
    *,
    replaced: bool | None = None,
    regions: int = 0,
    fault: Fault | None = None,
) -> dict[str, Any]:
    return {
        "id": item_id,
        "status": "success" if fault is None else fault.status,
        "replaced": replaced,
        "regions": regions,
        "sha256": sha256,
        "warnings": list(warnings),
        "error_code": None if fault is None else fault.code,
        "error_message": None if fault is None else fault.message,
    }
