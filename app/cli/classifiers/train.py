"""`sightgraph classifiers train`."""

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.classifiers.options import collection_option, embedding_given, pattern_given, space_option
from app.cli.classifiers.summary import print_summary
from app.cli.connection import server_options
from app.cli.ending import INTERRUPTED
from app.cli.printing import printable
from app.cli.starting import declarations_told, read_settings
from classifiers.regions import PROMINENT_FACE, TARGETS

if TYPE_CHECKING:
    from app.cli.training import Stated
    from app.core.target import FaceContext
    from classifiers.rows import Embedding, Source, TrainingSet
    from classifiers.run import RunSummary, TrainingSettings

# Those of `app.core.target`, whose import would make the help slow.
_FACE_CONTEXTS = ("prominent_person", "whole_image")


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
    callback=embedding_given,
    help='What classifiers look at; several are joined. With params: \'embed_clip {"model": "ViT-B-16"}\'.  '
    "[default: all that the source tells; for a folder embed_hog_hsv]",
)
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    help="Which part of each image.  [default: what the source tells, else whole_image]",
)
@click.option(
    "--face-context",
    type=click.Choice(_FACE_CONTEXTS),
    help="Where the prominent face is looked for; with the target prominent_face alone.  [default: what the "
    "source tells, else prominent_person]",
)
@space_option
@click.option(
    "--group-by",
    metavar="REGEX",
    callback=pattern_given,
    help="Which files of a folder are crops, frames or edits of one photo: those are never on both sides of "
    "a split. What the first group of REGEX finds in the path below the class names the photo, or all that "
    "REGEX matches: 'photo\\d+' joins photo07_crop0.png and photo07_crop1.png.  [default: each file is a "
    "photo of its own, and near copies are joined]",
)
@collection_option("Only this collection; can be given several times.")
@click.option(
    "--precision",
    type=click.FloatRange(0, 1, min_open=True),
    help="Choose the threshold for at least this precision, 90 % sure for other images too, and for the "
    "least cost of mistakes without it.",
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
    face_context: "FaceContext | None",
    spaces: Mapping[str, str],
    group_by: re.Pattern[str] | None,
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
    serves. What serves and cannot be judged so, as it reads other embeddings, goes on serving. A running
    server takes a new version at its next request.
    """
    from app.cli.training import Stated, is_folder, opened
    from classifiers.rows import SourceError
    from classifiers.run import ShelfError, TrainingRefused, run_training
    from classifiers.shelf import Shelf

    stated = Stated(embeddings, target, face_context, spaces, group_by)
    _check_options(source, stated, server)
    asked = _training_settings(precision, cost, copies_within, seed, promote)
    settings = read_settings(offline=offline)
    shelf = Shelf(settings.data / "classifiers")
    reading = "embedding images" if is_folder(source) else "reading the source"
    refused = 0
    try:
        with opened(source, stated, server=server, offline=offline, data=settings.data) as found:
            for name in _chosen(found, only):
                notes: Sequence[str] = ()
                begun = time.monotonic()
                try:
                    training_set = found.training_set(name)
                    spent = {reading: time.monotonic() - begun}
                    notes = training_set.notes
                    _warn_of_unknown(training_set)
                    run = partial(run_training, training_set, shelf, asked, spent=spent)
                    summary = _watched(name, run)
                except (SourceError, TrainingRefused, ShelfError) as error:
                    refused += 1
                    for line in (error, *notes):
                        click.echo(printable(f"{name}: {line}"), err=True)
                else:
                    print_summary(summary, training_set)
    except SourceError as error:
        raise click.ClickException(printable(str(error))) from None
    except KeyboardInterrupt:
        click.echo("What was finished is kept; of the collection at hand nothing was stored.", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(1 if refused else 0)


def _check_options(source: str, stated: "Stated", server: str | None) -> None:
    """Refuse what would be of no use with this source."""
    from app.cli.training import is_folder

    if is_folder(source):
        if stated.spaces:
            raise click.UsageError(
                "--space is for vectors that are made already; of a folder they are made now."
            )
    elif server is not None:
        raise click.UsageError("--server embeds the images of a folder; this source has vectors already.")
    elif stated.group_by is not None:
        raise click.UsageError(
            "--group-by is for the files of a folder; this source names its photos itself."
        )
    target = stated.target or ("whole_image" if is_folder(source) else None)
    if stated.face_context is not None and target not in (None, PROMINENT_FACE):
        raise click.UsageError(
            f"--face-context is for the target {PROMINENT_FACE}, and the target is {target}: leave it out, "
            f"or give --target {PROMINENT_FACE}."
        )


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
