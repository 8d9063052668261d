"""The operations of this installation, for a shell that completes words and does not wait long.

They are kept in a small file, which is made anew when the file of an operation changed or a package was
added.
"""

import contextlib
import importlib.util
import json
import os
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# By type: what it does (`summary`), and the choices of each of its `params`.
Known = dict[str, dict[str, Any]]


def complete_task(context: click.Context, parameter: click.Parameter, begun: str) -> "list[CompletionItem]":
    """What `-t` may go on with: types, then params, then the values of those that list them."""
    from click.shell_completion import CompletionItem

    head, colon, params = begun.partition(":")
    named, equals, type_ = head.rpartition("=")
    known = known_types()
    if not colon:
        prefix = named + equals
        return [
            CompletionItem(prefix + name, help=facts["summary"])
            for name, facts in known.items()
            if name.startswith(type_)
        ]
    if type_ not in known:
        return []
    done, comma, last = params.rpartition(",")
    name, equals, value = last.partition("=")
    prefix = head + colon + done + comma
    choices = known[type_]["params"]
    if equals:
        return [
            CompletionItem(f"{prefix}{name}={choice}")
            for choice in choices.get(name, [])
            if choice.startswith(value)
        ]
    return [CompletionItem(f"{prefix}{each}=") for each in choices if each.startswith(name)]


def complete_type(context: click.Context, parameter: click.Parameter, begun: str) -> "list[CompletionItem]":
    """The types that begin so."""
    from click.shell_completion import CompletionItem

    return [
        CompletionItem(name, help=facts["summary"])
        for name, facts in known_types().items()
        if name.startswith(begun)
    ]


def known_types() -> Known:
    """From the file, where it is of now; else from the operations, which takes a second."""
    file, stamp = _file(), None
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        stamp = _stamp()
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["stamp"] == stamp:
            return _of_form(kept["operations"])
    known = _declared()
    # Where it cannot be told whether they change, they are not kept.
    if stamp is not None:
        with contextlib.suppress(OSError):
            _write(file, json.dumps({"stamp": stamp, "operations": known}))
    return known


def _of_form(kept: Any) -> Known:
    """What the file holds, in the form that completions rely on.

    Raises:
        AttributeError, KeyError, TypeError: it has another one.
    """
    return {
        name: {
            "summary": str(facts["summary"]),
            "params": {param: [str(each) for each in choices] for param, choices in facts["params"].items()},
        }
        for name, facts in kept.items()
    }


def _declared() -> Known:
    from app.cli.tasks.json_schema import Schema
    from app.core.catalog import params_schema
    from app.core.errors import RegistryError
    from app.core.registry import discover

    try:
        operations = discover("operations").public
    except RegistryError:
        # A command tells of it; a shell that completes has nowhere to.
        return {}
    return {
        name: {
            "summary": operation.summary,
            "params": {
                param: [str(choice) for each in schema.alternatives for choice in each.choices]
                for param, schema in Schema.root(params_schema(operation)).properties.items()
            },
        }
        for name, operation in operations.items()
    }


def _file() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("sightgraph", appauthor=False) / "operations.json"


def _stamp() -> list[int]:
    """Changes when the file of an operation does, or a package is installed.

    Raises:
        OSError: a file cannot be looked at.
    """
    from app.core.plugins import plugin_modules

    # That of an operation that is installed as editable lies elsewhere.
    modules = ["operations", *plugin_modules()]
    times = [file.stat().st_mtime_ns for module in modules for file in _files(module)]
    packages = Path(sysconfig.get_path("purelib"))
    return [len(times), max(times, default=0), packages.stat().st_mtime_ns if packages.exists() else 0]


def _files(module: str) -> Iterable[Path]:
    """Those of a module and of the modules beside it in its package; none of them is imported."""
    first, *inner = module.split(".")
    spec = importlib.util.find_spec(first)
    if spec is None:
        return []
    if spec.submodule_search_locations is None:
        return [Path(spec.origin)] if spec.origin is not None else []
    return _in_package(spec.submodule_search_locations, inner)


def _in_package(folders: Iterable[str], inner: list[str]) -> Iterator[Path]:
    for folder in folders:
        place = Path(folder, *inner)
        yield from (place if place.is_dir() else place.parent).glob("*.py")


def _write(file: Path, text: str) -> None:
    """As a whole, since another shell may read it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
