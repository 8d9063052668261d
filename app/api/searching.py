"""Searching a collection: an image, a text, an item or a vector to hits."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.api.embedding import Embedded, embedded_image, embedded_text
from app.api.errors import FaultOfAll
from app.api.index_schemas import QueryBody
from app.api.room import Room
from app.core.collection import Hit
from app.core.errors import InvalidParams, RegionNotFound, SpaceMismatch
from app.core.filters import parsed
from app.core.geometry import Box
from app.index.collections import StoredCollection
from app.index.storage import ItemRegion, Query

# Of all regions that search together.
MAX_HITS_OF_ALL = 10_000


@dataclass(frozen=True)
class Sought:
    """A search: what is wanted, and one of an image, which `read` gives, a text, an item or a vector."""

    query: QueryBody
    read: Callable[[], Awaitable[bytes]] | None = None
    text: str | None = None
    item_id: str | None = None
    vector: Sequence[float] | None = None
    space: str | None = None


async def found(
    room: Room, collection: StoredCollection, sought: Sought
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The hits, as `HitAnswer` describes them, and warnings.

    Of several regions that search together every hit counts once, for the region that fits it best.

    Raises:
        RequestError: the image cannot be read.
        TaskError: there is no such item, or the search does not fit the collection.
    """
    embedded = await _embedded(room, collection, sought)
    if embedded.fault is not None:
        if embedded.fault.code == RegionNotFound.code:
            return [], (*embedded.warnings, embedded.fault.message)
        raise FaultOfAll(embedded.fault)
    if not embedded.regions:
        return [], (*embedded.warnings, "There is nothing to search with: no region was found.")
    _check_space(collection, embedded.space)
    wanted = (sought.query.offset + sought.query.k) * len(embedded.regions)
    if wanted > MAX_HITS_OF_ALL:
        raise InvalidParams(
            f"k: {len(embedded.regions)} regions search together, for {wanted:,} hits; at most "
            f"{MAX_HITS_OF_ALL:,} are looked for. Ask for fewer, or search with one region."
        )
    return await room.index.call(_found, collection, sought, embedded), embedded.warnings


def _found(collection: StoredCollection, sought: Sought, embedded: Embedded) -> list[dict[str, Any]]:
    per_region = collection.nearest(embedded.vectors, _query(sought, len(embedded.regions)))
    best = _best_first(embedded.regions, per_region)
    if len(embedded.regions) > 1:
        best = best[sought.query.offset : sought.query.offset + sought.query.k]
    return [_hit(hit, box) for hit, box in best]


async def _embedded(room: Room, collection: StoredCollection, sought: Sought) -> Embedded:
    deadline = time.monotonic() + room.limits.seconds
    if sought.read is not None:
        embedding = collection.embedding(sought.query.params)
        data = await sought.read()
        return await embedded_image(room, data, embedding, seconds=deadline - time.monotonic())
    if sought.text is not None:
        return await embedded_text(room, collection.text(sought.text), seconds=room.limits.seconds)
    if sought.item_id is not None:
        item = await room.index.call(collection.storage.item, collection.name, sought.item_id)
        return Embedded(item.regions, collection.space or "")
    # What does not fit a float becomes infinite, and is refused as such.
    with np.errstate(over="ignore"):
        values = np.array(sought.vector, np.float32)
    return Embedded((ItemRegion(values),), sought.space or collection.space or "")


def _check_space(collection: StoredCollection, space: str) -> None:
    if collection.space is not None and space != collection.space:
        raise SpaceMismatch(
            f"The collection '{collection.name}' holds vectors of the space {collection.space}; what is "
            f"sought lies in {space}."
        )


def _query(sought: Sought, regions: int) -> Query:
    query = sought.query
    condition = None if query.filter is None else parsed(query.filter)
    if regions > 1:
        # A page of what several regions find is cut from all that they find.
        return Query(query.offset + query.k, 0, query.min_score, condition, sought.item_id)
    return Query(query.k, query.offset, query.min_score, condition, sought.item_id)


def _best_first(
    regions: Sequence[ItemRegion], per_region: Sequence[Sequence[Hit]]
) -> list[tuple[Hit, Box | None]]:
    """Every hit once, with the box of the region that found it best."""
    if len(per_region) == 1:
        return [(hit, regions[0].bbox) for hit in per_region[0]]
    best: dict[tuple[str, int], tuple[Hit, Box | None]] = {}
    for region, hits in zip(regions, per_region, strict=True):
        for hit in hits:
            known = best.get((hit.id, hit.region))
            if known is None or hit.score > known[0].score:
                best[hit.id, hit.region] = (hit, region.bbox)
    return sorted(best.values(), key=lambda pair: (-pair[0].score, pair[0].id, pair[0].region))


def _hit(hit: Hit, query_box: Box | None) -> dict[str, Any]:
    return {
        "id": hit.id,
        "score": round(hit.score, 6),
        "bbox": None if hit.bbox is None else list(hit.bbox),
        "metadata": hit.metadata,
        "region": hit.region,
        "query_bbox": None if query_box is None else list(query_box),
    }
