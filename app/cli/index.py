"""`sightgraph index`: the images of a folder as a collection that can be searched."""

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.connection import connected, encodable, server_options
from app.cli.ending import INTERRUPTED, STOPPING, stopped_by_interrupt
from app.cli.printing import printable
from app.cli.progress import Bar, image_bars

if TYPE_CHECKING:
    from app.cli.indexing import Tally
    from app.client import AsyncSightgraph

DEFAULT_OPERATION = "embed_hog_hsv"


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--collection",
    required=True,
    metavar="NAME",
    callback=encodable,
    help="It is made when it is missing.",
)
@click.option(
    "--operation",
    callback=encodable,
    help=f"What embeds the images of a new collection.  [default: {DEFAULT_OPERATION}]",
)
@click.option(
    "--target",
    callback=encodable,
    help="Which part of each image, in a new collection: all_faces, say.  [default: that of the operation]",
)
@click.option(
    "--thumbnails/--no-thumbnails",
    default=True,
    show_default=True,
    help="Whether a small picture of what is added is kept, for `search --sheet`.",
)
@click.option(
    "--delete-missing",
    is_flag=True,
    help="Take out the items whose file is gone. For a collection of this folder alone.",
)
@click.option(
    "--workers",
    default=2,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Requests at once, each with several images.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the counts at the end as JSON.")
@server_options
def index(
    folder: Path,
    collection: str,
    operation: str | None,
    target: str | None,
    thumbnails: bool,
    delete_missing: bool,
    workers: int,
    as_json: bool,
    server: str | None,
    offline: bool,
) -> None:
    """Bring the images of a folder into a collection.

    The folders in FOLDER belong to it, but for hidden ones and links. An image's id is its path in FOLDER.

    Images that the collection has as they are, by the hash of their contents, stay untouched. Changed ones
    are replaced. So the same command goes on where it was interrupted.
    """
    import asyncio

    from app.cli.folder import contents, image_suffixes
    from app.cli.indexing import Indexing, Tally

    walked = contents(folder, image_suffixes())
    tally = Tally()
    bars = image_bars()
    watcher = Bar(bars, bars.add_task(printable(collection), total=len(walked.images)))
    for path, why in walked.closed:
        tally.failed += 1
        watcher.failed(path, why)
    if not walked.images:
        counts = _counts(tally, walked.ignored)
        nothing = f"No images are in {printable(str(folder))}."
        click.echo(_json(collection, tally, counts) if as_json else nothing)
        sys.exit(1 if walked.closed else 0)

    async def bring() -> Indexing:
        async with connected(server, offline) as reached:
            await _found_or_made(reached, collection, operation, target)
            indexing = Indexing(
                reached, collection, folder, tally, watcher, thumbnails=thumbnails, workers=workers
            )

            def stop() -> None:
                indexing.stop()
                watcher.say(STOPPING)

            with stopped_by_interrupt(stop):
                await indexing.run(walked.images, delete_missing=delete_missing)
            return indexing

    indexing = None
    with contextlib.suppress(KeyboardInterrupt), bars:
        indexing = asyncio.run(bring())
    counts = _counts(tally, walked.ignored)
    click.echo(_json(collection, tally, counts) if as_json else _summary(collection, tally, counts))
    if indexing is None or indexing.stopped:
        click.echo("The same command goes on with what is left.", err=True)
        if indexing is not None and indexing.problem is not None:
            raise indexing.problem
        sys.exit(INTERRUPTED)
    sys.exit(1 if tally.failed else 0)


async def _found_or_made(
    server: "AsyncSightgraph", name: str, operation: str | None, target: str | None
) -> None:
    """See to it that a collection is there, and that it is the one that was asked for.

    Raises:
        Refused: it cannot be made.
        ClickException: there is one of this name with another operation or target.
    """
    from app.client import Refused

    try:
        found = await server.collection(name)
    except Refused as error:
        if error.status != 404:
            raise
        try:
            found = await server.create(name, operation or DEFAULT_OPERATION, target)
        except Refused as taken:
            if taken.status != 409:
                raise
            # Another one made it meanwhile.
            found = await server.collection(name)
    for option, asked in (("operation", operation), ("target", target)):
        if asked is not None and found[option] != asked:
            raise click.ClickException(
                f"The collection '{name}' has the {option} {found[option]}, not {asked}. "
                f"Leave --{option} out, or choose another name."
            )


def _counts(tally: "Tally", ignored: int) -> dict[str, int]:
    return {
        "added": tally.added,
        "replaced": tally.replaced,
        "unchanged": tally.unchanged,
        "ignored": ignored,
        "failed": tally.failed,
        "deleted": tally.deleted,
    }


def _json(collection: str, tally: "Tally", counts: dict[str, int]) -> str:
    told = {"collection": collection, **counts, "without_region": tally.without_region}
    return json.dumps({**told, "seconds": round(tally.seconds, 3)}, indent=1)


def _summary(collection: str, tally: "Tally", counts: dict[str, int]) -> str:
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    nothing = f"; {tally.without_region} without a region to find" if tally.without_region else ""
    rate = tally.seen / tally.seconds if tally.seconds else 0.0
    return f"{collection}: {told}{nothing}; {tally.seconds:.1f} s, {rate:.1f} images/s"
