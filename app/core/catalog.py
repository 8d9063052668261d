"""The catalog: what the registry says of its operations in public."""

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from app.core.artifacts import Vector
from app.core.operation import EngineSpec, Operation, Ref
from app.core.target import target_forms, target_names


def params_schema(operation: Operation) -> dict[str, Any]:
    """JSON schema of what a client may choose."""
    return operation.params.model_json_schema()


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
    return None if field is None else str(field.default)


def engines_behind(operation: Operation) -> list[tuple[Operation, EngineSpec]]:
    """The engines that a task of this operation may need, with the stage that runs each: its own, and
    those of the stages before it for any of its named targets."""
    example = operation.default_params
    if example is None:
        return [(operation, spec) for spec in operation.engines]
    variants = [example.model_copy(update={"target": name}) for name in target_names(operation.params)]
    stages = [stage for params in variants or [example] for stage in _stages(Ref(operation, params))]
    return [(stage, spec) for stage in dict.fromkeys(stages) for spec in stage.engines]


def _stages(ref: Ref) -> Iterator[Operation]:
    yield ref.operation
    for source in ref.operation.needs(ref.params).values():
        if isinstance(source, Ref):
            yield from _stages(source)
