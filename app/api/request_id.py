"""Every request has an id: the client's own when it is a plain one, else a new one.

It is in the answer, in the header X-Request-ID and in every line that the request logs.
"""

import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

HEADER = "X-Request-ID"
_PLAIN = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_STATE = "sightgraph_request_id"
_current: ContextVar[str] = ContextVar("request_id", default="-")


def request_id() -> str:
    """The id of the request that this code works for; "-" outside of one."""
    return _current.get()


@contextmanager
def naming(scope: Scope) -> Iterator[None]:
    """The id of a request is that of all that runs inside."""
    token = _current.set(_id_of(scope))
    try:
        yield
    finally:
        _current.reset(token)


async def send_request_id(message: Message, scope: Scope) -> None:
    """Puts the id on every answer, also on those that no route gives."""
    if message["type"] == "http.response.start":
        message.setdefault("headers", [])
        MutableScopeHeaders(message)[HEADER] = _id_of(scope)


def _id_of(scope: Scope) -> str:
    state = scope["state"]
    if _STATE not in state:
        sent = next((value for name, value in scope["headers"] if name == HEADER.lower().encode()), b"")
        state[_STATE] = sent.decode() if _PLAIN.fullmatch(sent) else uuid.uuid4().hex
    name: str = state[_STATE]
    return name


class RequestIdFilter(logging.Filter):
    """Puts the id on every log record, for the format to show."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id()
        return True
