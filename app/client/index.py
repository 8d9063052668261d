"""The calls of the similarity index. Their answers are the server's JSON."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from app.client.images import FilePart, ImageLike, sendable
from app.client.task import json_bytes
from app.client.wire import Call, Json, Request, having, listing, objects, segment

_PAGE = 1000


def collections() -> Call[list[Json]]:
    return Call(Request("GET", "/index/"), lambda body: objects(body["collections"]))


def collection(name: str) -> Call[Json]:
    return Call(Request("GET", f"/index/{_segment(name)}/"), having("name"))


def create(name: str, operation: str, target: str | None, params: Mapping[str, Any] | None) -> Call[Json]:
    declared: Json = {"name": name, "operation": operation}
    if target is not None:
        declared["target"] = target
    if params is not None:
        declared["params"] = dict(params)
    return Call(Request("POST", "/index/", json=json_bytes("params", declared)), having("name"))


def drop(name: str) -> Call[bool]:
    return Call(Request("DELETE", f"/index/{_segment(name)}/"), _was_there, also=frozenset({404}))


def page(name: str, after: str | None, *, vectors: bool) -> Call[Json]:
    query = {"limit": str(_PAGE)}
    if vectors:
        query["vectors"] = "true"
    if after is not None:
        query["after"] = after
    request = Request("GET", f"/index/{_segment(name)}/items/", query=query)
    return Call(request, partial(_page, after))


def item(name: str, item_id: str) -> Call[Json | None]:
    return Call(Request("GET", _item_path(name, item_id)), _or_none, also=frozenset({404}))


def delete(name: str, item_id: str) -> Call[bool]:
    return Call(Request("DELETE", _item_path(name, item_id)), _was_there, also=frozenset({404}))


def search(name: str, query: Mapping[str, Any], image: ImageLike | None) -> Call[Json]:
    """A search by what the query names, or by an image.

    Raises:
        InvalidInput: the image is none.
    """
    path = f"/index/{_segment(name)}/search/"
    given = None if image is None else sendable(image)
    if isinstance(given, FilePart):
        form = {"query_json": json_bytes("query", query).decode()}
        return Call(Request("POST", path, form=form, files=[given]), listing("hits"))
    body = dict(query) if given is None else {**query, "image_url": given}
    return Call(Request("POST", path, json=json_bytes("query", body)), listing("hits"))


def _page(after: str | None, body: Json) -> Json:
    """A page that leads on, where it is not the last."""
    objects(body["items"])
    if body["next"] is not None and body["next"] == after:
        raise KeyError(after)
    return body


def _segment(name: str) -> str:
    return segment("collection", name)


def _item_path(name: str, item_id: str) -> str:
    return f"/index/{_segment(name)}/items/{segment('id', item_id)}"


def _or_none(body: Json) -> Json | None:
    """An item; None where the server says that there is none."""
    return None if "detail" in body else body


def _was_there(body: Json) -> bool:
    return "detail" not in body
