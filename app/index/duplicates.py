"""Groups of near-duplicates: pairs that are alike, joined."""

from collections.abc import Hashable, Iterable, Sequence
from itertools import groupby
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.index.storage import Matrix
from app.index.vectors import normalized

T = TypeVar("T", bound=Hashable)


def groups(pairs: Iterable[tuple[T, T]]) -> list[list[T]]:
    """Join pairs into groups: each member is paired with at least one other of its group.

    Returns:
        The largest group first, equal ones by their first member to appear; members in order of appearance.
    """
    # Takes a second to import.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = list(pairs)
    numbers = {
        member: number for number, member in enumerate(dict.fromkeys(m for pair in edges for m in pair))
    }
    rows, columns = ([numbers[pair[side]] for pair in edges] for side in (0, 1))
    graph = coo_array((np.ones(len(edges), np.int8), (rows, columns)), shape=(len(numbers),) * 2)
    _, labels = connected_components(graph, directed=False)
    by_label = sorted(numbers, key=lambda member: (labels[numbers[member]], numbers[member]))
    joined = [list(group) for _, group in groupby(by_label, key=lambda member: labels[numbers[member]])]
    return sorted(joined, key=lambda group: (-len(group), numbers[group[0]]))


def alike_vectors(vectors: Matrix, min_score: float) -> list[tuple[int, int]]:
    """Pairs of rows whose cosine is at least so high; for a few hundred rows."""
    unit = normalized(vectors)
    return _upper(unit @ unit.T >= min_score)


def alike_hashes(phashes: Sequence[int], max_distance: int) -> list[tuple[int, int]]:
    """Pairs of 64-bit hashes that differ in at most so many bits; for a few hundred."""
    bits = np.array(phashes, np.uint64)
    return _upper(np.bitwise_count(bits[:, None] ^ bits[None, :]) <= max_distance)


def _upper(alike: NDArray[np.bool_]) -> list[tuple[int, int]]:
    rows, columns = np.nonzero(np.triu(alike, k=1))
    return list(zip(rows.tolist(), columns.tolist(), strict=True))
