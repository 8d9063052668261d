"""The calls that analyse an image, or tell what a server can do."""

import hashlib
from typing import Any

from app.client.answers import Answer, Readiness
from app.client.given import seconds
from app.client.images import FilePart, ImageLike, sendable
from app.client.task import Tasks, json_bytes, tasks_json, wire_tasks
from app.client.wire import Call, Request, by_names, listing


def analyze(image: ImageLike, tasks: Tasks, deadline: float | None) -> Call[Answer]:
    return Call(analysis(image, tasks, deadline), Answer)


def analysis(image: ImageLike, tasks: Tasks, deadline: float | None, accept: str | None = None) -> Request:
    """The request to analyse an image.

    Args:
        image: the image.
        tasks: what to do with it.
        deadline: seconds after which the server answers what is finished; its own by default.
        accept: the media type of the answer; one JSON document by default.

    Raises:
        InvalidInput: the image, a task or the deadline is none.
    """
    given = sendable(image)
    headers = asked_for(deadline, accept)
    if isinstance(given, str):
        body = json_bytes("tasks", {"image_url": given, "tasks": wire_tasks(tasks)})
        return Request("POST", "/analyze_image/", headers=headers, json=body)
    form = {"tasks_json": tasks_json(tasks).decode()}
    return Request("POST", "/analyze_image_upload/", headers=headers, form=form, files=[given])


def asked_for(deadline: float | None, accept: str | None) -> dict[str, str]:
    """The headers of an analysis.

    Raises:
        InvalidInput: the deadline is no number.
    """
    headers = {} if accept is None else {"Accept": accept}
    return headers if deadline is None else {**headers, "X-Request-Timeout": seconds("deadline", deadline)}


def plan(image: ImageLike | None, tasks: Tasks) -> Call[dict[str, Any]]:
    """The image is not sent: its hash tells the server which results are cached."""
    body: dict[str, Any] = {"tasks": wire_tasks(tasks)}
    if image is not None:
        given = sendable(image)
        body |= {"image_url": given} if isinstance(given, str) else {"image_sha256": _sha256(given)}
    return Call(Request("POST", "/plan/", json=json_bytes("tasks", body)), listing("nodes", "tasks"))


def operations() -> Call[dict[str, dict[str, Any]]]:
    return Call(Request("GET", "/available_operations/"), lambda body: by_names(body["operations"]))


def models() -> Call[dict[str, dict[str, Any]]]:
    return Call(Request("GET", "/models/"), lambda body: {each["engine"]: each for each in body["models"]})


def ready() -> Call[Readiness]:
    # A server that is not ready yet tells so by its status too.
    return Call(Request("GET", "/health/ready"), Readiness.model_validate, also=frozenset({503}))


def _sha256(part: FilePart) -> str:
    """Of what would be sent.

    Raises:
        OSError: the file cannot be read.
    """
    with part.opened() as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
