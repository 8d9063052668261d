"""Searching a local collection: nearest vectors from the structure, what they stand for from the database.

The structure proposes, and the database decides: a proposed label that has no row any more is never told.
Where what is proposed does not suffice more is asked for, and at last all vectors that the filter allows are
compared.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.collection import Hit
from app.core.filters import matches
from app.index import sqlite
from app.index.database import Database
from app.index.rows import Rows
from app.index.sqlite import Labels, RegionRow
from app.index.storage import Matrix, NearHash, Query
from app.index.structure import Candidates, Structure
from app.index.vectors import normalized, rounded

# A filter is asked of so many times as many as are wanted at first; then of four times as many, up to a limit
# beyond which it is quicker to compare all that it allows.
_FILTERED = 4
_FEWEST = 40
_MORE = 4
_MOST = 4096
# How often a search begins again because something was replaced while it looked, before it holds up changes.
_PATIENCE = 3
_READ = 1000

_BITS = 64


# A region's score with the sign changed, and its row, which begins with the id: in the order of hits.
_Found = tuple[float, RegionRow]


class Search:
    """Searches in collections.

    Args:
        database: the truth.
        rows: of regions.
    """

    def __init__(self, database: Database, rows: Rows) -> None:
        self._database = database
        self._rows = rows

    def nearest(self, structure: Structure, vectors: Matrix, query: Query) -> list[list[Hit]]:
        """For each vector of length 1 its hits."""
        for _ in range(_PATIENCE):
            hits = self._nearest(structure, vectors, query)
            if hits is not None:
                return hits
            # A change is in the database and not yet in the structure; whoever made it is about to end.
            with self._database.mutex:
                pass
        with self._database.mutex:
            hits = self._nearest(structure, vectors, query)
        return hits if hits is not None else [self._exact(structure, vector, query) for vector in vectors]

    def near_hashes(
        self, structure: Structure, phash: int, max_distance: int, query: Query
    ) -> list[NearHash]:
        """The regions of the nearest hashes."""
        wanted = query.offset + query.k
        found: list[tuple[int, RegionRow]] = []
        with self._database.reading() as connection:
            labels, phashes = self._phashes(connection, structure)
            distances = np.bitwise_count(phashes ^ np.uint64(phash))
            for distance in range(min(max_distance, _BITS) + 1):
                if len(found) >= wanted:
                    break
                rows = sqlite.regions(connection, labels[distances == distance].tolist()).values()
                found += sorted((distance, row) for row in rows if _passes(row, query))
        return [
            NearHash(Hit(row.id, 0.0, row.bbox, row.metadata, row.region), distance)
            for distance, row in found[query.offset : wanted]
        ]

    def _nearest(self, structure: Structure, vectors: Matrix, query: Query) -> list[list[Hit]] | None:
        """None where something that was found is not there any more."""
        # One more than is wanted, to see whether equal ones are cut off.
        count = query.offset + query.k + 1
        if query.filter is not None or query.without is not None:
            count = max(_FILTERED * count, _FEWEST)
        proposed = structure.nearest(vectors, count)
        if proposed is None:
            return [self._exact(structure, vector, query) for vector in vectors]
        hits = []
        for number, candidates in enumerate(proposed):
            found = _chosen(candidates.scores, self._rows.of(candidates.labels), query)
            if found is None:
                return None
            if not _suffices(found, candidates, query):
                found = self._looked_further(structure, vectors[number], count, query)
                if found is None:
                    return None
            hits.append(_hits(found, query))
        return hits

    def _looked_further(
        self, structure: Structure, vector: Matrix, count: int, query: Query
    ) -> list[_Found] | None:
        """What is found for one vector among more candidates than `count`; None as of `_nearest`."""
        while (count := count * _MORE) <= _MOST:
            proposed = structure.nearest(vector[np.newaxis], count)
            if proposed is None:
                break
            (candidates,) = proposed
            found = _chosen(candidates.scores, self._rows.of(candidates.labels), query)
            if found is None or _suffices(found, candidates, query):
                return found
        return self._exactly(structure, vector, query)

    def _exact(self, structure: Structure, vector: Matrix, query: Query) -> list[Hit]:
        return _hits(self._exactly(structure, vector, query), query)

    def _exactly(self, structure: Structure, vector: Matrix, query: Query) -> list[_Found]:
        """What is found for one vector among all that the filter allows, compared one by one."""
        with self._database.reading() as connection:
            every = sqlite.all_regions(connection, structure.key)
            rows = {label: row for label, row in every if _passes(row, query)}
            labels = sorted(rows)
            scores = np.empty(len(labels))
            for start in range(0, len(labels), _READ):
                some = slice(start, start + _READ)
                _, given = sqlite.vectors(connection, labels[some], len(vector))
                scores[some] = rounded(normalized(given) @ vector)
        least = -1.0 if query.min_score is None else query.min_score
        wanted = query.offset + query.k
        if wanted < len(scores):
            least = max(least, np.partition(scores, -wanted)[-wanted])
        best = np.flatnonzero(scores >= least)
        return [(-scores[place].item(), rows[labels[place]]) for place in best.tolist()]

    def _phashes(
        self, connection: sqlite.Connection, structure: Structure
    ) -> tuple[Labels, NDArray[np.uint64]]:
        """Those of a collection, read again when it has changed."""
        version = sqlite.version(connection, structure.key)
        known = structure.phashes
        if known is None or known[0] != version:
            known = structure.phashes = version, *sqlite.phashes(connection, structure.key)
        return known[1:]


def _chosen(scores: list[float], rows: Sequence[RegionRow | None], query: Query) -> list[_Found] | None:
    """What of the candidates was asked for, the best first; None where one is not there any more."""
    found = [(-score, row) for score, row in zip(scores, rows, strict=True) if row is not None]
    if len(found) < len(rows):
        return None
    if query.min_score is not None:
        found = [each for each in found if -each[0] >= query.min_score]
    if query.filter is not None or query.without is not None:
        found = [each for each in found if _passes(each[1], query)]
    return found


def _suffices(found: list[_Found], candidates: Candidates, query: Query) -> bool:
    """Whether no other candidate could be among the hits."""
    if candidates.exhausted:
        return True
    if not candidates.scores:
        return False
    lowest = candidates.scores[-1]
    if query.min_score is not None and lowest < query.min_score:
        return True
    wanted = query.offset + query.k
    # Equal ones are in order of their ids, so none of them may be cut off.
    return len(found) >= wanted and -found[wanted - 1][0] > lowest


def _passes(row: RegionRow, query: Query) -> bool:
    return row.id != query.without and (query.filter is None or matches(query.filter, row.metadata))


def _hits(found: list[_Found], query: Query) -> list[Hit]:
    found.sort()
    # What is remembered stays as it is, whatever becomes of the hits.
    return [
        Hit(row.id, -negated, row.bbox, row.metadata.copy(), row.region)
        for negated, row in found[query.offset : query.offset + query.k]
    ]
