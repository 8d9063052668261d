"""`sightgraph classifiers`: heads that people train themselves."""

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app.cli.connection import encodable, server_options
from app.cli.printing import printable, table_console
from app.cli.starting import declarations_told, read_settings

if TYPE_CHECKING:
    from classifiers.card import Card, Interval
    from classifiers.rows import Embedding, Source, TrainingSet
    from classifiers.run import RunSummary, TrainingSettings
    from classifiers.shelf import Shelf

T = TypeVar("T")

# What a shell expects of a command that SIGINT ended.
INTERRUPTED = 130
_TARGETS = ("whole_image", "prominent_person", "prominent_face")
# Of the figures that a card holds, in the order in which they are looked at.
_FIGURES = (
    "macro_precision",
    "average_precision",
    "balanced_accuracy",
    "macro_recall",
    "macro_f1",
    "log_loss",
)


@click.group()
def classifiers() -> None:
    """Classifiers of your own: train, list, show, promote, roll back."""


def _embedding(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> "list[Embedding]":
    """`NAME`, or `NAME {"param": value}`."""
    if not given:
        return []
    from pydantic import ValidationError

    from app.core.wording import explain
    from classifiers.sources.fields import EmbeddingFields

    embeddings = []
    for text in given:
        name, brace, params = text.partition("{")
        try:
            fields = {"operation": name.strip(), "params": json.loads(brace + params) if brace else {}}
            embeddings.append(EmbeddingFields.model_validate(fields).embedding())
        except ValidationError as error:
            raise click.BadParameter(f"{explain(error.errors(include_url=False))}.") from None
        except (ValueError, RecursionError) as error:
            raise click.BadParameter(f"the params of {name.strip()} are not valid JSON: {error}") from None
    if any(embeddings.count(each) > 1 for each in embeddings):
        raise click.BadParameter("names one embedding twice.")
    return embeddings


def _source(context: click.Context, parameter: click.Parameter, source: str) -> str:
    from classifiers.sources.download import is_web_address

    if not is_web_address(source) and not Path(source).exists():
        raise click.BadParameter(
            f"'{source}' is no http or https address, and there is no such folder or file."
        )
    return source


@classifiers.command()
@click.option(
    "--source",
    required=True,
    metavar="URL|FOLDER|FILE",
    callback=_source,
    help="A server with /collections.json; a folder of images by collection and class, or by class; a file "
    "with a row as JSON on each line.",
)
@click.option(
    "--embedding",
    "embeddings",
    multiple=True,
    metavar="OPERATION",
    callback=_embedding,
    help='What classifiers look at; several are joined. With params: \'embed_clip {"model": "ViT-B-16"}\'.  '
    "[default: what the source tells; for a folder embed_hog_hsv]",
)
@click.option(
    "--target",
    type=click.Choice(_TARGETS),
    help="Which part of each image.  [default: what the source tells, else whole_image]",
)
@click.option(
    "--collection",
    "only",
    multiple=True,
    metavar="NAME",
    callback=lambda context, parameter, names: [encodable(context, parameter, name) for name in names],
    help="Only this collection; can be given several times.",
)
@click.option(
    "--precision",
    type=click.FloatRange(0, 1, min_open=True),
    help="Choose the threshold for at least this precision, and for the least cost of mistakes without it.",
)
@click.option(
    "--cost",
    nargs=2,
    type=click.FloatRange(0, 1e9, min_open=True),
    metavar="FALSE_POSITIVE FALSE_NEGATIVE",
    help="What mistakes cost, for the threshold.  [default: 1 1]",
)
@click.option(
    "--copies-within",
    type=click.IntRange(0, 16),
    metavar="BITS",
    help="In how many of 64 bits the perceptual hashes of copies of a photo differ at most.  [default: 6]",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**32 - 1))
@click.option(
    "--promote/--no-promote",
    default=True,
    show_default=True,
    help="Whether the best version serves from now on.",
)
@server_options
def train(
    source: str,
    embeddings: "list[Embedding]",
    target: str | None,
    only: list[str],
    precision: float | None,
    cost: tuple[float, float] | None,
    copies_within: int | None,
    seed: int,
    promote: bool,
    server: str | None,
    offline: bool,
) -> None:
    """Train a classifier for every collection of a source.

    Each run judges its version, and every earlier one, by photos that none of them has seen; the best of them
    serves. A running server takes it at its next request.
    """
    from app.cli.training import is_folder, opened
    from classifiers.rows import SourceError
    from classifiers.run import ShelfError, TrainingRefused, run_training
    from classifiers.shelf import Shelf

    if server is not None and not is_folder(source):
        raise click.UsageError("--server embeds the images of a folder; this source has vectors already.")
    asked = _training_settings(precision, cost, copies_within, seed, promote)
    settings = read_settings(offline=offline)
    shelf = Shelf(settings.data / "classifiers")
    refused = 0
    try:
        with opened(source, embeddings, target, server=server, offline=offline, data=settings.data) as found:
            for name in _chosen(found, only):
                notes: Sequence[str] = ()
                try:
                    training_set = found.training_set(name)
                    notes = training_set.notes
                    _warn_of_unknown(training_set)
                    summary = _watched(name, partial(run_training, training_set, shelf, asked))
                except (SourceError, TrainingRefused, ShelfError) as error:
                    refused += 1
                    for line in (error, *notes):
                        click.echo(printable(f"{name}: {line}"), err=True)
                else:
                    _print_summary(summary, training_set)
    except SourceError as error:
        raise click.ClickException(printable(str(error))) from None
    except KeyboardInterrupt:
        click.echo("What was finished is kept; of the collection at hand nothing was stored.", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(1 if refused else 0)


@classifiers.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_classifiers(as_json: bool) -> None:
    """Every collection with the version that serves it."""
    shelf = _shelf()
    rows = _told(lambda: [_collection_facts(shelf, name) for name in _collections(shelf)])
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    if not rows:
        click.echo("No classifiers are here. `sightgraph classifiers train` makes them.")
        return
    _print_table(
        ("collection", "serves", "versions", "target", "embeddings", "labels", "macro precision"),
        [
            (
                row["collection"],
                row["serves"] or "none",
                str(row["versions"]),
                row["target"] or "",
                " + ".join(row["embeddings"]),
                ", ".join(row["labels"]),
                _figure(row["metrics"].get("macro_precision")),
            )
            for row in rows
        ],
    )


@classifiers.command()
@click.argument("collection", callback=encodable)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(collection: str, as_json: bool) -> None:
    """Every version of a collection's classifier, with what it was found to be worth."""
    shelf = _shelf()
    stored = _told(lambda: shelf.stored(collection))
    if not stored:
        raise click.ClickException(_unknown(shelf, collection))
    versions = [
        {
            "version": each.version,
            "serves": each.serves,
            "pinned": each.pinned,
            "withdrawn": each.withdrawn,
            "problem": each.problem,
            "report": str(_report(shelf, collection, each.version)),
            "card": None if each.card is None else each.card.model_dump(mode="json"),
        }
        for each in stored
    ]
    if as_json:
        click.echo(json.dumps(versions, indent=1))
        return
    rows = []
    for each in reversed(stored):
        states = {"serves": each.serves, "pinned": each.pinned, "withdrawn": each.withdrawn}
        state = ", ".join(name for name, holds in states.items() if holds)
        if each.card is None:
            rows.append((each.version, f"cannot be read: {each.problem}", "", "", "", ""))
            continue
        rows.append(
            (
                each.version,
                state,
                each.card.model.kind,
                f"{each.card.data.rows:,}",
                _figure(each.card.metrics.get("macro_precision")),
                _figure(each.card.metrics.get("balanced_accuracy")),
            )
        )
    _print_table(("version", "state", "model", "rows", "macro precision", "balanced accuracy"), rows)
    serving = next((each for each in stored if each.serves), stored[-1])
    click.echo(f"Report: {_report(shelf, collection, serving.version)}")


@classifiers.command()
@click.argument("collection", callback=encodable)
def rollback(collection: str) -> None:
    """Put the version in service that served before. What serves now is withdrawn: no run puts it back."""
    version = _told(lambda: _shelf().rollback(collection))
    click.echo(f"{printable(collection)}: {version} serves now")


@classifiers.command()
@click.argument("collection", callback=encodable)
@click.argument("version", callback=encodable)
def promote(collection: str, version: str) -> None:
    """Put a version in service, whatever its figures are."""
    _told(lambda: _shelf().promote(collection, version))
    click.echo(f"{printable(collection)}: {version} serves now")


def _training_settings(
    precision: float | None,
    cost: tuple[float, float] | None,
    copies_within: int | None,
    seed: int,
    promote: bool,
) -> "TrainingSettings":
    from classifiers.run import TrainingSettings

    if precision is not None and cost is not None:
        raise click.UsageError("Give --precision or --cost: a threshold is chosen for one of them.")
    given: dict[str, Any] = {"seed": seed, "promote": "best" if promote else "never"}
    if precision is not None:
        given["aim"] = {"kind": "least_precision", "precision": precision}
    if cost is not None:
        given["aim"] = {"kind": "least_cost", "false_positive": cost[0], "false_negative": cost[1]}
    if copies_within is not None:
        given["phash_distance"] = copies_within
    return TrainingSettings.model_validate(given)


def _chosen(source: "Source", only: Sequence[str]) -> Sequence[str]:
    """The collections to train.

    Raises:
        SourceError: the source cannot be read, or has none.
    """
    from classifiers.rows import SourceError

    names = list(dict.fromkeys(only)) or source.collections()
    if not names:
        raise SourceError("The source has no collections.")
    return names


def _warn_of_unknown(training_set: "TrainingSet") -> None:
    """Say where no operation here makes such vectors: nothing would ever ask the head."""
    from app.core.registry import discover
    from app.core.target import target_names

    with declarations_told():
        registry = discover("operations")
    for embedding in training_set.embeddings:
        operation = registry.get(embedding.operation)
        if operation is None or not operation.gives_vectors:
            problem = f"no operation here that embeds is called {embedding.operation}"
        elif training_set.target not in target_names(operation.params):
            problem = f"{embedding.operation} does not take the target {training_set.target}"
        else:
            continue
        told = f"Warning: {training_set.name}: {problem}; a server like this one cannot use the classifier."
        click.echo(printable(told), err=True)


def _watched(name: str, run: "Callable[..., RunSummary]") -> "RunSummary":
    """Run with the name of the stage on the terminal."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    with console.status(escape(printable(name))) as status:
        return run(progress=lambda stage: status.update(escape(printable(f"{name}: {stage}"))))


def _print_summary(summary: "RunSummary", training_set: "TrainingSet") -> None:
    card = summary.card
    rows = len(training_set.rows)
    embeddings = " + ".join(embedding.operation for embedding in card.embeddings)
    test = sum(card.data.sides.get("test", {}).values())
    click.echo(
        printable(
            f"{summary.collection}: {rows:,} rows of {', '.join(card.labels)}; {embeddings} of "
            f"{card.target}; {card.model.kind}; judged by {test:,} rows that were held out"
        )
    )
    _print_table(
        ("figure", "value", "interval"),
        [
            (name.replace("_", " "), f"{figure.value:.4f}", f"{figure.low:.4f} to {figure.high:.4f}")
            for name in _FIGURES
            if (figure := card.metrics.get(name)) is not None
        ],
    )
    for note in training_set.notes:
        click.echo(printable(note))
    decision = "promoted" if summary.promoted else "not promoted"
    click.echo(printable(f"Version {summary.version}, {decision}: {summary.reason}"))
    click.echo(f"Report: {summary.report}\n")


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        # As Text, so that brackets in a name mean nothing.
        table.add_row(*(Text(printable(cell)) for cell in row))
    table_console().print(table)


def _shelf() -> "Shelf":
    from classifiers.shelf import Shelf

    return Shelf(read_settings().data / "classifiers")


def _told(look: Callable[[], T]) -> T:
    from classifiers.shelf import ShelfError

    try:
        return look()
    except ShelfError as error:
        raise click.ClickException(printable(str(error))) from None


def _collections(shelf: "Shelf") -> list[str]:
    """All that have versions, also where none was promoted yet."""
    from classifiers.shelf import folder_name
    from classifiers.stored import CARD

    names = set(shelf.bests())
    for path in shelf.folder.glob(f"*/*/{CARD}"):
        try:
            name = json.loads(path.read_bytes())["collection"]
            if folder_name(name) == path.parent.parent.name:
                names.add(name)
        except (OSError, ValueError, LookupError, TypeError):
            # `show` tells of versions that cannot be read.
            continue
    return sorted(names)


def _collection_facts(shelf: "Shelf", name: str) -> dict[str, Any]:
    version = shelf.best(name)
    card = _readable_card(shelf, name, version)
    return {
        "collection": name,
        "serves": version,
        "versions": len(shelf.versions(name)),
        "target": card and card.target,
        "embeddings": [embedding.operation for embedding in card.embeddings] if card else [],
        "labels": list(card.labels) if card else [],
        "metrics": {key: figure.model_dump() for key, figure in card.metrics.items()} if card else {},
    }


def _readable_card(shelf: "Shelf", name: str, version: str | None) -> "Card | None":
    from classifiers.shelf import ShelfError

    try:
        return None if version is None else shelf.load(name, version).card
    except ShelfError as error:
        click.echo(printable(f"Warning: {error}"), err=True)
        return None


def _report(shelf: "Shelf", collection: str, version: str) -> Path:
    from classifiers.shelf import folder_name
    from classifiers.stored import REPORT

    return shelf.folder / folder_name(collection) / version / REPORT


def _unknown(shelf: "Shelf", collection: str) -> str:
    known = ", ".join(_told(lambda: _collections(shelf))) or "none"
    return printable(f"No classifier is called '{collection}'. There are: {known}.")


def _figure(figure: "Interval | dict[str, float] | None") -> str:
    if figure is None:
        return ""
    value, low, high = (
        (figure["value"], figure["low"], figure["high"])
        if isinstance(figure, dict)
        else (figure.value, figure.low, figure.high)
    )
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
