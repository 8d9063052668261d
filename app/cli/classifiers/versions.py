"""`sightgraph classifiers list | show | promote | rollback | pin | unpin`: the versions that are kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app.cli.classifiers.drift import drift_of, told_drift
from app.cli.classifiers.shelves import collections, read_shelf, told, unknown
from app.cli.connection import encodable
from app.cli.printing import print_table, printable

if TYPE_CHECKING:
    from classifiers.card import Card, Interval
    from classifiers.shelf import Shelf


F = TypeVar("F", bound=Callable[..., Any])


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_classifiers(as_json: bool) -> None:
    """Every collection with the version that serves it."""
    shelf = read_shelf()
    rows = told(lambda: [_collection_facts(shelf, name) for name in collections(shelf)])
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    if not rows:
        click.echo("No classifiers are here. `sightgraph classifiers train` makes them.")
        return
    print_table(
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


@click.command()
@click.argument("collection", callback=encodable)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(collection: str, as_json: bool) -> None:
    """Every version of a collection's classifier, with what it was found to be worth."""
    shelf = read_shelf()
    stored = told(lambda: shelf.stored(collection))
    if not stored:
        raise click.ClickException(unknown(shelf, collection))
    drift = next((drift_of(shelf, each.card) for each in stored if each.serves and each.card), None)
    versions = [
        {
            "version": each.version,
            "serves": each.serves,
            "pinned": each.pinned,
            "withdrawn": each.withdrawn,
            "problem": each.problem,
            "report": str(_report(shelf, collection, each.version)),
            "drift": None if drift is None or not each.serves else drift.model_dump(mode="json"),
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
    print_table(("version", "state", "model", "rows", "macro precision", "balanced accuracy"), rows)
    serving = next((each for each in stored if each.serves), stored[-1])
    click.echo(f"Report: {_report(shelf, collection, serving.version)}")
    if drift is not None:
        click.echo(f"Drift: {told_drift(drift)}")


@click.command()
@click.argument("collection", callback=encodable)
def rollback(collection: str) -> None:
    """Put the version in service that served before.

    What serves now is withdrawn: no run puts it back, nor an equal one that is trained again from the same
    rows.
    """
    version = told(lambda: read_shelf().rollback(collection))
    click.echo(f"{printable(collection)}: {version} serves now")


def _of_a_version(command: F) -> F:
    """The arguments that name a version."""
    return click.argument("collection", callback=encodable)(
        click.argument("version", callback=encodable)(command)
    )


@click.command()
@_of_a_version
def promote(collection: str, version: str) -> None:
    """Put a version in service, whatever its figures are."""
    told(lambda: read_shelf().promote(collection, version))
    click.echo(f"{printable(collection)}: {version} serves now")


@click.command()
@_of_a_version
def pin(collection: str, version: str) -> None:
    """Keep a version for ever, whatever better ones come."""
    told(lambda: read_shelf().pin(collection, version))
    click.echo(f"{printable(collection)}: {version} is pinned")


@click.command()
@_of_a_version
def unpin(collection: str, version: str) -> None:
    """Let a version be deleted again when ten better ones are there."""
    told(lambda: read_shelf().unpin(collection, version))
    click.echo(f"{printable(collection)}: {version} is pinned no more")


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
    from classifiers.stored import REPORT

    return shelf.path(collection, version) / REPORT


def _figure(figure: "Interval | dict[str, float] | None") -> str:
    if figure is None:
        return ""
    value, low, high = (
        (figure["value"], figure["low"], figure["high"])
        if isinstance(figure, dict)
        else (figure.value, figure.low, figure.high)
    )
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
