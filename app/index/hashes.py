"""Near pairs among 64-bit perceptual hashes."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from app.index import deadline

# So many rows by so many are compared at a time, in some tens of megabytes.
_BLOCK = 1024


def near_pairs(
    phashes: NDArray[np.uint64],
    owners: NDArray[np.int64],
    max_distance: int,
    per_row: int,
    until: float | None = None,
) -> Iterator[tuple[int, int, int]]:
    """The rows of hashes that differ in at most so many bits, and by how many; each pair once, in order.

    A thousand copies of one image would be half a million pairs, so not all are given.

    Args:
        phashes: of all rows.
        owners: whose hash each is; two of one owner make no pair.
        max_distance: in bits.
        per_row: with how many of the rows after it each is paired at most, the nearest ones.
        until: when nobody waits for them any more, a time of `time.monotonic`.

    Raises:
        DeadlineExceeded
    """
    for top in range(0, len(phashes), _BLOCK):
        rows = slice(top, top + _BLOCK)
        found = np.empty((3, 0), np.int64)
        for left in range(top, len(phashes), _BLOCK):
            deadline.check(until)
            columns = slice(left, left + _BLOCK)
            distances = np.bitwise_count(phashes[rows, np.newaxis] ^ phashes[columns])
            near = (distances <= max_distance) & (owners[rows, np.newaxis] != owners[columns])
            if left == top:
                near = np.triu(near, k=1)
            ones, others = np.nonzero(near)
            block = np.stack([ones + top, others + left, distances[ones, others]])
            found = _first_of_each(np.concatenate([found, block], axis=1), per_row)
        for one, other, distance in found[:, np.lexsort(found[1::-1])].T:
            yield int(one), int(other), int(distance)


def _first_of_each(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Of each first row its nearest pairs, sorted."""
    ones, others, distances = pairs
    pairs = pairs[:, np.lexsort([others, distances, ones])]
    ones = pairs[0]
    rank = np.arange(len(ones)) - np.searchsorted(ones, ones)
    kept: NDArray[np.int64] = pairs[:, rank < count]
    return kept
