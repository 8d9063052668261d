"""Watching what the serving versions are asked, so that it shows when that drifts from their training."""

import logging
import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.core.drift import Health
from classifiers.card import Card
from classifiers.measures import MEASURES, SCORE, Measure, rounded
from classifiers.windows import WINDOW, Windows, health_of, read_windows, write_windows

logger = logging.getLogger(__name__)

# So many versions are watched; of another one that which was asked the longest ago gives way.
MOST_HEADS = 1000
WRITE_EVERY = timedelta(seconds=30)

# A version is watched anew where its vectors come from other spaces.
Key = tuple[str, str, tuple[str | None, ...]]


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class _Seen:
    """What a version has seen, of which `unwritten` is what the file does not tell."""

    since: datetime | None = None
    count: int = 0
    values: dict[Measure, deque[float]] = field(
        default_factory=lambda: {name: deque(maxlen=WINDOW) for name in MEASURES}
    )
    unwritten: bool = False

    def add(self, values: Mapping[Measure, float], at: datetime) -> None:
        self.since = self.since or at
        self.count += 1
        self.unwritten = True
        for name, value in values.items():
            self.values[name].append(value)

    def windows(self, key: Key) -> Windows | None:
        if self.since is None:
            return None
        collection, version, spaces = key
        return Windows(
            collection=collection,
            version=version,
            spaces=spaces,
            since=self.since,
            seen=self.count,
            values={name: tuple(values) for name, values in self.values.items()},
        )


class Watch:
    """The last values of each version that is asked, for any number of threads.

    Only numbers are kept: brightness, size and score. With a folder they are written now and then, and on
    `close`, so that a server that starts again goes on; of several servers on one folder the last one to
    write is told. Every now and then an `observe` takes as long as writing a small file: call it off the
    event loop.

    Args:
        folder: of the shelf; without it nothing outlives the process.
        clock: the time.
    """

    def __init__(self, folder: Path | None = None, clock: Callable[[], datetime] = now) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        # The one that was asked the longest ago comes first.
        self._heads: OrderedDict[Key, _Seen] = OrderedDict()
        self._writing = threading.Lock()
        self._written = clock()

    def observe(self, card: Card, measures: Mapping[str, float], score: float) -> None:
        """Note what a version saw of a region, and what it said.

        Args:
            card: of the version.
            measures: of the region; those that nobody knows, or that are no numbers, do not count.
            score: as `classifiers.measures.scores` tells it.
        """
        given = {**measures, SCORE: score}
        values = {
            name: rounded(given[name]) for name in MEASURES if name in given and math.isfinite(given[name])
        }
        at = self._clock()
        with self._lock:
            key = _key(card)
            self._seen(key, card).add(values, at)
            self._heads.move_to_end(key)
        self._write_when_due(at)

    def health(self, card: Card) -> Health:
        """Whether what a version sees lately looks like what it was trained on."""
        with self._lock:
            key = _key(card)
            windows = self._seen(key, card).windows(key)
        return health_of(card, windows)

    def close(self) -> None:
        """Write what is not written yet."""
        with self._writing:
            self._write()

    def _seen(self, key: Key, card: Card) -> _Seen:
        """What a version has seen, in this process or before; called under the lock."""
        known = self._heads.get(key)
        if known is None:
            known = _Seen() if self._folder is None else _restored(read_windows(self._folder, card))
            while len(self._heads) >= MOST_HEADS:
                self._heads.popitem(last=False)
            self._heads[key] = known
            # Asking for its health is no request.
            self._heads.move_to_end(key, last=False)
        return known

    def _write_when_due(self, at: datetime) -> None:
        if self._folder is None or self._is_fresh(at) or not self._writing.acquire(blocking=False):
            return
        try:
            if not self._is_fresh(at):
                self._written = at
                self._write()
        finally:
            self._writing.release()

    def _is_fresh(self, at: datetime) -> bool:
        """Also false where the clock was set back."""
        return timedelta(0) <= at - self._written < WRITE_EVERY

    def _write(self) -> None:
        """Write what has changed; called by one thread at a time."""
        if self._folder is None:
            return
        with self._lock:
            # Of a collection the version that was asked last is written.
            latest = {key[0]: (key, seen) for key, seen in self._heads.items() if seen.count}
            due = [
                (seen, windows)
                for key, seen in latest.values()
                if seen.unwritten and (windows := seen.windows(key)) is not None
            ]
            for seen, _ in due:
                seen.unwritten = False
        for seen, windows in due:
            try:
                write_windows(self._folder, windows)
            except OSError as error:
                logger.warning(
                    "What '%s' was asked lately cannot be kept (%s).",
                    windows.collection,
                    error.strerror or type(error).__name__,
                )
                with self._lock:
                    seen.unwritten = True


def _key(card: Card) -> Key:
    return card.collection, card.version, card.spaces


def _restored(windows: Windows | None) -> _Seen:
    seen = _Seen()
    if windows is not None:
        seen.since, seen.count = windows.since, windows.seen
        for name, values in windows.values.items():
            seen.values[name].extend(values)
    return seen
