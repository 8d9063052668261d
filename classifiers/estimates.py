"""Estimates: figures with the intervals in which they lie."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from classifiers import intervals
from classifiers.bootstrap import drawn
from classifiers.card import Interval
from classifiers.figures import Labels, Outcome, average_precision_of, measure, measure_rounds
from classifiers.head import FLOOR, Floats

Rows = NDArray[np.bool_]


def resampled(outcome: Outcome, groups: Labels, rounds: int, seed: int) -> dict[str, Floats]:
    """The figures in each round of the bootstrap."""
    blocks = [measure_rounds(outcome, weights) for weights in drawn(groups, rounds, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def estimate(
    outcome: Outcome, groups: Labels, found: Mapping[str, Floats], confidence: float
) -> dict[str, Interval]:
    """The figures; each end of an interval is the farther one of two.

    The bootstrap knows how labels and groups hang together, but nothing of mistakes that no row shows. For
    these there is an exact interval of figures that are shares of rows, and the rule of three of losses.

    Args:
        outcome: of rows, at least one.
        groups: of the rows.
        found: the figures in each round of the bootstrap.
        confidence: how probable it is, at least, that an interval holds the figure.
    """
    _, numbers = np.unique(groups, return_inverse=True)
    values = measure(outcome)
    limits = _exact(outcome, numbers, confidence)
    part = intervals.unseen(intervals.evidence(numbers), confidence)
    for name, loss in _losses_if_wrong(outcome).items():
        highest = values[name] + part * max(loss - values[name], 0.0)
        limits[name] = Interval(value=values[name], low=values[name], high=highest)
    estimates = {}
    for name, value in values.items():
        low, high = intervals.middle_part(found[name], value, confidence)
        if name in limits:
            low, high = min(low, limits[name].low), max(high, limits[name].high)
        estimates[name] = Interval(value=value, low=low, high=high)
    return estimates


def accuracy(hits: Rows, numbers: Labels, confidence: float) -> Interval:
    """Of some rows, given the numbers of their groups."""
    low, high = intervals.limits(hits.mean(), intervals.evidence(numbers), confidence)
    return Interval(value=float(hits.mean()), low=float(low), high=float(high))


def _exact(outcome: Outcome, numbers: Labels, confidence: float) -> dict[str, Interval]:
    """Of the figures that are shares of rows, or means of such over labels."""
    truth, decided, hits = outcome.truth, outcome.decided, outcome.hits

    def limited(values: Sequence[float], parts: Sequence[Rows]) -> tuple[Floats, Floats, Floats]:
        counts = [intervals.evidence(numbers[rows]) for rows in parts]
        return np.array(values), *intervals.limits(values, counts, confidence)

    def right(parts: Sequence[Rows]) -> tuple[Floats, Floats, Floats]:
        return limited([float(hits[rows].mean()) if rows.any() else 0.0 for rows in parts], parts)

    present = np.unique(truth)
    true, said = [truth == label for label in present], [decided == label for label in present]
    # F1 rises with the share of hits among the rows that are of the label or were said to be.
    f1 = (2 * share / (1 + share) for share in right([a | b for a, b in zip(true, said, strict=True)]))
    ranked = [label for label in outcome.ranked if label in present]
    found = {
        "macro_precision": right(said),
        "macro_recall": right(true),
        "macro_f1": tuple(f1),
        "balanced_accuracy": right(true),
        "accuracy": right([np.ones(len(truth), np.bool_)]),
    }
    if ranked:
        # The mean of a share over the rows of a label, which varies no more than a share itself.
        values = [average_precision_of(outcome, label) for label in ranked]
        found["average_precision"] = limited(values, [truth == label for label in ranked])
    if outcome.positive is not None:
        found["precision"] = right([decided == outcome.positive])
        found["recall"] = right([truth == outcome.positive])
    return {name: intervals.mean(*parts) for name, parts in found.items()}


def _losses_if_wrong(outcome: Outcome) -> dict[str, float]:
    """What the mean losses would be if what is true of each row were not."""
    own = outcome.probabilities[np.arange(len(outcome.truth)), outcome.truth]
    return {
        "log_loss": float(-np.log(np.maximum(1 - own, FLOOR)).mean()),
        "brier": float((own**2).mean()) * (1 if outcome.labels == 2 else 2),
    }


def difference(
    one: Outcome, other: Outcome, groups: Labels, metric: str, *, rounds: int, confidence: float, seed: int
) -> Interval:
    """By how much the first is higher on the same rows."""
    found = [resampled(each, groups, rounds, seed) for each in (one, other)]
    ends = [
        estimate(each, groups, of_each, confidence)[metric]
        for each, of_each in zip((one, other), found, strict=True)
    ]
    values = np.stack([of_each[metric] for of_each in found])
    values = values[:, np.isfinite(values).all(axis=0)]
    varies = values.shape[1] > 1 and bool((np.ptp(values, axis=1) > 0).all())
    correlation = float(np.corrcoef(values[0], values[1]).item(1)) if varies else 0.0
    return intervals.gain(ends[0], ends[1], correlation)
