"""The executor: runs a plan over an image.

Every node is a coroutine that waits for its inputs and nothing else. A node's result is a list of items, one
a region; an item's key is the key of its work and of its inputs' items, so that equal items are computed once
whatever target, task or request they came from, and are found again in the cache.
"""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.core.artifacts import EncodedImage, ImageInfo, Region
from app.core.errors import (
    DeadlineExceeded,
    DependencyFailed,
    Fault,
    Internal,
    InvalidReference,
    TaskError,
)
from app.core.key import digest
from app.core.plan import IMAGE_NODE, Node, Plan, PlannedTask
from app.runtime.batcher import Computed
from app.runtime.cache import ResultCache
from app.runtime.flights import Flights
from app.runtime.pool import Pool
from app.runtime.source import ImageSource

log = logging.getLogger(__name__)

_LATE = DeadlineExceeded("The request's deadline passed.").fault()
_FAILED = Internal("The computation failed; the server's log has the details.").fault()


@dataclass(frozen=True, slots=True)
class Item:
    """One region's result of a node: a value, or the fault in its place."""

    key: str
    region: Region
    value: Any = None
    fault: Fault | None = None
    ms: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What a node answered: its items, or the one fault of the whole."""

    items: tuple[Item, ...] = ()
    fault: Fault | None = None
    warnings: tuple[str, ...] = ()

    @property
    def ms(self) -> float:
        return sum(item.ms for item in self.items)


@dataclass(frozen=True, slots=True)
class TaskItem:
    """One region's answer to a task."""

    region: Region
    value: Any = None
    crop: EncodedImage | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A task's answer. A task on one region has at most one item."""

    planned: PlannedTask
    items: tuple[TaskItem, ...] = ()
    fault: Fault | None = None
    warnings: tuple[str, ...] = ()
    ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """A plan that was run.

    `info` is None when the time was up before the image was decoded. `node_ms` is computing time, of the
    nodes that compute; from the cache it is 0.
    """

    info: ImageInfo | None
    outcomes: tuple[Outcome, ...]
    node_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Row:
    """The inputs of one item: an item of every need, all of one region."""

    key: str
    region: Region
    inputs: Mapping[str, Item] = field(default_factory=dict)
    fault: Fault | None = None


class Executor:
    """Runs plans. One per process; used from the event loop's thread only."""

    def __init__(self, pool: Pool, cache: ResultCache) -> None:
        self._pool = pool
        self._cache = cache
        self._flights: Flights[Computed] = Flights()

    async def run(self, plan: Plan, source: ImageSource, seconds: float | None = None) -> Run:
        """Run a plan.

        Args:
            plan: of one request.
            source: its image.
            seconds: after which what is finished is answered and the rest is `deadline_exceeded`.

        Raises:
            ImageUnreadable: the image cannot be decoded.
        """
        clock = asyncio.get_running_loop().time
        deadline = math.inf if seconds is None else clock() + seconds
        try:
            async with asyncio.timeout(seconds):
                info = await source.info()
        except TimeoutError:
            return _run_of(plan, None, dict.fromkeys(plan.nodes, NodeResult(fault=_LATE)))
        nodes = _Execution(plan, source, info, self).start()
        try:
            if nodes:
                left = None if seconds is None else max(0.0, deadline - clock())
                _, late = await asyncio.wait(nodes.values(), timeout=left)
                await _cancelled(late)
        except asyncio.CancelledError:
            await _cancelled(nodes.values())
            raise
        return _run_of(plan, info, {node_id: _result_of(task) for node_id, task in nodes.items()})

    def cached_nodes(self, plan: Plan, info: ImageInfo) -> frozenset[str]:
        """The nodes that the cache would answer wholly, without computing anything."""
        results = {IMAGE_NODE: _image_result(info)}
        for node in plan.nodes.values():
            if any(source not in results for source in node.inputs.values()):
                continue
            inputs = {name: results[source] for name, source in node.inputs.items()}
            if node.operation.expands:
                results[node.id] = _expanded(node, inputs, plan, info)
                continue
            items = [
                Item(row.key, row.region, self._cache.get(row.key), row.fault)
                for row in _rows(node, inputs, plan)
            ]
            if all(item.value is not None or item.fault is not None for item in items):
                results[node.id] = NodeResult(tuple(items), _inherited(inputs, plan, node))
        return frozenset(results.keys() - {IMAGE_NODE})

    async def compute(self, node: Node, row: _Row, source: ImageSource, plan: Plan) -> Item:
        """One item of a node, from the cache, from equal work in flight, or computed."""
        if row.fault is not None:
            return Item(row.key, row.region, fault=row.fault)
        kept = self._cache.get(row.key)
        if kept is not None:
            return Item(row.key, row.region, kept)
        started_here = False

        async def start() -> Computed:
            nonlocal started_here
            started_here = True
            return await self._computed(node, row, source, plan)

        computed = await self._flights.join(row.key, start)
        # The time belongs to the one that started the work; who joined it spent none.
        ms = computed.ms if started_here else 0.0
        if isinstance(computed.value, TaskError):
            return Item(row.key, row.region, fault=computed.value.fault(), ms=ms)
        return Item(row.key, row.region, computed.value, ms=ms)

    async def _computed(self, node: Node, row: _Row, source: ImageSource, plan: Plan) -> Computed:
        arguments = {}
        for name, item in row.inputs.items():
            feeder = plan.nodes.get(node.inputs[name])
            if feeder is None or feeder.operation.expands:
                arguments[name] = item.region.crop(await source.image())
            else:
                arguments[name] = item.value
        computed = await self._pool.submit(node, arguments)
        if isinstance(computed.value, TaskError):
            cause = computed.value.__cause__
            if isinstance(computed.value, Internal) and cause is not None:
                log.error("%s failed", node.id, exc_info=cause)
        else:
            self._cache.put(row.key, computed.value)
        return computed


class _Execution:
    """One run of one plan."""

    def __init__(self, plan: Plan, source: ImageSource, info: ImageInfo, executor: Executor) -> None:
        self._plan = plan
        self._source = source
        self._info = info
        self._executor = executor
        self._tasks: dict[str, asyncio.Task[NodeResult]] = {}

    def start(self) -> dict[str, asyncio.Task[NodeResult]]:
        """Start every node. Those that most others wait for ask for a lane first."""
        for node in sorted(self._plan.nodes.values(), key=lambda node: -node.height):
            self._tasks[node.id] = asyncio.create_task(self._node(node), name=node.id)
        return self._tasks

    async def _node(self, node: Node) -> NodeResult:
        try:
            return await self._answered(node)
        except Exception as error:
            log.error("%s failed", node.id, exc_info=error)
            return NodeResult(fault=_FAILED)

    async def _answered(self, node: Node) -> NodeResult:
        inputs = {}
        for name, source in node.inputs.items():
            inputs[name] = (
                _image_result(self._info)
                if source == IMAGE_NODE
                else await asyncio.shield(self._tasks[source])
            )
        if node.operation.expands:
            return _expanded(node, inputs, self._plan, self._info)
        fault = _inherited(inputs, self._plan, node)
        if fault is not None:
            return NodeResult(fault=fault, warnings=_warnings(inputs))
        rows = _rows(node, inputs, self._plan)
        items = await asyncio.gather(
            *(self._executor.compute(node, row, self._source, self._plan) for row in rows)
        )
        return NodeResult(tuple(items), warnings=_warnings(inputs))


def _run_of(plan: Plan, info: ImageInfo | None, results: Mapping[str, NodeResult]) -> Run:
    return Run(
        info,
        outcomes=tuple(_outcome(task, results) for task in plan.tasks),
        node_ms={
            node_id: round(result.ms, 3)
            for node_id, result in results.items()
            if not plan.nodes[node_id].operation.expands
        },
    )


def _image_result(info: ImageInfo) -> NodeResult:
    whole = Region(info.box, "whole_image")
    return NodeResult((Item(whole.key(info.sha256), whole),))


def _expanded(node: Node, inputs: Mapping[str, NodeResult], plan: Plan, info: ImageInfo) -> NodeResult:
    """The regions that an expanding operation selects, as items for the nodes that wait for them."""
    warnings = _warnings(inputs)
    fault = _inherited(inputs, plan, node)
    if fault is not None:
        return NodeResult(fault=fault, warnings=warnings)
    arguments: dict[str, Any] = {}
    if "found" in inputs:
        feeder = plan.nodes[node.inputs["found"]]
        found: list[Region] = []
        for item in inputs["found"].items:
            if item.fault is not None:
                fault = _as_dependency(item.fault, _stage_name(plan, feeder.id))
                if fault.status == "error" or len(inputs["found"].items) == 1:
                    return NodeResult(fault=fault, warnings=warnings)
                warnings = (*warnings, fault.message)
            elif feeder.operation.finds is not None:
                found.extend(feeder.operation.finds(item.region, item.value))
        arguments["found"] = found
    try:
        selection = node.operation.run(image=info, params=node.params, **arguments)
    except TaskError as error:
        return NodeResult(fault=error.fault(), warnings=warnings)
    items = tuple(Item(region.key(info.sha256), region) for region in selection.regions)
    return NodeResult(items, warnings=_unique([*warnings, *selection.warnings]))


def _rows(node: Node, inputs: Mapping[str, NodeResult], plan: Plan) -> list[_Row]:
    """Line up the items of a node's inputs: one row a region, a single item beside many is repeated."""
    count = max((len(result.items) for result in inputs.values()), default=0)
    if any(len(result.items) == 0 for result in inputs.values()):
        return []
    rows = []
    for number in range(count):
        items = {
            name: result.items[number if len(result.items) > 1 else 0]
            for name, result in inputs.items()
            if len(result.items) in (1, count)
        }
        # The region of a row is the one that varies; the first need's where none does.
        varying = [items[name] for name in items if len(inputs[name].items) == count]
        region = varying[0].region
        key = digest(node.work, {name: item.key for name, item in items.items()})
        fault = next(
            (
                _as_dependency(item.fault, _stage_name(plan, node.inputs[name]))
                for name, item in items.items()
                if item.fault is not None
            ),
            None,
        )
        if len(items) < len(inputs):
            sizes = {name: len(result.items) for name, result in inputs.items()}
            fault = InvalidReference(f"The inputs have different numbers of items: {sizes}").fault()
        rows.append(_Row(key, region, items, fault))
    return rows


def _inherited(inputs: Mapping[str, NodeResult], plan: Plan, node: Node) -> Fault | None:
    """The fault of a node whose input failed as a whole."""
    for name, result in inputs.items():
        if result.fault is not None:
            return _as_dependency(result.fault, _stage_name(plan, node.inputs[name]))
    return None


def _stage_name(plan: Plan, node_id: str) -> str:
    """How a message names a node: by the client's task where there is one, else by its operation."""
    for task in plan.tasks:
        if task.node == node_id:
            return f"task '{task.operation_id}'"
    return plan.nodes[node_id].operation.type


def _as_dependency(fault: Fault, stage: str) -> Fault:
    """A fault as those see it that waited for the work: a skip stays one, an error is theirs too."""
    if fault.status == "skipped":
        if not stage.startswith("task "):
            return replace(fault, stage=fault.stage or stage)
        cause = replace(fault, stage=stage)
        return replace(fault, message=f"{stage} was skipped: {fault.message}", caused_by=cause)
    if fault.code == DependencyFailed.code:
        return fault
    cause = replace(fault, stage=stage)
    message = f"A stage that this task needs failed: {stage}: {fault.message}"
    return Fault("error", DependencyFailed.code, message, caused_by=cause)


def _warnings(inputs: Mapping[str, NodeResult]) -> tuple[str, ...]:
    return _unique([warning for result in inputs.values() for warning in result.warnings])


def _unique(warnings: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(warnings))


async def _cancelled(tasks: Any) -> None:
    """Cancel tasks and wait until they have ended."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _result_of(task: "asyncio.Task[NodeResult]") -> NodeResult:
    return NodeResult(fault=_LATE) if task.cancelled() else task.result()


def _outcome(task: PlannedTask, results: Mapping[str, NodeResult]) -> Outcome:
    if task.fault is not None or task.node is None:
        return Outcome(task, fault=task.fault)
    result = results[task.node]
    if result.fault is not None:
        return Outcome(task, fault=result.fault, warnings=result.warnings)
    crops: Sequence[Item | None] = [None] * len(result.items)
    warnings = result.warnings
    if task.crop is not None:
        shown = results[task.crop]
        if len(shown.items) == len(result.items):
            crops = shown.items
        problems = [shown.fault, *(item.fault for item in shown.items)]
        missing = [f"The crop is missing: {fault.message}" for fault in problems if fault]
        warnings = _unique([*warnings, *missing])
    items = tuple(
        TaskItem(item.region, item.value, crop.value if crop else None, item.fault)
        for item, crop in zip(result.items, crops, strict=True)
    )
    failed = [item.fault for item in items if item.fault is not None]
    if failed and len(failed) == len(items):
        return Outcome(task, fault=failed[0], warnings=warnings, ms=result.ms)
    if failed:
        warnings = (*warnings, f"{len(failed)} of {len(items)} items failed.")
    return Outcome(task, items, warnings=warnings, ms=result.ms)
