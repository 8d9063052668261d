"""Adding to a collection: every item is read, embedded and kept by itself, so that a bad one fails alone."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.api.embedding import Embedded, embedded_image
from app.api.room import Room
from app.core.errors import (
    Fault,
    ImageTooLarge,
    ImageUnavailable,
    ImageUnreadable,
    MalformedRequest,
    Overloaded,
    RequestError,
    TaskError,
)
from app.core.geometry import Box
from app.core.operation import Ref
from app.index.collections import StoredCollection
from app.index.storage import ItemRegion, NewItem
from app.runtime.decode import sha256_of

# Images of one request that are worked on at once: enough to fill a batch, few enough for memory.
AT_ONCE = 8

_MEMORY_AGAIN_SECONDS = 0.2

CODES: dict[type[RequestError], str] = {
    ImageUnavailable: "image_unavailable",
    ImageUnreadable: "image_unreadable",
    ImageTooLarge: "image_too_large",
    MalformedRequest: "malformed",
    Overloaded: "overloaded",
}


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
    deadline = time.monotonic() + room.limits.seconds
    embedding = collection.embedding()
    hashing = collection.hashing(embedding)
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(arrival: Arrival) -> dict[str, Any]:
        async with at_once:
            if arrival.read is None:
                return await _vector_added(collection, arrival)
            return await _image_added(room, collection, arrival, embedding, hashing, deadline, thumbnails)

    return list(await asyncio.gather(*(one(arrival) for arrival in arrivals)))


def fault_of(error: RequestError) -> Fault:
    """What would refuse a whole request, as the failure of one item."""
    return Fault("error", CODES.get(type(error), "malformed"), str(error))


async def _vector_added(collection: StoredCollection, arrival: Arrival) -> dict[str, Any]:
    # What does not fit a float becomes infinite, and is refused as such.
    with np.errstate(over="ignore"):
        values = np.array(arrival.vector, np.float32)
    item = NewItem(arrival.id or uuid.uuid4().hex, (ItemRegion(values, arrival.bbox),), arrival.metadata)
    return await _kept(collection, item, arrival.space)


async def _image_added(
    room: Room,
    collection: StoredCollection,
    arrival: Arrival,
    embedding: Ref,
    hashing: Ref | None,
    deadline: float,
    thumbnails: bool,
) -> dict[str, Any]:
    assert arrival.read is not None  # the arrival is an image
    sha256 = None
    try:
        data = await arrival.read()
        sha256 = await asyncio.to_thread(sha256_of, data)
        made = await _embedded(room, data, embedding, hashing, deadline, thumbnails)
    except RequestError as error:
        return _answer(arrival.id or sha256, sha256, fault=fault_of(error))
    if made.fault is not None or made.info is None:
        return _answer(arrival.id or sha256, sha256, made.warnings, fault=made.fault)
    item = NewItem(
        id=arrival.id or made.info.sha256,
        regions=made.regions,
        metadata=arrival.metadata,
        sha256=made.info.sha256,
        width=made.info.width,
        height=made.info.height,
        thumbnail=made.thumbnail,
    )
    return await _kept(collection, item, made.space, made.warnings)


async def _embedded(
    room: Room, data: bytes, embedding: Ref, hashing: Ref | None, deadline: float, thumbnails: bool
) -> Embedded:
    """An image of many waits for memory that others take, instead of failing."""
    while True:
        left = deadline - time.monotonic()
        try:
            return await embedded_image(room, data, embedding, hashing, seconds=left, thumbnail=thumbnails)
        except Overloaded:
            if left < _MEMORY_AGAIN_SECONDS:
                raise
            await asyncio.sleep(_MEMORY_AGAIN_SECONDS)


async def _kept(
    collection: StoredCollection, item: NewItem, space: str, warnings: Sequence[str] = ()
) -> dict[str, Any]:
    try:
        (replaced,) = await asyncio.to_thread(collection.storage.add, collection.name, [item], space)
    except TaskError as error:
        return _answer(item.id, item.sha256, warnings, fault=error.fault())
    return _answer(item.id, item.sha256, warnings, replaced=replaced, regions=len(item.regions))


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
