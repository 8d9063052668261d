"""Compute lanes: threads that each do one thing at a time. One that hangs is replaced.

Python cannot end a thread. A lane that hangs is given up: who waits for it gets an error, another thread
takes its place, and it ends by itself if it ever comes back. Lanes are daemons, so that none of them keeps
the process from ending.
"""

import asyncio
import atexit
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

# What runs when the interpreter ends is waited for so long: a library must not be cut off in the middle.
_LAST_SECONDS = 5.0


class LaneLost(Exception):
    """The lane was given up before it answered."""


class Lanes:
    """Used from the event loop's thread only.

    Args:
        count: how many things are done at once.
        name: of the threads.
        hung_after: seconds after which a lane that has not answered is given up.
        most_lost: how many are replaced. What hangs goes on taking memory and perhaps a core, so that any
            further one is missing until the process is started anew.
    """

    def __init__(self, count: int, name: str, hung_after: float = 600.0, most_lost: int = 8) -> None:
        self._name = name
        self._hung_after = hung_after
        self._most_lost = most_lost
        self._started = 0
        self._closed = False
        self.lost = 0
        self.count = count
        self._idle = [self._new() for _ in range(count)]

    @property
    def free(self) -> int:
        """How many can be given something to do."""
        return len(self._idle)

    def run(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """Call a function on a lane that is free.

        The future has its result, or what it raised; `LaneLost` where the lane hung. When its callbacks are
        called the lane, or another one in its place, is free.
        """
        # The same few while few are needed: OpenMP keeps threads for each lane that had several.
        lane = self._idle.pop(min(range(len(self._idle)), key=lambda place: self._idle[place].number))
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        given_up = loop.call_later(self._hung_after, self._give_up, lane, answer)

        def answered(result: Any, error: BaseException | None) -> None:
            given_up.cancel()
            if lane.is_given_up:
                # It comes back after all.
                lane.end()
                return
            self._free_again(lane)
            if answer.done():
                return
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

        def job() -> None:
            result, failure = None, None
            _working.add(lane.thread)
            try:
                result = function()
            except BaseException as error:
                failure = _without_stop(error)
            finally:
                _working.discard(lane.thread)
            try:
                loop.call_soon_threadsafe(answered, result, failure)
            except RuntimeError:
                # The loop is closed: nobody waits any more.
                lane.end()

        lane.jobs.put(job)
        return answer

    def close(self) -> None:
        """Let what runs finish; the lanes end."""
        self._closed = True
        for lane in self._idle:
            lane.end()
        self._idle.clear()

    def _new(self) -> "_Lane":
        self._started += 1
        return _Lane(self._name, self._started)

    def _free_again(self, lane: "_Lane") -> None:
        if self._closed:
            lane.end()
        else:
            self._idle.append(lane)

    def _give_up(self, lane: "_Lane", answer: "asyncio.Future[Any]") -> None:
        lane.is_given_up = True
        _working.discard(lane.thread)
        self.lost += 1
        replaced = self.lost <= self._most_lost and not self._closed
        log.error(
            "%s has not answered for %g s and is given up; %s",
            lane.name,
            self._hung_after,
            "another one takes its place" if replaced else "start the process anew",
        )
        if replaced:
            self._idle.append(self._new())
        else:
            self.count -= 1
        if not answer.done():
            answer.set_exception(LaneLost(f"{lane.name} has not answered for {self._hung_after:g} s"))


class _Lane:
    def __init__(self, name: str, number: int) -> None:
        self.name = f"{name}-{number}"
        self.number = number
        self.is_given_up = False
        self.jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name=self.name, daemon=True)
        self.thread.start()

    def end(self) -> None:
        self.jobs.put(None)

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            job()


_working: set[threading.Thread] = set()


@atexit.register
def _wait_for_the_working() -> None:
    until = time.monotonic() + _LAST_SECONDS
    while _working and time.monotonic() < until:
        time.sleep(0.01)


def _without_stop(error: BaseException) -> BaseException:
    """The error as a future takes it: none may hold a StopIteration."""
    return RuntimeError("StopIteration") if isinstance(error, StopIteration) else error
