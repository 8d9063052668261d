"""The heads that serve, in memory: loaded once, renewed when another version is promoted."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from classifiers.head import Head
from classifiers.promotions import Best
from classifiers.shelf_errors import ShelfError, ShelfHindered
from classifiers.stored import BEST, CARD, HEAD, folder_name

logger = logging.getLogger(__name__)

Mark = tuple[int, int, int] | None

# After so long a read is tried again that something hindered: the files need not change for it to go well.
RETRY_SECONDS = 2.0


class Versions(Protocol):
    """Where versions are read from."""

    folder: Path

    def bests(self) -> dict[str, Best]:
        """Raises ShelfError."""

    def load(self, collection: str, version: str, card_sha256: str | None = None) -> Head:
        """Raises ShelfError."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why something was not read. It is tried again when its files changed, and when it is `again`."""

    problem: str
    marks: tuple[Mark, ...]
    again: float


@dataclass(frozen=True, slots=True)
class _Serving:
    """What was loaded of a collection: `best` is what should serve; `head` is what does."""

    best: Best | None = None
    head: Head | None = None
    failure: _Failure | None = None


class CurrentHeads:
    """What serves each collection. Any number of threads may ask.

    Args:
        shelf: whose versions.
        clock: seconds, for what is tried again.
    """

    def __init__(self, shelf: Versions, clock: Callable[[], float] = time.monotonic) -> None:
        self._shelf = shelf
        self._clock = clock
        self._lock = threading.Lock()
        # Of the file that was read last; none was yet.
        self._mark: Mark | int = 0
        self._bests: dict[str, Best] = {}
        self._failure: _Failure | None = None
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
                known = _Serving()
            if known.best != best or self._is_over(known.failure, lambda: self._marks(collection, best)):
                known = self._renewed(collection, best, known)
                self._serving[collection] = known
            return known.head

    def problem(self, collection: str) -> str | None:
        """Why what should serve does not."""
        with self._lock:
            known = self._serving.get(collection)
            failure = self._failure or (None if known is None else known.failure)
            return None if failure is None else failure.problem

    def _look(self) -> None:
        """Read who serves, where that changed."""
        mark = _mark(self._shelf.folder / BEST)
        if mark == self._mark and self._failure is None:
            return
        if self._failure is not None and not self._is_over(self._failure, lambda: (mark,)):
            return
        try:
            self._bests, self._mark, self._failure = self._shelf.bests(), mark, None
        except ShelfError as error:
            self._failure = self._failed(error, (mark,), self._failure, "What serves goes on serving.")

    def _renewed(self, collection: str, best: Best | None, known: _Serving) -> _Serving:
        if best is None:
            return _Serving()
        # Before reading: what changes while it is read is seen the next time.
        marks = self._marks(collection, best)
        try:
            head = self._shelf.load(collection, best.version, best.card_sha256)
        except ShelfError as error:
            kept = known.head and known.head.card.version
            meanwhile = f"Version {kept} goes on serving." if kept else "Nothing serves."
            return _Serving(best, known.head, self._failed(error, marks, known.failure, meanwhile))
        return _Serving(best, head)

    def _failed(
        self, error: ShelfError, marks: tuple[Mark, ...], before: _Failure | None, meanwhile: str
    ) -> _Failure:
        if before is None or before.problem != str(error):
            logger.warning("%s %s", error, meanwhile)
        hindered = isinstance(error, ShelfHindered)
        return _Failure(str(error), marks, self._clock() + RETRY_SECONDS if hindered else math.inf)

    def _is_over(self, failure: _Failure | None, marks: Callable[[], tuple[Mark, ...]]) -> bool:
        """Whether what could not be read is to be tried again."""
        return failure is not None and (self._clock() >= failure.again or failure.marks != marks())

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
