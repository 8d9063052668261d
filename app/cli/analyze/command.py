"""The command."""

import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.analyze.sources import is_folder, sources_of
from app.cli.connection import connected, encodable, server_options, understood
from app.cli.progress import waiting
from app.cli.tasks.given import TasksGiven, task_options
from app.core.image_url import is_url

if TYPE_CHECKING:
    from app.cli.analyze.analysis import Analysis


def _encodable(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    for text in given:
        if is_url(text):
            encodable(context, parameter, text)
    return given


@click.command()
@click.argument(
    "images",
    metavar="IMAGE...",
    nargs=-1,
    required=True,
    # Whatever it is: the type only tells shells what to complete.
    type=click.Path(readable=False),
    callback=_encodable,
)
@task_options
@click.option("-r", "--recursive", is_flag=True, help="Also the images in the folders of a folder.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the server's answer, with the image as it was given in `source`: one JSON document; for "
    "folders and several images one a line, as each is done.",
)
@click.option(
    "--save-crops",
    "crops",
    metavar="DIR",
    type=click.Path(file_okay=False, writable=True, path_type=Path),
    help="Write the pixels of every region that was worked on.",
)
@click.option(
    "--annotate",
    metavar="DIR|FILE",
    type=click.Path(writable=True, path_type=Path),
    help="Draw what was found on the image: into a folder, or for one image into a file.",
)
@server_options
def analyze(
    images: tuple[str, ...],
    given: Sequence[str],
    file: Path | None,
    recursive: bool,
    as_json: bool,
    crops: Path | None,
    annotate: Path | None,
    server: str | None,
    offline: bool,
) -> None:
    """Run tasks on images: files, URLs, and folders of images.

    \b
    sightgraph analyze photo.jpg -t detect_bounding_box:target=all_faces
    sightgraph analyze photo.jpg -t read_text:min_confidence=0.8 -t image_properties
    sightgraph analyze photo.jpg -t face=detect_bounding_box:target=prominent_face \\
        -t crop:target=task:face --save-crops faces
    sightgraph analyze holiday/ -r -t describe_image --json > captions.ndjson

    Lists are written a,b and targets whole_image, all_faces, bbox:10,20,200,300 or task:ID, for what
    another task found. A text that holds ,NAME= goes in double quotes; any value may be JSON. A task without
    an ID has its type as one, and the second of a type TYPE_2.

    The exit code is 1 when a task ended in an error or an image cannot be analysed.
    """
    import asyncio

    tasks = TasksGiven(given, file)
    found = sources_of(images, recursive=recursive)
    several = len(images) > 1 or is_folder(images[0])
    if annotate is not None:
        from app.cli.analyze.image_files import check_place

        check_place(annotate, found.images, several)

    async def run() -> "Analysis":
        from app.cli.analyze.analysis import Analysis

        async with AsyncExitStack() as stack:
            with waiting("starting"):
                reached = await stack.enter_async_context(connected(server, offline, needs_index=False))
                catalog = await reached.operations()
            with understood():
                analysis = Analysis(
                    found.images,
                    tasks.on_wire(catalog),
                    catalog,
                    as_json=as_json,
                    several=several,
                    crops=crops,
                    annotate=annotate,
                )
            await analysis.run(reached)
            return analysis

    analysis = asyncio.run(run())
    for path, why in found.closed:
        analysis.refused(path, why)
    analysis.tell_written()
    sys.exit(1 if analysis.failed else 0)
