"""Intervals: between which values a figure lies, had other photos been drawn."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from classifiers.card import Interval

Floats = NDArray[np.float64]


def evidence(numbers: NDArray[np.int64]) -> float:
    """How many independent rows these are worth, given the numbers of their groups.

    Rows of one photo may all be right or wrong together. Of groups of equal size it is their count.
    """
    sizes = np.bincount(numbers).astype(np.float64)
    return float(sizes.sum() ** 2 / max((sizes**2).sum(), 1.0))


def limits(share: ArrayLike, count: ArrayLike, confidence: float) -> tuple[Floats, Floats]:
    """Between which values a share of so many independent rows lies, at least as surely as asked.

    By Clopper and Pearson: a bootstrap of rows that are all right knows no wrong ones, and Wilson's interval
    of 95 % covers down to 83 % at the sizes that people have.
    """
    share, count = np.asarray(share, np.float64), np.asarray(count, np.float64)
    tail = (1 - confidence) / 2
    right, wrong = share * count, (1 - share) * count
    low = np.where(right > 0, betaincinv(np.maximum(right, 1e-12), wrong + 1, tail), 0.0)
    high = np.where(wrong > 0, betaincinv(right + 1, np.maximum(wrong, 1e-12), 1 - tail), 1.0)
    return low, high


def mean(values: Floats, lows: Floats, highs: Floats) -> Interval:
    """Of independent figures with intervals; how far each may be off is added up as deviations are."""
    middle = float(values.mean())
    below, above = (float(np.linalg.norm(ends - values)) / len(values) for ends in (lows, highs))
    return Interval(value=middle, low=middle - below, high=middle + above)


def gain(one: Interval, other: Interval, correlation: float) -> Interval:
    """By how much the first figure is higher, where both were found on the same rows (after Newcombe)."""

    def reach(up: float, down: float) -> float:
        return float(np.sqrt(max(up**2 + down**2 - 2 * correlation * up * down, 0.0)))

    value = one.value - other.value
    return Interval(
        value=value,
        low=value - reach(one.value - one.low, other.high - other.value),
        high=value + reach(one.high - one.value, other.value - other.low),
    )


def middle_part(found: Floats, value: float, confidence: float) -> tuple[float, float]:
    """Of what the rounds of a bootstrap found; rounds that found nothing do not count."""
    found = found[np.isfinite(found)]
    if not len(found):
        return value, value
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def unseen(count: float, confidence: float) -> float:
    """The largest part of all photos of which that many would probably hold none (the rule of three)."""
    return float(min(1.0, -np.log(1 - confidence) / max(count, 1.0)))
