"""The application in this process, spoken to over HTTP without a socket.

`httpx.ASGITransport` hands an answer over when it is whole. This one is read while it is made, and the
application waits for its reader: the answers to a folder of images come one by one, and none are piled up.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
from litestar.types import ASGIApp, Message


class InProcessTransport(httpx.AsyncBaseTransport):
    """A client's way to an application.

    Args:
        app: what answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await _Exchange(self._app, request).response()


class _Exchange(httpx.AsyncByteStream):
    """A request that is answered, and the body of the answer."""

    def __init__(self, app: ASGIApp, request: httpx.Request) -> None:
        self._app = app
        self._request = request
        self._is_sent = False
        self._error: BaseException | None = None
        self._start: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        # One chunk is kept ready. The end needs no room: it is told whether or not anybody reads.
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(1)
        self._task = asyncio.create_task(self._answer())

    async def response(self) -> httpx.Response:
        try:
            start = await self._start
        except BaseException:
            await self.aclose()
            raise
        return httpx.Response(start["status"], headers=start["headers"], stream=self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self._chunks.get()) is not None:
            self._room.release()
            yield chunk
        if self._error is not None:
            raise httpx.RemoteProtocolError(self._end) from self._error

    async def aclose(self) -> None:
        """Nobody reads any more: what the application still does for it is in vain."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _answer(self) -> None:
        url = self._request.url
        scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self._request.method,
            "headers": [(name.lower(), value) for name, value in self._request.headers.raw],
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "server": (url.host, url.port),
            "client": ("127.0.0.1", 0),
            "root_path": "",
        }
        stream = self._request.stream
        assert isinstance(stream, httpx.AsyncByteStream), "an asynchronous client sends no other"
        body = aiter(stream)

        async def receive() -> Any:
            if self._is_sent:
                # Who leaves cancels the task.
                await asyncio.Event().wait()
            chunk = await anext(body, None)
            self._is_sent = chunk is None
            return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start" and not self._start.done():
                self._start.set_result(message)
            elif message["type"] == "http.response.body" and message.get("body"):
                await self._room.acquire()
                self._chunks.put_nowait(message["body"])

        try:
            await self._app(scope, receive, send)
        except BaseException as error:
            # Also what an application ends by that is cancelled: who asked must not wait for ever.
            self._error = error
            if not isinstance(error, Exception):
                raise
        finally:
            if not self._start.done():
                self._start.set_exception(httpx.RemoteProtocolError(self._end))
            self._chunks.put_nowait(None)

    @property
    def _end(self) -> str:
        """Why there is no more of the answer."""
        if self._error is None:
            return "there was no answer"
        return str(self._error) or type(self._error).__name__
