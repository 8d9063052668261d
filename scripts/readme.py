"""Write the parts of the README that come from the registry and the settings.

Each stands between `<!-- generated: NAME -->` and `<!-- end -->`. With --check nothing is written, and a
part that is stale fails.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import click

from app.core.catalog import default_target, makers, other_targets
from app.core.operation import EngineSpec, Operation
from app.core.registry import discover
from app.core.target import TargetName, TargetParams, target_forms, target_names
from app.settings import Settings

# By box and by task.
OTHER_FORMS = [form for form in target_forms(TargetParams) if form not in get_args(TargetName)]
README = Path(__file__).resolve().parent.parent / "README.md"


@click.command()
@click.option("--check", is_flag=True, help="Fail when a part is stale instead of writing it.")
def main(check: bool) -> None:
    """Bring the generated parts of the README up to date."""
    before = README.read_text(encoding="utf-8")
    after = generated(before)
    if check and before != after:
        raise click.ClickException("README.md is stale: run `make docs`")
    if not check:
        README.write_text(after, encoding="utf-8")


def generated(text: str) -> str:
    """The text with every generated part made anew."""
    for name, make in PARTS.items():
        pattern = rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)"
        text, count = re.subn(
            pattern, lambda found, make=make: found[1] + make() + found[2], text, flags=re.DOTALL
        )
        if count != 1:
            raise click.ClickException(f"README.md has {count} parts named '{name}'; one is needed")
    return text


def operations() -> str:
    rows = ["| type | what it does | engines | targets | own params |", "| - | - | - | - | - |"]
    for operation in discover("operations").public.values():
        rows.append(
            f"| `{operation.type}` | {operation.summary} | {_engines(operation)} "
            f"| {_targets(operation)} | {_own_params(operation)} |"
        )
    return "\n".join(rows) + "\n"


def engines() -> str:
    rows = [
        "| engine | serves | weights | size | licence | sees | ms | what it cannot do |",
        "| - | - | - | - | - | - | - | - |",
    ]
    serves: dict[str, list[str]] = {}
    specs: dict[str, EngineSpec] = {}
    for operation in discover("operations").values():
        for spec in operation.engines:
            serves.setdefault(spec.name, []).append(f"`{operation.type}`")
            specs[spec.name] = spec
    for name, spec in sorted(specs.items(), key=lambda entry: (serves[entry[0]], entry[0])):
        size = f"{spec.weights.size_bytes / 1e6:,.1f} MB" if spec.weights.size_bytes else "none"
        rows.append(
            f"| {name} | {', '.join(serves[name])} | {spec.weights.source} | {size} | {spec.licence} "
            f"| {spec.input_size or 'as it is'} | {_or_dash(spec.cost_ms)} | {spec.limits} |"
        )
    return "\n".join(rows) + "\n"


def settings() -> str:
    rows = ["| variable | default | meaning |", "| - | - | - |"]
    # Defaults that depend on the machine.
    told = {"lanes": "cores", "data": "the user's data folder"}
    for name, field in Settings.model_fields.items():
        default = told.get(name) or _shown_default(field.get_default(call_default_factory=True))
        rows.append(f"| `SIGHTGRAPH_{name.upper()}` | {default} | {_one_line(field.description)} |")
    return "\n".join(rows) + "\n"


def _shown_default(value: Any) -> str:
    if isinstance(value, tuple):
        value = ", ".join(value)
    return "none" if value in (None, "", {}) else str(value)


def _engines(operation: Operation) -> str:
    """Those that make its data: its own or, where it only passes on what others made, theirs."""
    specs = [stage.may_be_served_by(params) for stage, params in makers(operation)]
    return ", ".join(dict.fromkeys(map(_preferred, specs))) or "none"


def _preferred(specs: Sequence[EngineSpec]) -> str:
    others = len(specs) - 1
    name = specs[0].name
    return name if others == 0 else f"{name} or {others} other{'s' if others > 1 else ''}"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _targets(operation: Operation) -> str:
    default = default_target(operation)
    names = sorted(target_names(operation.params), key=lambda name: name != default)
    if not names:
        return "none"
    if set(names) == set(get_args(TargetName)) and len(other_targets(operation)) == len(OTHER_FORMS):
        return f"any; default `{default}`"
    return ", ".join(f"`{name}`" for name in names)


def _own_params(operation: Operation) -> str:
    common = {"target", "face_context", "on_missing", "crop_format"}
    own = [name for name in operation.params.model_fields if name not in common]
    return ", ".join(f"`{name}`" for name in own) or "none"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


PARTS: dict[str, Callable[[], str]] = {
    "operations": operations,
    "engines": engines,
    "settings": settings,
}

if __name__ == "__main__":
    main()
