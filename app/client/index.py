"""The calls of the similarity index. Their answers are the server's JSON."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from app.client.images import FilePart, ImageLike, check_several, sendable
from app.client.task import json_bytes
from app.client.wire import Call, Request, having, segment

Json: TypeAlias = dict[str, Any]

# What a server takes in one request.
MOST_ITEMS = 256
_PAGE = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """An image that becomes an item of a collection.

    Args:
        image: the image.
        id: by default the hash of its file; the same id again replaces.
        metadata: what searches filter by, and answers repeat.
    """

    image: ImageLike
    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


Uploads: TypeAlias = Iterable[Upload | ImageLike] | Mapping[str, ImageLike]
"""Images, with or without ids and metadata, or by their ids."""


def collections() -> Call[list[Json]]:
    return Call(Request("GET", "/index/"), lambda body: body["collections"])


def collection(name: str) -> Call[Json]:
    return Call(Request("GET", f"/index/{segment(name)}/"), having("name"))


def create(name: str, operation: str, target: str | None, params: Mapping[str, Any] | None) -> Call[Json]:
    declared: Json = {"name": name, "operation": operation}
    if target is not None:
        declared["target"] = target
    if params is not None:
        declared["params"] = dict(params)
    return Call(Request("POST", "/index/", json=json_bytes("params", declared)), having("name"))


def drop(name: str) -> Call[bool]:
    return Call(Request("DELETE", f"/index/{segment(name)}/"), _was_there, also=frozenset({404}))


def page(name: str, after: str | None, *, vectors: bool) -> Call[Json]:
    query = {"limit": str(_PAGE)}
    if vectors:
        query["vectors"] = "true"
    if after is not None:
        query["after"] = after
    request = Request("GET", f"/index/{segment(name)}/items/", query=query)
    return Call(request, having("items", "next"))


def item(name: str, item_id: str) -> Call[Json | None]:
    return Call(Request("GET", _item_path(name, item_id)), _or_none, also=frozenset({404}))


def delete(name: str, item_id: str) -> Call[bool]:
    return Call(Request("DELETE", _item_path(name, item_id)), _was_there, also=frozenset({404}))


def search(name: str, query: Mapping[str, Any], image: ImageLike | None) -> Call[Json]:
    """A search by what the query names, or by an image.

    Raises:
        InvalidInput: the image is none.
    """
    path = f"/index/{segment(name)}/search/"
    given = None if image is None else sendable(image)
    if isinstance(given, FilePart):
        form = {"query_json": json_bytes("query", query).decode()}
        return Call(Request("POST", path, form=form, files=[given]), having("hits"))
    body = dict(query) if given is None else {**query, "image_url": given}
    return Call(Request("POST", path, json=json_bytes("query", body)), having("hits"))


def adding(name: str, uploads: Uploads, *, thumbnails: bool) -> Iterator[tuple[list[int], Call[list[Json]]]]:
    """The calls that add images, each with the places of its images.

    Raises:
        InvalidInput: one is no image, or they are a single one.
    """
    check_several(uploads)
    if isinstance(uploads, Mapping):
        uploads = [Upload(image, id_) for id_, image in uploads.items()]
    given = [each if isinstance(each, Upload) else Upload(each) for each in uploads]
    prepared = [sendable(each.image) for each in given]
    kinds: dict[tuple[bool, bool], list[int]] = {}
    for place, (each, image) in enumerate(zip(given, prepared, strict=True)):
        # A form takes files only, and ids for all of them or none.
        kinds.setdefault((isinstance(image, str), each.id is None), []).append(place)
    for places in kinds.values():
        for start in range(0, len(places), MOST_ITEMS):
            block = places[start : start + MOST_ITEMS]
            chosen = [given[place] for place in block]
            images = [prepared[place] for place in block]
            yield block, _added(name, chosen, images, thumbnails=thumbnails)


def _added(
    name: str, uploads: Sequence[Upload], images: Sequence[str | FilePart], *, thumbnails: bool
) -> Call[list[Json]]:
    path = f"/index/{segment(name)}/items/"
    files = [image for image in images if isinstance(image, FilePart)]
    if files:
        form: Json = {
            "metadata": [json_bytes("metadata", each.metadata).decode() for each in uploads],
            "thumbnails": "true" if thumbnails else "false",
        }
        if uploads[0].id is not None:
            form["id"] = [each.id for each in uploads]
        request = Request("POST", path, form=form, files=files)
    else:
        items = [
            {"id": each.id, "metadata": each.metadata, "image_url": url}
            for each, url in zip(uploads, images, strict=True)
        ]
        request = Request("POST", path, json=json_bytes("items", {"items": items, "thumbnails": thumbnails}))
    return Call(request, partial(_results, len(uploads)))


def _results(count: int, body: Json) -> list[Json]:
    results: list[Json] = body["items"]
    if len(results) != count:
        raise KeyError(count)
    return results


def _item_path(name: str, item_id: str) -> str:
    return f"/index/{segment(name)}/items/{segment(item_id)}"


def _or_none(body: Json) -> Json | None:
    """An item; None where the server says that there is none."""
    return None if "detail" in body else body


def _was_there(body: Json) -> bool:
    return "detail" not in body
