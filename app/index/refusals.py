"""What every storage refuses, in the same words."""

import difflib
from collections.abc import Iterable

from app.core.errors import CollectionExists, CollectionNotFound, SpaceMismatch
from app.core.wording import shortened


def not_found(name: str, known: Iterable[str]) -> CollectionNotFound:
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return CollectionNotFound(f"There is no collection '{shortened(name)}'.{hint}")


def made_anew(name: str) -> CollectionNotFound:
    """Of two collections of one name, one after the other, only the one that is meant will do."""
    return CollectionNotFound(
        f"The collection '{shortened(name)}' was made anew meanwhile; send the request again."
    )


def exists_already(name: str) -> CollectionExists:
    return CollectionExists(f"There is a collection '{shortened(name)}' already.")


def of_another_space(name: str, held: str, given: str) -> SpaceMismatch:
    return SpaceMismatch(
        f"The collection '{name}' holds vectors of {held}, these are of {given}. "
        "Make a new collection for them, or use the model that it was made with."
    )
