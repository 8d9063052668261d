"""Calls of the index, on threads of its own: a slow disk or a lost database holds up nothing else."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from app.core.errors import Overloaded

P = ParamSpec("P")
T = TypeVar("T")

_RETRY_AFTER_SECONDS = 2


class Calls:
    """Runs blocking calls from the event loop, a bounded number at a time.

    Args:
        threads: how many run at once.
        waiting: how many more may wait for a thread.
        name: of the threads.
    """

    def __init__(self, threads: int, waiting: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = threads + waiting
        self._running = 0

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function gives. One that nobody waits for any more, and that has not begun, is left out.

        Raises:
            Overloaded: as many as may wait do so.
        """
        if self._running >= self._most:
            raise Overloaded(
                f"The index is working on {self._running} calls, as many as it takes; try again.",
                retry_after=_RETRY_AFTER_SECONDS,
            )
        loop = asyncio.get_running_loop()

        def ended(_: "Future[Any]") -> None:
            loop.call_soon_threadsafe(self._end)

        self._running += 1
        future = self._threads.submit(function, *args, **kwargs)
        future.add_done_callback(ended)
        return await asyncio.wrap_future(future)

    def _end(self) -> None:
        self._running -= 1

    def close(self) -> None:
        """Leave out what has not begun; what runs is ended by the storage's own closing."""
        self._threads.shutdown(wait=False, cancel_futures=True)
