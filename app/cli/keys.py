"""`sightgraph keys`: making API keys."""

import json

import click

from app.core.access import SCOPES, Scope, made_key


@click.group()
def keys() -> None:
    """The API keys of a server: make one."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    default=("analyze",),
    show_default=True,
    help="What the key may do; give it several times for several.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the key and the server's entry as JSON.")
def new(name: str, scopes: tuple[Scope, ...], as_json: bool) -> None:
    """Make a key for the client NAME.

    The key is shown this once, alone on standard output. What the server is told holds a digest of it only,
    and goes to standard error with the rest; with --json both are one document.
    """
    try:
        key, entry = made_key(name, scopes)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="NAME") from None
    if as_json:
        click.echo(json.dumps({"key": key, "entry": str(entry)}, indent=1))
        return
    click.echo("The key, for the client. It is shown this once:", err=True)
    click.echo(key)
    click.echo("The server's entry, for SIGHTGRAPH_API_KEYS; several are separated by commas:", err=True)
    click.echo(entry, err=True)
