"""Judging: how good a head is on rows that it never saw."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from classifiers.bootstrap import interval, round_weights
from classifiers.card import Bin, Interval, SliceCard

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Weights = NDArray[np.float32]

BINS = 10
# Of a key with more values, the rarest are not told.
_MAX_SLICES_OF_KEY = 20


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a head said of rows, and what is true.

    Args:
        truth: [n], numbers of labels.
        probabilities: [n, labels].
        decided: [n], numbers of labels.
        positive: the number of the label that means "is in the collection".
    """

    truth: Labels
    probabilities: Floats
    decided: Labels
    positive: int | None

    @property
    def labels(self) -> int:
        return int(self.probabilities.shape[1])

    @property
    def hits(self) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = self.truth == self.decided
        return right

    @property
    def ranked(self) -> list[int]:
        """The labels whose average precision counts."""
        return list(range(self.labels)) if self.positive is None else [self.positive]


def decide(probabilities: Floats, positive: int | None, threshold: float | None) -> Labels:
    """The likeliest label; of a label with a threshold, whether its probability reaches it."""
    if positive is None or threshold is None:
        likeliest: Labels = probabilities.argmax(axis=1)
        return likeliest
    return np.where(probabilities[:, positive] >= threshold, positive, 1 - positive)


def measure(outcome: Outcome) -> dict[str, float]:
    """The figures by scikit-learn.

    Where a label is never decided for, its precision is 0. Averages are over labels with rows, all of equal
    weight.
    """
    truth, decided = outcome.truth, outcome.decided
    everything = list(range(outcome.labels))
    precision, recall, f1 = _macro(truth, decided)
    return {
        "macro_precision": precision,
        "average_precision": _average_precision(outcome),
        "macro_recall": recall,
        "macro_f1": f1,
        "balanced_accuracy": recall,
        "accuracy": float(metrics.accuracy_score(truth, decided)),
        "log_loss": float(metrics.log_loss(truth, outcome.probabilities, labels=everything)),
        "brier": float(metrics.brier_score_loss(truth, _for_brier(outcome), labels=everything)),
    }


def _macro(truth: Labels, decided: Labels) -> tuple[float, float, float]:
    """Precision, recall and F1, averaged over the labels that have rows."""
    found = metrics.precision_recall_fscore_support(
        truth, decided, labels=np.unique(truth).tolist(), average="macro", zero_division=0
    )
    return float(found[0]), float(found[1]), float(found[2])


def _average_precision(outcome: Outcome) -> float:
    found = [
        metrics.average_precision_score(outcome.truth == label, outcome.probabilities[:, label])
        for label in outcome.ranked
        if (outcome.truth == label).any()
    ]
    return float(np.mean(found)) if found else 0.0


def _for_brier(outcome: Outcome) -> Floats:
    chances: Floats = outcome.probabilities[:, 1] if outcome.labels == 2 else outcome.probabilities
    return chances


def measure_rounds(outcome: Outcome, weights: Weights) -> dict[str, Floats]:
    """The same figures of rows that weigh differently in each round: [rounds] for each.

    scikit-learn would take minutes for a thousand rounds.

    Args:
        outcome: of n rows.
        weights: [rounds, n].
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        total = weights.sum(axis=1, dtype=np.float64)
        numbers = np.arange(outcome.labels)
        is_true = (outcome.truth[:, None] == numbers).astype(np.float32)
        is_decided = (outcome.decided[:, None] == numbers).astype(np.float32)
        true, decided, hit = (
            (weights @ which).astype(np.float64) for which in (is_true, is_decided, is_true * is_decided)
        )
        here = true > 0
        recall = np.where(here, hit / true, np.nan)
        precision = np.where(here, np.where(decided > 0, hit / decided, 0.0), np.nan)
        f1 = np.where(here, 2 * hit / (true + decided), np.nan)
        own = outcome.probabilities[np.arange(len(outcome.truth)), outcome.truth]
        squares = ((outcome.probabilities - is_true) ** 2).sum(axis=1) / (2 if outcome.labels == 2 else 1)
        ranks = [_average_precisions(outcome, label, weights) for label in outcome.ranked]
        return {
            "macro_precision": _mean(precision),
            "average_precision": _mean(np.stack(ranks, axis=1)),
            "macro_recall": _mean(recall),
            "macro_f1": _mean(f1),
            "balanced_accuracy": _mean(recall),
            "accuracy": hit.sum(axis=1) / total,
            "log_loss": weights @ -np.log(own) / total,
            "brier": weights @ squares / total,
        }


def _mean(of_labels: Floats) -> Floats:
    """Over the labels that a round has."""
    known = np.isfinite(of_labels)
    mean: Floats = np.where(known, of_labels, 0.0).sum(axis=1) / known.sum(axis=1)
    return mean


def _average_precisions(outcome: Outcome, label: int, weights: Weights) -> Floats:
    scores = outcome.probabilities[:, label]
    order = np.argsort(-scores, kind="stable")
    # Rows of equal probability are accepted together.
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    accepted = np.cumsum(weights[:, order], axis=1, dtype=np.float64)[:, last]
    right = np.cumsum(weights[:, order] * (outcome.truth[order] == label), axis=1, dtype=np.float64)[:, last]
    precision = np.where(accepted > 0, right / accepted, 0.0)
    recall = right / right[:, -1:]
    found: Floats = (np.diff(recall, axis=1, prepend=0.0) * precision).sum(axis=1)
    return found


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
    weights = round_weights(groups, rounds, seed)
    found = measure_rounds(outcome, weights)
    bins = reliability(outcome)
    rows = sum(one.rows for one in bins)
    everything = list(range(outcome.labels))
    confusion = metrics.confusion_matrix(outcome.truth, outcome.decided, labels=everything)
    return Judgement(
        outcome,
        {name: interval(value, found[name], confidence) for name, value in measure(outcome).items()},
        tuple(tuple(row) for row in confusion.tolist()),
        sum(one.rows * abs(one.predicted - one.observed) for one in bins) / rows,
        bins,
        tuple(_slices(outcome, groups, slices, weights, confidence)),
    )


def difference(one: Outcome, other: Outcome, weights: Weights, metric: str, confidence: float) -> Interval:
    """By how much the first is higher, on the same rows in the same rounds."""
    value = measure(one)[metric] - measure(other)[metric]
    found = measure_rounds(one, weights)[metric] - measure_rounds(other, weights)[metric]
    return interval(value, found, confidence)


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
    outcome: Outcome, groups: Labels, slices: Sequence[Mapping[str, str]], weights: Weights, confidence: float
) -> list[SliceCard]:
    told = []
    for key in sorted({key for row in slices for key in row}):
        common = Counter(row[key] for row in slices if key in row)
        values = sorted(common, key=lambda value: (-common[value], value))[:_MAX_SLICES_OF_KEY]
        for value in values:
            of_slice = np.array([row.get(key) == value for row in slices])
            truth, hits = outcome.truth[of_slice], outcome.hits[of_slice]
            precision, recall, *_ = _macro(truth, outcome.decided[of_slice])
            with np.errstate(divide="ignore", invalid="ignore"):
                drawn = weights[:, of_slice].astype(np.float64)
                accuracies = drawn @ hits / drawn.sum(axis=1)
            told.append(
                SliceCard(
                    key=key,
                    value=value,
                    rows=int(of_slice.sum()),
                    photos=len(np.unique(groups[of_slice])),
                    accuracy=interval(float(hits.mean()), accuracies, confidence),
                    macro_precision=precision,
                    macro_recall=recall,
                )
            )
    return told
