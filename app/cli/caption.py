"""`sightgraph caption`: a text beside every image of a folder, which says what it shows."""

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.connection import encodable, server_options
from app.cli.ending import INTERRUPTED, STOPPING, stopped_by_interrupt
from app.cli.printing import printable
from app.cli.progress import Bar, image_bars

if TYPE_CHECKING:
    from app.cli.captioning import Images, Tally, Wording

# Together they keep the server's lanes busy while images are read, sent and written.
DEFAULT_WORKERS = 4


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--force", "-f", is_flag=True, help="Write the texts anew that are there.")
@click.option("--prefix", default="", callback=encodable, help="What every text begins with: 'a photo of '.")
@click.option("--suffix", default="", callback=encodable, help="What every text ends with.")
@click.option(
    "--max-length",
    type=click.IntRange(min=1),
    help="Tokens of a caption at most, about three quarters as many words.  [default: that of the server]",
)
@click.option(
    "--workers",
    default=DEFAULT_WORKERS,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Images at once.",
)
@click.option(
    "--recursive", "-r", is_flag=True, help="Also the folders in FOLDER, but for hidden ones and links."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each image, and one for all.")
@server_options
def caption(
    folder: Path,
    force: bool,
    prefix: str,
    suffix: str,
    max_length: int | None,
    workers: int,
    recursive: bool,
    as_json: bool,
    server: str | None,
    offline: bool,
) -> None:
    """Caption the images of a folder.

    NAME.txt is written beside NAME.jpg: the caption and nothing else, on one line. Images that have one are
    left alone, so that the same command goes on where it was interrupted.
    """
    from app.cli.captioning import Wording

    wording = Wording(max_length, prefix, suffix)
    caption_folder(
        folder,
        wording,
        force=force,
        workers=workers,
        recursive=recursive,
        as_json=as_json,
        server=server,
        offline=offline,
    )


def caption_folder(
    folder: Path,
    wording: "Wording",
    *,
    force: bool = False,
    workers: int = DEFAULT_WORKERS,
    recursive: bool = False,
    as_json: bool = False,
    server: str | None = None,
    offline: bool = False,
) -> None:
    """Caption a folder, tell how it goes, and end the process with the code for it.

    Raises:
        ClickException: nothing could be captioned, or it could not be gone on with.
    """
    import asyncio

    from app.cli.captioning import Captioning, Tally, sorted_out
    from app.cli.connection import connected
    from app.cli.folder import contents, image_suffixes

    walked = contents(folder, image_suffixes(), recursive=recursive)
    images = sorted_out(folder, walked.images, force=force)
    tally = Tally()
    expected = len(images.left) + len(images.clashing) + len(walked.closed)
    bars = image_bars()
    report = _Report(Bar(bars, bars.add_task("captions", total=expected)), as_json)
    for path, why in walked.closed:
        tally.failed += 1
        report.failed(path, why)
    for path, other in images.clashing:
        tally.failed += 1
        report.failed(path, f"its text would be that of {other}; rename one of the two")

    async def bring() -> Captioning:
        async with connected(server, offline, needs_index=False) as reached:
            captioning = Captioning(reached, folder, wording, tally, report, force=force, workers=workers)

            def stop() -> None:
                captioning.stop()
                report.say(STOPPING)

            with stopped_by_interrupt(stop):
                await captioning.run(images.left)
            return captioning

    if not walked.images and not walked.closed:
        click.echo(f"No images are in {printable(str(folder))}.", err=True)
    captioning = None
    if images.left:
        with contextlib.suppress(KeyboardInterrupt), bars:
            captioning = asyncio.run(bring())
    for warning in tally.warnings:
        click.echo(f"Warning: {printable(warning)}", err=True)
    report.end(tally, images)
    if images.left and (captioning is None or captioning.stopped):
        if captioning is not None and captioning.problem:
            raise click.ClickException(printable(captioning.problem))
        click.echo("The same command goes on with what is left.", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(1 if tally.failed else 0)


class _Report:
    """What is shown of a run: failures on standard error, and the outcome on standard output."""

    def __init__(self, bar: Bar, as_json: bool) -> None:
        self._bar = bar
        self._as_json = as_json

    def captioned(self, path: str, text: str, engine: str) -> None:
        from app.cli.caption_texts import text_of

        self._line({"image": path, "file": text_of(path), "caption": text, "engine": engine})
        self._bar.seen()

    def failed(self, path: str, why: str) -> None:
        if self._as_json:
            self._line({"image": path, "error": why})
        else:
            self._bar.failed(path, why)
        self._bar.seen()

    def say(self, line: str) -> None:
        self._bar.say(line)

    def end(self, tally: "Tally", images: "Images") -> None:
        if self._as_json:
            self._line(
                {
                    "captioned": tally.written,
                    "had_a_text": len(images.done),
                    "failed": tally.failed,
                    "seconds": round(tally.seconds, 3),
                    "engines": dict(tally.engines),
                }
            )
        else:
            click.echo(_summary(tally, images))

    def _line(self, facts: dict[str, Any]) -> None:
        if self._as_json:
            # In ASCII: a name on the disk need not be UTF-8.
            click.echo(json.dumps(facts))


def _summary(tally: "Tally", images: "Images") -> str:
    by = " and ".join(printable(engine) for engine in tally.engines)
    rate = tally.written / tally.seconds if tally.seconds else 0.0
    took = f"; {tally.seconds:.1f} s, {rate:.2f} images/s" if tally.seconds else ""
    return (
        f"{tally.written} captioned{f' by {by}' if by else ''}, {len(images.done)} had a text, "
        f"{tally.failed} failed{took}"
    )
