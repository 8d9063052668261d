"""A load on a server, and what its client sees of it.

The client is one asyncio process, which shares the cores with what it measures on the same machine.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

LIGHT_EVERY_SECONDS = 0.1

clock = time.perf_counter

Ask = Callable[[], Awaitable[None]]


class Failed(Exception):
    """A request was not answered, or not wholly."""


@dataclass(slots=True)
class Seen:
    """What a client saw, in one turn or several.

    `ms` are those of the requests that were answered wholly, and `light_ms` those of the light endpoints.
    `refused` counts the answers 503, and `problem` is the first of those that count as failed.
    """

    ms: list[float] = field(default_factory=list)
    failed: int = 0
    refused: int = 0
    problem: str = ""
    seconds: float = 0.0
    light_ms: list[float] = field(default_factory=list)
    light_failed: int = 0

    def fail(self, problem: str) -> None:
        self.failed += 1
        self.problem = self.problem or problem


async def keep_asking(ask: Ask, concurrency: int, seconds: float, seen: Seen) -> None:
    """Ask all the time, so many requests at once.

    No request is begun after the time; those that were are waited for.

    Args:
        ask: one request; raises Failed.
        concurrency: how many at once.
        seconds: for how long.
        seen: is added to.
    """

    async def ask_again() -> None:
        while clock() < started + seconds:
            asked = clock()
            try:
                await ask()
            except Failed as error:
                seen.fail(str(error))
            else:
                seen.ms.append((clock() - asked) * 1000)

    started = clock()
    await asyncio.gather(*(ask_again() for _ in range(concurrency)))
    seen.seconds += clock() - started


@asynccontextmanager
async def light_beside(ask: Ask, seen: Seen) -> AsyncIterator[None]:
    """Ask something light meanwhile, at fixed times, one after another.

    The time of one counts from when it was due, also where the one before was not answered then.
    """

    async def keep_on() -> None:
        due = clock()
        while not (ended.done() and due >= ended.result()):
            await asyncio.sleep(max(0.0, due - clock()))
            try:
                await ask()
            except Failed:
                seen.light_failed += 1
            else:
                seen.light_ms.append((clock() - due) * 1000)
            due += LIGHT_EVERY_SECONDS

    ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    light = asyncio.create_task(keep_on())
    try:
        yield
        ended.set_result(clock())
        await light
    finally:
        light.cancel()
