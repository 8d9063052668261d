"""`sightgraph classifiers suggest`."""

import contextlib
import json
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.classifiers.shelves import read_shelf, told, unknown
from app.cli.connection import connected, encodable, server_options
from app.cli.ending import INTERRUPTED
from app.cli.printing import print_table, printable
from app.cli.starting import declarations_told, read_settings

if TYPE_CHECKING:
    from app.cli.progress import Bar
    from app.cli.suggesting import Suggesting, Tally
    from classifiers.card import Card
    from classifiers.head import Head
    from classifiers.shelf import Shelf
    from classifiers.split import Seen
    from classifiers.suggestion import Candidate


@click.command()
@click.argument("collection", callback=encodable)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Look at the images of this folder, and of the folders in it.",
)
@click.option(
    "--index",
    "indexed",
    metavar="INDEX_COLLECTION",
    callback=encodable,
    help="Look at the items of this collection of the server's index.",
)
@click.option(
    "--count", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many to suggest."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@server_options
def suggest(
    collection: str,
    folder: Path | None,
    indexed: str | None,
    count: int,
    as_json: bool,
    server: str | None,
    offline: bool,
) -> None:
    """Say which images to label next for the classifier of COLLECTION: those that teach it most.

    They are the ones that it is least sure of, and unlike each other; the first ones first. Photos that a
    version was trained on, and near copies of them, are left out. Those that were only held out to judge are
    not known, so keep what is labelled out of FOLDER.
    """
    if (folder is None) == (indexed is None):
        raise click.UsageError("Give one of --folder and --index.")
    shelf = read_shelf()
    head = _serving(shelf, collection)
    seen = told(lambda: _labelled(shelf, collection))
    run = _Run(head, seen, count, server, offline)
    suggesting = run.over_folder(folder) if folder is not None else run.over_index(indexed or "")
    suggested = suggesting.suggested()
    if as_json:
        _print_json(head.card, suggesting.tally, suggested)
    else:
        _print_table(head.card, suggesting.tally, suggested)
    sys.exit(1 if suggesting.tally.failed else 0)


class _Run:
    """Looks at images, with the progress on the terminal."""

    def __init__(self, head: "Head", seen: "Seen", count: int, server: str | None, offline: bool) -> None:
        from app.cli.suggesting import Suggesting
        from classifiers.training_settings import TrainingSettings

        self._name = head.card.collection
        self._server = server
        self._offline = offline
        distance = head.card.settings.get("phash_distance")
        if not isinstance(distance, int):
            distance = TrainingSettings().phash_distance
        self._suggesting = Suggesting(head, seen, count, distance)

    def over_folder(self, folder: Path) -> "Suggesting":
        from app.cli.embedding import Embedder
        from app.cli.folder import contents, image_suffixes
        from app.cli.vector_cache import VectorCache
        from classifiers.rows import Embedding

        walked = contents(folder, image_suffixes())
        for path, why in walked.closed:
            self._suggesting.tally.failed += 1
            click.echo(printable(f"{path}: {why}"), err=True)
        if not walked.images:
            raise click.ClickException(printable(f"No images are in {folder}."))
        card = self._suggesting.head.card
        embeddings = [Embedding(each.operation, each.params) for each in card.embeddings]
        cache = VectorCache(read_settings(offline=self._offline).data / "training_vectors.sqlite")

        async def look(bar: "Bar") -> None:
            async with connected(self._server, self._offline, needs_index=False) as reached:
                embedder = Embedder(reached, embeddings, card.target, cache, face_context=card.face_context)
                await self._suggesting.look_at_files(folder, walked.images, embedder, bar)

        with contextlib.closing(cache):
            return self._watched(look, len(walked.images))

    def over_index(self, name: str) -> "Suggesting":
        from app.core.registry import discover

        with declarations_told():
            operation = discover("operations").get(self._suggesting.head.card.embeddings[0].operation)

        async def look(bar: "Bar") -> None:
            async with connected(self._server, self._offline) as reached:
                found = await reached.collection(name)
                self._suggesting.check_collection(found, operation)
                bar.expect(found["items"])
                await self._suggesting.look_at_items(reached, name, bar)

        return self._watched(look, None)

    def _watched(self, look: "Callable[[Bar], Coroutine[Any, Any, None]]", total: int | None) -> "Suggesting":
        import asyncio

        from app.cli.progress import Bar, image_bars
        from classifiers.rows import SourceError

        bars = image_bars()
        bar = Bar(bars, bars.add_task(printable(self._name), total=total))
        try:
            with bars:
                asyncio.run(look(bar))
        except SourceError as error:
            raise click.ClickException(printable(str(error))) from None
        except KeyboardInterrupt:
            click.echo("Nothing was suggested. What was embedded is kept for the next time.", err=True)
            sys.exit(INTERRUPTED)
        return self._suggesting


def _serving(shelf: "Shelf", collection: str) -> "Head":
    """The head that serves a collection.

    Raises:
        ClickException: there is none, or it cannot be read.
    """
    best = told(shelf.bests).get(collection)
    if best is not None:
        return told(lambda: shelf.load(collection, best.version, best.card_sha256))
    versions = shelf.versions(collection)
    if not versions:
        raise click.ClickException(unknown(shelf, collection))
    raise click.ClickException(
        printable(
            f"No version of '{collection}' serves. `sightgraph classifiers promote` puts one in service: "
            f"{', '.join(versions)}."
        )
    )


def _labelled(shelf: "Shelf", collection: str) -> "Seen":
    """What any version was trained on: what a later one saw, which did not win, is labelled too."""
    from classifiers.shelf import ShelfError
    from classifiers.split import Seen

    serves = shelf.best(collection)
    records = []
    for version in shelf.versions(collection):
        try:
            records.append(shelf.seen(collection, version))
        except ShelfError as error:
            if version == serves:
                raise
            click.echo(printable(f"Warning: {error}"), err=True)
    return Seen.union(records)


def _verdict(card: "Card", candidate: "Candidate") -> tuple[str, float]:
    """The label whose probability is shown: the positive one, else the most probable one."""
    probabilities = candidate.probabilities
    number = int(probabilities.argmax()) if card.positive is None else card.labels.index(card.positive)
    return card.labels[number], float(probabilities[number])


def _print_table(card: "Card", tally: "Tally", suggested: "Sequence[Candidate]") -> None:
    if suggested:
        rows = []
        for each in suggested:
            label, probability = _verdict(card, each)
            rows.append((each.id, label, f"{probability:.4f}", f"{each.uncertainty:.4f}"))
        print_table(("image", "label", "probability", "uncertainty"), rows)
    else:
        click.echo("There is nothing to suggest.")
    for line in _notes(card, tally):
        click.echo(printable(line))


def _print_json(card: "Card", tally: "Tally", suggested: "Sequence[Candidate]") -> None:
    suggestions = []
    for each in suggested:
        label, probability = _verdict(card, each)
        suggestions.append(
            {
                "id": each.id,
                "label": label,
                "probability": probability,
                "uncertainty": each.uncertainty,
                "probabilities": dict(zip(card.labels, each.probabilities.tolist(), strict=True)),
            }
        )
    answer = {
        "collection": card.collection,
        "version": card.version,
        "threshold": None if card.threshold is None else card.threshold.value,
        "images": tally.looked,
        "trained_on": tally.trained_on,
        "without_region": tally.without_region,
        "whole_instead": tally.whole_instead,
        "failed": tally.failed,
        "suggestions": suggestions,
    }
    click.echo(json.dumps(answer, indent=1))


def _notes(card: "Card", tally: "Tally") -> list[str]:
    from classifiers.sources.assembly import counted

    threshold = "" if card.threshold is None else f", whose threshold is {card.threshold.value:.4f}"
    region = card.target.replace("_", " ")
    notes = (
        (tally.trained_on, "trained on, or near copies of what was"),
        (tally.failed, "not to be read or embedded"),
        (tally.without_region, f"without a {region}"),
    )
    lines = [f"{counted(tally.looked, 'image')} looked at by version {card.version}{threshold}."]
    lines += [f"Left out, {why}: {counted(count, 'image')}." for count, why in notes if count]
    if tally.whole_instead:
        lines.append(f"Taken whole, without a {region}: {counted(tally.whole_instead, 'image')}.")
    return lines
