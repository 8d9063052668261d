"""The application as servers call it: what holds for every request, also for one that no route takes."""

import asyncio
from contextlib import nullcontext
from typing import Any, cast

from litestar import Litestar
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import MediaType, ScopeType
from litestar.response.base import ASGIResponse
from litestar.types import LifeSpanReceive, LifeSpanScope, LifeSpanSend, Message, Receive, Scope, Send

from app.api.access_log import log_access
from app.api.doors import SECURITY_HEADERS
from app.api.exchange import Exchange, note_refusal
from app.api.request_id import HEADER, naming, request_id
from app.api.room import Room
from app.core.errors import Overloaded

_STOPPING = b'{"detail":"The server is stopping; send the request again."}'
_RETRY_AFTER_SECONDS = "1"


class Application(Litestar):
    """Counts, times, logs and traces every request, and sees them off when the server stops."""

    def __init__(self, room: Room, **options: Any) -> None:
        super().__init__(**options)
        self.room = room

    async def __call__(
        self,
        scope: Scope | LifeSpanScope,
        receive: Receive | LifeSpanReceive,
        send: Send | LifeSpanSend,
    ) -> None:
        if scope["type"] == "lifespan" or scope["type"] == ScopeType.WEBSOCKET:
            await super().__call__(scope, receive, send)
            return
        scope.setdefault("state", {})
        exchange = Exchange(scope)
        metrics, tracing = self.room.metrics, self.room.tracing
        self.room.requests += 1
        with naming(scope):
            try:
                with nullcontext() if tracing is None else tracing.request(exchange):
                    await self._answer(exchange, cast("Receive", receive), cast("Send", send))
            finally:
                self.room.requests -= 1
                seconds, status = exchange.seconds, exchange.status or 500
                metrics.answered(exchange.method, exchange.route, status, seconds, exchange.refusal)
                log_access(exchange)

    async def _answer(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        scope = exchange.scope

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                if self.room.stopping:
                    # A connection that is kept would lead the next request here.
                    MutableScopeHeaders.from_message(message)["Connection"] = "close"
            elif message["type"] == "http.response.body":
                exchange.bytes_sent += len(message["body"])
            await send(message)

        if self.room.refusing and not exchange.is_probe:
            await self._refuse(scope, receive, noted)
            return
        try:
            await super().__call__(scope, receive, noted)
        except asyncio.CancelledError:
            if not self.room.stopping:
                raise
            # The server cuts off what its stop cannot wait for. Who has no answer yet is told.
            if exchange.status is None:
                await self._refuse(scope, receive, noted)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        note_refusal(scope, Overloaded.code)
        answer = ASGIResponse(
            body=_STOPPING,
            status_code=503,
            headers={**SECURITY_HEADERS, "Retry-After": _RETRY_AFTER_SECONDS, HEADER: request_id()},
            media_type=MediaType.JSON,
        )
        await answer(scope, receive, send)
