"""Judging: how good a head is on rows that it never saw."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn import metrics

from classifiers.card import Bin, Interval, SliceCard
from classifiers.estimates import accuracy, estimate, resampled
from classifiers.figures import Labels, Outcome, macro

BINS = 10
# Of a key with more values, the rarest are not told.
_MAX_SLICES_OF_KEY = 20


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """How good a head was found, with intervals."""

    outcome: Outcome
    metrics: Mapping[str, Interval]
    confusion: tuple[tuple[int, ...], ...]
    calibration_error: float
    bins: tuple[Bin, ...]
    slices: tuple[SliceCard, ...]


def judge(
    outcome: Outcome,
    groups: Labels,
    slices: Sequence[Mapping[str, str]],
    *,
    rounds: int,
    confidence: float,
    seed: int,
) -> Judgement:
    """All figures of an outcome.

    Args:
        outcome: of n rows, at least one.
        groups: [n]; the bootstrap draws whole groups.
        slices: of each row.
        rounds: of the bootstrap.
        confidence: how probable it is that an interval holds the figure.
        seed: of the bootstrap.
    """
    bins = reliability(outcome)
    rows = sum(one.rows for one in bins)
    everything = list(range(outcome.labels))
    confusion = metrics.confusion_matrix(outcome.truth, outcome.decided, labels=everything)
    return Judgement(
        outcome,
        estimate(outcome, groups, resampled(outcome, groups, rounds, seed), confidence),
        tuple(tuple(row) for row in confusion.tolist()),
        sum(one.rows * abs(one.predicted - one.observed) for one in bins) / rows,
        bins,
        tuple(_slices(outcome, groups, slices, confidence)),
    )


def reliability(outcome: Outcome) -> tuple[Bin, ...]:
    """Ten ranges of probability, without the empty ones.

    Of a label with a threshold its probability, otherwise that of what is likeliest.
    """
    if outcome.positive is None:
        said = outcome.probabilities.max(axis=1)
        came = outcome.probabilities.argmax(axis=1) == outcome.truth
    else:
        said = outcome.probabilities[:, outcome.positive]
        came = outcome.truth == outcome.positive
    places = np.minimum((said * BINS).astype(np.int64), BINS - 1)
    return tuple(
        Bin(rows=int(which.sum()), predicted=float(said[which].mean()), observed=float(came[which].mean()))
        for which in (places == place for place in range(BINS))
        if which.any()
    )


def _slices(
    outcome: Outcome, groups: Labels, slices: Sequence[Mapping[str, str]], confidence: float
) -> list[SliceCard]:
    told = []
    for key in sorted({key for row in slices for key in row}):
        common = Counter(row[key] for row in slices if key in row)
        values = sorted(common, key=lambda value: (-common[value], value))[:_MAX_SLICES_OF_KEY]
        for value in values:
            of_slice = np.array([row.get(key) == value for row in slices])
            precision, recall, *_ = macro(outcome.truth[of_slice], outcome.decided[of_slice])
            names, numbers = np.unique(groups[of_slice], return_inverse=True)
            told.append(
                SliceCard(
                    key=key,
                    value=value,
                    rows=int(of_slice.sum()),
                    photos=len(names),
                    accuracy=accuracy(outcome.hits[of_slice], numbers, confidence),
                    macro_precision=precision,
                    macro_recall=recall,
                )
            )
    return told
