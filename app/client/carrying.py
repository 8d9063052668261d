"""Carries requests to a server and answers back, for the blocking client and for asyncio.

What is sent, read and tried again is told elsewhere; here it is waited for.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing
from typing import Any, TypeVar

import httpx
from tenacity import AsyncRetrying, Retrying

from app.client.answers import BatchResult
from app.client.connection import Connection, is_streamed, timeouts
from app.client.errors import ServerFull
from app.client.streaming import Block, Exchange, Lines
from app.client.wire import Call, answer_of, refusal

T = TypeVar("T")


class Carrier:
    """Waits in its thread.

    Args:
        http: with the server's address.
        retries: attempts after the first one.
    """

    def __init__(self, http: httpx.Client, retries: int) -> None:
        self._http = http
        self.connection = Connection(http.base_url, retries)

    def call(self, call: Call[T], seconds: float | None = None) -> T:
        """The answer to a call, for which the server may be silent for some seconds."""
        for attempt in Retrying(**self.connection.policy):
            with attempt, call.request.opened() as request:
                with self.connection.asked():
                    response = self._http.request(**request, **_silence(seconds))
                self.connection.heard()
                return answer_of(call, response)
        raise AssertionError("the last attempt returns or raises")

    def blocks(
        self, sent: Iterator[Block[Any] | BatchResult[Any]], seconds: float | None
    ) -> Generator[BatchResult[Any], None, None]:
        """What becomes of the images of blocks, and of those that cannot be sent."""
        for each in sent:
            if isinstance(each, BatchResult):
                yield each
                continue
            while not each.ended:
                try:
                    yield from self.parts(each, seconds)
                except (OSError, ServerFull) as error:
                    yield from each.given_up(error)

    def parts(self, exchange: Exchange[T], seconds: float | None) -> Generator[T, None, None]:
        """What an exchange tells, as it comes."""
        while not exchange.ended:
            for attempt in Retrying(**self.connection.policy):
                with attempt:
                    yield from self._parts(exchange, seconds)

    def _parts(self, exchange: Exchange[T], seconds: float | None) -> Generator[T, None, None]:
        with exchange.request().opened() as request, self.connection.asked():
            with self._http.stream(**request, **_silence(seconds)) as response:
                self.connection.heard()
                if not is_streamed(response):
                    response.read()
                    yield from exchange.refused(refusal(response))
                    return
                lines = Lines()
                for chunk in response.iter_bytes():
                    for line in lines.of(chunk):
                        yield from exchange.read(line)
        self.connection.check_whole(exchange)


class AsyncCarrier:
    """Waits in the event loop. Whoever leaves a loop closes what it reads from, down to the connection.

    Args:
        http: with the server's address.
        retries: attempts after the first one.
    """

    def __init__(self, http: httpx.AsyncClient, retries: int) -> None:
        self._http = http
        self.connection = Connection(http.base_url, retries)

    async def call(self, call: Call[T], seconds: float | None = None) -> T:
        """The answer to a call, for which the server may be silent for some seconds."""
        async for attempt in AsyncRetrying(**self.connection.policy):
            with attempt, call.request.opened() as request:
                with self.connection.asked():
                    response = await self._http.request(**request, **_silence(seconds))
                self.connection.heard()
                return answer_of(call, response)
        raise AssertionError("the last attempt returns or raises")

    async def blocks(
        self, sent: Iterator[Block[Any] | BatchResult[Any]], seconds: float | None
    ) -> AsyncGenerator[BatchResult[Any], None]:
        """What becomes of the images of blocks, and of those that cannot be sent."""
        # Files are read and pixels encoded, which takes its time.
        while (each := await asyncio.to_thread(next, sent, None)) is not None:
            if isinstance(each, BatchResult):
                yield each
                continue
            while not each.ended:
                try:
                    async with aclosing(self.parts(each, seconds)) as results:
                        async for result in results:
                            yield result
                except (OSError, ServerFull) as error:
                    for lost in each.given_up(error):
                        yield lost

    async def parts(self, exchange: Exchange[T], seconds: float | None) -> AsyncGenerator[T, None]:
        """What an exchange tells, as it comes."""
        while not exchange.ended:
            async for attempt in AsyncRetrying(**self.connection.policy):
                with attempt:
                    async with aclosing(self._parts(exchange, seconds)) as parts:
                        async for part in parts:
                            yield part

    async def _parts(self, exchange: Exchange[T], seconds: float | None) -> AsyncGenerator[T, None]:
        with exchange.request().opened() as request, self.connection.asked():
            async with self._http.stream(**request, **_silence(seconds)) as response:
                self.connection.heard()
                if not is_streamed(response):
                    await response.aread()
                    for part in exchange.refused(refusal(response)):
                        yield part
                    return
                lines = Lines()
                async for chunk in response.aiter_bytes():
                    for line in lines.of(chunk):
                        for part in exchange.read(line):
                            yield part
        self.connection.check_whole(exchange)


def _silence(seconds: float | None) -> dict[str, Any]:
    return {} if seconds is None else {"timeout": timeouts(seconds)}
