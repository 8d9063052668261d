"""Batches across requests, on the compute lanes.

A batch is sent as soon as a lane is free: nothing waits for a window to pass, and what has gathered while
the lanes were busy goes together. Items come in the order in which they were asked for. When a batch fails
it is halved until the item that fails stands alone.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from app.core.errors import Internal, TaskError
from app.core.operation import Chosen

Compute = Callable[[Sequence[Any]], Sequence[Any]]


class Computed(NamedTuple):
    """One item's result, or the error in its place, and its share of the batch's time.

    `keep` is False where the result must not be found again under the key that was planned for it. `made_by`
    is the engine that made it.
    """

    value: Any
    ms: float
    keep: bool = True
    made_by: Chosen | None = None


@dataclass(slots=True, eq=False)
class _Job:
    item: Any
    answer: "asyncio.Future[Computed]"
    number: int


@dataclass(slots=True)
class _Queue:
    compute: Compute
    largest: int
    jobs: deque[_Job] = field(default_factory=deque)


class Batcher:
    """A number of lanes, each computing one batch at a time. Used from the event loop's thread only."""

    def __init__(self, lanes: int) -> None:
        self._threads = ThreadPoolExecutor(lanes, thread_name_prefix="lane")
        self._free = lanes
        self._queues: dict[Hashable, _Queue] = {}
        self._count = 0
        self._scheduled = False
        self._closed = False

    @property
    def waiting(self) -> int:
        """The number of items that no lane has taken yet."""
        return sum(len(queue.jobs) for queue in self._queues.values())

    async def submit(self, group: Hashable, compute: Compute, item: Any, *, largest: int = 1) -> Computed:
        """Compute one item, together with others of its group where they wait at the same time.

        Args:
            group: items of equal groups may share a call of `compute`.
            compute: takes a list of items, answers a list of the same length.
            item: one of them.
            largest: the most items of one call.
        """
        if self._closed:
            raise Internal("The server is stopping.")
        loop = asyncio.get_running_loop()
        queue = self._queues.setdefault(group, _Queue(compute, largest))
        self._count += 1
        job = _Job(item, loop.create_future(), self._count)
        queue.jobs.append(job)
        # The items of one node arrive in one turn of the loop: dispatching after it keeps them together.
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._dispatch)
        try:
            return await job.answer
        except asyncio.CancelledError:
            # What it holds, a whole image perhaps, must not wait for a lane to be let go.
            with contextlib.suppress(ValueError):
                queue.jobs.remove(job)
            raise

    def close(self) -> None:
        """Let what runs finish; drop what waits."""
        self._closed = True
        for queue in self._queues.values():
            for job in queue.jobs:
                job.answer.cancel()
        self._queues.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _dispatch(self) -> None:
        self._scheduled = False
        loop = asyncio.get_running_loop()
        while self._free > 0 and (batch := self._next_batch()):
            compute, jobs = batch
            self._free -= 1
            running = loop.run_in_executor(self._threads, _timed, compute, [job.item for job in jobs])
            running.add_done_callback(partial(self._finish, jobs))

    def _next_batch(self) -> tuple[Compute, list[_Job]] | None:
        for group in [group for group, queue in self._queues.items() if not _prune(queue)]:
            del self._queues[group]
        if not self._queues:
            return None
        group, queue = min(self._queues.items(), key=lambda entry: entry[1].jobs[0].number)
        jobs: list[_Job] = []
        while queue.jobs and len(jobs) < queue.largest:
            job = queue.jobs.popleft()
            if not job.answer.done():
                jobs.append(job)
        if not queue.jobs:
            del self._queues[group]
        return queue.compute, jobs

    def _finish(self, jobs: list[_Job], done: "asyncio.Future[tuple[Sequence[Any], float]]") -> None:
        self._free += 1
        try:
            values, ms = done.result()
        except BaseException as error:
            failure = Internal("The compute lane failed; the server's log has the details.")
            failure.__cause__ = error
            values, ms = [failure] * len(jobs), 0.0
        for job, value in zip(jobs, values, strict=True):
            if not job.answer.done():
                job.answer.set_result(Computed(value, ms / len(jobs)))
        self._dispatch()


def _prune(queue: _Queue) -> bool:
    """Drop jobs at the head that nobody waits for; whether any job is left."""
    while queue.jobs and queue.jobs[0].answer.done():
        queue.jobs.popleft()
    return bool(queue.jobs)


def _timed(compute: Compute, items: list[Any]) -> tuple[Sequence[Any], float]:
    started = time.perf_counter()
    values = bisected(compute, items)
    return values, (time.perf_counter() - started) * 1000


def bisected(compute: Compute, items: Sequence[Any]) -> list[Any]:
    """Compute a batch so that an item which raises fails alone, as an error in its place."""
    try:
        values = list(compute(items))
        if len(values) != len(items):
            raise ValueError(f"{len(values)} results for {len(items)} items")
        return values
    except Exception as error:
        if len(items) > 1:
            middle = len(items) // 2
            return bisected(compute, items[:middle]) + bisected(compute, items[middle:])
        if isinstance(error, TaskError):
            return [error]
        # The cause goes to the log, never to the client: it may hold paths or secrets.
        failure = Internal("The computation failed; the server's log has the details.")
        failure.__cause__ = error
        return [failure]
