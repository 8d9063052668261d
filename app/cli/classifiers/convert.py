"""`sightgraph classifiers convert`."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.classifiers.options import collection_option, space_option
from app.cli.printing import printable
from app.cli.starting import read_settings

if TYPE_CHECKING:
    from classifiers.legacy.conversion import Converted
    from classifiers.legacy.folder import Found, Listed
    from classifiers.rows import Embedding

_WORD = "trust"
_TRUSTED = """
Nothing of these files is run: numbers are read, and a file that names anything else is refused. What they
cannot show is taken on trust: that they are the classifiers of these collections, and that the operations
here make the vectors on which they were trained. `sightgraph classifiers train` does not compare them with
what it trains, as nobody knows which photos they have seen.
"""


def _named(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> "tuple[Embedding, ...]":
    from pydantic import ValidationError

    from app.core.wording import explain
    from classifiers.sources.fields import EmbeddingFields

    try:
        return tuple(EmbeddingFields(operation=name).embedding() for name in given)
    except ValidationError as error:
        raise click.BadParameter(f"{explain(error.errors(include_url=False))}.") from None


def _region(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    from classifiers.rows import SourceError
    from classifiers.sources.targets import target_named

    try:
        return None if given is None else target_named(given, "it")
    except SourceError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("source", metavar="FOLDER|FILE", type=click.Path(exists=True, path_type=Path))
@click.option("--trust", is_flag=True, help="Convert without being asked.")
@collection_option("Of a folder only this one; can be given several times. Of a file: which one it is of.")
@click.option(
    "--embedding",
    "embeddings",
    multiple=True,
    metavar="OPERATION",
    callback=_named,
    help="What classifiers look at of which the folder does not tell; several are joined.",
)
@click.option(
    "--target",
    metavar="REGION",
    callback=_region,
    help="At which part of images they look, where the folder does not tell.",
)
@space_option
def convert(
    source: Path,
    trust: bool,
    only: list[str],
    embeddings: "tuple[Embedding, ...]",
    target: str | None,
    spaces: Mapping[str, str],
) -> None:
    """Take over classifiers that image_embed trained: its folder `trained_classifiers`, or one file of it.

    Of a folder those are converted that its best_models.json names. Each serves from then on where its
    collection had no classifier. One that reads what image_embed makes otherwise is refused.
    """
    from classifiers.legacy.conversion import convert as store
    from classifiers.legacy.folder import ConversionRefused, opened
    from classifiers.shelf import Shelf, ShelfError

    shelf = Shelf(read_settings().data / "classifiers")
    found, refused = [], False
    for each in _chosen(source, only):
        try:
            found.append(opened(each, embeddings=embeddings, target=target, spaces=spaces))
        except ConversionRefused as error:
            refused = True
            click.echo(printable(f"{each.entry.model_file}: {error}."), err=True)
    if not found:
        raise click.ClickException("Nothing was converted.")
    for one in found:
        _show(one)
    click.echo(_TRUSTED)
    if not trust:
        _ask()
    for one in found:
        try:
            _told(one.collection, store(one, shelf))
        except ShelfError as error:
            refused = True
            click.echo(printable(f"{one.collection}: {error}"), err=True)
    sys.exit(1 if refused else 0)


def _chosen(source: Path, only: list[str]) -> "list[Listed]":
    from classifiers.legacy.folder import ConversionRefused, listed

    try:
        classifiers = listed(source)
    except ConversionRefused as error:
        raise click.ClickException(printable(f"{source}: {error}")) from None
    if not source.is_dir():
        if len(only) > 1:
            raise click.UsageError("A file is of one collection: give --collection once.")
        return [replace(each, collection=only[0]) for each in classifiers] if only else classifiers
    names = [each.collection for each in classifiers]
    for name in only:
        if name not in names:
            known = ", ".join(filter(None, names)) or "none"
            raise click.ClickException(printable(f"{source} names no classifier of {name}, but of {known}."))
    return [each for each in classifiers if not only or each.collection in only]


def _show(found: "Found") -> None:
    """What is about to be trusted."""
    spaces = " + ".join(space or "a space that nobody tells" for space in found.spaces)
    reads = " + ".join(embedding.operation for embedding in found.embeddings)
    for line in (
        f"{found.collection}: {found.file}",
        f"  {found.size:,} bytes, SHA-256 {found.sha256}",
        f"  reads {sum(found.dimensions):,} values: {reads} of {found.target}, in {spaces}",
        f"  written by scikit-learn {found.written_by or 'of an unknown version'}; names "
        f"{', '.join(found.names)}",
    ):
        click.echo(printable(line))


def _ask() -> None:
    if not sys.stdin.isatty():
        raise click.ClickException("Nothing was converted. Give --trust, or run this in a terminal.")
    if click.prompt(f"Type {_WORD} to convert them", default="", show_default=False).strip() != _WORD:
        raise click.ClickException("Nothing was converted.")


def _told(collection: str, converted: "Converted") -> None:
    done = "converted" if converted.is_new else "converted by an earlier run"
    if converted.serves == converted.version:
        serves = "serves now"
    else:
        serves = f"{converted.serves or 'no version'} serves; `sightgraph classifiers promote` changes that"
    click.echo(printable(f"{collection}: version {converted.version}, {done}; {serves}"))
