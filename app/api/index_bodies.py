"""Reading what clients add to the index and seek in it: JSON and forms."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import pydantic
from litestar import Request
from litestar.datastructures import UploadFile

from app.api.adding import Arrival
from app.api.bodies import file_of, form_of, parsed, single, text_of
from app.api.index_schemas import (
    MAX_ITEMS,
    ItemBody,
    ItemId,
    ItemsBody,
    Metadata,
    QueryBody,
    SearchBody,
    SingleItemBody,
)
from app.api.room import Room
from app.api.searching import Sought
from app.core.errors import ImageTooLarge, MalformedRequest
from app.core.geometry import Box
from app.core.wording import explain

T = TypeVar("T")

# 256 vectors of 2,000 numbers as text, which takes a tenth of a second to read.
JSON_MAX_BYTES = 10_000_000
# A form is spooled to disk.
ITEMS_FORM_MAX_BYTES = 512_000_000

_ITEM_ID: pydantic.TypeAdapter[str] = pydantic.TypeAdapter(ItemId)
_METADATA: pydantic.TypeAdapter[dict[str, Any]] = pydantic.TypeAdapter(Metadata)
_FORM_FIELDS = ("image_file", "id", "metadata", "thumbnails")


@asynccontextmanager
async def arriving_items(
    request: Request[Any, Any, Any], room: Room
) -> AsyncIterator[tuple[list[Arrival], bool]]:
    """The items of a request, and whether thumbnails are kept; uploaded files stay open meanwhile.

    Raises:
        MalformedRequest: the body is not of its form.
        ImageTooLarge: JSON over its limit.
    """
    if not _is_form(request):
        body = await _items_body(request)
        yield [_arrival(item, room) for item in body.items], body.thumbnails
        return
    async with form_of(request, _FORM_FIELDS) as form:
        yield _uploads(form, room.limits.max_image_bytes), _flag(form, "thumbnails")


async def sought(request: Request[Any, Any, Any], room: Room) -> Sought:
    """What a search asks for, the uploaded image among it.

    Raises:
        MalformedRequest: the body is not of its form.
        ImageTooLarge: the image, or JSON, is over its limit.
    """
    if not _is_form(request):
        body = validated(SearchBody, parsed(await limited_body(request), "body"))
        read = None if body.image_url is None else partial(room.fetcher.fetch, body.image_url)
        return Sought(body, read, text=body.text, item_id=body.id, vector=body.vector, space=body.space)
    async with form_of(request, ("image_file", "query_json")) as form:
        data = await file_of(single(form, "image_file"), "image_file", room.limits.max_image_bytes)
        raw = parsed(await text_of(form, "query_json"), "query_json") if "query_json" in form else {}
        return Sought(validated(QueryBody, raw, "query_json"), partial(_given, data))


def validated(model: "type[T] | pydantic.TypeAdapter[T]", raw: Any, root: str = "") -> T:
    """Plain values as a model.

    Raises:
        MalformedRequest: they are not of its form.
    """
    adapter: pydantic.TypeAdapter[T] = (
        model if isinstance(model, pydantic.TypeAdapter) else pydantic.TypeAdapter(model)
    )
    known = {*getattr(model, "model_fields", ()), *(ItemBody.model_fields if model is ItemsBody else ())}
    try:
        return adapter.validate_python(raw)
    except pydantic.ValidationError as error:
        raise MalformedRequest(
            explain(error.errors(include_url=False), root=root, whole=root or "body", known=known)
        ) from None


async def _items_body(request: Request[Any, Any, Any]) -> ItemsBody:
    """One item or several, which the field `items` tells."""
    raw = parsed(await limited_body(request), "body")
    if isinstance(raw, dict) and "items" in raw:
        several = validated(ItemsBody, raw)
        _refuse_doubled([item.id for item in several.items])
        return several
    item = validated(SingleItemBody, raw)
    return ItemsBody(items=[item], thumbnails=item.thumbnails)


async def limited_body(request: Request[Any, Any, Any]) -> bytes:
    """The body, of which no more is read than JSON may have."""
    body = bytearray()
    if int(request.headers.get("content-length", 0)) <= JSON_MAX_BYTES:
        async for chunk in request.stream():
            body += chunk
            if len(body) > JSON_MAX_BYTES:
                break
        else:
            return bytes(body)
    raise ImageTooLarge(f"body: is over {JSON_MAX_BYTES:,} bytes, the most that JSON may have here")


def _arrival(item: ItemBody, room: Room) -> Arrival:
    if item.image_url is not None:
        return Arrival(item.id, item.metadata, read=partial(room.fetcher.fetch, item.image_url))
    bbox = None if item.bbox is None else Box(*item.bbox)
    return Arrival(item.id, item.metadata, vector=item.vector or (), space=item.space or "", bbox=bbox)


def _uploads(form: Mapping[str, list[Any]], max_image_bytes: int) -> list[Arrival]:
    files = form.get("image_file", [])
    if not files:
        raise MalformedRequest("image_file: is required")
    if len(files) > MAX_ITEMS:
        raise MalformedRequest(f"image_file: was sent {len(files)} times; at most {MAX_ITEMS} are taken")
    if not all(isinstance(file, UploadFile) for file in files):
        raise MalformedRequest("image_file: must be a file part with a file name")
    ids = [validated(_ITEM_ID, value, "id") for value in one_a_file(form, "id", len(files))]
    _refuse_doubled(ids)
    metadata = [
        validated(_METADATA, parsed(value, "metadata"), "metadata")
        for value in one_a_file(form, "metadata", len(files))
    ]
    return [
        Arrival(
            id=ids[number] if ids else None,
            metadata=metadata[number] if metadata else {},
            read=partial(file_of, file, "image_file", max_image_bytes),
        )
        for number, file in enumerate(files)
    ]


def one_a_file(form: Mapping[str, list[Any]], name: str, files: int) -> Sequence[Any]:
    """The values of a field that stands for each file, or for none."""
    values = form.get(name, [])
    if values and len(values) != files:
        raise MalformedRequest(
            f"{name}: was sent {len(values)} times for {files} files; send it for each of them, or not at all"
        )
    if any(isinstance(value, UploadFile) for value in values):
        raise MalformedRequest(f"{name}: must be text, not a file")
    return values


def _refuse_doubled(ids: Sequence[str | None]) -> None:
    named = [item_id for item_id in ids if item_id is not None]
    doubled = sorted({item_id for item_id in named if named.count(item_id) > 1})
    if doubled:
        raise MalformedRequest(f"id: '{doubled[0]}' was sent several times; each must be unique")


def _flag(form: Mapping[str, list[Any]], name: str) -> bool:
    if name not in form:
        return False
    value = single(form, name)
    if value not in ("true", "false"):
        raise MalformedRequest(f"{name}: must be true or false")
    return bool(value == "true")


def _is_form(request: Request[Any, Any, Any]) -> bool:
    return bool(request.content_type[0] == "multipart/form-data")


async def _given(data: bytes) -> bytes:
    return data
