"""Work is for a client: when the client goes away, what only it needed is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar import Request

from app.core.errors import ClientLeft

T = TypeVar("T")


async def while_connected(request: Request[Any, Any, Any], work: Coroutine[Any, Any, T]) -> T:
    """The result of work, as long as the client waits for it.

    Args:
        request: whose body was read to its end; all that can still come is that the client leaves.
        work: cancelled when the client leaves.

    Raises:
        ClientLeft: it did.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeft("The client left before the answer.")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request[Any, Any, Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
