"""The resolver: a pure function from a request's tasks to a plan.

    tasks -> validate each -> follow its needs, down to the image -> merge equal refs into nodes

A task that cannot be resolved carries its fault in the plan and takes no node; its siblings are not
touched, unless they refer to it.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pydantic
from pydantic_core import ErrorDetails, PydanticSerializationError, to_json

from app.core.errors import (
    Fault,
    Internal,
    InvalidParams,
    InvalidReference,
    RegistryError,
    SpaceMismatch,
    TaskError,
    UnsupportedTarget,
)
from app.core.key import digest
from app.core.operation import (
    Chosen,
    Gathered,
    Given,
    ImageRef,
    Operation,
    Params,
    Ref,
    Source,
    TaskRef,
    Wanted,
)
from app.core.plan import IMAGE_NODE, Node, Plan, PlannedTask
from app.core.registry import Registry
from app.core.resource import Resource, Resources
from app.core.target import target_forms
from app.core.wording import explain, quoted, shortened

log = logging.getLogger(__name__)

# Different texts and the like in one request. Each costs what an image costs.
MAX_GIVEN = 512

ChooseEngine = Callable[[Operation, Params], Chosen | None]


@dataclass(frozen=True, slots=True)
class Task:
    """A client's request for an operation, not validated yet."""

    operation_id: str
    type: str
    params: Mapping[str, Any]


def resolve(
    tasks: Iterable[Task],
    registry: Registry,
    choose_engine: ChooseEngine,
    resources: Resources = MappingProxyType({}),
) -> Plan:
    """Turn tasks into a plan.

    Args:
        tasks: of one request; their ids are unique.
        registry: the known operations.
        choose_engine: which of an operation's engines serves this request.
        resources: those that the tasks name, as `named_resources` lists them.

    Returns:
        The plan. It never raises for what a client sent.
    """
    return _Resolution(list(tasks), registry, choose_engine, resources).plan()


def resolve_refs(refs: Mapping[str, Ref], registry: Registry, choose_engine: ChooseEngine) -> Plan:
    """The plan of the server's own refs, each as a task under its name."""
    return _Resolution([], registry, choose_engine, {}).plan_of(refs)


def named_resources(tasks: Iterable[Task], registry: Registry) -> set[tuple[str, str]]:
    """The resources that tasks name, by kind and name. Tasks that will be refused name none."""
    named = set()
    for task in tasks:
        operation = registry.get(task.type)
        if operation is not None and operation.uses is not None:
            with suppress(TaskError):
                params = validated(operation, task.params)
                named.add((operation.uses.kind, operation.uses.name(params)))
    return named


def validated(operation: Operation, raw: Mapping[str, Any]) -> Params:
    """The params of a task, by the rules of JSON: an integer is no string and no boolean.

    Raises:
        UnsupportedTarget: the target is none that this operation takes.
        InvalidParams: anything else; the message names the field, the bound and the value.
    """
    try:
        return operation.params.model_validate_json(to_json(dict(raw)))
    except PydanticSerializationError:
        raise InvalidParams(f"Invalid params for '{operation.type}': nested too deeply") from None
    except pydantic.ValidationError as error:
        problems = error.errors(include_url=False)
        if any(_is_unknown_target(problem) for problem in problems):
            allowed = ", ".join(target_forms(operation.params))
            raise UnsupportedTarget(
                f"Unsupported target {quoted(raw['target'])} for operation '{operation.type}'. "
                f"Allowed: {allowed}."
            ) from None
        raise InvalidParams(
            f"Invalid params for '{operation.type}': "
            + explain(problems, whole="params", known=operation.params.model_fields)
        ) from None


def _is_unknown_target(problem: ErrorDetails) -> bool:
    at_target = problem["loc"] in (("target",), ("target", "@name"))
    return at_target and problem["type"] in ("literal_error", "union_tag_not_found")


class _Resolution:
    """One run of the resolver."""

    def __init__(
        self, tasks: list[Task], registry: Registry, choose_engine: ChooseEngine, resources: Resources
    ) -> None:
        self._tasks = {task.operation_id: task for task in tasks}
        self._registry = registry
        self._choose_engine = choose_engine
        self._resources = resources
        self._planned: dict[str, PlannedTask] = {}
        self._path: list[str] = []
        self._nodes: dict[str, Node] = {}
        self._ids_by_key: dict[str, str] = {}
        self._given: set[str] = set()

    def plan(self) -> Plan:
        return self._plan(tuple(self._resolved(operation_id) for operation_id in self._tasks))

    def plan_of(self, refs: Mapping[str, Ref]) -> Plan:
        return self._plan(tuple(self._of_ref(name, ref) for name, ref in refs.items()))

    def _plan(self, tasks: tuple[PlannedTask, ...]) -> Plan:
        used: set[str] = set()
        draft = Plan(self._nodes, tasks)
        for task in tasks:
            for node_id in (task.node, task.crop):
                if node_id is not None:
                    used |= draft.upstream(node_id)
        nodes = {node_id: node for node_id, node in self._nodes.items() if node_id in used}
        return Plan(_with_heights(nodes), tasks)

    def _resolved(self, operation_id: str) -> PlannedTask:
        if operation_id not in self._planned:
            self._path.append(operation_id)
            planned = self._resolve(self._tasks[operation_id])
            self._path.pop()
            # A cycle that was found deeper has already refused this task.
            self._planned.setdefault(operation_id, planned)
        return self._planned[operation_id]

    def _of_ref(self, name: str, ref: Ref) -> PlannedTask:
        operation, params = ref.operation, ref.params
        try:
            return PlannedTask(name, operation.type, operation, params, self._add(ref))
        except TaskError as error:
            return PlannedTask(name, operation.type, fault=error.fault())

    def _resolve(self, task: Task) -> PlannedTask:
        try:
            operation = self._registry.find(task.type)
            given = validated(operation, task.params)
            params, resource = self._bound(operation, given)
            node = self._add(Ref(operation, params))
            shown = operation.crop(params) if operation.crop else None
            crop = self._add(shown) if shown else None
        except TaskError as error:
            fault = error.fault()
            cause = error.__cause__
            if isinstance(cause, _RefusedTask):
                fault = replace(fault, caused_by=cause.fault)
            return PlannedTask(task.operation_id, task.type, fault=fault)
        except Exception as error:
            # An operation's own `needs` is at fault: that is its task's failure and no one else's.
            log.error("the needs of %s cannot be resolved", task.type, exc_info=error)
            fault = Internal("The task cannot be planned; the server's log has the details.").fault()
            return PlannedTask(task.operation_id, task.type, fault=fault)
        uses = operation.uses
        warnings = () if uses is None else uses.warn(given, resource)
        return PlannedTask(task.operation_id, task.type, operation, params, node, crop, warnings=warnings)

    def _add(self, source: ImageRef | TaskRef | Ref) -> str:
        """The id of the node that stands for a source, made if it is new."""
        if isinstance(source, ImageRef):
            return IMAGE_NODE
        if isinstance(source, TaskRef):
            return self._node_of_task(source)
        operation = source.operation
        if self._registry.get(operation.type) is not operation:
            raise RegistryError(f"'{operation.type}' is needed, but is not registered")
        params, resource = self._bound(operation, source.params)
        needs = operation.needs(params) if resource is None else operation.needs(params, resource)
        given = {name: need.values for name, need in needs.items() if isinstance(need, Given)}
        all_given = self._given.union(*given.values())
        if len(all_given) > MAX_GIVEN:
            raise InvalidParams(
                f"With this task the request has {len(all_given)} texts to embed; at most {MAX_GIVEN} "
                "are taken. Send it in another request."
            )
        self._given = all_given
        gathered = frozenset(name for name, need in needs.items() if isinstance(need, Gathered))
        inputs = {
            name: self._add(need.source if isinstance(need, Gathered) else need)
            for name, need in needs.items()
            if not isinstance(need, Given)
        }
        self._check_spaces(needs, inputs)
        if resource is not None:
            self._check_resource(operation, params, resource, inputs)
        engine = self._choose_engine(operation, params)
        work = digest(
            operation.type,
            operation.version,
            params.canonical(),
            None if engine is None else engine.key,
            None if resource is None else resource.state,
        )
        key = digest(work, inputs, given, sorted(gathered))
        if key not in self._ids_by_key:
            node_id = (
                f"{operation.type}#{1 + sum(node.operation is operation for node in self._nodes.values())}"
            )
            self._ids_by_key[key] = node_id
            self._nodes[node_id] = Node(
                id=node_id,
                work=work,
                operation=operation,
                params=params.computing(),
                engine=engine,
                inputs=inputs,
                height=0,
                given=given,
                gathered=gathered,
                resource=resource,
            )
        return self._ids_by_key[key]

    def _bound(self, operation: Operation, params: Params) -> tuple[Params, Resource | None]:
        """The resource that an operation uses, and the params with what it decides."""
        uses = operation.uses
        if uses is None:
            return params, None
        found = self._resources[uses.kind, uses.name(params)]
        if isinstance(found, TaskError):
            raise found
        return uses.bind(params, found), found

    def _check_resource(
        self, operation: Operation, params: Params, resource: Resource, inputs: Mapping[str, str]
    ) -> None:
        """Vectors for a resource must lie in its spaces, however long ago it was made."""
        uses = operation.uses
        plan = Plan(self._nodes, ())
        for name, wanted in resource.spaces.items():
            if uses is not None and name in inputs and plan.space(inputs[name]) != wanted:
                raise SpaceMismatch(
                    f"The {uses.kind} '{shortened(uses.name(params))}' was made of vectors of the space "
                    f"{wanted}; this server now makes vectors of {plan.space(inputs[name])}. Make it anew, "
                    "or bring the weights back."
                )

    def _check_spaces(self, needs: Mapping[str, Source], inputs: Mapping[str, str]) -> None:
        """Vectors of other tasks that one operation takes must lie in one space."""
        plan = Plan(self._nodes, ())
        spaces = {}
        for name, need in needs.items():
            source = need.source if isinstance(need, Gathered) else need
            if isinstance(source, TaskRef) and source.wanted is Wanted.VECTORS:
                spaces[source.field] = plan.space(inputs[name])
        if len(set(spaces.values())) > 1:
            told = ", ".join(f"{field} is in {space}" for field, space in spaces.items())
            raise InvalidReference(
                f"{', '.join(spaces)}: vectors of different spaces cannot be compared: {told}. "
                "Use one embedding operation with the same model for both."
            )

    def _node_of_task(self, ref: TaskRef) -> str:
        name = shortened(ref.operation_id)
        if ref.operation_id not in self._tasks:
            raise InvalidReference(f"{ref.field}: this request has no task '{name}'")
        if ref.operation_id in self._path:
            cycle = self._path[self._path.index(ref.operation_id) :]
            path = " -> ".join(shortened(step) for step in [*cycle, ref.operation_id])
            error = InvalidReference(f"{ref.field}: tasks refer to each other in a cycle: {path}")
            for step in cycle:
                task = self._tasks[step]
                self._planned[step] = PlannedTask(step, task.type, fault=error.fault())
            raise error
        referred = self._resolved(ref.operation_id)
        if referred.fault is not None:
            fault = replace(referred.fault, stage=f"task '{name}'")
            raise InvalidReference(
                f"{ref.field}: task '{name}' was skipped: {fault.message}"
            ) from _RefusedTask(fault)
        if ref.wanted and (referred.operation is None or not _gives(referred.operation, ref.wanted)):
            able = ", ".join(op.type for op in self._registry.public.values() if _gives(op, ref.wanted))
            raise InvalidReference(
                f"{ref.field}: task '{name}' of type '{referred.type}' gives no {ref.wanted}; "
                f"these do: {able}"
            )
        assert referred.node is not None  # a task without a fault has its node
        return referred.node


def _gives(operation: Operation, wanted: Wanted) -> bool:
    return operation.finds is not None if wanted is Wanted.BOXES else operation.gives_vectors


class _RefusedTask(Exception):
    """Carries the fault of a task that another one refers to."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def _with_heights(nodes: dict[str, Node]) -> dict[str, Node]:
    heights = dict.fromkeys(nodes, 0)
    for node_id in reversed(nodes):
        for source in nodes[node_id].inputs.values():
            if source in heights:
                heights[source] = max(heights[source], heights[node_id] + 1)
    return {node_id: replace(node, height=heights[node_id]) for node_id, node in nodes.items()}
