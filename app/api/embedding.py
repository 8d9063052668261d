"""Embedding for the index: images and texts to vectors, through the same graph as tasks."""

import asyncio
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import PIL.Image

from app.api.room import Room
from app.core.artifacts import Image, ImageInfo
from app.core.errors import Fault
from app.core.geometry import Box
from app.core.operation import Ref
from app.core.plan import Plan
from app.core.resolver import resolve_refs
from app.index.storage import ItemRegion, Matrix
from app.runtime.decode import pixels_in
from app.runtime.outcomes import Outcome, Run
from app.runtime.source import NoImage

THUMBNAIL_SIDE = 256
_THUMBNAIL_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Embedded:
    """What an image, or a text, became: its regions in one space, or the fault for which there are none."""

    regions: tuple[ItemRegion, ...] = ()
    space: str = ""
    info: ImageInfo | None = None
    thumbnail: bytes | None = None
    warnings: tuple[str, ...] = ()
    fault: Fault | None = None

    @property
    def vectors(self) -> Matrix:
        return np.stack([region.vector for region in self.regions])


async def embedded_image(
    room: Room,
    data: bytes,
    embedding: Ref,
    hashing: Ref | None = None,
    *,
    seconds: float,
    thumbnail: bool = False,
) -> Embedded:
    """The vectors of an image's regions, with their perceptual hashes where these are asked for.

    Args:
        room: whose executor runs the graph.
        data: the file.
        embedding: what embeds the regions.
        hashing: what hashes the same regions.
        seconds: that are left.
        thumbnail: whether a small picture of it is made.

    Raises:
        ImageUnreadable: the image cannot be decoded.
        Overloaded: the images that are worked on leave no memory for it.
    """
    refs = {"vector": embedding} | ({} if hashing is None else {"phash": hashing})
    return _embedded(await graph_run(room, data, refs, seconds=seconds, thumbnail=thumbnail))


@dataclass(frozen=True, slots=True)
class GraphRun:
    """What refs gave over one image, each as a task under its name."""

    plan: Plan
    run: Run
    thumbnail: bytes | None = None

    @property
    def outcomes(self) -> dict[str, Outcome]:
        return {outcome.planned.operation_id: outcome for outcome in self.run.outcomes}


async def graph_run(
    room: Room, data: bytes, refs: Mapping[str, Ref], *, seconds: float, thumbnail: bool = False
) -> GraphRun:
    """Run the server's own refs over an image.

    Raises:
        ImageUnreadable: the image cannot be decoded.
        Overloaded: the images that are worked on leave no memory for it.
    """
    pixels = await asyncio.to_thread(pixels_in, data, room.decode_limits)
    with room.memory_for(pixels):
        source = room.source(data)
        plan = resolve_refs(refs, room.registry, room.pool.choose)
        run = await room.executor.run(plan, source, max(0.0, seconds))
        picture = None
        if thumbnail and not any(_failed(outcome) for outcome in run.outcomes):
            picture = await room.pool.call(partial(thumbnail_of, await source.image()))
    return GraphRun(plan, run, picture)


async def embedded_text(room: Room, ref: Ref, *, seconds: float) -> Embedded:
    """The vector of a text."""
    plan = resolve_refs({"vector": ref}, room.registry, room.pool.choose)
    return _embedded(GraphRun(plan, await room.executor.run(plan, NoImage(), max(0.0, seconds))))


def thumbnail_of(image: Image) -> bytes:
    """A small JPEG of an image."""
    picture = PIL.Image.fromarray(image.pixels)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_THUMBNAIL_QUALITY)
    return file.getvalue()


def _failed(outcome: Outcome) -> bool:
    return outcome.fault is not None and outcome.fault.status == "error"


def _embedded(made: GraphRun) -> Embedded:
    plan, run, outcomes = made.plan, made.run, made.outcomes
    outcome, hashed = outcomes["vector"], outcomes.get("phash")
    # Half of an item would look like a whole one for ever.
    faults = [outcome.fault, *(item.fault for item in outcome.items)]
    if hashed is not None:
        faults.append(hashed.fault)
    fault = next((each for each in faults if each is not None and each.status == "error"), outcome.fault)
    node = outcome.planned.node
    if fault is not None or node is None:
        return Embedded(info=run.info, warnings=outcome.warnings, fault=fault)
    maker = plan.maker_of(node)
    space = plan.space(node, run.made_by.get(maker.id, maker.engine))
    phashes: list[int | None] = [None] * len(outcome.items)
    if hashed is not None and len(hashed.items) == len(outcome.items):
        phashes = [item.value for item in hashed.items]
    regions = tuple(
        ItemRegion(item.value.values, _shown(item.region.box, item.region.is_whole_image), phash)
        for item, phash in zip(outcome.items, phashes, strict=True)
        if item.fault is None
    )
    return Embedded(regions, space or "", run.info, made.thumbnail, outcome.warnings)


def _shown(box: Box, is_whole_image: bool) -> Box | None:
    return None if is_whole_image else box
