"""The engine pool: chooses the engines that serve, and computes nodes on its lanes.

The executor talks to engines through `submit` alone, so that a pool on other machines can stand in.
"""

import contextvars
import logging
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from app.core.errors import Internal, InvalidParams, ModelUnavailable
from app.core.operation import Chosen, EngineSpec, Operation, Params
from app.core.plan import Node
from app.core.weights import Store
from app.runtime.batcher import Batcher, CallThreads, Computed, bisected, is_out_of_memory
from app.runtime.call_cost import CallCost
from app.runtime.engines import Engines, MemoryPolicy
from app.runtime.lanes import Lanes
from app.runtime.observation import SILENT, Observer

T = TypeVar("T")

log = logging.getLogger(__name__)

_REMEMBERED_COSTS = 64
# Decoding takes milliseconds: behind the calls of models it would wait for seconds, and models for it. It has
# half of the cores, and no fewer than so many lanes.
IMAGE_LANES = 2
# What works with a resource waits for disks and databases, and must not keep a lane from computing.
_RESOURCE_LANES = 4

Preferences = Mapping[str, Sequence[str]]
"""The engines that may serve an operation, by its type: the most preferred first."""


class _Lately:
    """The median of the last times."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_REMEMBERED_COSTS)
        self.median = 0.0

    def note(self, ms: float) -> None:
        self._times.append(ms)
        self.median = round(statistics.median(self._times), 3)


def takes_a_lane(operation: Operation) -> bool:
    """Whether it computes on the lanes, and not at once or beside them."""
    return not (operation.inline or operation.expands or operation.uses is not None)


class Pool:
    """Engines and compute lanes. Used from the event loop's thread only.

    Args:
        lanes: how many computations run at once, each on one thread.
        store: the weights on this machine.
        preferences: of the operations whose engines are not served in the order of their declaration.
        memory: what bounds the loaded engines.
        retry_load_after: seconds for which an engine that could not be loaded is not tried again.
        lane_timeout: seconds after which a lane that does not answer is given up and replaced.
        observer: told of every batch.
        threads: of a lane; by default one.
    """

    def __init__(
        self,
        lanes: int,
        store: Store,
        *,
        preferences: Preferences | None = None,
        memory: MemoryPolicy | None = None,
        retry_load_after: float = 30.0,
        lane_timeout: float = 600.0,
        observer: Observer = SILENT,
        threads: CallThreads | None = None,
    ) -> None:
        self.lanes = Lanes(lanes, "lane", lane_timeout)
        self._batcher = Batcher(self.lanes, threads)
        self.threads = self._batcher.threads
        decoding = max(IMAGE_LANES, lanes * self._batcher.threads.usual // 2)
        self._image_batcher = Batcher(Lanes(decoding, "image", lane_timeout))
        self._resource_batcher = Batcher(Lanes(_RESOURCE_LANES, "resource", lane_timeout))
        self._batchers = self._batcher, self._image_batcher, self._resource_batcher
        self._engines = Engines(store, memory or MemoryPolicy(), retry_load_after)
        self._preferences = dict(preferences or {})
        self._observer = observer
        self._item_ms: dict[tuple[str, str | None], _Lately] = {}
        self._call_ms: dict[tuple[str, str | None], _Lately] = {}
        self._call_costs: dict[tuple[str, EngineSpec | None], CallCost] = {}
        self._most_in_memory: dict[str, int] = {}
        self._noting = threading.Lock()
        self.state = self._engines.state
        self.problem = self._engines.problem
        self.load = self._engines.load
        self.load_now = self._engines.load_now
        self.unload = self._engines.unload
        self.in_use = self._engines.in_use
        self.store = store
        self.downloads = self._engines.downloads

    @property
    def models_bytes(self) -> int:
        """The memory that loaded engines take, as they declare it."""
        return self._engines.bytes_in_memory

    @property
    def memory(self) -> MemoryPolicy:
        return self._engines.memory

    def candidates(self, operation: Operation, params: Params) -> list[EngineSpec]:
        """The engines that may serve an operation with these params, the most preferred first.

        Of those that give vectors only one: another one's vectors would lie in another space.
        """
        able = operation.may_be_served_by(params)
        preferred = self._preferences.get(operation.type)
        if preferred is not None:
            by_name = {spec.name: spec for spec in able}
            able = tuple(by_name[name] for name in preferred if name in by_name)
        return list(able[:1] if operation.gives_vectors else able)

    def choose(self, operation: Operation, params: Params) -> Chosen | None:
        """The engine that serves an operation now: the first of its candidates that is ready, else the
        first that may become so, else the first.

        Raises:
            InvalidParams: the params ask for an engine that this server does not offer.
        """
        if not operation.engines:
            return None
        candidates = self.candidates(operation, params)
        if not candidates:
            offered = self._preferences.get(operation.type) or [spec.name for spec in operation.engines]
            raise InvalidParams(
                f"No engine that this server offers can do what the params ask. It offers: "
                f"{', '.join(offered)}."
            )
        spec = min(candidates, key=self._engines.rank)
        preferred = candidates[0] if candidates[0] is not spec else None
        return replace(self._engines.chosen(spec), instead_of=preferred)

    def refusal(self, node: Node) -> ModelUnavailable | None:
        """Why the engine of a node cannot serve, known without any input; None where it can or may."""
        return None if node.engine is None else self._engines.refusal(node.engine.spec)

    def prepare(self, node: Node) -> None:
        """Load the engine of a node for items that come later."""
        if node.engine is not None:
            self._engines.start_loading(node.engine.spec)

    @property
    def waiting(self) -> int:
        """The number of items that no lane has taken yet."""
        return sum(each.waiting for each in self._batchers)

    @property
    def lanes_lost(self) -> int:
        """How many lanes of any kind hung and were given up."""
        return sum(each.lanes.lost for each in self._batchers)

    @property
    def has_lanes(self) -> bool:
        """Whether any lane is left that computes, and any that decodes."""
        return self.lanes.count > 0 and self._image_batcher.lanes.count > 0

    def requests_done(self, work: str) -> float:
        """How many requests' items of a work the calls that run have done by now."""
        return self._batcher.requests_done(work)

    def next_place(self) -> int:
        """A place in the line for the items of a request."""
        return self._batcher.next_place()

    def cost_ms(self, operation: Operation, engine: Chosen | None) -> float | None:
        """The median time of the last items, each its share of a call; None before the first."""
        lately = self._item_ms.get((operation.type, engine.name if engine else None))
        return lately.median if lately else None

    def expected_ms(self, node: Node) -> float:
        """What an item of a node will take of a lane's time: the median of the last ones, or before the first
        what its engine declares. What takes no lane takes nothing."""
        return self._expected(node, self._item_ms)

    def expected_call_ms(self, node: Node) -> float:
        """How long the call of a model will take in which an item of a node is one of several: the same."""
        return self._expected(node, self._call_ms)

    def _expected(self, node: Node, seen: "Mapping[tuple[str, str | None], _Lately]") -> float:
        if not takes_a_lane(node.operation) or self.refusal(node) is not None:
            return 0.0
        lately = seen.get((node.operation.type, node.engine.name if node.engine else None))
        if lately is not None:
            return lately.median
        return 0.0 if node.engine is None else float(node.engine.spec.cost_ms or 0)

    async def submit(self, node: Node, inputs: Mapping[str, Any], place: int | None = None) -> Computed:
        """Compute one item of a node.

        Args:
            node: of a plan.
            inputs: a value for every need of the node's operation.
            place: of its request in the line; the next one where it has none.

        Returns:
            The value, or the TaskError in its place.
        """
        fixed: dict[str, Any] = {"params": node.params}
        if node.operation.uses is not None:
            fixed[node.operation.uses.kind] = node.resource
        if node.engine is None:
            return await self._compute(node, inputs, fixed, place)
        if node.engine.instead_of is not None:
            # Later requests are to have what is preferred.
            self._engines.start_loading(node.engine.instead_of)
        spec = node.engine.spec
        try:
            async with self._engines.pinned(spec) as engine:
                # Weights that were replaced since the plan was made must not answer under the old key.
                made_by = self._engines.chosen(spec)
                same = made_by.fingerprint == node.engine.fingerprint
                computed = await self._compute(node, inputs, {**fixed, "engine": engine}, place)
                return computed._replace(keep=same, made_by=made_by)
        except ModelUnavailable as error:
            return Computed(error, 0.0)

    async def _compute(
        self, node: Node, inputs: Mapping[str, Any], fixed: Mapping[str, Any], place: int | None
    ) -> Computed:
        operation = node.operation
        engine = node.engine.name if node.engine else None
        told = partial(self._observer.computed, operation.type, engine)

        def compute(items: Sequence[Any]) -> Sequence[Any]:
            columns = {name: [item[name] for item in items] for name in inputs}
            try:
                answer: Sequence[Any] = operation.run(**columns, **fixed)
            except Exception as error:
                if engine is not None and len(items) > 1 and is_out_of_memory(error):
                    self._fits_memory(engine, len(items) // 2)
                raise
            return answer

        if operation.inline:
            started = time.perf_counter()
            (value,) = bisected(compute, [inputs])
            ms = (time.perf_counter() - started) * 1000
            computed = Computed(value, ms, batch=1, lane_ms=ms)
            told(1, computed.ms / 1000)
        else:
            largest = operation.batch if node.engine is None else self._largest_batch(node.engine.spec)
            batcher = self._batcher if operation.uses is None else self._resource_batcher
            cost = self._call_cost(operation, node.engine)
            computed = await batcher.submit(
                node.work, compute, inputs, place=place, largest=largest, cost=cost, told=told
            )
        kind = operation.type, engine
        self._item_ms.setdefault(kind, _Lately()).note(computed.lane_ms)
        self._call_ms.setdefault(kind, _Lately()).note(computed.lane_ms * computed.batch)
        return computed

    def calls(self) -> list[tuple[str, EngineSpec, CallCost, int]]:
        """Of every operation and its engine what a call costs, and the most items that one takes."""
        return [
            (type_, spec, cost, cost.best(self._largest_batch(spec)))
            for (type_, spec), cost in self._call_costs.items()
            if spec is not None and cost.is_known
        ]

    def _call_cost(self, operation: Operation, engine: Chosen | None) -> CallCost:
        spec = engine.spec if engine else None
        cost = self._call_costs.get((operation.type, spec))
        if cost is None:
            cost = self._engines.call_cost(spec) if spec else CallCost()
            self._call_costs[operation.type, spec] = cost
        return cost

    def _largest_batch(self, spec: EngineSpec) -> int:
        return min(spec.batch, self._most_in_memory.get(spec.name, spec.batch))

    def _fits_memory(self, engine: str, items: int) -> None:
        """Note on a lane that more items at once found no memory; the batch is halved and tried again."""
        with self._noting:
            known = self._most_in_memory.get(engine, items)
            self._most_in_memory[engine] = min(known, items)
        log.warning("%s found no memory for its batch; it takes at most %d items from now on", engine, items)

    async def call(self, function: Callable[[], T]) -> T:
        """Decode an image, or make one, beside the lanes that compute. What it raises is raised here."""

        # What it logs belongs to the request that asked.
        context = contextvars.copy_context()

        def compute(items: Sequence[Any]) -> Sequence[Any]:
            try:
                return [(context.run(function), None)]
            except Exception as error:
                return [(None, error)]

        answer = (await self._image_batcher.submit(object(), compute, None)).value
        if isinstance(answer, Internal):
            raise answer
        result, error = answer
        if error is not None:
            raise error
        value: T = result
        return value

    def close(self) -> None:
        for batcher in self._batchers:
            batcher.close()
        self._engines.close()
