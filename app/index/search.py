"""Searching a local collection: nearest vectors from the structure, what they stand for from the database.

The structure proposes, and the database decides: a proposed label that has no row any more is never told.
Where what is proposed does not suffice more is asked for, and at last all vectors that the filter allows are
compared.
"""

from collections.abc import Iterable, Sequence
from itertools import compress
from operator import gt

import numpy as np
import orjson
from numpy.typing import NDArray

from app.core.collection import Hit
from app.core.filters import matches
from app.index import deadline, sqlite
from app.index.database import Database
from app.index.rows import Rows
from app.index.sqlite import Labels, RegionRow
from app.index.storage import Matrix, NearHash, Query
from app.index.structure import Candidates, Structure
from app.index.vectors import SCORE_DECIMALS, normalized, rounded

# A filter is asked of so many times as many as are wanted at first; then of four times as many, up to a limit
# beyond which it is quicker to compare all that it allows.
_FILTERED = 4
_FEWEST = 40
_MORE = 4
_MOST = 4096
# How often a search begins again because something was replaced while it looked, before it holds up changes.
_PATIENCE = 3
# So many kept vectors are compared with so many of a query at a time.
_READ = 1000
_QUERIES = 1000

_BITS = 64
# Scores are whole steps of this part; and no collection has so many regions.
_STEPS = 10**SCORE_DECIMALS
_PLACES = 1 << 40


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
            deadline.check(query.until)
            # A change is in the database and not yet in the structure; whoever made it is about to end.
            with self._database.mutex:
                pass
        with self._database.mutex:
            hits = self._nearest(structure, vectors, query)
        return hits if hits is not None else self._exact(structure, vectors, query)

    def near_hashes(
        self, structure: Structure, phash: int, max_distance: int, query: Query
    ) -> list[NearHash]:
        """The regions of the nearest hashes."""
        deadline.check(query.until)
        wanted = query.offset + query.k
        found: list[tuple[int, RegionRow]] = []
        with self._database.reading() as connection:
            labels, phashes = self._phashes(connection, structure)
            distances = np.bitwise_count(phashes ^ np.uint64(phash))
            for distance in range(min(max_distance, _BITS) + 1):
                if len(found) >= wanted:
                    break
                near = labels[distances == distance].tolist()
                some: list[tuple[int, RegionRow]] = []
                for start in range(0, len(near), _READ):
                    deadline.check(query.until)
                    rows = sqlite.regions(connection, near[start : start + _READ]).values()
                    some += ((distance, row) for row in rows if _allows(query, row))
                found += sorted(some)
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
        answers: list[list[Hit]] = [[]] * len(vectors)
        places, some = list(range(len(vectors))), vectors
        while (proposed := structure.nearest(some, count, query.until)) is not None:
            unanswered = []
            for place, candidates in zip(places, proposed, strict=True):
                rows = self._rows.of(candidates.labels)
                if rows is None:
                    return None
                hits = _hits(candidates, rows, query)
                if hits is None:
                    unanswered.append(place)
                else:
                    answers[place] = hits
            places, count = unanswered, count * _MORE
            if not places:
                return answers
            if count > _MOST or count * len(places) > structure.count:
                break
            some = vectors[places]
        for place, hits in zip(places, self._exact(structure, vectors[places], query), strict=True):
            answers[place] = hits
        return answers

    def _exact(self, structure: Structure, vectors: Matrix, query: Query) -> list[list[Hit]]:
        """For each vector its hits among all that the filter allows, compared one by one."""

        def passes(item_id: str, metadata: str) -> bool:
            deadline.check(query.until)
            return item_id != query.without and (
                query.filter is None or matches(query.filter, orjson.loads(metadata))
            )

        answers: list[list[Hit]] = []
        with self._database.reading() as connection:
            labels = np.fromiter(sqlite.labels_of(connection, structure.key, passes), np.int64)
            for start in range(0, len(vectors), _QUERIES):
                best = _best(connection, labels, vectors[start : start + _QUERIES], query)
                found = labels[np.unique(best % _PLACES)]
                rows = sqlite.regions(connection, found.tolist())
                for ranks in best.tolist():
                    scored = (
                        ((_STEPS - rank // _PLACES) / _STEPS, rows[labels[rank % _PLACES]]) for rank in ranks
                    )
                    answers.append(_made(scored, query.min_score))
        return answers

    def _phashes(
        self, connection: sqlite.Connection, structure: Structure
    ) -> tuple[Labels, NDArray[np.uint64]]:
        """Those of a collection, read again when it has changed."""
        version = sqlite.version(connection, structure.key)
        known = structure.phashes
        if known is None or known[0] != version:
            known = structure.phashes = version, *sqlite.phashes(connection, structure.key)
        return known[1:]


def _hits(candidates: Candidates, rows: Sequence[RegionRow], query: Query) -> list[Hit] | None:
    """What of the candidates was asked for; None where others may be among the hits."""
    scores: Sequence[float] = candidates.scores
    lowest = scores[-1] if scores else 1.0
    if query.filter is not None or query.without is not None:
        passing = [_allows(query, row) for row in rows]
        scores, rows = list(compress(scores, passing)), list(compress(rows, passing))
    wanted = query.offset + query.k
    # Equal ones are in order of their ids, so none of them may be cut off.
    suffices = candidates.exhausted or (len(scores) >= wanted and scores[wanted - 1] > lowest)
    if not suffices and (query.min_score is None or lowest >= query.min_score):
        return None
    page = slice(query.offset, wanted)
    if all(map(gt, scores, scores[1:])):
        return _made(zip(scores[page], rows[page], strict=True), query.min_score)
    scored = zip(scores, rows, strict=True)
    return _made(sorted(scored, key=lambda pair: (-pair[0], pair[1]))[page], query.min_score)


def _best(connection: sqlite.Connection, labels: Labels, vectors: Matrix, query: Query) -> NDArray[np.int64]:
    """For each vector the ranks of the page's hits among labels, the best first.

    A rank says how many steps a score is from 1, and then the place of the label: the order of hits.
    """
    wanted = query.offset + query.k
    best = np.empty((len(vectors), 0), np.int64)
    order = np.argsort(labels)
    rising = labels[order]
    for start in range(0, len(labels), _READ):
        deadline.check(query.until)
        some, given = sqlite.vectors(connection, rising[start : start + _READ].tolist(), vectors.shape[1])
        steps = np.rint((1.0 - rounded(vectors @ normalized(given).T)) * _STEPS).astype(np.int64)
        best = np.concatenate([best, steps * _PLACES + order[np.searchsorted(rising, some)]], axis=1)
        if best.shape[1] > wanted:
            best = np.partition(best, wanted - 1, axis=1)[:, :wanted]
    best.sort(axis=1)
    return best[:, query.offset :]


def _made(scored: Iterable[tuple[float, RegionRow]], min_score: float | None) -> list[Hit]:
    # What is remembered stays as it is, whatever becomes of the hits; and a tuple is made in a third of the
    # time of a call of its class.
    return [
        tuple.__new__(Hit, (id_, score, bbox, metadata.copy(), region))
        for score, (id_, region, bbox, metadata, _) in scored
        if min_score is None or score >= min_score
    ]


def _allows(query: Query, row: RegionRow) -> bool:
    return row.id != query.without and (query.filter is None or matches(query.filter, row.metadata))
