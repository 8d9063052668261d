"""The keeper: one thread that keeps the search structures of all collections in order.

It alone changes graphs. In short slices, between which searches go on, it moves what was added into them, and
marks what was deleted; graphs that are missing, or in good part deleted, it builds anew beside those that are
searched; and it writes snapshots.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from app.core.errors import IndexUnavailable
from app.index import sqlite
from app.index.database import Database
from app.index.snapshots import Snapshots
from app.index.storage import Matrix
from app.index.structure import Graph, Labels, Structure
from app.index.vectors import normalized

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Told of a rebuild: the name of the collection, the vectors that are in the graph, and all of them."""

_READ = 2000
# Of a structure that failed, when it is looked at again.
_RETRY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Tuning:
    """When the keeper does what.

    Args:
        graph_from: with fewer vectors a collection has no graph, and is searched exactly in about the time.
        slice: so many vectors are moved at a time, while searches wait.
        compact_at: a graph is built anew when so large a part of it is deleted,
        compact_least: and more than so many vectors.
        snapshot_at: a snapshot is written when so large a part of the graph has changed since the last one,
        snapshot_least: and at least so many vectors, as also when the index is closed;
        snapshot_seconds: but not sooner than this after the last, as hnswlib holds up the process meanwhile.
    """

    graph_from: int = 2000
    slice: int = 16
    compact_at: float = 0.3
    compact_least: int = 1000
    snapshot_at: float = 0.1
    snapshot_least: int = 1000
    snapshot_seconds: float = 600.0


class Keeper:
    """Keeps structures in order until it is stopped.

    Args:
        database: the truth.
        structures: by the names of their collections. Others add to it and take from it.
        snapshots: where graphs are kept.
        tuning: when to do what.
        progress: told of rebuilds.
    """

    def __init__(
        self,
        database: Database,
        structures: Mapping[str, Structure],
        snapshots: Snapshots,
        tuning: Tuning,
        progress: Progress | None,
    ) -> None:
        self._database = database
        self._structures = structures
        self._snapshots = snapshots
        self._tuning = tuning
        self._progress = progress
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="index-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something to do."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread, and write the snapshots that the next start would miss."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        for name, structure in list(self._structures.items()):
            if structure.changed >= self._tuning.snapshot_least:
                self._save(name, structure)

    def load(self, structure: Structure) -> None:
        """Read what the structure holds, if no other thread has.

        Raises:
            IndexUnavailable: the database cannot be read.
        """
        if structure.loaded:
            return
        with structure.loading:
            if not structure.loaded:
                self._load(structure)
        self.wake()

    def pending(self, structure: Structure) -> int:
        """How many vectors wait for a graph."""
        view = structure.view
        waits = view.graph is not None or len(view.tail) - len(view.dead) >= self._tuning.graph_from
        return len(view.tail) if waits else 0

    def _load(self, structure: Structure) -> None:
        with self._database.reading() as connection:
            row = sqlite.collection_of(connection, structure.key)
            live = sqlite.labels(connection, structure.key)
        dimensions = None if row is None else row.dimensions
        if row is None or dimensions is None:
            structure.loaded = True
            return
        graph = self._snapshots.read(row.snapshot, dimensions) if row.snapshot else None
        missing = live if graph is None else graph.reconcile(live)
        structure.load(graph, *read_units(self._database, missing, dimensions))

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._rest())
            self._wake.clear()
            while not self._stopping and self._work():
                pass

    def _rest(self) -> float | None:
        """Seconds until there may be something to do again; None where only a change can bring that."""
        now = time.monotonic()
        times = [
            time_
            for structure in list(self._structures.values())
            for time_ in (structure.rests_until, structure.saved_at + self._tuning.snapshot_seconds)
            # A snapshot that is not due when its time comes is, when it is, after a change, which wakes.
            if time_ > now
        ]
        return min(times) - now if times else None

    def _work(self) -> bool:
        """A bit of work for every structure; whether there is more to do."""
        more = False
        for name, structure in list(self._structures.items()):
            if self._stopping:
                return False
            if structure.retired or time.monotonic() < structure.rests_until:
                continue
            try:
                more |= self._attend(name, structure)
            except Exception:
                logger.exception("the search structure of the collection %s could not be kept in order", name)
                structure.rests_until = time.monotonic() + _RETRY_SECONDS
        return more

    def _attend(self, name: str, structure: Structure) -> bool:
        self.load(structure)
        tuning = self._tuning
        structure.mark()
        graph = structure.view.graph
        if graph is None:
            if len(structure.view.tail) < tuning.graph_from:
                return False
            self._rebuild(name, structure)
            return True
        if graph.marked > max(tuning.compact_least, tuning.compact_at * graph.count):
            self._rebuild(name, structure)
            return True
        left = self._move(structure, graph)
        waited = time.monotonic() - structure.saved_at >= tuning.snapshot_seconds
        if waited and structure.changed >= max(tuning.snapshot_least, tuning.snapshot_at * graph.count):
            self._save(name, structure)
        return left > 0

    def _move(self, structure: Structure, graph: Graph) -> int:
        """Move some of the tail; how many vectors are left there."""
        left = len(structure.view.tail)
        until = time.monotonic() + 0.5
        while left and not (self._stopping or structure.retired) and time.monotonic() < until:
            asked, started = graph.asked, time.monotonic()
            left = structure.move(self._tuning.slice)
            if graph.asked != asked:
                # Searches wait, or did: they get as much time as the slice took.
                time.sleep(time.monotonic() - started)
        return left

    def _rebuild(self, name: str, structure: Structure) -> None:
        """Build a graph from the database, beside what is searched, and then search that one."""
        dimensions, total = structure.dimensions, structure.count
        assert dimensions is not None
        if total < self._tuning.graph_from:
            with self._database.reading() as connection:
                live = sqlite.labels(connection, structure.key)
            structure.load(None, *read_units(self._database, live, dimensions))
            return
        graph, done = Graph.empty(dimensions, total), 0
        started = time.monotonic()
        with structure.rebuilding():
            while not structure.retired:
                if self._stopping and structure.view.graph is not None:
                    # What is searched now is no worse a beginning for the next start.
                    return
                with self._database.reading() as connection:
                    labels, vectors = sqlite.vectors_after(
                        connection, structure.key, graph.high, _READ, dimensions
                    )
                if not len(labels) or self._stopping:
                    break
                graph.add(labels, normalized(vectors))
                done += len(labels)
                structure.rebuilt = min(done / max(total, done), 1.0)
                if self._progress is not None:
                    self._progress(name, done, max(total, done))
            structure.replace(graph)
        logger.info(
            "built the graph of the collection %s: %d vectors in %.1f s",
            name,
            done,
            time.monotonic() - started,
        )
        if not (self._stopping or structure.retired):
            self._save(name, structure)

    def _save(self, name: str, structure: Structure) -> None:
        """Write a snapshot. Without one the next start is slow, and nothing else."""
        graph = structure.view.graph
        assert graph is not None
        structure.saved_at = time.monotonic()
        try:
            token = self._snapshots.write(structure.key, graph)
            with self._database.writing() as connection:
                # What a retired structure held is in no collection any more.
                unnamed = (
                    token if structure.retired else sqlite.set_snapshot(connection, structure.key, token)
                )
            if unnamed is not None:
                self._snapshots.delete(unnamed)
        except (OSError, IndexUnavailable) as error:
            logger.warning("no snapshot of the collection %s was written: %s", name, error)
        else:
            structure.changed = 0


def read_units(database: Database, labels: Labels, dimensions: int) -> tuple[Labels, Matrix]:
    """The vectors of those labels that are live, at length 1, in the order of rising labels."""
    found = np.empty_like(labels)
    units = np.empty((len(labels), dimensions), np.float32)
    end = 0
    for start in range(0, len(labels), _READ):
        with database.reading() as connection:
            some, vectors = sqlite.vectors(connection, labels[start : start + _READ].tolist(), dimensions)
        rows = slice(end, end := end + len(some))
        found[rows], units[rows] = some, normalized(vectors)
    return found[:end], units[:end]
