"""What a run answers: every task with its items, its crops, its fault and its warnings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.core.artifacts import EncodedImage, ImageInfo, Region
from app.core.errors import Fault
from app.core.operation import Chosen
from app.core.plan import Plan, PlannedTask
from app.runtime.items import Item, NodeResult, unique


@dataclass(frozen=True, slots=True)
class TaskItem:
    """One region's answer to a task."""

    region: Region
    value: Any = None
    crop: EncodedImage | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A task's answer. A task on one region has at most one item.

    `ms` is the computing time of the node that made the data; 0 when that came from the cache.
    """

    planned: PlannedTask
    items: tuple[TaskItem, ...] = ()
    fault: Fault | None = None
    warnings: tuple[str, ...] = ()
    ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """A plan that was run.

    `info` is None when the time was up before the image was decoded. `node_ms` is computing time, of the
    nodes that compute; from the cache it is 0. `made_by` names the engines that computed nodes now, which are
    not the planned ones where weights were recorded or replaced meanwhile.
    """

    info: ImageInfo | None
    outcomes: tuple[Outcome, ...]
    node_ms: Mapping[str, float]
    made_by: Mapping[str, Chosen] = field(default_factory=dict)


def run_of(plan: Plan, info: ImageInfo | None, results: Mapping[str, NodeResult]) -> Run:
    return Run(
        info,
        outcomes=tuple(outcome_of(task, plan, results) for task in plan.tasks),
        node_ms={
            node_id: round(result.ms, 3)
            for node_id, result in results.items()
            if not plan.nodes[node_id].operation.expands
        },
        made_by=makers_of(results),
    )


def makers_of(results: Mapping[str, NodeResult]) -> dict[str, Chosen]:
    """The engines that computed nodes now."""
    return {
        node_id: item.made_by
        for node_id, result in results.items()
        for item in result.items
        if item.made_by is not None
    }


def outcome_of(task: PlannedTask, plan: Plan, results: Mapping[str, NodeResult]) -> Outcome:
    maker = plan.maker(task)
    ms = results[maker.id].ms if maker else 0.0
    if task.fault is not None or task.node is None:
        return Outcome(task, fault=task.fault)
    result = results[task.node]
    if result.fault is not None:
        return Outcome(task, fault=result.fault, warnings=unique([*task.warnings, *result.warnings]), ms=ms)
    crops: Sequence[Item | None] = [None] * len(result.items)
    warnings = unique([*task.warnings, *result.warnings])
    if task.crop is not None:
        shown = results[task.crop]
        if len(shown.items) == len(result.items):
            crops = shown.items
        problems = [shown.fault, *(item.fault for item in shown.items)]
        missing = [f"The crop is missing: {fault.message}" for fault in problems if fault]
        warnings = unique([*warnings, *missing])
    items = tuple(
        TaskItem(item.region, item.value, crop.value if crop else None, item.fault)
        for item, crop in zip(result.items, crops, strict=True)
    )
    failed = [item.fault for item in items if item.fault is not None]
    if failed and len(failed) == len(items):
        return Outcome(task, fault=failed[0], warnings=warnings, ms=ms)
    if failed:
        warnings = (*warnings, f"{len(failed)} of {len(items)} items failed.")
    return Outcome(task, items, warnings=warnings, ms=ms)
