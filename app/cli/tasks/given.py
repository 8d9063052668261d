"""Tasks as a command line gives them: `-t [ID=]TYPE[:PARAM=VALUE,...]`, or a file as on the wire."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from app.cli.connection import encodable, understood
from app.cli.printing import printable
from app.cli.tasks.json_schema import Schema, in_words
from app.cli.tasks.known_types import complete_task
from app.cli.tasks.param_values import ValueRefused, nearest, text_of, value_of

Command = TypeVar("Command", bound=Callable[..., Any])

# As the server answers it.
Catalog = Mapping[str, Mapping[str, Any]]

_NAME = re.compile(r"\s*(\w+)=")
_END = re.compile(r",(?=\s*\w+=)|\Z")
_HINT = "-t"


def task_options(command: Command) -> Command:
    """What is done with an image; `TasksGiven` takes both."""
    options = (
        click.option(
            "-t",
            "--task",
            "given",
            multiple=True,
            metavar="[ID=]TYPE[:PARAM=VALUE,...]",
            callback=lambda context, parameter, texts: [
                encodable(context, parameter, text) for text in texts
            ],
            shell_complete=complete_task,
            help="A task, may be given several times. `sightgraph operations` lists the types, "
            "`sightgraph operations TYPE` the params of one.",
        ),
        click.option(
            "--tasks",
            "file",
            type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
            metavar="FILE",
            help="Tasks as on the wire, a JSON list; - is standard input.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


class TasksGiven:
    """The tasks of a command.

    Args:
        given: values of `-t`.
        file: that of `--tasks`.

    Raises:
        UsageError: there are none, or the file holds none.
    """

    def __init__(self, given: Sequence[str], file: Path | None) -> None:
        self._given = given
        self._of_file = [] if file is None else _of_file(file)
        if not given and not self._of_file:
            raise click.UsageError(
                "Say what to do: -t TYPE, or --tasks FILE. `sightgraph operations` lists the types."
            )

    def on_wire(self, catalog: Catalog) -> list[dict[str, Any]]:
        """As they are sent; one of `-t` has no id where none is given.

        Args:
            catalog: what the server has.

        Raises:
            UsageError: one of `-t` cannot be understood.
            ClickException: the catalog cannot.
        """
        with understood():
            return [*self._of_file, *(parsed_task(text, catalog) for text in self._given)]


def parsed_task(text: str, catalog: Catalog) -> dict[str, Any]:
    """A task of `-t` as it is sent, with an id where one is given.

    Raises:
        BadParameter: there is no such type or param, or a value does not fit it.
    """
    head, _, params = text.partition(":")
    task_id, named, type_ = head.rpartition("=")
    if named and not task_id:
        raise click.BadParameter(f"'{text}' names no id before the '='.", param_hint=_HINT)
    facts = facts_of(type_, catalog, _HINT)
    try:
        values = _params(params, Schema.root(facts["params"]))
    except ValueRefused as error:
        told = printable(f"{type_}: {_sentence(f'{error}')}")
        raise click.BadParameter(told, param_hint=_HINT) from None
    return {**({"operation_id": task_id} if task_id else {}), "type": type_, "params": values}


def facts_of(type_: str, catalog: Catalog, hint: str) -> Mapping[str, Any]:
    """What the catalog says of a type.

    Args:
        type_: of an operation.
        catalog: what the server has.
        hint: what gave the type.

    Raises:
        BadParameter: there is none; the message names the nearest.
    """
    facts = catalog.get(type_)
    if facts is None:
        remedy = _did_you_mean(type_, catalog) or f"There are: {', '.join(catalog)}."
        told = printable(f"no operation is called '{type_}'. {remedy}")
        raise click.BadParameter(told, param_hint=hint)
    return facts


def as_given(type_: str, params: Mapping[str, Any]) -> str:
    """A task as `-t` takes it."""
    told = ",".join(f"{name}={text_of(value)}" for name, value in params.items())
    return f"{type_}:{told}" if told else type_


def _params(text: str, schema: Schema) -> dict[str, Any]:
    if text.startswith("{"):
        try:
            value: dict[str, Any] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueRefused(f"the params are not valid JSON: {error}") from None
        return value
    known = schema.properties
    params: dict[str, Any] = {}
    for name, value_text in _split(text):
        if name not in known:
            near = _did_you_mean(name, known) or (f"It has: {', '.join(known)}" if known else "It has none")
            raise ValueRefused(f"has no param '{name}'. {near}")
        if name in params:
            raise ValueRefused(f"{name} is given twice")
        try:
            params[name] = value_of(value_text, known[name])
        except ValueRefused as error:
            raise ValueRefused(f"{name} {error}") from None
    for name in schema.required:
        if name not in params:
            raise ValueRefused(f"needs {name}=..., {in_words(known[name])}")
    return params


def _split(text: str) -> Iterable[tuple[str, str]]:
    """The params of a text and their values: a value goes on until `,NAME=`, and JSON to its own end."""
    place = 0
    while place < len(text):
        name = _NAME.match(text, place)
        if name is None:
            raise ValueRefused(f"'{text[place:]}' is not of the form PARAM=VALUE")
        start = name.end()
        end = _END.search(text, _end_of_json(text, start))
        assert end is not None
        yield name[1], text[start : end.start()].strip()
        place = end.end()


def _end_of_json(text: str, start: int) -> int:
    """Where a value that is JSON, and may hold commas, ends; its start where it is none."""
    if text[start : start + 1] not in ('"', "[", "{"):
        return start
    try:
        return json.JSONDecoder().raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return start


def _of_file(file: Path) -> list[dict[str, Any]]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        tasks = json.loads(text)
    except OSError as error:
        raise click.FileError(str(file), error.strerror) from None
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{file} is not valid JSON: {error}.", param_hint="--tasks") from None
    if not isinstance(tasks, list) or not all(map(_is_task, tasks)):
        raise click.BadParameter(
            f'{file} must hold a list of tasks, such as [{{"operation_id": "a", "type": "read_text"}}].',
            param_hint="--tasks",
        )
    return tasks


def _is_task(value: Any) -> bool:
    """Whether it can be told which task it is; the rest is for the server to judge."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("type"), str)
        and isinstance(value.get("operation_id"), str | None)
    )


def _did_you_mean(name: str, known: Iterable[str]) -> str | None:
    near = nearest(name, known)
    return f"Did you mean '{near}'?" if near else None


def _sentence(text: str) -> str:
    return text if text.endswith("?") else f"{text}."
