"""The bootstrap: the same rows, drawn again and again with repetition, as other photos might have been."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]

# Rounds come in blocks of so many cells, 8 MB, and of very many rows there are fewer of them.
_BLOCK_CELLS = 2_000_000
_MAX_CELLS = 20_000_000
_LEAST_ROUNDS = 100


def drawn(groups: NDArray[np.int64], rounds: int, seed: int) -> Iterator[Weights]:
    """How often each row was drawn in each round, in blocks [some rounds, n].

    Groups are drawn, and not rows: rows of one photo are no independent evidence. Of very many rows there are
    fewer rounds, but at least 100.
    """
    _, numbers = np.unique(groups, return_inverse=True)
    count = int(numbers.max(initial=-1)) + 1
    rows = max(len(groups), 1)
    left = max(min(rounds, _LEAST_ROUNDS), min(rounds, _MAX_CELLS // rows))
    rng = np.random.default_rng(seed)
    while left:
        block = min(left, max(_BLOCK_CELLS // rows, 1))
        # Each round has its own range of numbers, so that one count serves all.
        places = rng.integers(count, size=(block, count)) + np.arange(block)[:, None] * count
        times = np.bincount(places.ravel(), minlength=block * count).reshape(block, count)
        yield times.astype(np.float32)[:, numbers]
        left -= block
