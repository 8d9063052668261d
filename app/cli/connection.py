"""How a command reaches a server: one that runs elsewhere, or the application in this process.

Both are spoken to over HTTP, so that there is one path.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from app.cli.printing import printable
from app.cli.starting import declarations_told, read_settings
from app.core.access import API_KEY_VARIABLE
from app.core.errors import SightgraphError

if TYPE_CHECKING:
    from app.client import AsyncSightgraph

Command = TypeVar("Command", bound=Callable[..., Any])

_SHOWN = 160


def server_options(command: Command) -> Command:
    """Which server a command talks to; `connected` takes both. What that refuses ends the command."""
    options = (
        click.option(
            "--server",
            metavar="URL",
            callback=checked_url,
            help="A running server. Without it the work is done in this process. "
            f"The API key that a server asks for is taken from the variable {API_KEY_VARIABLE}.",
        ),
        click.option(
            "--offline", is_flag=True, help="In this process: keep off the network for model weights."
        ),
    )
    command = refusals_told(command)
    for option in reversed(options):
        command = option(command)
    return command


def refusals_told(command: Command) -> Command:
    """What a server refuses, or that there is none, ends the command with a message."""

    @wraps(command)
    def told(*args: Any, **given: Any) -> Any:
        try:
            return command(*args, **given)
        except SightgraphError as error:
            raise click.ClickException(printable(str(error))) from None

    return cast("Command", told)


@contextmanager
def understood() -> Iterator[None]:
    """The time in which an answer is read, shown or drawn. One of another form, as an older server or no
    server of ours sends it, ends the command with a message."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        from app.core.wording import shortened

        what = shortened(" ".join(f"{type(error).__name__}: {error}".split()), _SHOWN)
        raise click.ClickException(
            f"the answer is not as a server of this version of Sightgraph sends it ({printable(what)}). "
            "Is the server of another version?"
        ) from error


@asynccontextmanager
async def connected(
    server: str | None, offline: bool, *, needs_index: bool = True
) -> "AsyncIterator[AsyncSightgraph]":
    """The server at an address, or without one the application in this process, with the settings of the
    environment.

    Args:
        server: the address.
        offline: whether the application in this process keeps off the network for model weights.
        needs_index: whether it must have its index, which another process may hold.

    Raises:
        ClickException: a setting or an operation is wrong, or both options are given.
    """
    import httpx

    from app.client import AsyncSightgraph

    if server is not None:
        if offline:
            raise click.UsageError(
                "--offline is for this process; the server of --server has its own settings."
            )
        async with AsyncSightgraph(server) as reached:
            yield reached
        return
    settings = read_settings(offline=offline)
    # What a server warns of in its log, the answers of this one say.
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")
    from app.api.doors import UNGUARDED
    from app.cli.in_process import InProcessTransport
    from app.main import create_app

    with declarations_told():
        # A command ends soon: nothing is downloaded beside it, or loaded before it is needed.
        ahead = settings.model_copy(update={"pull": ()})
        app = create_app(ahead, load_ahead=False, doors=UNGUARDED)
    transport = InProcessTransport(app)
    problem: BaseException | None = None
    async with (
        app.lifespan(),
        httpx.AsyncClient(base_url="http://this-process", transport=transport) as client,
    ):
        # What leaves the lifespan as an exception would come out in a group; so would the exit of a command
        # whose output nobody reads any more.
        try:
            reached = AsyncSightgraph(client=client)
            yield await _with_index(reached) if needs_index else reached
        except BaseException as error:
            problem = error
    if problem is not None:
        raise problem


async def _with_index(server: "AsyncSightgraph") -> "AsyncSightgraph":
    """A server whose index can be used.

    Raises:
        ClickException: it cannot; another process holds it, say.
    """
    from app.client import Refused

    try:
        await server.collections()
    except Refused as error:
        raise click.ClickException(
            f"{error.message} The index of a server that runs is reached with --server URL."
        ) from None
    return server


def encodable(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """The callback of what is sent as text: a shell also passes bytes on that are none."""
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise click.BadParameter("must be UTF-8.") from None
    return text


def checked_url(context: click.Context, parameter: click.Parameter, url: str | None) -> str | None:
    """The callback of an option that takes a server's address."""
    if url is None:
        return None
    from app.client import InvalidInput, connection

    try:
        return connection.checked_url(url)
    except InvalidInput as error:
        raise click.BadParameter(printable(str(error).removeprefix("url: "))) from None
