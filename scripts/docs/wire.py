"""The reference of the wire, from the OpenAPI document."""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any

from litestar import Litestar

from app.api.doors_document import add_doors
from app.api.openapi import completed
from app.settings import Settings
from scripts.docs.words import code, fields, kind, named, one_line, table

_METHODS = ("get", "post", "put", "patch", "delete")
_SCOPE = re.compile(r"one with the scope `(\w+)`")


@cache
def document() -> dict[str, Any]:
    """The document of a server without keys, as `/schema/openapi.json` gives it."""
    from app.api.app import build_app
    from app.main import build_room

    with tempfile.TemporaryDirectory() as data:
        room = build_room(Settings(lanes=1, offline=True, data=Path(data)))
        try:
            app = build_app(room, "0", _never_started)
            schema = completed(app.openapi_schema.to_schema(), room.registry)
            add_doors(schema, app, keyed=False)
        finally:
            room.pool.close()
    return schema


def _never_started(_: Litestar) -> AbstractAsyncContextManager[None]:
    """The lifespan of an application of which the document alone is asked."""
    return nullcontext()


def endpoints() -> dict[str, Callable[[], str]]:
    """What makes the part of each endpoint, by its name: `POST /plan/`."""
    return {f"{method.upper()} {path}": partial(_endpoint, path, method) for path, method in _all()}


def _all() -> Iterator[tuple[str, str]]:
    for path, operations in document()["paths"].items():
        for method in _METHODS:
            if method in operations:
                yield path, method


def _endpoint(path: str, method: str) -> str:
    operation = document()["paths"][path][method]
    description, scope = _described(operation.get("description", ""))
    parts = [f"{operation['summary']}. {scope}\n"]
    if description:
        parts.append(f"{description}\n")
    parameters = [_resolved(each) for each in operation.get("parameters", ())]
    if parameters:
        parts.append(_parameters(parameters))
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(_body(media_type, content["schema"]))
    parts.append(_answers(operation["responses"]))
    return "\n".join(parts)


def _described(text: str) -> tuple[str, str]:
    """The description, and which key is needed in place of the sentence that says it."""
    paragraphs = text.split("\n\n")
    found = next((match for each in paragraphs if (match := _SCOPE.search(each))), None)
    kept = "\n\n".join(each for each in paragraphs if not _SCOPE.search(each))
    return kept, f"Scope: `{found[1]}`." if found else "Open: it needs no key."


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Any = document()
    for step in schema["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    resolved: Mapping[str, Any] = found
    return resolved


def _parameters(parameters: list[Mapping[str, Any]]) -> str:
    return table(
        ("parameter", "in", "is", "default", "meaning"),
        (
            (
                code(each["name"]),
                each["in"],
                kind(each.get("schema", {}), _link),
                "required" if each.get("required") else _default(each.get("schema", {})),
                one_line(each.get("description")),
            )
            for each in parameters
        ),
    )


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default")
    return "none" if value is None else code(value)


def _body(media_type: str, schema: Mapping[str, Any]) -> str:
    if media_type == "application/json":
        return f"Body, `{media_type}`: {kind(schema, _link)}.\n"
    return f"Body, `{media_type}`:\n\n{fields(schema, _link)}"


def _answers(responses: Mapping[str, Any]) -> str:
    """What an endpoint answers, and by which statuses it refuses, which mean the same everywhere."""
    told, refused = [], []
    for status, answer in sorted(responses.items()):
        if _is_refusal(answer):
            refused.append(status)
        else:
            told.append(f"Answers {status}: {_answered(answer.get('content', {}))}.\n")
    if refused:
        told.append(f"[Refuses](#refusals) by {', '.join(refused)}.\n")
    return "\n".join(told)


def _is_refusal(answer: Mapping[str, Any]) -> bool:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return named(schema.get("$ref", "")) == "ErrorResponse"


def refusals() -> str:
    """What each status of a refusal means."""
    meanings: dict[str, str] = {}
    for path, method in _all():
        for status, answer in document()["paths"][path][method]["responses"].items():
            if _is_refusal(answer):
                meanings.setdefault(status, one_line(answer.get("description")))
    return table(("status", "when"), sorted(meanings.items()))


def _answered(content: Mapping[str, Any]) -> str:
    shown = []
    for media_type, body in content.items():
        schema = body.get("schema", {})
        if media_type == "application/json":
            shown.append(kind(schema, _link))
        else:
            parts = schema.get("contentSchema")
            lines = f": {kind(parts, _link)}" if parts else ""
            shown.append(f"`{media_type}`{lines}")
    return "; ".join(shown) or "none"


def schemas() -> str:
    """Every schema that a request or an answer names, but for the params of the operations."""
    known = document()["components"]["schemas"]
    text = ""
    for name in sorted(_named_schemas()):
        schema = known[name]
        told = one_line(schema.get("description"))
        if schema.get("type") == "object" and "properties" in schema:
            body = fields(schema, _link, defaults=name in _sent())
        else:
            body = f"Is: {kind(schema, _link)}.\n"
        text += f"### {name}\n\n{told + chr(10) + chr(10) if told else ''}{body}\n"
    return text


@cache
def _sent() -> frozenset[str]:
    """The schemas of what clients send; only there a default tells something."""
    bodies = [
        operation["requestBody"]
        for path, method in _all()
        if "requestBody" in (operation := document()["paths"][path][method])
    ]
    return frozenset(_reached(bodies))


def _named_schemas() -> set[str]:
    return _reached([document()["paths"][path][method] for path, method in _all()])


def _reached(begin: Any) -> set[str]:
    """The schemas that are referred to from something, and from those on, by their names."""
    found: set[str] = set()
    left = [begin]
    while left:
        each = left.pop()
        if isinstance(each, list):
            left.extend(each)
        elif isinstance(each, dict):
            name = named(each["$ref"]) if isinstance(each.get("$ref"), str) else ""
            # A field of a schema is in the section of that schema; a task's params in another page.
            name = "" if _is_task(name) else name.partition(".")[0]
            if name and name not in found:
                found.add(name)
                left.append(document()["components"]["schemas"].get(name, {}))
            left.extend(value for value in each.values() if isinstance(value, dict | list))
    return found & document()["components"]["schemas"].keys()


def _is_task(name: str) -> bool:
    return "." in name and name.partition(".")[0].islower()


def _link(name: str) -> str:
    """To the section of a schema; of a task to the reference of its operation."""
    if _is_task(name):
        operation = name.partition(".")[0]
        return f"[`{operation}`](operations.md#{operation})"
    schema, _, field = name.partition(".")
    return f"[{name if field else schema}](#{schema.lower()})"
