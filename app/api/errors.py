"""Errors to answers: every refusal of a whole request is `{"detail": "..."}`."""

import logging
from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from app.api.answers import json_response
from app.api.exchange import note_refusal
from app.core.errors import (
    ClassifierNotFound,
    ClientLeft,
    CollectionExists,
    CollectionNotFound,
    Fault,
    ImageTooLarge,
    ImageUnavailable,
    ImageUnreadable,
    Internal,
    ItemNotFound,
    MalformedRequest,
    ModelNotFound,
    Overloaded,
    RequestError,
    SightgraphError,
    SpaceMismatch,
    TaskError,
    WrongState,
)

log = logging.getLogger(__name__)

# Litestar's word for a connection that closes before the body is complete.
_LEFT_WHILE_SENDING = "client disconnected prematurely"

INTERNAL_DETAIL = "Internal server error; the server's log has the details under X-Request-ID."

STATUS: dict[type[RequestError], int] = {
    MalformedRequest: 400,
    ImageUnavailable: 400,
    ImageUnreadable: 400,
    ImageTooLarge: 413,
    Overloaded: 503,
    CollectionExists: 409,
    ModelNotFound: 404,
    WrongState: 409,
    # For the log: nobody is there to read it.
    ClientLeft: 499,
}

STATUS_BY_CODE = {
    CollectionNotFound.code: 404,
    ItemNotFound.code: 404,
    ClassifierNotFound.code: 404,
    SpaceMismatch.code: 409,
}


def refuse(request: Request[Any, Any, Any], error: RequestError) -> Response[bytes]:
    note_refusal(request.scope, error.code)
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Overloaded) else {}
    return json_response({"detail": str(error)}, STATUS[type(error)], headers)


class FaultOfAll(SightgraphError):
    """The fault of the one task behind a request, which thereby fails as a whole."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def refuse_task(request: Request[Any, Any, Any], error: TaskError | FaultOfAll) -> Response[bytes]:
    """What a task would answer as its own failure, where it is the whole request's."""
    fault = error.fault() if isinstance(error, TaskError) else error.fault
    if fault.code == Internal.code:
        return fail(request, error)
    note_refusal(request.scope, fault.code)
    status = STATUS_BY_CODE.get(fault.code, 400 if fault.status == "skipped" else 503)
    # No time to come back: an index that another process holds, or weights that are absent, may stay so.
    return json_response({"detail": fault.message}, status)


def refuse_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Litestar's own refusals: an unknown path, a wrong method, a body over the limit."""
    if error.detail == _LEFT_WHILE_SENDING:
        return refuse(request, ClientLeft("The client left while it was sending."))
    if error.status_code >= 500:
        return fail(request, error)
    note_refusal(request.scope, HTTPStatus(error.status_code).name.lower())
    return json_response({"detail": _detail(request, error)}, error.status_code, error.headers)


def _detail(request: Request[Any, Any, Any], error: HTTPException) -> str:
    if error.status_code == 413:
        limit = request.route_handler.resolve_request_max_body_size()
        return f"body: is over {limit:,} bytes, the most that this path takes"
    if isinstance(error.extra, list):
        # A query that does not fit.
        return "; ".join(f"{each.get('key')}: {each.get('message')}" for each in error.extra)
    return error.detail


def fail(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A fault of the server's own. The client learns the request's id, the log all the rest."""
    note_refusal(request.scope, Internal.code)
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return json_response({"detail": INTERNAL_DETAIL}, 500)
