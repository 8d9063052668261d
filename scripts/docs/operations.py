"""The reference of the operations, from their declarations."""

import json
from collections.abc import Mapping
from typing import Any

from app.core.catalog import data_schema, makers, params_schema, stages_behind
from app.core.operation import EngineSpec, Operation
from app.core.registry import discover
from app.core.target import RegionParams
from scripts.docs.tables import own_params, preferred, targets
from scripts.docs.words import code, fields, kind, named, one_line, table


def region_params() -> str:
    """The params that operations on regions have in common."""
    return _params(RegionParams.model_json_schema(), list(RegionParams.model_fields))


def reference() -> str:
    return "\n".join(_section(operation) for operation in discover("operations").public.values())


def _section(operation: Operation) -> str:
    parts = [f"### {operation.type}\n\n{operation.summary}\n"]
    if operation.description:
        parts.append(f"{operation.description}\n")
    parts.append(_task(operation))
    parts.append(f"Targets: {targets(operation)}.\n")
    own = own_params(operation)
    if own:
        parts.append(_params(params_schema(operation), own))
    parts.append(_data(operation))
    engines = _engines(operation)
    if engines:
        parts.append(engines)
    return "\n".join(parts)


def _task(operation: Operation) -> str:
    """A task as it is sent, which does not depend on defaults."""
    example = operation.example_params
    given = {} if example is None else example.model_dump(mode="json", exclude_defaults=True)
    task: dict[str, Any] = {"operation_id": "a", "type": operation.type}
    if given:
        task["params"] = given
    return f"```json\n{json.dumps(task, ensure_ascii=False)}\n```\n"


def _params(schema: Mapping[str, Any], names: list[str]) -> str:
    definitions = schema.get("$defs", {})
    shown = {
        **schema,
        "properties": {name: schema["properties"][name] for name in names},
    }
    return fields(shown, lambda name: _inline(name, definitions)).replace("| field |", "| param |", 1)


def _inline(name: str, definitions: Mapping[str, Any]) -> str:
    """A named schema where it stands: an object by its fields, others by their kind."""
    schema = definitions[name]
    if schema.get("type") == "object" and schema.get("properties"):
        given = ", ".join(f'"{field}": ...' for field in schema["properties"])
        return f"`{{{given}}}`"
    return kind(schema)


def _data(operation: Operation) -> str:
    """What its data holds: the fields of an object, and of the objects in it."""
    schema = data_schema(operation)
    definitions = schema.get("$defs", {})
    shown: dict[str, Mapping[str, Any]] = {}

    def link(name: str) -> str:
        definition = definitions[name]
        if definition.get("type") != "object":
            return kind(definition, link)
        shown.setdefault(name, definition)
        return code(name)

    whole = definitions[named(schema["$ref"])] if "$ref" in schema else schema
    told = one_line(whole.get("description"))
    if whole.get("type") != "object":
        text = f"Data: {kind(whole, link)}{'. ' + told.rstrip('.') if told else ''}.\n"
    else:
        text = f"Data:{' ' + told if told else ''}\n\n{fields(whole, link, defaults=False)}"
    # Describing one may name further ones.
    done: set[str] = set()
    while left := [name for name in shown if name not in done]:
        done.add(left[0])
        text += f"\n`{left[0]}`:\n\n{fields(shown[left[0]], link, defaults=False)}"
    return text


def _engines(operation: Operation) -> str:
    """The engines that make its data, the preferred one first, and the stages before it that have some."""
    own = dict.fromkeys(
        spec for stage, params in makers(operation) for spec in stage.may_be_served_by(params)
    )
    before = {
        stage.type: preferred(specs)
        for stage, params in stages_behind(operation)
        if not own.keys() & set(specs := stage.may_be_served_by(params))
    }
    text = ""
    if own:
        text += table(("engine", "licence", "size", "weights"), map(_row, own))
    if before:
        stages = ", ".join(f"`{stage}` ({engines})" for stage, engines in before.items())
        text += f"{chr(10) if own else ''}Stages before it, for targets that need them: {stages}.\n"
    return text


def _row(spec: EngineSpec) -> tuple[str, ...]:
    size = f"{spec.weights.size_bytes / 1e6:,.0f} MB" if spec.weights.size_bytes else "none"
    return (spec.name, spec.licence, size, spec.weights.source)
