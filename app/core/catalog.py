"""The catalog: what the registry says of its operations in public."""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from app.core.artifacts import Vector
from app.core.operation import EngineSpec, Gathered, Operation, Params, Ref, Source
from app.core.registry import Registry
from app.core.target import target_forms, target_names


@cache
def params_schema(operation: Operation) -> dict[str, Any]:
    """JSON schema of what a client may choose."""
    return operation.params.model_json_schema()


@cache
def data_schema(operation: Operation) -> dict[str, Any]:
    """JSON schema of a result."""
    if operation.output is Vector:
        return {"type": "array", "items": {"type": "number"}}
    return TypeAdapter(operation.output).json_schema(mode="serialization")


def allowed_targets(operation: Operation) -> list[str]:
    return list(target_names(operation.params))


def other_targets(operation: Operation) -> list[str]:
    """The forms of target beyond the named ones."""
    names = target_names(operation.params)
    return [form for form in target_forms(operation.params) if form not in names]


def default_target(operation: Operation) -> str | None:
    field = operation.params.model_fields.get("target")
    return None if field is None or field.default is None else str(field.default)


@cache
def stages_behind(operation: Operation) -> tuple[tuple[Operation, Params], ...]:
    """The stages with an engine that a task of this operation may need, with the params that each gets: the
    operation itself and those before it, for any of its named targets."""
    return _with_engines(
        stage for params in _variants(operation) for stage in _stages(Ref(operation, params))
    )


@cache
def makers(operation: Operation) -> tuple[tuple[Operation, Params], ...]:
    """Of the stages behind an operation those whose engines make its data: its own, or where it only passes
    on what others made, theirs."""
    if operation.engines:
        return stages_behind(operation)[:1]
    if operation.model_of is None:
        return ()
    needs = [operation.needs(params)[operation.model_of] for params in _variants(operation)]
    return _with_engines(stage for need in needs for stage in _stages(need, as_far_as_engines=True))


def operations_of(spec: EngineSpec, registry: Registry) -> list[str]:
    """The public operations whose data an engine may make; of one that a param must choose, its stages."""
    return [
        name
        for name, operation in registry.public.items()
        if any(spec in stage.may_be_served_by(params) for stage, params in makers(operation))
    ] or [name for name, operation in registry.items() if spec in operation.engines]


def _variants(operation: Operation) -> list[Params]:
    """Params of typical tasks, one for each named target."""
    example = operation.example_params
    if example is None or operation.uses is not None:
        # What one that uses a resource needs is known with the resource only.
        return []
    return [example.model_copy(update={"target": name}) for name in target_names(operation.params)] or [
        example
    ]


def _with_engines(stages: Iterable[tuple[Operation, Params]]) -> tuple[tuple[Operation, Params], ...]:
    found: dict[str, tuple[Operation, Params]] = {}
    for stage, params in stages:
        if stage.engines:
            found.setdefault(f"{stage.type} {params.canonical()}", (stage, params))
    return tuple(found.values())


def _stages(source: Source, as_far_as_engines: bool = False) -> Iterator[tuple[Operation, Params]]:
    if isinstance(source, Gathered):
        source = source.source
    if not isinstance(source, Ref):
        return
    yield source.operation, source.params
    if as_far_as_engines and source.operation.engines:
        return
    for need in source.operation.needs(source.params).values():
        yield from _stages(need, as_far_as_engines)
