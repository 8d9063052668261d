"""Figures: how good the decisions and probabilities of a head are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from classifiers.bootstrap import Weights
from classifiers.head import Floats

Labels = NDArray[np.int64]


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
    """The figures by scikit-learn; precision and recall are of the positive label, where there is one.

    Where a label is never decided for, its precision is 0. Averages are over labels with rows, all of equal
    weight.
    """
    truth, decided = outcome.truth, outcome.decided
    everything = list(range(outcome.labels))
    precision, recall, f1 = macro(truth, decided)
    found = {
        "macro_precision": precision,
        "average_precision": _average_precision(outcome),
        "macro_recall": recall,
        "macro_f1": f1,
        "balanced_accuracy": recall,
        "accuracy": float(metrics.accuracy_score(truth, decided)),
        "log_loss": float(metrics.log_loss(truth, outcome.probabilities, labels=everything)),
        "brier": float(metrics.brier_score_loss(truth, _for_brier(outcome), labels=everything)),
    }
    if outcome.positive is not None:
        is_true, is_decided = truth == outcome.positive, decided == outcome.positive
        found["precision"] = float(metrics.precision_score(is_true, is_decided, zero_division=0))
        found["recall"] = float(metrics.recall_score(is_true, is_decided, zero_division=0))
    return found


def macro(truth: Labels, decided: Labels) -> tuple[float, float, float]:
    """Precision, recall and F1, averaged over the labels that have rows."""
    found = metrics.precision_recall_fscore_support(
        truth, decided, labels=np.unique(truth).tolist(), average="macro", zero_division=0
    )
    return float(found[0]), float(found[1]), float(found[2])


def _average_precision(outcome: Outcome) -> float:
    found = [average_precision_of(outcome, label) for label in outcome.ranked if label in outcome.truth]
    return float(np.mean(found)) if found else 0.0


def average_precision_of(outcome: Outcome, label: int) -> float:
    return float(metrics.average_precision_score(outcome.truth == label, outcome.probabilities[:, label]))


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
        ranks = [_average_precisions(outcome, label, weights) for label in outcome.ranked]
        lost, squares = _losses(outcome)
        found = {
            "macro_precision": _mean(precision),
            "average_precision": _mean(np.stack(ranks, axis=1)),
            "macro_recall": _mean(recall),
            "macro_f1": _mean(f1),
            "balanced_accuracy": _mean(recall),
            "accuracy": hit.sum(axis=1) / total,
            "log_loss": weights @ lost.astype(np.float32) / total,
            "brier": weights @ squares.astype(np.float32) / total,
        }
        if outcome.positive is not None:
            found["precision"] = precision[:, outcome.positive]
            found["recall"] = recall[:, outcome.positive]
        return found


def _losses(outcome: Outcome) -> tuple[Floats, Floats]:
    """The logarithmic and the squared one of each row."""
    is_true = outcome.truth[:, None] == np.arange(outcome.labels)
    squares = ((outcome.probabilities - is_true) ** 2).sum(axis=1) / (2 if outcome.labels == 2 else 1)
    return -np.log(outcome.probabilities[is_true]), squares


def _mean(of_labels: Floats) -> Floats:
    """Over the labels that a round has."""
    known = np.isfinite(of_labels)
    mean: Floats = np.where(known, of_labels, 0.0).sum(axis=1) / known.sum(axis=1)
    return mean


def _average_precisions(outcome: Outcome, label: int, weights: Weights) -> Floats:
    """The mean of the precision down to each row of the label; rows of equal probability come together."""
    order = np.argsort(-outcome.probabilities[:, label], kind="stable")
    scores = -outcome.probabilities[order, label]
    own = np.flatnonzero(outcome.truth[order] == label)
    if not len(own):
        return np.full(len(weights), np.nan)
    last = np.searchsorted(scores, scores[own], side="right") - 1
    last_own = np.searchsorted(scores[own], scores[own], side="right") - 1
    # Sums of whole numbers are exact.
    ordered = weights[:, order]
    accepted = np.cumsum(ordered, axis=1)[:, last]
    of_own = ordered[:, own]
    right = np.cumsum(of_own, axis=1)
    precision = right[:, last_own] / np.maximum(accepted, 1.0)
    found: Floats = (of_own * precision).sum(axis=1, dtype=np.float64) / right[:, -1]
    return found
