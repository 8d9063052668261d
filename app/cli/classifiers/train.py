"""`sightgraph classifiers train`."""

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.connection import encodable, server_options
from app.cli.printing import print_table, printable
from app.cli.starting import declarations_told, read_settings

if TYPE_CHECKING:
    from classifiers.rows import Embedding, Source, TrainingSet
    from classifiers.run import RunSummary, TrainingSettings

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


@click.command()
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
    print_table(
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
