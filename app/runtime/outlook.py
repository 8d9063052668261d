"""How long the work under way will take, and whether a further request would be answered in time.

What waits for a lane is bounded by time and not by number: a request that cannot meet its deadline behind
what was taken before it is refused at once, while its client can still turn elsewhere.

No schedule that leaves no lane idle takes longer than the work divided by the lanes, and the longest chain
of stages for the part in which the other lanes may have nothing to do (R. L. Graham, Bounds on
multiprocessing timing anomalies, 1969). How far plans were from that lately corrects it.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from heapq import nlargest
from typing import Any

from app.core.errors import Overloaded
from app.core.plan import Node, Plan
from app.runtime.items import NodeResult
from app.runtime.pool import Pool, takes_a_lane

# Plans took so many times what was foreseen: of the last ones all but one no longer. Before any is known
# something is kept for what cannot be foreseen, and no word is believed to be off by more.
_REMEMBERED_PLANS = 32
_LATE_AT_FIRST = 1.25
_LEAST_LATE, _MOST_LATE = 0.5, 4.0
# What is foreseen to be shorter tells nothing of queues.
_SHORTEST_FORESEEN = 0.05
_LONGEST_RETRY_AFTER = 120

Work = tuple[Any, ...]
"""What equal nodes of several requests share."""


@dataclass(slots=True, eq=False)
class Progress:
    """A plan under way. `left` is the work on lanes that is not done, by the ids of its nodes."""

    plan: Plan
    began: float
    foreseen: float
    left: dict[str, Work] = field(default_factory=dict)


class Outlook:
    """Used from the event loop's thread only."""

    def __init__(self, pool: Pool, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        # How many plans wait for each work: equal work of several requests is done once, and counts once.
        self._waited_for: dict[Work, int] = {}
        # By the operation, its params and engine: how many works are not done, and a node of one of them.
        self._kinds: dict[str, tuple[Node, int]] = {}
        self._late = deque([_LATE_AT_FIRST] * _REMEMBERED_PLANS, maxlen=_REMEMBERED_PLANS)

    @contextmanager
    def under_way(self, plan: Plan) -> Iterator[Progress]:
        """Counts a plan from now on; `run` tells what is known later."""
        nodes = _on_lanes(plan)
        progress = Progress(plan, self._clock(), self.seconds + self._own(plan, nodes))
        for node in nodes:
            self._add(progress, node, id(progress))
        try:
            yield progress
        finally:
            for node_id in list(progress.left):
                self._remove(progress, node_id)

    def run(self, progress: Progress, sha256: str, nodes: Mapping[str, "asyncio.Task[NodeResult]"]) -> None:
        """Tell which nodes of a plan run now, of an image that is known."""
        for node_id in list(progress.left):
            self._remove(progress, node_id)
            if node_id in nodes:
                self._add(progress, progress.plan.nodes[node_id], sha256)
                nodes[node_id].add_done_callback(partial(self._done, progress, node_id))
        if progress.left and progress.foreseen >= _SHORTEST_FORESEEN:
            computed = [nodes[node_id] for node_id in progress.left]
            asyncio.gather(*computed, return_exceptions=True).add_done_callback(
                partial(self._learn, progress, computed)
            )

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way on the lanes."""
        return bool(self._kinds)

    @property
    def seconds(self) -> float:
        """In which the lanes will have done what is under way, at the times that its stages took lately."""
        return self._over_lanes(
            sum(
                max(0.0, count - self._pool.requests_done(kind)) * self._pool.expected_ms(node)
                for kind, (node, count) in self._kinds.items()
            )
        )

    @property
    def late(self) -> float:
        """How many times longer than foreseen plans take: the machine has other work, and an item waits for
        those of its batch."""
        _, second = nlargest(2, self._late)
        return min(_MOST_LATE, max(_LEAST_LATE, second))

    def check(self, plan: Plan, kept: Collection[str], seconds_left: float) -> None:
        """Refuse a plan that would not be done in time behind what is under way.

        Args:
            plan: of a request.
            kept: the nodes whose results are kept.
            seconds_left: until its deadline.

        Raises:
            Overloaded: it would not.
        """
        new = [node for node in _on_lanes(plan) if node.id not in kept]
        if not new or not any(self._pool.expected_ms(node) for node, _ in self._kinds.values()):
            # One that is alone is tried, however long it takes: finished tasks are answered.
            return
        before = self.late * self.seconds
        own = self.late * self._own(plan, new)
        if before + own <= seconds_left:
            return
        raise Overloaded(
            f"The server has about {before:.1f} s of work before this request, which takes "
            f"{own:.1f} s and has {seconds_left:.1f} s left; try again later, with fewer tasks or "
            "with a longer deadline.",
            retry_after=min(_LONGEST_RETRY_AFTER, max(1, math.ceil(before + own - seconds_left))),
        )

    def _own(self, plan: Plan, nodes: Collection[Node]) -> float:
        """The seconds that some nodes of a plan add to what is under way."""
        work = self._over_lanes(sum(map(self._pool.expected_ms, nodes)))
        alone = 1 - self._over_lanes(1000)
        return work + (alone * self._longest_chain(plan, nodes) if alone else 0.0)

    def _longest_chain(self, plan: Plan, nodes: Collection[Node]) -> float:
        """The seconds of calls that wait for each other."""
        own = {node.id: self._pool.expected_call_ms(node) / 1000 for node in nodes}
        chains: dict[str, float] = {}
        for node in plan.nodes.values():
            before = (chains.get(each, 0.0) for each in node.inputs.values())
            chains[node.id] = own.get(node.id, 0.0) + max(before, default=0.0)
        return max(chains.values(), default=0.0)

    def _over_lanes(self, milliseconds: float) -> float:
        return milliseconds / 1000 / max(1, self._pool.lanes.count)

    def _add(self, progress: Progress, node: Node, image: str | int) -> None:
        behind = tuple(sorted(each.work for each in _before(node, progress.plan)))
        work = (image, behind, node.work)
        progress.left[node.id] = work
        self._waited_for[work] = self._waited_for.get(work, 0) + 1
        if self._waited_for[work] == 1:
            _, count = self._kinds.get(node.work, (node, 0))
            self._kinds[node.work] = node, count + 1

    def _remove(self, progress: Progress, node_id: str) -> None:
        work = progress.left.pop(node_id, None)
        if work is None:
            return
        self._waited_for[work] -= 1
        if self._waited_for[work]:
            return
        del self._waited_for[work]
        kind = work[-1]
        node, count = self._kinds.pop(kind)
        if count > 1:
            self._kinds[kind] = node, count - 1

    def _done(self, progress: Progress, node_id: str, _: object) -> None:
        self._remove(progress, node_id)

    def _learn(self, progress: Progress, nodes: Collection["asyncio.Task[NodeResult]"], _: object) -> None:
        late = (self._clock() - progress.began) / progress.foreseen
        if any(node.cancelled() or node.exception() for node in nodes):
            # It would have taken longer. Of a client that went away at once that says nothing.
            if late >= self.late:
                self._late.append(late)
        elif all(node.result().ms > 0 for node in nodes):
            # What was answered by the cache or by another request's work tells nothing of the queue.
            self._late.append(late)


def _on_lanes(plan: Plan) -> list[Node]:
    return [node for node in plan.nodes.values() if takes_a_lane(node.operation)]


def _before(node: Node, plan: Plan) -> list[Node]:
    return [plan.nodes[each] for each in node.inputs.values() if each in plan.nodes]
