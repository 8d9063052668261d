"""How long the work under way will take, and whether a further request would be answered in time.

What waits for a lane is bounded by time and not by number: a request that cannot meet its deadline behind
what was taken before it is refused at once, while its client can still turn elsewhere.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from app.core.errors import Overloaded
from app.core.plan import Node, Plan
from app.runtime.pool import Pool, takes_a_lane

# A part of the deadline is kept for what cannot be foreseen, so that what was taken is not late after all.
USABLE_SHARE = 0.8
# How late plans were: of the last ones, three of four were no later. What is foreseen to be shorter tells
# nothing of queues, and no word is believed to be longer than four times what was foreseen.
_REMEMBERED_PLANS = 16
_NO_LATER_SHARE = 0.75
_SHORTEST_FORESEEN = 0.05
_MOST_LATE = 4.0
_LONGEST_RETRY_AFTER = 120


@dataclass(slots=True, eq=False)
class Progress:
    """A plan under way. `nodes` are those that run, by their ids, once its image is known by `sha256`."""

    plan: Plan
    sha256: str = ""
    nodes: Mapping[str, "asyncio.Task[Any]"] = field(default_factory=dict)
    ended: Callable[[], None] | None = None
    """Called when all nodes that run are done; who reads the answer may take longer."""

    def run(self, sha256: str, nodes: Mapping[str, "asyncio.Task[Any]"]) -> None:
        """Tell which nodes run now, of an image that is known."""
        self.sha256, self.nodes = sha256, nodes
        if self.ended is not None and nodes:
            asyncio.gather(*nodes.values(), return_exceptions=True).add_done_callback(
                partial(_call, self.ended)
            )

    def left(self) -> Iterator[Node]:
        for node_id, node in self.plan.nodes.items():
            running = self.nodes.get(node_id)
            if running is None or not running.done():
                yield node


class Outlook:
    """Used from the event loop's thread only."""

    def __init__(self, pool: Pool, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._under_way: set[Progress] = set()
        self._late: deque[float] = deque(maxlen=_REMEMBERED_PLANS)

    @contextmanager
    def under_way(self, plan: Plan) -> Iterator[Progress]:
        """Counts a plan from now on; who runs it fills in what is known later."""
        progress = Progress(plan)
        self._under_way.add(progress)
        foreseen, started = self.seconds, self._clock()
        if foreseen >= _SHORTEST_FORESEEN:
            progress.ended = lambda: self._late.append((self._clock() - started) / foreseen)
        try:
            yield progress
        finally:
            self._under_way.discard(progress)

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way."""
        return bool(self._under_way)

    @property
    def seconds(self) -> float:
        """In which the lanes will have done what is under way, at the times that its stages took lately.

        Equal work of several requests is done once, and counts once.
        """
        distinct = {}
        for progress in self._under_way:
            for node in progress.left():
                behind = tuple(sorted(each.work for each in _before(node, progress.plan)))
                owner = progress.sha256 or id(progress)
                distinct[owner, node.work, behind] = self._pool.expected_ms(node)
        return self._over_lanes(sum(distinct.values()))

    @property
    def late(self) -> float:
        """How many times longer than foreseen plans take: the machine has other work, and an item waits for
        those of its batch."""
        if not self._late:
            return 1.0
        ordered = sorted(self._late)
        return min(_MOST_LATE, max(1.0, ordered[math.ceil(_NO_LATER_SHARE * len(ordered)) - 1]))

    def check(self, plan: Plan, kept: Collection[str], seconds_left: float) -> None:
        """Refuse a plan that would not be done in time behind what is under way.

        Args:
            plan: of a request.
            kept: the nodes whose results are kept.
            seconds_left: until its deadline.

        Raises:
            Overloaded: it would not.
        """
        new = [node for node in plan.nodes.values() if node.id not in kept and takes_a_lane(node.operation)]
        before = self.late * self.seconds
        if not new or before == 0.0:
            # One that is alone is tried, however long it takes: finished tasks are answered.
            return
        own = self.late * self._over_lanes(sum(map(self._pool.expected_ms, new)))
        usable = seconds_left * USABLE_SHARE
        if before + own <= usable:
            return
        raise Overloaded(
            f"The server has about {before:.1f} s of work before this request, which takes "
            f"{own:.1f} s and has {seconds_left:.1f} s left; try again later, with fewer tasks or "
            "with a longer deadline.",
            retry_after=min(_LONGEST_RETRY_AFTER, max(1, math.ceil(before + own - usable))),
        )

    def _over_lanes(self, milliseconds: float) -> float:
        return milliseconds / 1000 / max(1, self._pool.lanes.count)


def _call(ended: Callable[[], None], _: object) -> None:
    ended()


def _before(node: Node, plan: Plan) -> list[Node]:
    return [plan.nodes[each] for each in node.inputs.values() if each in plan.nodes]
