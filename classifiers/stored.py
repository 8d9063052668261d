"""The words of the shelf: the names of files and folders, and what is written beside the versions."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter

from classifiers.arrays import Arrays, pack
from classifiers.card import Card, Frozen

BEST = "best_models.json"
HISTORY = "history.json"
HEAD = "head.npz"
PHOTOS = "photos.npz"
CARD = "card.json"
REPORT = "report.html"

_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
VERSION = r"\d{8}T\d{12}Z-[0-9a-f]{12}"

Version = Annotated[str, Field(pattern=rf"^{VERSION}$")]


class ShelfError(Exception):
    """Versions cannot be read or written."""


class ShelfBusy(ShelfError):
    """Another process trains the same collection, or holds the shelf."""


class ShelfHindered(ShelfError):
    """Files could not be read just now, as with too many open files: nothing says that they are damaged."""


class Best(Frozen):
    """What serves a collection. The first four fields are those that image_embed writes."""

    model_file: str
    derivative_type: str
    embedding_type: str
    dimensionality: int
    version: Version
    card_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Event(Frozen):
    """That a version was put in service, when and why."""

    version: Version
    at: datetime
    reason: str


class History(Frozen):
    """The past of a collection, the oldest first.

    `pinned` versions are never deleted. `withdrawn` ones, and equal ones that are trained later, compete no
    more, until one is promoted by hand; they are remembered when they are deleted.
    """

    events: tuple[Event, ...] = ()
    pinned: frozenset[Version] = frozenset()
    withdrawn: frozenset[Version] = frozenset()

    def is_withdrawn(self, version: str) -> bool:
        return any(are_equal(version, one) for one in self.withdrawn)


@dataclass(frozen=True, slots=True)
class Stored:
    """A version on the shelf. Of one that cannot be read there is no card, but a problem."""

    version: str
    card: Card | None
    problem: str | None
    serves: bool
    pinned: bool
    withdrawn: bool


BESTS: TypeAdapter[dict[str, Best]] = TypeAdapter(dict[str, Best])


def folder_name(collection: str) -> str:
    """A folder's name for a collection: the name itself where every file system takes it, else a digest."""
    if _PLAIN_NAME.fullmatch(collection):
        return collection
    # No plain name has a dot, so the two kinds never meet.
    readable = re.sub(r"[^a-z0-9]+", "-", collection.lower())[:32].strip("-")
    return f"{readable or 'collection'}.{sha256(collection.encode('utf-8', 'surrogatepass'))[:20]}"


def version_name(created: datetime, arrays: Arrays, threshold: float | None = None) -> str:
    """Names sort by time; the digest is of all that decides: the head's arrays and its threshold."""
    decisive = arrays if threshold is None else {**arrays, "threshold": np.array([threshold])}
    return f"{created.astimezone(UTC):%Y%m%dT%H%M%S%f}Z-{sha256(pack(decisive))[:12]}"


def are_equal(version: str, other: str) -> bool:
    """Whether two versions of a collection decide alike, whenever they were trained."""
    return version.rpartition("-")[2] == other.rpartition("-")[2]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
