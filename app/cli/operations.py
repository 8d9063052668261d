"""`sightgraph operations`: what tasks may ask for."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from app.cli.connection import connected, encodable, server_options, understood
from app.cli.printing import print_table, printable, table_console
from app.cli.tasks.given import as_given, facts_of
from app.cli.tasks.known_types import complete_type

if TYPE_CHECKING:
    from app.cli.tasks.given import Catalog
    from app.cli.tasks.json_schema import Schema

_ABSENT = "absent"


@click.command()
@click.argument("type_", metavar="[TYPE]", required=False, callback=encodable, shell_complete=complete_type)
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer, as JSON.")
@server_options
def operations(type_: str | None, as_json: bool, server: str | None, offline: bool) -> None:
    """List the operations, or show one.

    Of one it tells the params, what the data holds, the engines that may serve it, and an example.
    """
    import asyncio

    async def ask() -> "Catalog":
        async with connected(server, offline, needs_index=False) as reached:
            return await reached.operations()

    catalog = asyncio.run(ask())
    with understood():
        facts = None if type_ is None else facts_of(type_, catalog, "TYPE")
        if as_json:
            click.echo(json.dumps({"operations": catalog} if facts is None else facts, indent=1))
        elif type_ is None or facts is None:
            _print_all(catalog)
        else:
            print_one(type_, facts)


def _print_all(catalog: "Catalog") -> None:
    rows = [
        (name, _state(facts), facts["description"], _targets(facts), facts["default_target"] or "")
        for name, facts in catalog.items()
    ]
    print_table(("type", "state", "what it does", "targets", "default"), rows)
    absent = [name for name, facts in catalog.items() if facts["state"] == _ABSENT]
    if absent:
        click.echo(
            "\nThe weights of those that are absent come with "
            f"`sightgraph models pull --for {printable(absent[0])}`."
        )


def print_one(type_: str, facts: Mapping[str, Any]) -> None:
    """Print all that the catalog says of an operation."""
    from app.cli.tasks.json_schema import Schema, in_words

    click.echo(printable(facts["description"]))
    for line in facts["details"].splitlines():
        click.echo(printable(line))
    params = Schema.root(facts["params"])
    _list(
        "Params",
        {
            name: (f"{in_words(schema)}; {_default(name, params)}", _what(schema))
            for name, schema in params.properties.items()
        },
    )
    data = Schema.root(facts["data"])
    fields = {name: (_what(each),) for name, each in data.properties.items()}
    _list("Data", fields or {"": ("[xmin, ymin, xmax, ymax]" if data.is_box else in_words(data),)})
    _list(
        "Engines",
        {
            each["name"]: (f"{each['operation']}; {_state(each)}; {each['licence']}", each["limits"])
            for each in facts["engines"]
        },
    )
    _section("Example")
    task = as_given(type_, facts["example"] or {})
    click.echo(f"sightgraph analyze photo.jpg -t {shlex.quote(printable(task))}")


def _section(title: str) -> None:
    click.echo(f"\n{click.style(title, bold=True)}")


def _list(title: str, entries: Mapping[str, Sequence[str]]) -> None:
    """What each name stands for, in lines beside it; nothing where there are none."""
    from rich.table import Table
    from rich.text import Text

    if not entries:
        return
    _section(title)
    table = Table.grid(padding=(0, 2))
    for name, lines in entries.items():
        table.add_row(Text(printable(name), "cyan"), Text("\n").join(Text(printable(line)) for line in lines))
    table_console().print(table)


def _targets(facts: Mapping[str, Any]) -> str:
    if facts["other_targets"]:
        return "any"
    return ", ".join(facts["allowed_targets"]) or "none"


def _state(facts: Mapping[str, Any]) -> str:
    return facts["state"] if facts["progress"] is None else f"{facts['state']} {facts['progress']} %"


def _default(name: str, params: "Schema") -> str:
    if name in params.required:
        return "required"
    return f"default {json.dumps(params.properties[name].of.get('default'), ensure_ascii=False)}"


def _what(schema: "Schema") -> str:
    return " ".join(schema.of.get("description", "").split())
