"""The endpoints of the index: collections, their items, and searches."""

import base64
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Annotated, Any
from urllib.parse import quote, unquote

from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from app.api.adding import Arrival, added
from app.api.answers import json_response
from app.api.bodies import in_time, json_body
from app.api.connection import while_connected
from app.api.index_bodies import ITEMS_FORM_MAX_BYTES, arriving_items, sought
from app.api.index_schemas import (
    AddedAnswer,
    CollectionAnswer,
    CollectionsAnswer,
    DeletedAnswer,
    ItemAnswer,
    ItemsAnswer,
    NewCollection,
    SearchAnswer,
)
from app.api.openapi import documented
from app.api.rate_limits import count_images
from app.api.request_id import request_id
from app.api.room import Room
from app.api.searching import Sought, found
from app.core.errors import ItemNotFound
from app.index.storage import CollectionRecord, Item, ItemRegion, ItemSummary

_ITEM_PATH = re.compile(r".*?/+index/+[^/]+/+items/(.*)", re.DOTALL)


@post(
    "/index/",
    status_code=201,
    summary="Make a collection",
    tags=["index"],
    opt={"scope": "index"},
    responses=documented(CollectionAnswer, 400, 409, 503, success=201),
)
async def create_collection(request: Request[Any, Any, Any], room: NamedDependency[Room]) -> Response[bytes]:
    body = await in_time(json_body(request, NewCollection), room.limits.seconds)
    params = body.params if body.target is None else {**body.params, "target": body.target}
    record = await room.index.call(room.index.create, body.name, body.operation, params)
    return json_response(_collection(record, room), 201)


@get(
    "/index/",
    summary="List the collections",
    tags=["index"],
    opt={"scope": "index"},
    responses=documented(CollectionsAnswer, 503),
)
async def list_collections(room: NamedDependency[Room]) -> Response[bytes]:
    records = await room.index.call(room.index.storage.collections)
    return json_response({"collections": [_collection(record, room) for record in records]})


@get(
    "/index/{collection:str}/",
    summary="Describe a collection",
    tags=["index"],
    opt={"scope": "index"},
    responses=documented(CollectionAnswer, 404, 503),
)
async def describe_collection(collection: FromPath[str], room: NamedDependency[Room]) -> Response[bytes]:
    record = await room.index.call(room.index.storage.collection, collection)
    return json_response(_collection(record, room))


@delete(
    "/index/{collection:str}/",
    status_code=200,
    summary="Delete a collection with all of its items",
    tags=["index"],
    opt={"scope": "index"},
    responses=documented(DeletedAnswer, 404, 503),
)
async def delete_collection(collection: FromPath[str], room: NamedDependency[Room]) -> Response[bytes]:
    await room.index.call(room.index.storage.drop, collection)
    return json_response({"deleted": collection})


@post(
    "/index/{collection:str}/items/",
    status_code=200,
    request_max_body_size=ITEMS_FORM_MAX_BYTES,
    summary="Add images or vectors",
    tags=["index"],
    opt={"scope": "index"},
    responses=documented(AddedAnswer, 400, 404, 413, 503),
)
async def add_items(
    collection: FromPath[str], request: Request[Any, Any, Any], room: NamedDependency[Room]
) -> Response[bytes]:
    async with AsyncExitStack() as files:
        # A client may take its time to send: it holds no place meanwhile.
        arriving = files.enter_async_context(arriving_items(request, room))
        arrivals, thumbnails = await in_time(arriving, room.limits.seconds)
        count_images(sum(arrival.read is not None for arrival in arrivals))
        with room.place():
            work = _added(room, collection, arrivals, thumbnails)
            return await while_connected(request, work)


@get(
    "/index/{collection:str}/items/",
    summary="List the items",
    tags=["index"],
    opt={"scope": "index"},
    responses=documented(ItemsAnswer, 400, 404, 503),
)
async def list_items(
    collection: FromPath[str],
    room: NamedDependency[Room],
    after: Annotated[str | None, QueryParameter(description="The id after which the page begins.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000, description="The most items of a page.")] = 100,
    vectors: Annotated[
        bool,
        QueryParameter(
            description="Whether to show the vectors; a page of long or many ones has fewer items."
        ),
    ] = False,
) -> Response[bytes]:
    storage = room.index.storage
    if vectors:
        page = await room.index.call(storage.vectors, collection, after, limit)
        items = [
            _listed(summary) | {"vectors": _regions(regions, vectors=True)} for summary, regions in page.items
        ]
        more, space = page.more, page.space
    else:
        listed = await room.index.call(storage.items, collection, after, limit + 1)
        items = [_listed(summary) for summary in listed[:limit]]
        more, space = len(listed) > limit, None
    return json_response({"items": items, "next": items[-1]["id"] if more else None, "space": space})


@get(
    "/index/{collection:str}/items/{item_id:path}",
    summary="Show an item",
    tags=["index"],
    opt={"scope": "index"},
    responses=documented(ItemAnswer, 400, 404, 503),
)
async def show_item(
    collection: FromPath[str],
    item_id: FromPath[str],
    request: Request[Any, Any, Any],
    room: NamedDependency[Room],
    vectors: Annotated[bool, QueryParameter(description="Whether to show the vectors.")] = False,
) -> Response[bytes]:
    item = await room.index.call(room.index.storage.item, collection, _item_id(request))
    return json_response(_item(item, vectors))


@delete(
    "/index/{collection:str}/items/{item_id:path}",
    status_code=200,
    summary="Delete an item",
    tags=["index"],
    opt={"scope": "index"},
    responses=documented(DeletedAnswer, 404, 503),
)
async def delete_item(
    collection: FromPath[str],
    item_id: FromPath[str],
    request: Request[Any, Any, Any],
    room: NamedDependency[Room],
) -> Response[bytes]:
    wanted = _item_id(request)
    deleted = await room.index.call(room.index.storage.delete, collection, [wanted])
    if not deleted:
        raise ItemNotFound(f"The collection '{collection}' has no item '{wanted}'.")
    return json_response({"deleted": deleted})


@post(
    "/index/{collection:str}/search/",
    status_code=200,
    summary="Search by an image, a text, an item or a vector",
    tags=["index"],
    opt={"scope": "index"},
    responses=documented(SearchAnswer, 400, 404, 409, 413, 503),
)
async def search(
    collection: FromPath[str], request: Request[Any, Any, Any], room: NamedDependency[Room]
) -> Response[bytes]:
    wanted = await in_time(sought(request, room), room.limits.seconds)
    with room.place():
        return await while_connected(request, _searched(room, collection, wanted))


async def _added(room: Room, name: str, arrivals: Sequence[Arrival], thumbnails: bool) -> Response[bytes]:
    collection = await room.index.call(room.index.find, name)
    answers = await added(room, collection, arrivals, thumbnails=thumbnails)
    done = sum(answer["status"] == "success" for answer in answers)
    return json_response(
        {"items": answers, "added": done, "failed": len(answers) - done, "request_id": request_id()}
    )


async def _searched(room: Room, name: str, wanted: Sought) -> Response[bytes]:
    collection = await room.index.call(room.index.find, name)
    hits, warnings = await found(room, collection, wanted)
    return json_response({"hits": hits, "warnings": list(warnings), "request_id": request_id()})


def _item_id(request: Request[Any, Any, Any]) -> str:
    """The id in the path as it was sent: routing folds slashes, which an id may have."""
    path = request.scope.get("raw_path") or quote(request.url.path).encode()
    found = _ITEM_PATH.match(path.partition(b"?")[0].decode("ascii", "replace"))
    sent = found[1] if found else ""
    # The last slash of a path is optional everywhere; one that belongs to the id is sent as %2F.
    return unquote(sent.removesuffix("/"))


def _collection(record: CollectionRecord, room: Room) -> dict[str, Any]:
    params = dict(record.declared.params)
    embedding = room.registry.get(record.declared.operation)
    target = params.pop("target")
    return {
        "name": record.declared.name,
        "operation": record.declared.operation,
        "params": params,
        "target": target,
        "space": record.space,
        "dimensions": record.dimensions,
        "items": record.items,
        "vectors": record.vectors,
        "created_at": record.created_at,
        "pending": record.pending,
        "rebuilt": record.rebuilt,
        "takes_text": embedding is not None and embedding.of_text is not None,
    }


def _listed(summary: ItemSummary) -> dict[str, Any]:
    return {
        "id": summary.id,
        "metadata": summary.metadata,
        "sha256": summary.sha256,
        "width": summary.width,
        "height": summary.height,
        "regions": summary.regions,
        "added_at": summary.added_at,
        "vectors": None,
    }


def _item(item: Item, vectors: bool) -> dict[str, Any]:
    return {
        "id": item.id,
        "metadata": item.metadata,
        "sha256": item.sha256,
        "width": item.width,
        "height": item.height,
        "added_at": item.added_at,
        "thumbnail_base64": base64.b64encode(item.thumbnail).decode() if item.thumbnail else None,
        "regions": _regions(item.regions, vectors=vectors),
    }


def _regions(regions: Sequence[ItemRegion], *, vectors: bool) -> list[dict[str, Any]]:
    return [
        {
            "bbox": None if region.bbox is None else list(region.bbox),
            "phash": None if region.phash is None else f"{region.phash:016x}",
            "vector": region.vector if vectors else None,
        }
        for region in regions
    ]
