"""Bootstrap intervals: what a figure might have been, had other photos been drawn."""

import numpy as np
from numpy.typing import NDArray

from classifiers.card import Interval

Floats = NDArray[np.float64]

# 1,000 rounds of 20,000 rows are 80 MB.
_MAX_CELLS = 40_000_000


def round_weights(groups: NDArray[np.int64], rounds: int, seed: int) -> NDArray[np.float32]:
    """How often each row was drawn in each round: [rounds, n].

    Groups are drawn, and not rows: rows of one photo are no independent evidence. Of very many rows there are
    fewer rounds, but at least 100.
    """
    _, numbers = np.unique(groups, return_inverse=True)
    count = int(numbers.max(initial=-1)) + 1
    rounds = max(min(rounds, 100), min(rounds, _MAX_CELLS // max(len(groups), 1)))
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=rounds)
    weights: NDArray[np.float32] = drawn.astype(np.float32)[:, numbers]
    return weights


def interval(value: float, found: Floats, confidence: float) -> Interval:
    """A figure with the middle part of what the rounds found; rounds that found nothing do not count."""
    found = found[np.isfinite(found)]
    if not len(found):
        return Interval(value=value, low=value, high=value)
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value=value, low=float(low), high=float(high))
