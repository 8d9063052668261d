"""The command: a short load of each kind, and its figures."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.connection import server_options
from app.cli.printing import print_table, printable
from app.cli.tasks.given import Catalog, TasksGiven, task_options

if TYPE_CHECKING:
    from app.cli.bench.load import Seen
    from app.cli.bench.measuring import Measured

Tasks = Sequence[Mapping[str, Any]]

# Where models are to be had now, or at the first request.
_USABLE = ("ready", "on_disk", "unloaded", "loading")


@click.command()
@click.argument(
    "images", metavar="[IMAGE]...", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@task_options
@click.option(
    "--concurrency",
    default=8,
    show_default=True,
    type=click.IntRange(2, 256),
    help="Requests at once, in the second half of each measurement; one at a time in the first.",
)
@click.option(
    "--seconds",
    default=3.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="For each half. Requests that were begun are waited for.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@server_options
def bench(
    images: tuple[Path, ...],
    given: tuple[str, ...],
    file: Path | None,
    concurrency: int,
    seconds: float,
    as_json: bool,
    server: str | None,
    offline: bool,
) -> None:
    """Measure how fast images are analysed.

    One at a time, and several at once. The tasks given are one request. Without any, every operation whose
    model is here is measured on its own. Without an IMAGE a photo of 512x512 is sent. Each request has other
    bytes, so that no cache answers it. A light endpoint is asked meanwhile: it shows whether the server stays
    responsive.
    """
    import asyncio

    from app.cli.connection import connected

    tasks = TasksGiven(given, file) if given or file is not None else None
    photos = _photos(images)

    async def measure() -> "list[Measured]":
        from app.cli.bench.measuring import light_of, measured

        async with connected(server, offline, needs_index=False) as reached:
            catalog = await reached.operations()
            loads = _of_each(catalog) if tasks is None else _as_one(tasks.on_wire(catalog))
            light = light_of(reached, server)
            found = []
            for name, load in loads.items():
                _progress(f"{name} ...", as_json)
                found.append(await measured(reached, name, load, photos, concurrency, seconds, light))
            return found

    found = asyncio.run(measure())
    if as_json:
        click.echo(
            json.dumps({"concurrency": concurrency, "loads": [each.as_json() for each in found]}, indent=1)
        )
    else:
        _print(found, concurrency)
    problems = [f"{each.name}: {each.problem}" for each in found if each.problem]
    for problem in problems:
        click.echo(printable(problem), err=True)
    sys.exit(1 if problems or not found else 0)


def _photos(paths: Sequence[Path]) -> list[bytes]:
    if not paths:
        return [_astronaut()]
    try:
        return [path.read_bytes() for path in paths]
    except OSError as error:
        raise click.FileError(str(error.filename), error.strerror) from None


def _astronaut() -> bytes:
    """A photo with a face and a person."""
    import io

    import PIL.Image

    from app.api.samples import SAMPLES, sample_image

    file = io.BytesIO()
    with PIL.Image.open(io.BytesIO(sample_image(SAMPLES["astronaut"]))) as photo:
        photo.save(file, "JPEG", quality=90)
    return file.getvalue()


def _as_one(tasks: Tasks) -> dict[str, Tasks]:
    return {" + ".join(str(task["type"]) for task in tasks): tasks}


def _of_each(catalog: Catalog) -> dict[str, Tasks]:
    """The example of every operation whose model is here, by its type.

    Raises:
        ClickException: there is none.
    """
    usable: dict[str, Tasks] = {
        name: [{"type": name, "params": facts["example"] or {}}]
        for name, facts in catalog.items()
        if facts["engine"] is not None and facts["state"] in _USABLE
    }
    if not usable:
        raise click.ClickException("No operation with a model is ready; `sightgraph doctor` says why.")
    return usable


def _progress(line: str, as_json: bool) -> None:
    """On a terminal, so that nobody waits before an empty one."""
    if sys.stderr.isatty() and not as_json:
        click.echo(line, err=True)


def _print(found: "Sequence[Measured]", concurrency: int) -> None:
    """Two rows for each load: one request at a time, and several."""
    headings = ["tasks", "engine", "first ms", "at once", "p50 ms", "p95 ms", "p99 ms", "per s", "light p99"]
    rows = []
    for each in found:
        what = [each.name, ", ".join(each.engines), _shown(each.first_ms)]
        rows.append([*what, "1", *_figures(each.alone)])
        rows.append(["", "", "", str(concurrency), *_figures(each.together)])
    print_table(headings, rows)


def _figures(seen: "Seen") -> list[str]:
    from app.cli.bench.measuring import figures

    told = figures(seen)
    latencies = [told[f"p{percent}_ms"] for percent in (50, 95, 99)]
    return [_shown(number) for number in (*latencies, told["per_second"], told["light"]["p99_ms"])]


def _shown(number: float | None) -> str:
    return "-" if not number else f"{number:,.1f}"
