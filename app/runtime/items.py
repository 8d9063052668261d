"""The data that flows along a plan: every node answers a list of items, one a region.

Pure functions: how the items of a node's inputs line up, which regions a selection gives, and how a fault is
seen by those who waited for the work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.core.artifacts import ImageInfo, Region
from app.core.errors import DependencyFailed, Fault, InvalidReference, ModelUnavailable, TaskError
from app.core.key import digest
from app.core.operation import Chosen
from app.core.plan import Node, Plan

# Regions of regions of regions would be millions.
MAX_REGIONS = 1000


@dataclass(frozen=True, slots=True)
class Item:
    """One region's result of a node: a value, or the fault in its place.

    `made_by` is the engine that computed it now. `keep` is False where it was not made by the engine that its
    key names, so that neither it nor what is made of it may be found again under such keys.
    """

    key: str
    region: Region
    value: Any = None
    fault: Fault | None = None
    ms: float = 0.0
    made_by: Chosen | None = None
    keep: bool = True


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
class Row:
    """The inputs of one item: an item of every need, all of one region; of a gathered need all its items."""

    key: str
    region: Region
    inputs: Mapping[str, Item | tuple[Item, ...]] = field(default_factory=dict)
    fault: Fault | None = None
    keep: bool = True


def image_result(info: ImageInfo) -> NodeResult:
    whole = Region(info.box, "whole_image")
    return NodeResult((Item(whole.key(info.sha256), whole),))


def given_result(values: Sequence[str], info: ImageInfo) -> NodeResult:
    """The client's own values as items. What is computed of them does not depend on the image."""
    whole = Region(info.box, "whole_image")
    return NodeResult(tuple(Item(digest("given", value), whole, value) for value in values))


def expanded(node: Node, inputs: Mapping[str, NodeResult], plan: Plan, info: ImageInfo) -> NodeResult:
    """The regions that an expanding operation selects, as items for the nodes that wait for them."""
    warnings = inherited_warnings(inputs)
    fault = inherited_fault(inputs, plan, node)
    if fault is not None:
        return NodeResult(fault=fault, warnings=warnings)
    arguments: dict[str, Any] = {}
    if "found" in inputs:
        located, faults = _located(inputs["found"], plan, node.inputs["found"])
        if faults and len(faults) == len(inputs["found"].items):
            return NodeResult(fault=faults[0], warnings=warnings)
        warnings = (*warnings, *(fault.message for fault in faults))
        arguments["found"] = located
    try:
        selection = node.operation.run(image=info, params=node.params, **arguments)
    except TaskError as error:
        return NodeResult(fault=error.fault(), warnings=warnings)
    chosen = selection.regions[:MAX_REGIONS]
    if len(chosen) < len(selection.regions):
        left_out = f"{len(selection.regions)} regions were found; the first {MAX_REGIONS} were used."
        warnings = (*warnings, left_out)
    items = tuple(Item(region.key(info.sha256), region) for region in chosen)
    return NodeResult(items, warnings=unique([*warnings, *selection.warnings]))


def _located(found: NodeResult, plan: Plan, node_id: str) -> tuple[list[Region], list[Fault]]:
    """The regions that the items of a node located, and the faults of those that failed."""
    finds = plan.nodes[node_id].operation.finds
    located: list[Region] = []
    faults: list[Fault] = []
    for item in found.items:
        if item.fault is not None:
            faults.append(as_dependency(item.fault, stage_name(plan, node_id)))
        elif finds is not None:
            located.extend(finds(item.region, item.value))
    return located, faults


def rows_of(node: Node, inputs: Mapping[str, NodeResult], plan: Plan, info: ImageInfo) -> list[Row]:
    """Line up the items of a node's inputs: one row a region, a single item beside many is repeated, and all
    items of a gathered input go to every row. What only gathers is one row, of the whole image."""
    gathered = {name: inputs[name].items for name in node.gathered}
    lined_up = {name: result.items for name, result in inputs.items() if name not in gathered}
    if any(len(items) == 0 for items in lined_up.values()):
        return []
    count = max(map(len, lined_up.values()), default=1)
    rows = []
    for number in range(count):
        items = {
            name: of_input[number if len(of_input) > 1 else 0]
            for name, of_input in lined_up.items()
            if len(of_input) in (1, count)
        }
        # The region of a row is the one that varies; the first need's where none does.
        varying = [item for name, item in items.items() if len(lined_up[name]) == count]
        region = varying[0].region if varying else Region(info.box, "whole_image")
        key = digest(
            node.work,
            {name: item.key for name, item in items.items()},
            {name: [item.key for item in of_input] for name, of_input in gathered.items()},
        )
        all_items = list(items.items())
        all_items += [(name, item) for name, of_input in gathered.items() for item in of_input]
        fault = next(
            (
                _fault_behind(item.fault, name, node, plan)
                for name, item in all_items
                if item.fault is not None
            ),
            None,
        )
        if len(items) < len(lined_up):
            sizes = {name: len(of_input) for name, of_input in lined_up.items()}
            fault = InvalidReference(f"The inputs have different numbers of items: {sizes}").fault()
        keep = all(item.keep for _, item in all_items)
        rows.append(Row(key, region, {**items, **gathered}, fault, keep))
    return rows


def inherited_fault(inputs: Mapping[str, NodeResult], plan: Plan, node: Node) -> Fault | None:
    """The fault of a node whose input failed as a whole."""
    for name, result in inputs.items():
        if result.fault is not None and name in node.inputs:
            return _fault_behind(result.fault, name, node, plan)
    return None


def _fault_behind(fault: Fault, name: str, node: Node, plan: Plan) -> Fault:
    """The fault of the need `name` as the node has it that needs it."""
    source = node.inputs[name]
    stage = stage_name(plan, source)
    behind = plan.nodes.get(source)
    same_model = behind is not None and behind.engine is not None and behind.engine == node.engine
    if fault.code == ModelUnavailable.code and (name == node.operation.model_of or same_model):
        # The model that makes the data is one operation's own, wherever it is run.
        return replace(fault, caused_by=fault.caused_by or replace(fault, stage=stage))
    return as_dependency(fault, stage)


def stage_name(plan: Plan, node_id: str) -> str:
    """How a message names a node: by the client's task where there is one, else by its operation."""
    for task in plan.tasks:
        if task.node == node_id:
            return f"task '{task.operation_id}'"
    return plan.nodes[node_id].operation.type


def as_dependency(fault: Fault, stage: str) -> Fault:
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


def inherited_warnings(inputs: Mapping[str, NodeResult]) -> tuple[str, ...]:
    return unique([warning for result in inputs.values() for warning in result.warnings])


def unique(warnings: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(warnings))
