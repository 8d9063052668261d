"""The endpoints that find near-duplicates: inside a collection, and in a set of uploaded images."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import numpy as np
from litestar import Request, Response, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath

from app.api.adding import AT_ONCE, embedded_in_time, fault_of
from app.api.answers import json_response
from app.api.bodies import JSON_BODY_MAX_BYTES, file_of, form_of, in_time, json_body, parsed, single
from app.api.connection import while_connected
from app.api.embedding import graph_run
from app.api.index_bodies import ITEMS_FORM_MAX_BYTES, validated
from app.api.index_schemas import MAX_ITEMS, DuplicatesAnswer, DuplicatesBody, SetBody
from app.api.openapi import documented
from app.api.rate_limits import count_images
from app.api.request_id import request_id
from app.api.room import Room
from app.core.errors import Fault, MalformedRequest, RequestError, TaskError
from app.index.duplicates import alike_hashes, alike_vectors, groups
from app.index.storage import Member

_NUMBERS = ("min_score", "max_distance")
_TEXTS = ("by", "operation", *_NUMBERS)


@post(
    "/index/{collection:str}/duplicates/",
    status_code=200,
    request_max_body_size=JSON_BODY_MAX_BYTES,
    summary="Find near-duplicates in a collection",
    tags=["index"],
    opt={"scope": "index"},
    responses=documented(DuplicatesAnswer, 400, 404, 503),
)
async def find_in_collection(
    collection: FromPath[str], request: Request[Any, Any, Any], room: NamedDependency[Room]
) -> Response[bytes]:
    body = await in_time(json_body(request, DuplicatesBody), room.limits.seconds)
    storage, until = room.index.storage, time.monotonic() + room.limits.seconds

    def find() -> list[list[Member]]:
        if body.by == "vector":
            alike = storage.near_pairs(collection, body.min_score, until)
            return groups((one, other) for one, other, _ in alike)
        near = storage.near_hash_pairs(collection, body.max_distance, until)
        return groups((one, other) for one, other, _ in near)

    with room.place():
        joined = await while_connected(request, room.index.call_long(find))
    return _answer([[_member(member) for member in group] for group in joined], [])


@post(
    "/find_duplicates/",
    status_code=200,
    request_max_body_size=ITEMS_FORM_MAX_BYTES,
    summary="Find near-duplicates in a set of uploaded images",
    tags=["index"],
    opt={"scope": "analyze"},
    responses=documented(DuplicatesAnswer, 400, 413, 503),
)
async def find_in_set(request: Request[Any, Any, Any], room: NamedDependency[Room]) -> Response[bytes]:
    async with AsyncExitStack() as files:
        # A client may take its time to send: it holds no place meanwhile.
        arriving = files.enter_async_context(form_of(request, ("image_file", *_TEXTS)))
        form = await in_time(arriving, room.limits.seconds)
        images = form.pop("image_file", [])
        if not 2 <= len(images) <= MAX_ITEMS or not all(isinstance(each, UploadFile) for each in images):
            raise MalformedRequest(f"image_file: 2 to {MAX_ITEMS} files are needed")
        wanted = validated(SetBody, {name: _value(name, values) for name, values in form.items()})
        count_images(len(images))
        with room.place():
            return await while_connected(request, _compared(room, images, wanted))


async def _compared(room: Room, images: Sequence[UploadFile], wanted: SetBody) -> Response[bytes]:
    by_vector = wanted.by == "vector"
    whole = {"target": "whole_image"}
    ref = room.index.embedding(wanted.operation or "", whole) if by_vector else room.index.hashing()
    deadline = time.monotonic() + room.limits.seconds
    at_once = asyncio.Semaphore(AT_ONCE)

    async def embed(data: bytes, seconds: float) -> Any:
        (outcome,) = (await graph_run(room, data, {"made": ref}, seconds=seconds)).run.outcomes
        return outcome.fault or outcome.items[0].fault or outcome.items[0].value

    async def one(image: UploadFile) -> Any:
        """What the image is compared by, or the fault in its place."""
        read = partial(file_of, image, "image_file", room.limits.max_image_bytes)
        async with at_once:
            try:
                return await embedded_in_time(read, embed, deadline)
            except RequestError as error:
                return fault_of(error)
            except TaskError as error:
                return error.fault()

    made = await asyncio.gather(*(one(image) for image in images))
    failed = [
        {
            "id": image.filename,
            "number": number,
            "error_code": each.code,
            "error_message": each.message,
        }
        for number, (image, each) in enumerate(zip(images, made, strict=True))
        if isinstance(each, Fault)
    ]
    numbers = [number for number, each in enumerate(made) if not isinstance(each, Fault)]
    values = [made[number] for number in numbers]
    joined = await room.index.call(lambda: groups(_pairs(numbers, values, wanted)))
    return _answer(
        [
            [{"id": images[number].filename, "number": number, "region": 0, "bbox": None} for number in group]
            for group in joined
        ],
        failed,
    )


def _pairs(numbers: Sequence[int], values: Sequence[Any], wanted: SetBody) -> list[tuple[int, int]]:
    """The numbers of the files that are alike, by what they are compared by."""
    if not values:
        return []
    if wanted.by == "vector":
        pairs = alike_vectors(np.stack([vector.values for vector in values]), wanted.min_score)
    else:
        pairs = alike_hashes(values, wanted.max_distance)
    return [(numbers[one], numbers[other]) for one, other in pairs]


def _value(name: str, values: Sequence[Any]) -> Any:
    value = single({name: list(values)}, name)
    if isinstance(value, UploadFile):
        raise MalformedRequest(f"{name}: must be text, not a file")
    return parsed(value, name) if name in _NUMBERS else value


def _member(member: Member) -> dict[str, Any]:
    bbox = None if member.bbox is None else list(member.bbox)
    return {"id": member.id, "number": None, "region": member.region, "bbox": bbox}


def _answer(joined: Sequence[Sequence[Any]], failed: Sequence[Any]) -> Response[bytes]:
    return json_response(
        {"groups": [{"items": group} for group in joined], "failed": failed, "request_id": request_id()}
    )
