"""Commands that are imported when they run: the list of all of them takes no longer than the help of one."""

import importlib
from typing import Any

import click

from app.cli.ending import INTERRUPTED


class LazyCommand(click.Command):
    """Stands for a command in the list of its group.

    Args:
        name: of the command.
        place: where it is, as `module:attribute`.
        help: what it does, as the first line of its own help says.
    """

    def __init__(self, name: str, place: str, help: str) -> None:
        super().__init__(name, help=help)
        self._place = place

    @property
    def loaded(self) -> click.Command:
        """The command itself."""
        module, _, attribute = self._place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        return self.loaded.make_context(info_name, args, parent, **extra)


class Commands(click.Group):
    """A group that ends as a shell expects when Ctrl-C ends one of its commands."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Below what the terminal shows of the key.
            click.echo(err=True)
            ctx.exit(INTERRUPTED)
