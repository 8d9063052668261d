"""How commands end."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

# What a shell expects of a command that SIGINT ended.
INTERRUPTED = 130
# What the user is told at the first Ctrl-C, where work is finished.
STOPPING = "Stopping as soon as what is in flight is done. Ctrl-C again stops at once."


@contextlib.contextmanager
def stopped_by_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """The first SIGINT calls `stop` in the event loop, which lets what is in flight finish; the next one
    interrupts as ever."""
    import asyncio

    loop = asyncio.get_running_loop()
    as_ever = signal.getsignal(signal.SIGINT)

    def once(*_: Any) -> None:
        signal.signal(signal.SIGINT, as_ever)
        loop.call_soon_threadsafe(stop)

    signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, as_ever)
