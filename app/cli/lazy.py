"""Commands that are imported when they run: the list of all of them takes no longer than the help of one."""

import errno
import importlib
import os
import sys
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
    """A group that ends as a shell expects when Ctrl-C ends one of its commands, and says in a line what the
    system refuses to it."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Below what the terminal shows of the key.
            click.echo(err=True)
            ctx.exit(INTERRUPTED)
        except OSError as error:
            # That nobody reads the output any more is no fault; click ends quietly.
            if error.errno == errno.EPIPE:
                raise
            _give_up_output()
            raise click.ClickException(_told(error)) from error


def _told(error: OSError) -> str:
    from app.cli.folder import reason
    from app.cli.printing import printable

    where = "" if error.filename is None else f"{error.filename}: "
    return printable(f"{where}{reason(error)}")


def _give_up_output() -> None:
    """Where the output cannot be written, Python would try again when it ends, and tell of that too."""
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
