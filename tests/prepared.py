"""A server whose answers are prepared: what a real one gives only where it is short of something."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from app.client import AsyncSightgraph, Sightgraph

FULL = httpx.Response(503, headers={"Retry-After": "0"}, json={"detail": "full"})


class Answers:
    """Prepared answers, the last of which is given again and again; exceptions are raised."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    @property
    def images(self) -> list[int]:
        """How many files came with each request."""
        return [request.content.count(b'name="image_file"') for request in self.asked]

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self._next(request)

    def blocking(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return self._next(request)

    def _next(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def ask(self, ask: Callable[[AsyncSightgraph], Any], retries: int = 2) -> Any:
        """What asking gives."""

        async def asked() -> Any:
            transport = httpx.MockTransport(self)
            async with httpx.AsyncClient(base_url="http://test", transport=transport) as http:
                return await ask(AsyncSightgraph(client=http, retries=retries))

        return asyncio.run(asked())

    def ask_blocking(self, ask: Callable[[Sightgraph], Any], retries: int = 2) -> Any:
        """What the blocking client gives."""
        transport = httpx.MockTransport(self.blocking)
        with httpx.Client(base_url="http://test", transport=transport) as http:
            return ask(Sightgraph(client=http, retries=retries))
