"""Near pairs among hashes, against comparing each with each."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.index import hashes
from app.index.hashes import near_pairs


def random_hashes(count: int, seed: int = 0) -> NDArray[np.uint64]:
    """Some of them near each other."""
    rng = np.random.default_rng(seed)
    bases = rng.integers(0, 2**64, 1 + count // 4, dtype=np.uint64)
    flips = np.uint64(1) << rng.integers(0, 64, (count, 3), dtype=np.uint64)
    noisy: NDArray[np.uint64] = bases[rng.integers(0, len(bases), count)] ^ np.bitwise_xor.reduce(
        flips, axis=1
    )
    return noisy


def one_by_one(phashes: list[int], owners: list[int], max_distance: int) -> list[tuple[int, int, int]]:
    return [
        (one, other, distance)
        for one in range(len(phashes))
        for other in range(one + 1, len(phashes))
        if owners[one] != owners[other]
        and (distance := (phashes[one] ^ phashes[other]).bit_count()) <= max_distance
    ]


@pytest.mark.parametrize("block", [1, 7, 64, 1024])
@pytest.mark.parametrize("max_distance", [0, 4, 30, 64])
def test_pairs_are_those_of_comparing_each_with_each(
    block: int, max_distance: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "_BLOCK", block)
    phashes = random_hashes(60)
    owners = np.arange(60, dtype=np.int64) // 2
    found = list(near_pairs(phashes, owners, max_distance, per_row=1000))
    assert found == one_by_one(phashes.tolist(), owners.tolist(), max_distance)


@pytest.mark.parametrize("block", [5, 1024])
def test_each_is_paired_with_the_nearest_after_it_only(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "_BLOCK", block)
    phashes = random_hashes(40, seed=1)
    every = one_by_one(phashes.tolist(), list(range(40)), 64)
    found = list(near_pairs(phashes, np.arange(40, dtype=np.int64), 64, per_row=3))
    for row in range(40):
        of_row = sorted((distance, other) for one, other, distance in every if one == row)[:3]
        assert [(one, other) for one, other, _ in found if one == row] == sorted(
            (row, other) for _, other in of_row
        )


@pytest.mark.parametrize("count", [0, 1])
def test_where_there_is_nothing_to_pair(count: int) -> None:
    assert list(near_pairs(np.zeros(count, np.uint64), np.zeros(count, np.int64), 64, per_row=5)) == []


def test_copies_of_one_image_stay_joined() -> None:
    found = list(
        near_pairs(np.full(500, 2**64 - 1, np.uint64), np.arange(500, dtype=np.int64), 0, per_row=10)
    )
    assert len(found) == sum(min(10, 499 - row) for row in range(500))
    assert {(row, row + 1, 0) for row in range(499)} <= set(found)
