"""Pairs of alike regions of a local collection."""

import numpy as np

from app.index import deadline, hashes, sqlite
from app.index.database import Database
from app.index.keeper import read_units
from app.index.storage import MAX_HITS, Member
from app.index.structure import Candidates, Structure
from app.index.vectors import normalized

# So many of other items are looked at for a region: a thousand copies of one image are half a million pairs.
PAIRS_PER_REGION = 50

_READ = 512


class Pairs:
    """Pairs in collections, in order of their members.

    Args:
        database: the truth.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def near(
        self, structure: Structure, min_score: float, until: float | None
    ) -> list[tuple[Member, Member, float]]:
        """Pairs of regions of different items with near vectors."""
        dimensions = structure.dimensions
        if dimensions is None:
            return []
        with self._database.reading() as connection:
            owners = sqlite.owners(connection, structure.key)
            # The nearest to a region are itself and, it may be, the others of its item.
            count = min(PAIRS_PER_REGION + sqlite.most_regions(connection, structure.key), MAX_HITS)
        scores: dict[tuple[int, int], float] = {}
        last = 0
        while True:
            deadline.check(until)
            with self._database.reading() as connection:
                labels, given = sqlite.vectors_after(connection, structure.key, last, _READ, dimensions)
            if not len(labels):
                break
            last = int(labels[-1])
            units = normalized(given)
            found = structure.nearest(units, count, until)
            if found is None:
                structure = self._compared_one_by_one(structure, dimensions)
                found = structure.nearest(units, count, until)
                assert found is not None
            for label, candidates in zip(labels.tolist(), found, strict=True):
                _collect(label, candidates, owners, min_score, scores)
        return self._ordered(structure.key, scores)

    def near_hashes(
        self, structure: Structure, max_distance: int, until: float | None
    ) -> list[tuple[Member, Member, int]]:
        """Pairs of regions of different items with near hashes."""
        with self._database.reading() as connection:
            labels, phashes = sqlite.phashes(connection, structure.key)
            owners = sqlite.owners(connection, structure.key)
            members = sqlite.members(connection, structure.key)
        members = {label: members[label] for label in labels.tolist()}
        # In order of members, and owners so too, whenever they were added.
        order = np.array(
            sorted(range(len(labels)), key=lambda place: _rank(members[int(labels[place])])), np.intp
        )
        sorted_labels = labels[order].tolist()
        pairs = hashes.near_pairs(
            phashes[order],
            np.array([owners[label] for label in sorted_labels], np.int64),
            max_distance,
            PAIRS_PER_REGION,
            until,
        )
        return [
            (members[sorted_labels[one]], members[sorted_labels[other]], distance)
            for one, other, distance in pairs
        ]

    def _compared_one_by_one(self, structure: Structure, dimensions: int) -> Structure:
        """A structure without a graph, where a graph does not find enough."""
        with self._database.reading() as connection:
            live = sqlite.labels(connection, structure.key)
        compared = Structure(structure.key, structure.identity, dimensions)
        compared.load(None, *read_units(self._database, live, dimensions))
        return compared

    def _ordered(self, key: int, scores: dict[tuple[int, int], float]) -> list[tuple[Member, Member, float]]:
        with self._database.reading() as connection:
            members = sqlite.members(connection, key)
        pairs = []
        for (one, other), score in scores.items():
            # One of them may have been deleted meanwhile.
            if one in members and other in members:
                first, second = sorted((members[one], members[other]), key=_rank)
                pairs.append((first, second, score))
        return sorted(pairs, key=lambda pair: (_rank(pair[0]), _rank(pair[1])))


def _collect(
    label: int,
    candidates: Candidates,
    owners: dict[int, int],
    min_score: float,
    scores: dict[tuple[int, int], float],
) -> None:
    """Note a label's nearest labels of other items."""
    owner, noted = owners.get(label), 0
    for other, score in zip(candidates.labels, candidates.scores, strict=True):
        if score < min_score or noted == PAIRS_PER_REGION:
            break
        if owners.get(other, owner) != owner:
            scores[min(label, other), max(label, other)] = score
            noted += 1


def _rank(member: Member) -> tuple[str, int]:
    return member.id, member.region
