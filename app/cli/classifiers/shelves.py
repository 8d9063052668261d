"""The shelf as commands see it."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from app.cli.printing import printable
from app.cli.starting import read_settings

if TYPE_CHECKING:
    from classifiers.shelf import Shelf

T = TypeVar("T")


def read_shelf() -> "Shelf":
    """The shelf in the data folder."""
    from classifiers.shelf import Shelf

    return Shelf(read_settings().data / "classifiers")


def told(look: Callable[[], T]) -> T:
    """What a look at the shelf gives; what is wrong with it is a message of the command."""
    from classifiers.shelf import ShelfError

    try:
        return look()
    except ShelfError as error:
        raise click.ClickException(printable(str(error))) from None


def collections(shelf: "Shelf") -> list[str]:
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


def unknown(shelf: "Shelf", collection: str) -> str:
    """What is said of a collection that has no classifier."""
    known = ", ".join(told(lambda: collections(shelf))) or "none"
    return printable(f"No classifier is called '{collection}'. There are: {known}.")
