"""Promotions: what serves each collection, what served before, and what is pinned or withdrawn."""

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from classifiers.card import Frozen
from classifiers.durable import read_bounded, replace
from classifiers.shelf_errors import unreadable, writing
from classifiers.stored import BEST, HISTORY, MAX_JSON_BYTES, Version, are_equal

_MAX_EVENTS = 200


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

    def last_served(self, among: Collection[str]) -> str | None:
        """Which of these versions served last."""
        return next((event.version for event in reversed(self.events) if event.version in among), None)

    def pinning(self, version: str) -> "History":
        return self.model_copy(update={"pinned": self.pinned | {version}})

    def unpinning(self, version: str) -> "History":
        return self.model_copy(update={"pinned": self.pinned - {version}})

    def withdrawing(self, version: str) -> "History":
        return self.model_copy(update={"withdrawn": self.withdrawn | {version}})

    def readmitting(self, version: str) -> "History":
        """With neither this version nor an equal one withdrawn."""
        kept = frozenset(one for one in self.withdrawn if not are_equal(one, version))
        return self.model_copy(update={"withdrawn": kept})

    def promoting(self, version: str, serves: str | None, reason: str, at: datetime | None) -> "History":
        """With a version put in service in the place of the one that serves."""
        at = at or datetime.now(UTC)
        events = self.events
        if serves is not None and (not events or events[-1].version != serves):
            # It was promoted, and the process ended before that was written down.
            events = (*events, Event(version=serves, at=at, reason="it served"))
        events = (*events, Event(version=version, at=at, reason=reason))
        return self.model_copy(update={"events": events})

    def bounded(self, here: Collection[str]) -> "History":
        """What of it is kept, where these versions are here."""
        return self.model_copy(
            update={
                "events": self.events[-_MAX_EVENTS:],
                "pinned": self.pinned.intersection(here),
                # Also of those that are gone, as an equal one may be trained again; the newest of very many.
                "withdrawn": frozenset(sorted(self.withdrawn)[-_MAX_EVENTS:]),
            }
        )


_BESTS: TypeAdapter[dict[str, Best]] = TypeAdapter(dict[str, Best])


def read_bests(folder: Path) -> dict[str, Best]:
    """What serves each collection.

    Raises:
        ShelfError: the file cannot be read.
    """
    try:
        return _BESTS.validate_json(read_bounded(folder / BEST, MAX_JSON_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        remedy = "Put back a copy of it, or delete it and promote a version of each collection."
        raise unreadable(BEST, error, remedy) from error


def write_bests(folder: Path, bests: Mapping[str, Best]) -> None:
    """Raises ShelfError: the file cannot be written."""
    plain: dict[str, JsonValue] = {name: best.model_dump(mode="json") for name, best in sorted(bests.items())}
    with writing(BEST):
        replace(folder / BEST, json.dumps(plain, indent=1).encode())


def read_history(home: Path, collection: str) -> History:
    """The history in the folder of a collection.

    Raises:
        ShelfError: the file cannot be read.
    """
    try:
        return History.model_validate_json(read_bounded(home / HISTORY, MAX_JSON_BYTES))
    except FileNotFoundError:
        return History()
    except (OSError, ValidationError) as error:
        remedy = (
            f"Put back a copy of {home.name}/{HISTORY}, or delete it: pins and withdrawals are then lost."
        )
        raise unreadable(f"The history of '{collection}'", error, remedy) from error


def write_history(home: Path, collection: str, history: History) -> None:
    """Raises ShelfError: the file cannot be written."""
    with writing(f"The history of '{collection}'"):
        replace(home / HISTORY, history.model_dump_json(indent=1).encode())
