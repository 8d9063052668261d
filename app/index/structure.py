"""The structure in memory in which a collection's nearest vectors are found: a graph, and a tail.

What is added lands in the tail, which is compared exactly, and is found by the next search. One thread, the
keeper, moves the tail into the graph bit by bit; no other changes a graph. A search looks at one `View`, of
which the tail never changes: it misses nothing that moves meanwhile, and what it finds twice has one label.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

import hnswlib
import numpy as np
from numpy.typing import NDArray

from app.index import deadline
from app.index.shared_lock import SharedLock
from app.index.storage import Matrix
from app.index.vectors import scores_of

Labels = NDArray[np.int64]

# On clustered vectors of 512 numbers these find more than 99 of the 100 nearest ten; more of each costs time
# and memory for little.
_LINKS = 16
_BUILD_WIDTH = 100
_SEARCH_WIDTH = 50
# So many queries are searched at a time: those who wait for the graph wait no longer than that.
_QUERIES = 128
_MARKS = 1000
_CORES = os.cpu_count() or 1


class Candidates(NamedTuple):
    """Labels with their scores, the best first. `exhausted` says that the structure holds no others."""

    labels: list[int]
    scores: list[float]
    exhausted: bool


class Graph:
    """An approximate index of vectors of length 1 (HNSW).

    hnswlib's searches may run beside each other, but not beside a change: they take the read side of a lock,
    and changes the write side.

    Args:
        index: of hnswlib, with vectors or without.
    """

    def __init__(self, index: "hnswlib.Index") -> None:
        self.index = index
        self.index.set_ef(_SEARCH_WIDTH)
        self.index.set_num_threads(_CORES)
        self.marked = 0
        """How many of its vectors are marked as deleted."""
        self.high = 0
        """The highest label in it."""
        self._lock = SharedLock()
        self._asked = 0

    @classmethod
    def empty(cls, dimensions: int, capacity: int) -> "Graph":
        index = new_index(dimensions)
        index.init_index(capacity, M=_LINKS, ef_construction=_BUILD_WIDTH)
        return cls(index)

    @property
    def count(self) -> int:
        """How many vectors are in it, those that are marked as deleted included."""
        count: int = self.index.get_current_count()
        return count

    @property
    def live(self) -> int:
        return self.count - self.marked

    @property
    def asked(self) -> int:
        """Another number when there were searches meanwhile."""
        return self._asked

    def begin_search(self) -> None:
        """Keep it as it is until `end_search`."""
        self._asked += 1
        self._lock.acquire_shared()

    def end_search(self) -> None:
        self._lock.release_shared()

    def nearest(self, vectors: Matrix, count: int) -> tuple[NDArray[np.integer], Matrix] | None:
        """The labels of the nearest vectors and their distances, 1 less the cosines, [n, count] each; None
        where so many cannot be found. To be called between `begin_search` and `end_search`."""
        if count > self.live // 2:
            return None
        # Threads are worth their start only for many queries.
        threads = 1 if len(vectors) == 1 else _CORES
        try:
            labels, distances = self.index.knn_query(vectors, count, num_threads=threads)
        except RuntimeError:
            # Some vectors are on no path from the entry of the graph.
            return None
        return labels, distances

    def add(self, labels: Labels, vectors: Matrix) -> None:
        """Add vectors with labels that rise, above all those that are in it."""
        needed = self.count + len(labels)
        with self._lock.alone():
            if needed > self.index.get_max_elements():
                self.index.resize_index(max(needed, self.index.get_max_elements() * 3 // 2))
            self.index.add_items(vectors, labels)
        self.high = max(self.high, int(labels[-1]))

    def reconcile(self, live: Labels) -> Labels:
        """Mark what is not live, in a graph that is not searched yet; the live ones that it lacks, rising."""
        present = np.array(self.index.get_ids_list(), np.int64)
        self.high = int(present.max(initial=0))
        gone = np.setdiff1d(present, live, assume_unique=True)
        self.mark(gone.tolist())
        # Some were marked before the graph was saved.
        self.marked = len(gone)
        return np.setdiff1d(live, present, assume_unique=True)

    def mark(self, labels: Iterable[int]) -> int:
        """Mark vectors as deleted, those of the labels that are in it; how many were."""
        before = self.marked
        present = [label for label in labels if label <= self.high]
        for start in range(0, len(present), _MARKS):
            with self._lock.alone():
                for label in present[start : start + _MARKS]:
                    # Others are not in the graph, or were marked before.
                    with suppress(RuntimeError):
                        self.index.mark_deleted(label)
                        self.marked += 1
        return self.marked - before


def new_index(dimensions: int) -> "hnswlib.Index":
    # Of vectors of length 1 the inner product is the cosine.
    return hnswlib.Index(space="ip", dim=dimensions)


class Tail(NamedTuple):
    """Vectors that no graph has, in rising order of their labels."""

    labels: Labels
    vectors: Matrix

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a search looks at.

    `dead` are labels that are deleted, and still in the graph or the tail.
    """

    graph: Graph | None
    tail: Tail
    dead: frozenset[int]


class Structure:
    """The search structure of one collection.

    Args:
        key: of the collection.
        identity: of the collection.
        dimensions: of its vectors, where they are known.
    """

    def __init__(self, key: int, identity: str, dimensions: int | None) -> None:
        self.key = key
        self.identity = identity
        self.dimensions = dimensions
        self.rebuilt: float | None = None
        """How far a rebuild has come, 0 to 1, while one runs."""
        self.phashes: tuple[int, Labels, NDArray[np.uint64]] | None = None
        """The perceptual hashes of a version of the collection, with their labels."""
        self.changed = 0
        """How many changes of the graph no snapshot has."""
        self.saved_at = float("-inf")
        self.rests_until = float("-inf")
        """Not to be kept in order before then, after a failure."""
        self.retired = False
        """Of a collection that was dropped, or has another structure now."""
        self.loaded = False
        self.loading = threading.Lock()
        """Held by the thread that loads it."""
        self._publishing = threading.Lock()
        self._buffer = _Buffer(dimensions or 0)
        self.view = View(None, self._buffer.tail(), frozenset())

    @property
    def count(self) -> int:
        """How many vectors it holds, those that are deleted included."""
        view = self.view
        return (0 if view.graph is None else view.graph.live) + len(view.tail)

    def load(self, graph: Graph | None, labels: Labels, vectors: Matrix) -> None:
        """Begin with a graph and with what it lacks; what was added meanwhile stays.

        Args:
            graph: with the collection's first vectors, if there is one.
            labels: rising, of what it lacks.
            vectors: [n, dimensions], of length 1.
        """
        with self._publishing:
            meanwhile = self.view.tail
            self._begin(vectors.shape[1])
            self._buffer.append(labels, vectors)
            newer = meanwhile.labels > self._last(graph)
            self._buffer.append(meanwhile.labels[newer], meanwhile.vectors[newer])
            self._publish(graph, self.view.dead)
            self.loaded = True

    def change(self, labels: Labels, vectors: Matrix | None, gone: Iterable[int]) -> None:
        """Take in vectors of length 1, the labels of which rise, and at the same instant take out others."""
        with self._publishing:
            graph = self.view.graph
            if vectors is not None:
                if self.dimensions is None:
                    self._begin(vectors.shape[1])
                # They are in the database already, from which a load or a rebuild may have read them.
                new = labels > self._last(graph)
                self._buffer.append(labels[new], vectors[new])
            self._publish(graph, self.view.dead.union(gone))

    def move(self, count: int) -> int:
        """Move the oldest vectors of the tail into the graph; how many are left there. For the keeper."""
        view = self.view
        assert view.graph is not None
        labels, vectors = view.tail.labels[:count], view.tail.vectors[:count]
        live = ~np.isin(labels, list(view.dead))
        if live.any():
            view.graph.add(labels[live], vectors[live])
        self.changed += len(labels)
        with self._publishing:
            self._buffer.drop(len(labels))
            # Those that died while they moved are in the graph now, and stay dead until they are marked.
            self._publish(view.graph, self.view.dead.difference(labels[~live].tolist()))
        return len(self.view.tail)

    def mark(self) -> None:
        """Mark what is dead in the graph, so that searches need not leave it out. For the keeper."""
        view = self.view
        if not view.dead:
            return
        if view.graph is None:
            self._forget(view.dead)
            return
        self.changed += view.graph.mark(view.dead)
        waiting = {label for label in view.dead if label > view.graph.high}
        with self._publishing:
            self._publish(view.graph, self.view.dead - (view.dead - waiting))

    def replace(self, graph: Graph) -> None:
        """Search another graph, which has all vectors up to its highest label. For the keeper."""
        with self._publishing:
            graph.mark(self.view.dead)
            tail = self.view.tail
            self._buffer.drop(int(np.searchsorted(tail.labels, graph.high, side="right")))
            self._publish(graph, frozenset(label for label in self.view.dead if label > graph.high))
        self.changed = graph.count

    def nearest(self, vectors: Matrix, count: int, until: float | None = None) -> list[Candidates] | None:
        """For each vector of length 1 the nearest live ones, at most `count` and at times fewer; None where
        the structure cannot tell."""
        found: list[Candidates] = []
        for start in range(0, len(vectors), _QUERIES):
            deadline.check(until)
            some = self._nearest(vectors[start : start + _QUERIES], count)
            if some is None:
                return None
            found += some
        return found

    def _nearest(self, vectors: Matrix, count: int) -> list[Candidates] | None:
        view = self._begin_search()
        parts: list[tuple[NDArray[np.integer], Matrix]] = []
        if view.graph is not None:
            try:
                of_graph = view.graph.nearest(vectors, count)
            finally:
                view.graph.end_search()
            if of_graph is None:
                return None
            parts.append(of_graph)
        # When vectors of other dimensions were checked it was empty, and so it is to them.
        if len(view.tail) and view.tail.vectors.shape[1] == vectors.shape[1]:
            parts.append(_compared(view.tail, vectors, count))
        if not parts:
            return [Candidates([], [], True)] * len(vectors)
        exhausted = view.graph is None and count >= len(view.tail)
        columns = [
            column for labels, distances in parts for column in (labels.tolist(), scores_of(distances))
        ]
        rows = list(zip(*columns, strict=True) if len(parts) == 1 else map(_merged, *columns))
        if view.dead:
            rows = [_without(view.dead, labels, scores) for labels, scores in rows]
        return [Candidates(labels, scores, exhausted) for labels, scores in rows]

    def _begin_search(self) -> View:
        """The view, the graph of which stays as it is until the search of it ends."""
        while True:
            view = self.view
            graph = view.graph
            if graph is None:
                return view
            graph.begin_search()
            # Of an older view, what has moved into the graph since may stand beside what it replaced.
            view = self.view
            if view.graph is graph:
                return view
            graph.end_search()

    @contextmanager
    def rebuilding(self) -> Iterator[None]:
        self.rebuilt = 0.0
        try:
            yield
        finally:
            self.rebuilt = None

    def _begin(self, dimensions: int) -> None:
        """Let go of the tail; vectors of so many dimensions come next."""
        self.dimensions = dimensions
        self._buffer = _Buffer(dimensions)

    def _last(self, graph: Graph | None) -> int:
        """The highest label that is in a graph and the tail, or was."""
        tail = self._buffer.tail()
        return max(0 if graph is None else graph.high, int(tail.labels[-1]) if len(tail) else 0)

    def _forget(self, dead: frozenset[int]) -> None:
        """Take what is dead out of the tail."""
        with self._publishing:
            labels, vectors = self.view.tail
            live = ~np.isin(labels, list(dead))
            self._buffer = _Buffer(vectors.shape[1])
            self._buffer.append(labels[live], vectors[live])
            self._publish(None, self.view.dead - dead)

    def _publish(self, graph: Graph | None, dead: frozenset[int]) -> None:
        self.view = View(graph, self._buffer.tail(), dead)


class _Buffer:
    """Rows that are added at the end and dropped at the front. What it gave out never changes."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._start = self._end = 0
        self._reserve(0)

    def tail(self) -> Tail:
        rows = slice(self._start, self._end)
        return Tail(self._labels[rows], self._vectors[rows])

    def append(self, labels: Labels, vectors: Matrix) -> None:
        if not len(labels):
            return
        end = self._end + len(labels)
        if end > len(self._labels):
            self._make_room(len(labels))
            end = self._end + len(labels)
        self._labels[self._end : end] = labels
        self._vectors[self._end : end] = vectors
        self._end = end

    def drop(self, count: int) -> None:
        self._start += count
        if self._start == self._end:
            self._reserve(0)

    def _make_room(self, count: int) -> None:
        # Others may still read the old rows, so these stay as they are.
        kept = self.tail()
        self._reserve(max(256, 2 * (len(kept) + count)))
        self.append(kept.labels, kept.vectors)

    def _reserve(self, rows: int) -> None:
        self._labels = np.empty(rows, np.int64)
        self._vectors = np.empty((rows, self._dimensions), np.float32)
        self._start = self._end = 0


def _compared(tail: Tail, vectors: Matrix, count: int) -> tuple[Labels, Matrix]:
    """The nearest of the tail with their distances, the best first."""
    distances = 1 - vectors @ tail.vectors.T
    if count < len(tail):
        best = np.argpartition(distances, count - 1, axis=1)[:, :count]
        distances = np.take_along_axis(distances, best, axis=1)
    else:
        best = np.broadcast_to(np.arange(len(tail)), distances.shape)
    order = np.argsort(distances, axis=1, kind="stable")
    labels = tail.labels[np.take_along_axis(best, order, axis=1)]
    return labels, np.take_along_axis(distances, order, axis=1)


def _merged(
    labels: list[int], scores: list[float], more_labels: list[int], more_scores: list[float]
) -> tuple[list[int], list[float]]:
    """The best of both, as many as the longer one has. What has moved meanwhile is in both."""
    both = dict(zip(labels, scores, strict=True)) | dict(zip(more_labels, more_scores, strict=True))
    best = sorted(both.items(), key=lambda pair: -pair[1])[: max(len(labels), len(more_labels))]
    return [label for label, _ in best], [score for _, score in best]


def _without(dead: frozenset[int], labels: list[int], scores: list[float]) -> tuple[list[int], list[float]]:
    live = [(label, score) for label, score in zip(labels, scores, strict=True) if label not in dead]
    return [label for label, _ in live], [score for _, score in live]
