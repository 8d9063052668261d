"""The heads that serve, in memory: loaded once, renewed when another version is promoted."""

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from classifiers.head import Head
from classifiers.stored import BEST, CARD, HEAD, Best, ShelfError, folder_name

logger = logging.getLogger(__name__)

Mark = tuple[int, int, int] | None


class Versions(Protocol):
    """Where versions are read from."""

    folder: Path

    def bests(self) -> dict[str, Best]:
        """Raises ShelfError."""

    def load(self, collection: str, version: str, card_sha256: str | None = None) -> Head:
        """Raises ShelfError."""


@dataclass(frozen=True, slots=True)
class _Serving:
    """What was loaded of a collection.

    `best` is what should serve; `head` is what does. After a failure `marks` tell whether the files changed.
    """

    best: Best | None
    head: Head | None
    problem: str | None = None
    marks: tuple[Mark, ...] = ()


class CurrentHeads:
    """What serves each collection. Any number of threads may ask.

    Args:
        shelf: whose versions.
    """

    def __init__(self, shelf: Versions) -> None:
        self._shelf = shelf
        self._lock = threading.Lock()
        self._mark: Mark | int = 0
        self._bests: dict[str, Best] = {}
        self._bests_problem: str | None = None
        self._serving: dict[str, _Serving] = {}

    def get(self, collection: str) -> Head | None:
        """The head that serves, which may be an earlier one where the newest cannot be read."""
        with self._lock:
            self._look()
            best = self._bests.get(collection)
            known = self._serving.get(collection)
            if known is None:
                if best is None:
                    return None
                known = _Serving(None, None)
            if known.best != best or (
                known.problem is not None and known.marks != self._marks(collection, best)
            ):
                known = self._renewed(collection, best, known)
                self._serving[collection] = known
            return known.head

    def problem(self, collection: str) -> str | None:
        """Why what should serve does not."""
        with self._lock:
            known = self._serving.get(collection)
            return self._bests_problem or (None if known is None else known.problem)

    def _look(self) -> None:
        """Read who serves, where that changed."""
        mark = _mark(self._shelf.folder / BEST)
        if mark == self._mark:
            return
        self._mark = mark
        try:
            self._bests, self._bests_problem = self._shelf.bests(), None
        except ShelfError as error:
            self._bests_problem = str(error)
            logger.warning("%s What serves goes on serving.", error)

    def _renewed(self, collection: str, best: Best | None, known: _Serving) -> _Serving:
        if best is None:
            return _Serving(None, None)
        # Before reading: what changes while it is read is seen the next time.
        marks = self._marks(collection, best)
        try:
            head = self._shelf.load(collection, best.version, best.card_sha256)
        except ShelfError as error:
            kept = known.head and known.head.card.version
            logger.warning("%s %s", error, f"Version {kept} goes on serving." if kept else "Nothing serves.")
            return _Serving(best, known.head, str(error), marks)
        return _Serving(best, head)

    def _marks(self, collection: str, best: Best | None) -> tuple[Mark, ...]:
        if best is None:
            return ()
        folder = self._shelf.folder / folder_name(collection) / best.version
        return tuple(_mark(folder / name) for name in (CARD, HEAD))


def _mark(path: Path) -> Mark:
    """What changes when a file is replaced; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
