"""The command."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from app.cli.connection import connected, encodable, server_options, understood
from app.cli.tasks.given import TasksGiven, task_options
from app.core.image_url import is_url


def _image(context: click.Context, parameter: click.Parameter, image: str | None) -> Path | str | None:
    if image is None:
        return None
    if is_url(image):
        return encodable(context, parameter, image)
    if not Path(image).is_file():
        raise click.BadParameter(f"there is no file '{image}'.")
    return Path(image)


@click.command()
@click.argument("image", metavar="[IMAGE]", required=False, type=click.Path(readable=False), callback=_image)
@task_options
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer, as JSON.")
@click.option("--mermaid", "as_mermaid", is_flag=True, help="Print a Mermaid flowchart.")
@server_options
def plan(
    image: Path | str | None,
    given: Sequence[str],
    file: Path | None,
    as_json: bool,
    as_mermaid: bool,
    server: str | None,
    offline: bool,
) -> None:
    """Show what tasks would run, without running them.

    Every stage stands once, with the tasks that share it. With the file of an IMAGE that the server has seen
    it is told which results are cached; the image is not sent. What a stage costs is known of a server that
    has run it.
    """
    import asyncio

    if as_json and as_mermaid:
        raise click.UsageError("Give one of --json and --mermaid.")

    tasks = TasksGiven(given, file)

    async def ask() -> dict[str, Any]:
        async with connected(server, offline, needs_index=False) as reached:
            catalog = await reached.operations()
            try:
                return await reached.plan(image, tasks.on_wire(catalog))
            except OSError as error:
                raise click.FileError(str(image), error.strerror) from None

    planned = asyncio.run(ask())
    if as_json:
        click.echo(json.dumps(planned, indent=1))
        return
    with understood():
        if as_mermaid:
            from app.api.mermaid import flowchart

            click.echo(flowchart(planned), nl=False)
        else:
            from app.cli.plan.tree import print_plan

            print_plan(planned)
