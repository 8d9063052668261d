"""Tables of the registry and the settings: operations, engines, settings."""

from collections.abc import Sequence
from typing import Any, get_args

from app.core.catalog import default_target, makers, other_targets
from app.core.operation import EngineSpec, Operation
from app.core.registry import discover
from app.core.target import RegionParams, TargetName, TargetParams, target_forms, target_names
from app.settings import Settings
from scripts.docs.words import one_line, table

# By box and by task.
_OTHER_FORMS = [form for form in target_forms(TargetParams) if form not in get_args(TargetName)]


def operations() -> str:
    headings = ("type", "what it does", "engines", "targets", "own params")
    return table(
        headings,
        (
            (f"`{each.type}`", each.summary, _engines(each), targets(each), _own_params(each))
            for each in discover("operations").public.values()
        ),
    )


def engines() -> str:
    headings = ("engine", "serves", "weights", "size", "licence", "sees", "ms", "what it cannot do")
    serves: dict[str, list[str]] = {}
    specs: dict[str, EngineSpec] = {}
    for operation in discover("operations").values():
        for spec in operation.engines:
            serves.setdefault(spec.name, []).append(f"`{operation.type}`")
            specs[spec.name] = spec
    return table(
        headings,
        (
            (
                name,
                ", ".join(serves[name]),
                spec.weights.source,
                f"{spec.weights.size_bytes / 1e6:,.1f} MB" if spec.weights.size_bytes else "none",
                spec.licence,
                spec.input_size or "as it is",
                "-" if spec.cost_ms is None else f"{spec.cost_ms:,}",
                spec.limits,
            )
            for name, spec in sorted(specs.items(), key=lambda entry: (serves[entry[0]], entry[0]))
        ),
    )


def settings() -> str:
    # Defaults that depend on the machine.
    told = {"lanes": "cores", "data": "the user's data folder"}
    return table(
        ("variable", "default", "meaning"),
        (
            (
                f"`SIGHTGRAPH_{name.upper()}`",
                told.get(name) or _shown_default(field.get_default(call_default_factory=True)),
                one_line(field.description),
            )
            for name, field in Settings.model_fields.items()
        ),
    )


def _shown_default(value: Any) -> str:
    if isinstance(value, tuple):
        value = ", ".join(value)
    return "none" if value in (None, "", {}) else str(value)


def _engines(operation: Operation) -> str:
    """Those that make its data: its own or, where it only passes on what others made, theirs."""
    specs = [stage.may_be_served_by(params) for stage, params in makers(operation)]
    return ", ".join(dict.fromkeys(map(preferred, specs))) or "none"


def preferred(specs: Sequence[EngineSpec]) -> str:
    """The first of engines that do the same job, and how many others there are."""
    others = len(specs) - 1
    name = specs[0].name
    return name if others == 0 else f"{name} or {others} other{'s' if others > 1 else ''}"


def targets(operation: Operation) -> str:
    """The targets that it takes, its default first."""
    default = default_target(operation)
    names = sorted(target_names(operation.params), key=lambda name: name != default)
    if not names:
        return "none"
    if set(names) == set(get_args(TargetName)) and len(other_targets(operation)) == len(_OTHER_FORMS):
        return f"any; default `{default}`"
    return ", ".join(f"`{name}`" for name in names)


def own_params(operation: Operation) -> list[str]:
    """The params that not every operation on regions has."""
    return [name for name in operation.params.model_fields if name not in RegionParams.model_fields]


def _own_params(operation: Operation) -> str:
    return ", ".join(f"`{name}`" for name in own_params(operation)) or "none"
