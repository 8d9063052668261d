"""The baseline, a balanced logistic regression, and the challengers that may replace it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from pydantic import JsonValue
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.utils.class_weight import compute_sample_weight

from classifiers.calibration import folds, probabilities
from classifiers.card import ModelCard
from classifiers.figures import Labels
from classifiers.head import Calibration, Floats, Network
from classifiers.preparation import Table
from classifiers.scoring import scored
from classifiers.training_settings import Challenger, TrainingSettings

_PENALTIES = (0.001, 0.01, 0.1, 1.0)
_DECAYS = (0.01, 1.0)
_HIDDEN = 32
_MOST_STEPS = 1000

BASELINE_CARD = ModelCard(
    kind="logistic", parameters={"C": 1.0, "class_weight": "balanced"}, reason="It is the baseline, alone."
)


def fit_baseline(table: Table, settings: TrainingSettings) -> Network:
    return _fit_logistic(table, penalty=1.0, standardise=False, seed=settings.seed)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kind of network with parameters, and how it is fitted."""

    kind: Challenger
    parameters: dict[str, JsonValue]
    fit: Callable[[Table], Network]


def _candidates(settings: TrainingSettings) -> list[Candidate]:
    found = []
    if "tuned_logistic" in settings.challengers:
        for penalty in _PENALTIES:
            found.append(
                Candidate(
                    "tuned_logistic",
                    {"C": penalty, "class_weight": "balanced", "standardised": True},
                    partial(_fit_logistic, penalty=penalty, standardise=True, seed=settings.seed),
                )
            )
    if "mlp" in settings.challengers:
        for decay in _DECAYS:
            found.append(
                Candidate(
                    "mlp",
                    {"hidden": _HIDDEN, "alpha": decay, "class_weight": "balanced", "standardised": True},
                    partial(_fit_mlp, decay=decay, seed=settings.seed),
                )
            )
    return found


def best_challenger(table: Table, count: int, settings: TrainingSettings) -> Candidate | None:
    """By log-loss in cross-validation on the training rows, grouped."""
    candidates = _candidates(settings)
    parts = list(folds(table.labels, table.groups, settings.seed)) if candidates else []
    if not parts:
        return None

    def loss(candidate: Candidate) -> float:
        truth, given = [], []
        for fitted, held in parts:
            network = candidate.fit(_part(table, fitted))
            truth.append(table.labels[held])
            given.append(probabilities(Calibration(), scored(network, table.vectors[held])))
        return float(log_loss(np.concatenate(truth), np.concatenate(given), labels=range(count)))

    return min(candidates, key=loss, default=None)


def _part(table: Table, places: Labels) -> Table:
    rows = tuple(table.rows[place] for place in places)
    return Table(rows, table.vectors[places], table.labels[places], table.groups[places])


def _standard(vectors: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of each value; one that never changes is left as it is."""
    deviation = vectors.std(axis=0)
    return vectors.mean(axis=0), np.where(deviation > 1e-12, deviation, 1.0)


def _fit_logistic(table: Table, *, penalty: float, standardise: bool, seed: int) -> Network:
    width = table.vectors.shape[1]
    mean, scale = _standard(table.vectors) if standardise else (np.zeros(width), np.ones(width))
    model = LogisticRegression(C=penalty, class_weight="balanced", max_iter=_MOST_STEPS, random_state=seed)
    with warnings.catch_warnings():
        # Where it does not converge, what it has come to is judged like any other.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((table.vectors - mean) / scale, table.labels)
    return Network(mean, scale, ((np.ascontiguousarray(model.coef_.T), model.intercept_),))


def _fit_mlp(table: Table, *, decay: float, seed: int) -> Network:
    mean, scale = _standard(table.vectors)
    model = MLPClassifier((_HIDDEN,), alpha=decay, max_iter=60, tol=1e-3, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(
            (table.vectors - mean) / scale,
            table.labels,
            sample_weight=compute_sample_weight("balanced", table.labels),
        )
    layers = zip(model.coefs_, model.intercepts_, strict=True)
    return Network(mean, scale, tuple((np.ascontiguousarray(weights), bias) for weights, bias in layers))
