"""The analysis of one image, however it came and however it is answered.

image -> plan (core.resolver) -> run (runtime.executor) -> answer (api.answers)
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from app.api.answers import image_facts, results, task_result
from app.api.request_id import request_id
from app.api.room import Room
from app.core.resolver import Task, resolve
from app.runtime.decode import pixels_in
from app.runtime.executor import Execution
from app.runtime.outcomes import Outcome
from app.runtime.source import ImageSource

Memory = Callable[[int], AbstractAsyncContextManager[None]]
"""Memory for an image of so many pixels, refused or waited for."""


@dataclass(frozen=True)
class Sent:
    """An image as a client sent it: how its answer names it, and what reads its file."""

    image_url: str
    read: Callable[[], Awaitable[bytes]]
    is_fetched: bool


def behind(room: Room, url: str) -> Sent:
    """The image behind a URL."""
    return Sent(url, lambda: room.fetcher.fetch(url), is_fetched=True)


def uploaded(name: str, read: Callable[[], Awaitable[bytes]]) -> Sent:
    """An uploaded file."""
    return Sent(f"uploaded:{name}", read, is_fetched=False)


class Analysis:
    """An image whose tasks run."""

    def __init__(
        self,
        sent: Sent,
        execution: Execution,
        source: ImageSource | None,
        started: float,
        fetch_ms: float,
    ) -> None:
        self._sent = sent
        self._execution = execution
        self._source = source
        self._started = started
        self._fetch_ms = fetch_ms

    async def answered(self) -> dict[str, Any]:
        """The answer to all tasks, as `AnalyzeResponse` describes it, when all have theirs."""
        await self._execution.ended()
        run = self._execution.run()
        return {
            "image_url": self._sent.image_url,
            "results": results(self._execution.plan, run),
            "request_id": request_id(),
            "image": self._image(),
            "timings_ms": self._timings(),
        }

    def beginning(self) -> dict[str, Any]:
        """What is known before any task is answered."""
        return {
            "image_url": self._sent.image_url,
            "image": self._image(),
            "request_id": request_id(),
        }

    async def task_answers(self) -> AsyncIterator[dict[str, Any]]:
        """Every task's answer as soon as it has one."""
        async for outcome in self._execution.outcomes():
            yield self._task_answer(outcome)

    def end(self) -> dict[str, Any]:
        """What is known when all tasks are answered."""
        return {"request_id": request_id(), "timings_ms": self._timings()}

    def _task_answer(self, outcome: Outcome) -> dict[str, Any]:
        return {
            "operation_id": outcome.planned.operation_id,
            "result": task_result(outcome, self._execution.plan, self._execution.made_by),
        }

    def _image(self) -> dict[str, Any] | None:
        info = self._execution.info
        return image_facts(info) if info else None

    def _timings(self) -> dict[str, Any]:
        return {
            "fetch": round(self._fetch_ms, 3),
            "decode": round(self._source.decode_ms if self._source else 0.0, 3),
            "nodes": self._execution.run().node_ms,
            "total": round((time.perf_counter() - self._started) * 1000, 3),
        }


@asynccontextmanager
async def begun(
    room: Room, sent: Sent, tasks: Sequence[Task], seconds: float, memory: Memory | None = None
) -> AsyncIterator[Analysis]:
    """An image is read, and its tasks run until this is left.

    Args:
        room: whose executor runs them.
        sent: the image.
        tasks: what to do with it.
        seconds: after which what is finished is answered and the rest is `deadline_exceeded`.
        memory: for the image; by default a full server refuses.

    Raises:
        ImageUnavailable: it cannot be downloaded.
        ImageUnreadable: it cannot be decoded.
        ImageTooLarge: its upload is over the limit.
        Overloaded: the images that are worked on leave no memory for it.
    """
    started = time.perf_counter()
    fetch_ms, source, known = 0.0, None, None
    async with AsyncExitStack() as held:
        try:
            async with asyncio.timeout(seconds):
                data = await sent.read()
                if sent.is_fetched:
                    fetch_ms = (time.perf_counter() - started) * 1000
                sought = room.source(data)
                known = await sought.known_info()
                pixels = (
                    known.box.area if known else await asyncio.to_thread(pixels_in, data, room.decode_limits)
                )
                if memory is None:
                    held.enter_context(room.memory_for(pixels))
                else:
                    await held.enter_async_context(memory(pixels))
                source = sought
        except TimeoutError:
            # Nothing of it was kept: no task has begun.
            pass
        plan = resolve(tasks, room.registry, room.pool.choose, await room.resources(tasks))
        if source is None:
            yield Analysis(sent, Execution(plan, None, {}), None, started, fetch_ms)
            return
        left = max(0.0, seconds - (time.perf_counter() - started))
        if memory is None:
            # An image of a batch waits for its turn instead.
            room.executor.check_in_time(plan, known, left)
        async with room.executor.begun(plan, source, left) as execution:
            yield Analysis(sent, execution, source, started, fetch_ms)
