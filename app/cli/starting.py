"""What every command does first: read the settings, and tell what is wrong with them."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from app.settings import Settings


def read_settings(**options: Any) -> "Settings":
    """The settings of the environment; before them go the options of a command that are given. A variable
    that is none is told.

    Raises:
        ClickException: one is wrong.
    """
    settings = checked_settings(**options)
    for name in unnecessary_variables(os.environ):
        click.echo(f"Warning: {name} is no setting of this server.", err=True)
    return settings


def checked_settings(**options: Any) -> "Settings":
    """The same, and nothing is told.

    Raises:
        ClickException: one is wrong.
    """
    from pydantic import ValidationError

    from app.core.wording import explain
    from app.settings import Settings

    try:
        return Settings(**{name: value for name, value in options.items() if value})
    except ValidationError as error:
        problems = error.errors(include_url=False)
        for problem in problems:
            if problem["loc"][0] in ("index_url", "api_keys"):
                problem["input"] = "(not shown: it may hold a secret)"
            problem["loc"] = (f"SIGHTGRAPH_{problem['loc'][0]}".upper(),)
        raise click.ClickException(f"a setting is wrong: {explain(problems)}") from None


def unnecessary_variables(environment: Iterable[str]) -> list[str]:
    """Those of an environment that look like settings of this server, and are none."""
    from app.core.access import API_KEY_VARIABLE
    from app.settings import Settings

    unknown = unknown_settings(environment, Settings.model_fields)
    # A command shows the key to the server of --server; a server has no use for it.
    return [name for name in unknown if name.upper() != API_KEY_VARIABLE]


@contextmanager
def declarations_told() -> Iterator[None]:
    """A wrong declaration of an operation as a message of the command."""
    from app.core.errors import RegistryError

    try:
        yield
    except RegistryError as error:
        raise click.ClickException(f"{error}") from None


def unknown_settings(environment: Iterable[str], known: Iterable[str]) -> list[str]:
    """The variables that look like settings and are none."""
    names = {f"SIGHTGRAPH_{name}".upper() for name in known}
    return sorted(
        name for name in environment if name.upper().startswith("SIGHTGRAPH_") and name.upper() not in names
    )
