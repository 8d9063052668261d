"""Batches across requests, on the compute lanes.

A batch is sent as soon as a lane is free: nothing waits for a window to pass, and what has gathered while
the lanes were busy goes together, up to the number beyond which a call gains little. Where that would leave
another lane without work it is divided: all lanes are to finish at about the same time, and where there is
too little to divide a call has the cores of the lanes beside it. Requests are served in the order in which
they came, whatever stage of theirs waits: what was begun first is answered first. When a batch fails it is
halved until the item that fails stands alone.
"""

import asyncio
import contextlib
import time
from bisect import insort
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from app.core.errors import Internal, TaskError
from app.core.operation import Chosen
from app.runtime.call_cost import CallCost
from app.runtime.lanes import Lanes

_FAILED = "The computation failed; the server's log has the details."
_NO_MEMORY = "The server has not enough memory for this; send a smaller image, or try again later."

Compute = Callable[[Sequence[Any]], Sequence[Any]]
Told = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class CallThreads:
    """On how many threads a lane computes.

    Args:
        usual: while other lanes compute, too.
        most: while they have nothing to do, as for the one request of a quiet server.
        use: makes the thread that calls it compute on so many.
    """

    usual: int = 1
    most: int = 1
    use: Callable[[int], None] = lambda threads: None


class Computed(NamedTuple):
    """One item's result, or the error in its place, and its share of the batch's time.

    `keep` is False where the result must not be found again under the key that was planned for it. `made_by`
    is the engine that made it, `batch` the number of items that were computed together, and `lane_ms` what it
    takes while other lanes compute, too.
    """

    value: Any
    ms: float
    keep: bool = True
    made_by: Chosen | None = None
    batch: int = 0
    lane_ms: float = 0.0


@dataclass(slots=True, eq=False)
class _Job:
    item: Any
    answer: "asyncio.Future[Computed]"
    place: tuple[int, int]
    """In the line: the request's, and its own among the request's items."""


@dataclass(slots=True)
class _Queue:
    group: Hashable
    compute: Compute
    largest: int
    cost: CallCost
    told: Told | None
    jobs: list[_Job] = field(default_factory=list)
    """By their place."""


@dataclass(slots=True, eq=False)
class _Call:
    """A batch on a lane: when it began, the seconds that it is expected to take, and its threads."""

    queue: _Queue
    jobs: list[_Job]
    began: float
    seconds: float
    threads: int

    def done(self, now: float) -> float:
        """The seconds of it that are over."""
        return min(now - self.began, self.seconds)


class Batcher:
    """Queues before lanes that compute one batch at a time. Used from the event loop's thread only."""

    def __init__(self, lanes: Lanes, threads: CallThreads | None = None) -> None:
        self.lanes = lanes
        self.threads = threads or CallThreads()
        self._queues: dict[Hashable, _Queue] = {}
        self._running: set[_Call] = set()
        self._count = 0
        self._scheduled = False
        self._closed = False

    @property
    def waiting(self) -> int:
        """The number of items that no lane has taken yet."""
        return sum(len(queue.jobs) for queue in self._queues.values())

    def requests_done(self, group: Hashable) -> float:
        """How many requests' items of a group were done by now in the calls that run: of one that is half
        done with items of three requests, 1.5."""
        now = time.monotonic()
        calls = (call for call in self._running if call.queue.group == group and call.seconds > 0)
        return sum(len({job.place[0] for job in call.jobs}) * call.done(now) / call.seconds for call in calls)

    def next_place(self) -> int:
        """A place in the line, behind all that were taken before."""
        self._count += 1
        return self._count

    async def submit(
        self,
        group: Hashable,
        compute: Compute,
        item: Any,
        *,
        place: int | None = None,
        largest: int = 1,
        cost: CallCost | None = None,
        told: Told | None = None,
    ) -> Computed:
        """Compute one item, together with others of its group where they wait at the same time.

        Args:
            group: items of equal groups may share a call of `compute`.
            compute: takes a list of items, answers a list of the same length.
            item: one of them.
            place: of its request in the line; the next one where it has none.
            largest: the most items of one call.
            cost: of a call; it learns from every one that succeeds.
            told: called after every batch of the group, with its number of items and its seconds.
        """
        if self._closed:
            raise Internal("The server is stopping.")
        loop = asyncio.get_running_loop()
        queue = self._queues.setdefault(group, _Queue(group, compute, largest, cost or CallCost(), told))
        number = self.next_place()
        job = _Job(item, loop.create_future(), (number if place is None else place, number))
        insort(queue.jobs, job, key=_place)
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
        self.lanes.close()

    def _dispatch(self) -> None:
        self._scheduled = False
        calls: list[_Call] = []
        while self.lanes.free > len(calls) and (call := self._next_call()):
            self._running.add(call)
            calls.append(call)
        threads = self._threads(len(calls))
        for call in calls:
            call.threads = threads
            items = [job.item for job in call.jobs]
            running = self.lanes.run(partial(self._computed, call.queue.compute, items, threads))
            running.add_done_callback(partial(self._finish, call))

    def _threads(self, calls: int) -> int:
        """Of calls that begin together: cores that no other call has are theirs."""
        if not calls:
            return self.threads.usual
        others = sum(call.threads for call in self._running) - calls * self.threads.usual
        free = self.lanes.count * self.threads.usual - others
        return max(self.threads.usual, min(self.threads.most, free // calls))

    def _computed(self, compute: Compute, items: list[Any], threads: int) -> tuple[Sequence[Any], float]:
        """On a lane."""
        self.threads.use(threads)
        return _timed(compute, items)

    def _next_call(self) -> _Call | None:
        for group in [group for group, queue in self._queues.items() if not _prune(queue)]:
            del self._queues[group]
        if not self._queues:
            return None
        group, queue = min(self._queues.items(), key=lambda entry: entry[1].jobs[0].place)
        most, taken = self._items_of_a_call(queue), 0
        jobs: list[_Job] = []
        while taken < len(queue.jobs) and len(jobs) < most:
            if not queue.jobs[taken].answer.done():
                jobs.append(queue.jobs[taken])
            taken += 1
        del queue.jobs[:taken]
        if not queue.jobs:
            del self._queues[group]
        return _Call(queue, jobs, time.monotonic(), queue.cost.seconds(len(jobs)), self.threads.usual)

    def _items_of_a_call(self, queue: _Queue) -> int:
        best = queue.cost.best(queue.largest)
        if best < 2 or not queue.cost.is_known or not queue.cost.side_by_side:
            return best
        now, lanes = time.monotonic(), self.lanes.count
        running = sum(call.seconds - call.done(now) for call in self._running)
        others = sum(each.cost.seconds(len(each.jobs)) for each in self._queues.values() if each is not queue)
        # Every lane that takes a part makes a call of its own.
        per_call, per_item = queue.cost.line
        own = per_call * lanes + per_item * len(queue.jobs)
        return queue.cost.within((running + others + own) / lanes, best)

    def _finish(self, call: _Call, done: "asyncio.Future[tuple[Sequence[Any], float]]") -> None:
        self._running.discard(call)
        queue, jobs = call.queue, call.jobs
        try:
            values, ms = done.result()
        except BaseException as error:
            failure = Internal("The compute lane failed; the server's log has the details.")
            failure.__cause__ = error
            values, ms = [failure] * len(jobs), 0.0
        usual = call.threads == self.threads.usual
        if usual and not any(isinstance(value, TaskError) for value in values):
            queue.cost.observe(len(jobs), ms / 1000)
        if queue.told is not None:
            queue.told(len(jobs), ms / 1000)
        lane_ms = ms if usual else 1000 * queue.cost.seconds(len(jobs)) or ms
        for job, value in zip(jobs, values, strict=True):
            if not job.answer.done():
                share, lane_share = ms / len(jobs), lane_ms / len(jobs)
                job.answer.set_result(Computed(value, share, batch=len(jobs), lane_ms=lane_share))
        self._dispatch()


def _place(job: _Job) -> tuple[int, int]:
    return job.place


def _prune(queue: _Queue) -> bool:
    """Drop jobs at the head that nobody waits for; whether any job is left."""
    dropped = next((n for n, job in enumerate(queue.jobs) if not job.answer.done()), len(queue.jobs))
    del queue.jobs[:dropped]
    return bool(queue.jobs)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a library found no memory; they do not agree on how to say so."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "allocate memory" in str(error))
    )


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
        failure = Internal(_NO_MEMORY if is_out_of_memory(error) else _FAILED)
        failure.__cause__ = error
        return [failure]
