"""Answers that are sent part by part, while the rest is being made.

What refuses the request before its first part is an ordinary answer; what goes wrong later is the last part.
When the client leaves, or stops reading, what is made for it is cancelled.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple, Protocol

from litestar import MediaType, Request, Response
from litestar.response.base import ASGIResponse
from litestar.types import Message, Receive, Scope, Send

from app.api.answers import json_bytes
from app.api.connection import while_connected
from app.api.errors import INTERNAL_DETAIL
from app.core.errors import ClientLeft, RequestError

log = logging.getLogger(__name__)

NDJSON = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"
KEEP_ALIVE_SECONDS = 15.0

# A proxy that waits for the whole answer would take its point away.
_HEADERS = {"X-Accel-Buffering": "no"}


class Part(NamedTuple):
    """A part of an answer: what it is, and its JSON."""

    event: str
    body: bytes


Parts = AsyncGenerator[Part, None]

# Shows that the request was taken: the answer begins, with nothing in it yet.
TAKEN = Part("taken", b"")


class Framing(Protocol):
    """How parts become a body. `keep_alive` is sent while nothing else is, where a body may hold such."""

    media_type: str
    keep_alive: bytes

    def framed(self, part: Part) -> bytes: ...


class Lines:
    """One JSON object a line."""

    media_type = NDJSON
    keep_alive = b""

    def framed(self, part: Part) -> bytes:
        return part.body + b"\n"


class Events:
    """Server-sent events."""

    media_type = EVENT_STREAM
    keep_alive = b": keep-alive\n\n"

    def framed(self, part: Part) -> bytes:
        return b"event: %s\ndata: %s\n\n" % (part.event.encode(), part.body)


class Document:
    """One JSON object: parts of one kind become its list, and the last part its other fields.

    Args:
        event: the kind.
        field: the name of the list.
    """

    media_type = MediaType.JSON.value
    keep_alive = b""

    def __init__(self, event: str, field: str) -> None:
        self._event = event
        self._before = b'{"%s":[' % field.encode()

    def framed(self, part: Part) -> bytes:
        if part.event != self._event:
            return b"]," + part.body[1:]
        before, self._before = self._before, b","
        return before + part.body


class Streamed(Response[bytes]):
    """An answer whose parts are sent as they are made.

    Args:
        request: whose body was read to its end.
        parts: what makes them; closed when it is not read to its end.
        framing: how they are sent.
        ahead: how many parts may be made before they are read; 0 for all of them.
        stall_seconds: for which a client may leave a part unread.
        keep_alive_seconds: after which a connection that nothing is sent on is shown to be alive.
    """

    def __init__(
        self,
        request: Request[Any, Any, Any],
        parts: Parts,
        framing: Framing,
        *,
        ahead: int,
        stall_seconds: float,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        super().__init__(b"", media_type=framing.media_type, headers=_HEADERS)
        self._sending = _Sending(request, parts, framing, ahead, stall_seconds, keep_alive_seconds)

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> ASGIResponse:
        self._sending.headers.update(self.headers)
        return self._sending


class _Stalled(Exception):
    """The client does not read."""


class _End(NamedTuple):
    """No part comes any more, for the reason of an error or because there is none."""

    error: Exception | None = None


class _Sending(ASGIResponse):
    _should_set_content_length = False

    def __init__(
        self,
        request: Request[Any, Any, Any],
        parts: Parts,
        framing: Framing,
        ahead: int,
        stall_seconds: float,
        keep_alive_seconds: float,
    ) -> None:
        super().__init__(media_type=framing.media_type)
        self._request = request
        self._parts = parts
        self._framing = framing
        self._ahead = ahead
        self._stall_seconds = stall_seconds
        self._keep_alive_seconds = keep_alive_seconds if framing.keep_alive else None
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(self._request, self._sent(send))
        except ClientLeft:
            if not self._started:
                raise
            log.info("the client left before the end of its answer")
        except _Stalled:
            # The server closes a connection whose answer was not completed.
            log.warning("the client read nothing for %g seconds; its answer is cut", self._stall_seconds)

    async def _sent(self, send: Send) -> None:
        async def put(message: Message) -> None:
            try:
                async with asyncio.timeout(self._stall_seconds):
                    await send(message)
            except TimeoutError:
                raise _Stalled from None

        made: asyncio.Queue[Part | _End] = asyncio.Queue(self._ahead)
        making = asyncio.create_task(self._made(made))
        try:
            part: Part | _End | None = await made.get()
            if isinstance(part, _End) and part.error is not None:
                raise part.error
            self._started = True
            await self.start_response(put)
            while not isinstance(part, _End):
                if part is None:
                    await put(_body(self._framing.keep_alive))
                elif part is not TAKEN:
                    await put(_body(self._framing.framed(part)))
                part = await self._next(made)
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
        last = b"" if part.error is None else self._framing.framed(_failure(part.error))
        await put(_body(last, more=False))

    async def _made(self, made: "asyncio.Queue[Part | _End]") -> None:
        end = _End()
        try:
            async with aclosing(self._parts) as parts:
                async for part in parts:
                    await made.put(part)
        except Exception as error:
            end = _End(error)
        await made.put(end)

    async def _next(self, made: "asyncio.Queue[Part | _End]") -> Part | _End | None:
        """The next part; None when it is time to show that the connection is alive."""
        try:
            async with asyncio.timeout(self._keep_alive_seconds):
                return await made.get()
        except TimeoutError:
            return None


def _body(chunk: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": more}


def _failure(error: Exception) -> Part:
    if isinstance(error, RequestError):
        return Part("error", json_bytes({"detail": str(error)}))
    log.error("a streamed answer failed", exc_info=error)
    return Part("error", json_bytes({"detail": INTERNAL_DETAIL}))
