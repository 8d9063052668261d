"""Calibration: probabilities that mean what they say."""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from classifiers.card import CalibrationCard
from classifiers.head import Calibration, Floats, log_odds

Labels = NDArray[np.int64]
Method = Literal["none", "platt", "isotonic"]

_FOLDS = 5
# A way with more freedom must be better by so much: what it wins by less than that is chance, and the steps
# of isotonic regression make equal what was ranked.
_BETTER = 0.99
# Of fewer groups of a label isotonic regression learns their accidents, and is still chosen at times.
_ENOUGH_FOR_STEPS = 200


def folds(labels: Labels, groups: Labels, seed: int) -> Iterator[tuple[Labels, Labels]]:
    """Parts to fit on and to hold back, which share no group; only those whose first part has every label.

    The groups of each label are dealt out in turn. scikit-learn's way takes milliseconds for each group.
    """
    present = np.unique(labels)
    count = min(_FOLDS, *(len(np.unique(groups[labels == label])) for label in present))
    if count < 2:
        return
    _, first, numbers = np.unique(groups, return_index=True, return_inverse=True)
    order = np.lexsort([np.random.default_rng(seed).random(len(first)), labels[first]])
    dealt = np.empty(len(first), np.int64)
    dealt[order] = np.arange(len(first)) % count
    for part in range(count):
        fitted, held = np.flatnonzero(dealt[numbers] != part), np.flatnonzero(dealt[numbers] == part)
        if len(held) and len(np.unique(labels[fitted])) == len(present):
            yield fitted, held


def calibrate(
    scores: Floats, labels: Labels, groups: Labels, seed: int
) -> tuple[Calibration, CalibrationCard]:
    """The way that has the least log-loss on parts of the validation rows which it was not fitted on.

    Of those that are about equal it is the plainest; few rows are not offered the freest.

    Args:
        scores: of a network, [n, 1] or [n, classes].
        labels: numbers of classes, each of which occurs.
        groups: rows of one group are never on both sides of a part.
    """
    odds = np.array([log_odds(row) for row in scores])
    losses: dict[Method, float] = {}
    parts = list(folds(labels, groups, seed))
    count = max(2, scores.shape[1])
    least = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    ways = [name for name in _WAYS if name != "isotonic" or least >= _ENOUGH_FOR_STEPS]
    for name in ways:
        found = [
            (labels[held], probabilities(_WAYS[name](odds[fitted], labels[fitted]), scores[held]))
            for fitted, held in parts
        ]
        if found:
            truth, given = (np.concatenate(both) for both in zip(*found, strict=True))
            losses[name] = float(log_loss(truth, given, labels=range(count)))
    method: Method = "none"
    for name in ways:
        if losses and losses[name] < _BETTER * losses[method]:
            method = name
    return _WAYS[method](odds, labels), CalibrationCard(method=method, losses=dict(losses))


def probabilities(calibration: Calibration, scores: Floats) -> Floats:
    """[n, 1] or [n, classes] to [n, classes]."""
    return np.array([calibration.probabilities(row) for row in scores])


def _one_against_rest(odds: Floats, labels: Labels) -> Iterator[tuple[Floats, NDArray[np.bool_]]]:
    for column in range(odds.shape[1]):
        yield odds[:, column], labels == (1 if odds.shape[1] == 1 else column)


def _none(odds: Floats, labels: Labels) -> Calibration:
    return Calibration()


def _platt(odds: Floats, labels: Labels) -> Calibration:
    """A sigmoid for each score, with Platt's smoothed targets, so that separable rows give no certainty."""
    lines = []
    for column, truth in _one_against_rest(odds, labels):
        positives, negatives = int(truth.sum()), int((~truth).sum())
        share = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
        model = LogisticRegression(C=1e6, max_iter=1000)
        model.fit(
            np.tile(column, 2)[:, None],
            np.repeat([1, 0], len(column)),
            sample_weight=np.concatenate([share, 1 - share]),
        )
        lines.append((model.coef_[0, 0], model.intercept_[0]))
    return Calibration(platt=np.array(lines, np.float64))


def _isotonic(odds: Floats, labels: Labels) -> Calibration:
    """A rising line for each score, which n rows bring no nearer to 0 and 1 than 1 / (n + 2)."""
    margin = 1 / (len(labels) + 2)
    lines = []
    for column, truth in _one_against_rest(odds, labels):
        model = IsotonicRegression(y_min=margin, y_max=1 - margin, out_of_bounds="clip")
        model.fit(column, truth.astype(np.float64))
        xs, places = np.unique(model.X_thresholds_, return_index=True)
        lines.append((xs.astype(np.float64), np.maximum.accumulate(model.y_thresholds_[places])))
    return Calibration(isotonic=tuple(lines))


_WAYS: dict[Method, Callable[[Floats, Labels], Calibration]] = {
    "none": _none,
    "platt": _platt,
    "isotonic": _isotonic,
}
