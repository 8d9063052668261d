"""The executor: runs a plan over an image.

Every node is a coroutine that waits for its inputs and nothing else. A node's result is a list of items, one
a region; an item's key is the key of its work and of its inputs' items, so that equal items are computed once
whatever target, task or request they came from, and are found again in the cache.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from app.core.artifacts import ImageInfo
from app.core.errors import DeadlineExceeded, Internal, SpaceMismatch, TaskError
from app.core.operation import Chosen
from app.core.plan import IMAGE_NODE, Node, Plan, PlannedTask
from app.runtime.batcher import Computed
from app.runtime.cache import ResultCache
from app.runtime.flights import Flights
from app.runtime.items import (
    Item,
    NodeResult,
    Row,
    expanded,
    given_result,
    image_result,
    inherited_fault,
    inherited_warnings,
    rows_of,
)
from app.runtime.observation import SILENT, Observer, Work
from app.runtime.outcomes import Outcome, Run, makers_of, outcome_of, run_of
from app.runtime.outlook import Outlook, Progress
from app.runtime.pool import Pool
from app.runtime.source import Source

log = logging.getLogger(__name__)

# For how long a request's items for one model wait for each other, so that they go in one batch.
LONGEST_HOLD_SECONDS = 2.0

_WEIGHTS_CHANGED = "The weights of the model changed while this request was answered; send it again."
_LATE = DeadlineExceeded("The request's deadline passed.").fault()
_FAILED = Internal("The computation failed; the server's log has the details.").fault()


class Executor:
    """Runs plans. One per process; used from the event loop's thread only."""

    def __init__(self, pool: Pool, cache: ResultCache, observer: Observer = SILENT) -> None:
        self._pool = pool
        self._cache = cache
        self.observer = observer
        self._executions: set[Execution] = set()
        self._stopped = False
        self._outlook = Outlook(pool)
        self._flights: Flights[Computed] = Flights()

    async def run(self, plan: Plan, source: Source, seconds: float | None = None) -> Run:
        """Run a plan.

        Args:
            plan: of one request.
            source: its image.
            seconds: after which what is finished is answered and the rest is `deadline_exceeded`.

        Raises:
            ImageUnreadable: the image cannot be decoded.
        """
        async with self.begun(plan, source, seconds) as execution:
            await execution.ended()
            return execution.run()

    @asynccontextmanager
    async def begun(
        self, plan: Plan, source: Source, seconds: float | None = None
    ) -> AsyncIterator["Execution"]:
        """A plan that is run meanwhile, as `run` does, for who wants its tasks as they finish.

        Who leaves it before its end cancels what only it needed.

        Raises:
            ImageUnreadable: the image cannot be decoded.
        """
        with self._outlook.under_way(plan) as progress:
            async with self._begun(plan, source, seconds, progress) as execution:
                yield execution

    @property
    def seconds_under_way(self) -> float:
        """In which the lanes will have done what is under way, at the times that its stages took lately."""
        return self._outlook.seconds

    def check_in_time(self, plan: Plan, info: ImageInfo | None, seconds: float) -> None:
        """Refuse a plan that would not be done in time behind what is under way.

        Args:
            plan: of a request.
            info: of its image, where that is known already.
            seconds: until its deadline.

        Raises:
            Overloaded: it would not.
        """
        if self._outlook.is_busy:
            self._outlook.check(plan, () if info is None else self.cached_nodes(plan, info), seconds)

    @asynccontextmanager
    async def _begun(
        self, plan: Plan, source: Source, seconds: float | None, progress: Progress
    ) -> AsyncIterator["Execution"]:
        place = self._pool.next_place()
        seconds = 0.0 if self._stopped else seconds
        clock = asyncio.get_running_loop().time
        deadline = math.inf if seconds is None else clock() + seconds
        try:
            async with asyncio.timeout(seconds):
                info = await source.info()
        except TimeoutError:
            self._outlook.run(progress, "", {})
            execution = Execution(plan, None, {})
            yield execution
            self.observer.ran(execution.run().outcomes)
            return
        hold = min(LONGEST_HOLD_SECONDS, (deadline - clock()) / 4)
        running = _Running(plan, source, info, self, hold, place)
        nodes = running.start()
        self._outlook.run(progress, info.sha256, nodes)
        execution = Execution(plan, info, nodes)
        late = None if seconds is None else asyncio.get_running_loop().call_at(deadline, execution.cancel)
        self._executions.add(execution)
        try:
            yield execution
            self.observer.ran(execution.run().outcomes)
        finally:
            self._executions.discard(execution)
            if late is not None:
                late.cancel()
            running.close()
            await execution.close()

    def stop(self) -> None:
        """The deadline of every run is now, also of those that begin later."""
        self._stopped = True
        for execution in self._executions:
            execution.cancel()

    def cached_nodes(self, plan: Plan, info: ImageInfo) -> frozenset[str]:
        """The nodes that the cache would answer wholly, without computing anything."""
        results = {IMAGE_NODE: image_result(info)}
        for node in plan.nodes.values():
            if any(source not in results for source in node.inputs.values()):
                continue
            inputs = inputs_of(node, results, info)
            if node.operation.expands:
                # What a run would answer as a failed stage is not in the cache.
                with contextlib.suppress(Exception):
                    results[node.id] = expanded(node, inputs, plan, info)
                continue
            items = [
                Item(row.key, row.region, self._cache.get(row.key), row.fault)
                for row in rows_of(node, inputs, plan, info)
            ]
            if all(item.value is not None or item.fault is not None for item in items):
                results[node.id] = NodeResult(tuple(items), inherited_fault(inputs, plan, node))
        return frozenset(results.keys() - {IMAGE_NODE})

    def prepare(self, node: Node) -> None:
        """Let the engine of a node load while its items are waited for."""
        self._pool.prepare(node)

    async def compute(self, node: Node, row: Row, source: Source, plan: Plan, work: Work, place: int) -> Item:
        """One item of a node, from the cache, from equal work in flight, or computed; `work` notes which.
        `place` is its request's in the line."""
        if row.fault is not None:
            return Item(row.key, row.region, fault=row.fault)
        kept = self._cache.get(row.key)
        if kept is not None:
            work.cached += 1
            return Item(row.key, row.region, kept)
        started_here = False

        async def start() -> Computed:
            nonlocal started_here
            started_here = True
            return await self._computed(node, row, source, plan, place)

        computed = await self._flights.join(row.key, start)
        # The time belongs to the one that started the work; who joined it spent none.
        ms = computed.ms if started_here else 0.0
        work.batch = max(work.batch, computed.batch)
        keep = computed.keep and row.keep
        if isinstance(computed.value, TaskError):
            return Item(row.key, row.region, fault=computed.value.fault(), ms=ms, keep=keep)
        return Item(row.key, row.region, computed.value, ms=ms, made_by=computed.made_by, keep=keep)

    async def _computed(self, node: Node, row: Row, source: Source, plan: Plan, place: int) -> Computed:
        refusal = self._pool.refusal(node)
        if refusal is not None:
            # No image is decoded for a model that is not there.
            return Computed(refusal, 0.0)
        spaces = {} if node.resource is None else node.resource.spaces
        if not all(_is_kept(row.inputs[name]) for name in spaces if name in row.inputs):
            # The vectors are of another space than the plan took them for.
            return Computed(SpaceMismatch(_WEIGHTS_CHANGED), 0.0)
        arguments: dict[str, Any] = {}
        for name, item in row.inputs.items():
            if isinstance(item, tuple):
                arguments[name] = [each.value for each in item]
            elif name in node.given or not _names_regions(node.inputs[name], plan):
                arguments[name] = item.value
            else:
                arguments[name] = item.region.crop(await source.image())
        computed = await self._pool.submit(node, arguments, place)
        if isinstance(computed.value, TaskError):
            cause = computed.value.__cause__
            if isinstance(computed.value, Internal) and cause is not None:
                log.error("%s failed", node.id, exc_info=cause)
        elif computed.keep and row.keep:
            self._cache.put(row.key, computed.value)
        return computed


class Execution:
    """A plan whose nodes run. Where the time was up before its image was decoded, none does.

    Args:
        plan: all of it.
        info: of the image; None where the time was up before.
        nodes: that run, by their ids.
    """

    def __init__(
        self, plan: Plan, info: ImageInfo | None, nodes: Mapping[str, asyncio.Task[NodeResult]]
    ) -> None:
        self.plan = plan
        self.info = info
        self._nodes = nodes

    async def ended(self) -> None:
        """Wait until every task has its answer."""
        if self._nodes:
            await asyncio.wait(self._nodes.values())

    async def outcomes(self) -> AsyncIterator[Outcome]:
        """Every task's answer as soon as it has one."""
        left = {task.operation_id: (task, self._waited_for(task)) for task in self.plan.tasks}
        while left:
            ready = [name for name, (_, nodes) in left.items() if all(node.done() for node in nodes)]
            for name in ready:
                yield outcome_of(left.pop(name)[0], self.plan, self._results())
            running = {node for _, nodes in left.values() for node in nodes if not node.done()}
            if running:
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)

    @property
    def made_by(self) -> Mapping[str, Chosen]:
        """The engines that computed nodes so far."""
        return makers_of(self._results())

    def run(self) -> Run:
        """What the plan answered; to be asked when it has ended."""
        return run_of(self.plan, self.info, self._results())

    def cancel(self) -> None:
        """End what has not ended, as `deadline_exceeded`."""
        for node in self._nodes.values():
            node.cancel()

    async def close(self) -> None:
        """End what has not ended, and wait until it has."""
        self.cancel()
        await asyncio.gather(*self._nodes.values(), return_exceptions=True)

    def _waited_for(self, task: PlannedTask) -> list[asyncio.Task[NodeResult]]:
        maker = self.plan.maker(task)
        ids = {task.node, task.crop, maker.id if maker else None}
        return [node for node_id, node in self._nodes.items() if node_id in ids]

    def _results(self) -> dict[str, NodeResult]:
        return {node_id: _result_of(self._nodes.get(node_id)) for node_id in self.plan.nodes}


class _Running:
    """One run of one plan."""

    def __init__(
        self, plan: Plan, source: Source, info: ImageInfo, executor: Executor, hold: float, place: int
    ) -> None:
        self._plan = plan
        self._source = source
        self._info = info
        self._executor = executor
        self._tasks: dict[str, asyncio.Task[NodeResult]] = {}
        self._held = plan.held_for_batches()
        self._hold = hold
        self._place = place
        self._gates: dict[str, asyncio.Task[Any]] = {}

    def start(self) -> dict[str, asyncio.Task[NodeResult]]:
        """Start every node. Those that most others wait for ask for a lane first."""
        for node in sorted(self._plan.nodes.values(), key=lambda node: -node.height):
            self._tasks[node.id] = asyncio.create_task(self._node(node), name=node.id)
        return self._tasks

    def close(self) -> None:
        for gate in self._gates.values():
            gate.cancel()

    def _gate(self, node: Node) -> "asyncio.Task[Any]":
        """Opens for all nodes of equal work at once, when all of them can start.

        What holds them up longer, a model that loads say, must not make those late that are ready.
        """
        if node.work not in self._gates:
            before = [self._tasks[each] for each in self._held[node.id]]
            self._gates[node.work] = asyncio.create_task(_settled(before, self._hold))
        return self._gates[node.work]

    async def _node(self, node: Node) -> NodeResult:
        try:
            return await self._answered(node)
        except Exception as error:
            log.error("%s failed", node.id, exc_info=error)
            return NodeResult(fault=_FAILED)

    async def _answered(self, node: Node) -> NodeResult:
        results = {IMAGE_NODE: image_result(self._info)}
        for source in set(node.inputs.values()) - results.keys():
            results[source] = await asyncio.shield(self._tasks[source])
        if node.id in self._held:
            self._executor.prepare(node)
            await asyncio.shield(self._gate(node))
        work = Work("node", node.operation.type, node.engine.name if node.engine else None)
        with self._executor.observer.span(work):
            result = await self._worked(node, inputs_of(node, results, self._info), work)
            work.items = len(result.items)
            work.fault = result.fault or next((item.fault for item in result.items if item.fault), None)
        return result

    async def _worked(self, node: Node, inputs: Mapping[str, NodeResult], work: Work) -> NodeResult:
        if node.operation.expands:
            return expanded(node, inputs, self._plan, self._info)
        fault = inherited_fault(inputs, self._plan, node)
        if fault is not None:
            return NodeResult(fault=fault, warnings=inherited_warnings(inputs))
        rows = rows_of(node, inputs, self._plan, self._info)
        items = await asyncio.gather(
            *(self._executor.compute(node, row, self._source, self._plan, work, self._place) for row in rows)
        )
        return NodeResult(tuple(items), warnings=inherited_warnings(inputs))


def inputs_of(node: Node, results: Mapping[str, NodeResult], info: ImageInfo) -> dict[str, NodeResult]:
    """What a node needs by the names under which its operation takes it."""
    return {name: results[source] for name, source in node.inputs.items()} | {
        name: given_result(values, info) for name, values in node.given.items()
    }


def _is_kept(item: Item | tuple[Item, ...]) -> bool:
    return all(each.keep for each in item) if isinstance(item, tuple) else item.keep


def _names_regions(node_id: str, plan: Plan) -> bool:
    """Whether a node stands for parts of the image, whose pixels are the input of those that need it."""
    return node_id == IMAGE_NODE or plan.nodes[node_id].operation.expands


async def _settled(tasks: Sequence[asyncio.Task[Any]], seconds: float) -> None:
    """Wait until tasks have ended, however they did, or the time is up."""
    await asyncio.wait(tasks, timeout=seconds)


def _result_of(task: "asyncio.Task[NodeResult] | None") -> NodeResult:
    if task is None or not task.done() or task.cancelled():
        return NodeResult(fault=_LATE)
    return task.result()
