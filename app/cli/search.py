"""`sightgraph search`: what of a collection is like an image, a text or another item."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.connection import connected, encodable, server_options
from app.cli.printing import printable, table_console
from app.core.wording import shortened

if TYPE_CHECKING:
    import PIL.Image

    from app.client import AsyncSightgraph

_SHOWN_METADATA = 80
_ITEMS_AT_ONCE = 8


def _json_object(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> dict[str, Any] | None:
    if text is None:
        return None
    import orjson

    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise click.BadParameter(f"is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise click.BadParameter("""must be a JSON object, such as '{"folder": "2024"}'.""")
    return value


def _in_a_folder(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder '{path.parent}'.")
    return path


@click.command()
@click.argument("collection", callback=encodable)
@click.option(
    "--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Search by an image file."
)
@click.option(
    "--text", callback=encodable, help="Search by a text, in collections whose operation also embeds texts."
)
@click.option(
    "--id",
    "item_id",
    callback=encodable,
    help="Search by an item of the collection, which is itself left out.",
)
@click.option("-k", default=10, show_default=True, type=click.IntRange(1, 1000), help="How many hits.")
@click.option("--min-score", type=click.FloatRange(-1, 1), help="The least cosine of a hit.")
@click.option(
    "--filter",
    "condition",
    metavar="JSON",
    callback=_json_object,
    help="""Only items whose metadata fit: '{"folder": "2024", "modified": {"gte": "2024-06"}}'.""",
)
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_in_a_folder,
    help="Write the hits as a contact sheet, a PNG; from the thumbnails that were kept.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer, as JSON.")
@server_options
def search(
    collection: str,
    image: Path | None,
    text: str | None,
    item_id: str | None,
    k: int,
    min_score: float | None,
    condition: dict[str, Any] | None,
    sheet: Path | None,
    as_json: bool,
    server: str | None,
    offline: bool,
) -> None:
    """Search a collection by an image, a text or one of its items.

    Scores are cosines: 1 is the same, as the operation of the collection sees it.
    """
    import asyncio

    if sum(source is not None for source in (image, text, item_id)) != 1:
        raise click.UsageError("Give one of --image, --text and --id.")
    options = {"k": k, "min_score": min_score, "filter": condition, "text": text, "id": item_id}
    query = {name: value for name, value in options.items() if value is not None}

    async def find() -> dict[str, Any]:
        async with connected(server, offline) as reached:
            answer = await reached.search(collection, query, image)
            if sheet is not None and answer["hits"]:
                drawn = await _sheet(reached, collection, answer["hits"], image, item_id)
                _write(sheet, drawn)
            return answer

    answer = asyncio.run(find())
    for warning in answer["warnings"]:
        click.echo(f"Warning: {printable(warning)}", err=True)
    if as_json:
        click.echo(json.dumps(answer, indent=1))
    elif answer["hits"]:
        _print_table(answer["hits"])
    else:
        click.echo("Nothing found.")


def _print_table(hits: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("rank", "score"):
        table.add_column(heading, justify="right")
    for heading in ("id", "box", "metadata"):
        table.add_column(heading, overflow="fold")
    for rank, hit in enumerate(hits, 1):
        box = "" if hit["bbox"] is None else " ".join(map(str, hit["bbox"]))
        # The path of a file is its id.
        further = {key: value for key, value in hit["metadata"].items() if value != hit["id"]}
        metadata = shortened(json.dumps(further, ensure_ascii=False), _SHOWN_METADATA)
        cells = (str(rank), f"{hit['score']:.4f}", hit["id"], box, metadata)
        # As Text, so that brackets and colons in a name mean nothing.
        table.add_row(*(Text(printable(cell)) for cell in cells))
    table_console().print(table)


def _write(path: Path, sheet: "PIL.Image.Image") -> None:
    try:
        sheet.save(path, "PNG")
    except OSError as error:
        raise click.FileError(str(path), error.strerror) from None


async def _sheet(
    server: "AsyncSightgraph",
    collection: str,
    hits: Sequence[Mapping[str, Any]],
    image: Path | None,
    item_id: str | None,
) -> "PIL.Image.Image":
    """What was searched by, where it has a picture, and then the hits."""
    import asyncio

    from app.cli.contact_sheet import Tile, contact_sheet, fractions, picture_of_file, picture_of_item

    ids = dict.fromkeys([*(hit["id"] for hit in hits), *([] if item_id is None else [item_id])])
    at_once = asyncio.Semaphore(_ITEMS_AT_ONCE)

    async def item(of: str) -> dict[str, Any] | None:
        async with at_once:
            return await server.item(collection, of)

    items = dict(zip(ids, await asyncio.gather(*map(item, ids)), strict=True))
    tiles = []
    if image is not None:
        picture = picture_of_file(image)
        size = (None, None) if picture is None else picture.size
        # Of a query with several regions, those that found something.
        found_by = {box for hit in hits for box in fractions(hit["query_bbox"], *size)}
        tiles.append(Tile(picture, ("query", image.name), tuple(sorted(found_by))))
    if item_id is not None:
        tiles.append(Tile(picture_of_item(items[item_id]), ("query", item_id)))
    for rank, hit in enumerate(hits, 1):
        found = items[hit["id"]]
        boxes = () if found is None else fractions(hit["bbox"], found["width"], found["height"])
        tiles.append(Tile(picture_of_item(found), (f"{rank}.  {hit['score']:.4f}", hit["id"]), boxes))
    return contact_sheet(tiles)
