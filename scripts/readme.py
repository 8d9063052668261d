"""Write the parts of the README that come from the registry and the settings.

Each stands between `<!-- generated: NAME -->` and `<!-- end -->`. With --check nothing is written, and a
part that is stale fails.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import click

from app.core.catalog import default_target, engines_behind, other_targets
from app.core.operation import Operation
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
        "| engine | used by | weights | size | licence | what it cannot do |",
        "| - | - | - | - | - | - |",
    ]
    found = {
        spec.name: (stage, spec)
        for operation in discover("operations").public.values()
        for stage, spec in engines_behind(operation)
    }
    for name, (stage, spec) in sorted(found.items()):
        # Versions are pinned elsewhere; the table would be stale with every one of them.
        source = re.sub(r" [\d.]+$", "", spec.weights.source)
        size = f"{spec.weights.size_bytes / 1e6:.1f} MB" if spec.weights.size_bytes else "none"
        rows.append(f"| {name} | `{stage.type}` | {source} | {size} | {spec.licence} | {spec.limits} |")
    return "\n".join(rows) + "\n"


def settings() -> str:
    rows = ["| variable | default | meaning |", "| - | - | - |"]
    for name, field in Settings.model_fields.items():
        default = "cores" if name == "lanes" else field.get_default()
        default = "none" if default == () else default
        rows.append(f"| `SIGHTGRAPH_{name.upper()}` | {default} | {_one_line(field.description)} |")
    return "\n".join(rows) + "\n"


def _engines(operation: Operation) -> str:
    """Those that make its data: its own or, where it only passes regions on, those that find them."""
    behind = engines_behind(operation) if operation.model_of else []
    specs = [*operation.engines, *(spec for _, spec in behind)]
    return ", ".join(dict.fromkeys(spec.name for spec in specs)) or "none"


def _targets(operation: Operation) -> str:
    default = default_target(operation)
    names = sorted(target_names(operation.params), key=lambda name: name != default)
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
