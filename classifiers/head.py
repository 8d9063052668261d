"""Heads: small trained classifiers over embeddings, as plain arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.arrays import Arrays
from classifiers.card import Card

Floats = NDArray[np.float64]

# No probability is quite 0 or 1: no finite number of rows tells so much, and the log-loss stays finite.
FLOOR = 1e-6
# What is as good as certain, in log-odds near 30.
_CERTAIN = -1e-13


class HeadDamaged(ValueError):
    """A head's arrays do not fit together, or its card."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Scores of a vector: standardised, then through layers with rectifiers between them.

    Two labels have one score, the log-odds of the second; more have one each, whose softmax are
    probabilities.

    Args:
        mean: [d], is subtracted.
        scale: [d], is divided by.
        layers: weights [in, out] and biases [out].
    """

    mean: Floats
    scale: Floats
    layers: tuple[tuple[Floats, Floats], ...]

    def scores(self, vector: Floats) -> Floats:
        """[d] to [1] or [classes]."""
        values = (vector - self.mean) / self.scale
        for number, (weights, bias) in enumerate(self.layers):
            if number:
                values = np.maximum(values, 0.0)
            values = values @ weights + bias
        return values


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """How log-odds become probabilities.

    Args:
        platt: [scores, 2], slopes and intercepts; of Platt scaling alone.
        isotonic: the knots, log-odds and probabilities, of each score's rising line; of isotonic regression
            alone.
    """

    platt: Floats | None = None
    isotonic: tuple[tuple[Floats, Floats], ...] = ()

    def probabilities(self, scores: Floats) -> Floats:
        """Scores [1] or [classes] of one vector to [classes], which sum to 1."""
        odds = log_odds(scores)
        if self.isotonic:
            lines = zip(odds, self.isotonic, strict=True)
            values = np.array([np.interp(value, xs, ys) for value, (xs, ys) in lines])
        elif self.platt is not None:
            values = sigmoid(self.platt[:, 0] * odds + self.platt[:, 1])
        else:
            values = sigmoid(odds)
        if len(values) == 1:
            values = np.array([1.0 - values[0], values[0]])
        values = np.clip(values, FLOOR, 1.0 - FLOOR)
        whole: Floats = values / values.sum()
        return whole

    def uncalibrated(self, probability: float) -> float:
        """The least probability of the second of two labels, before isotonic regression, that gives this one.

        Where none does, it is the nearest that any gives.
        """
        (xs, ys) = self.isotonic[0]
        place = int(np.searchsorted(ys, probability))
        if place in (0, len(ys)):
            odds = xs[0] if place == 0 else xs[-1]
        else:
            odds = np.interp(probability, ys[place - 1 : place + 1], xs[place - 1 : place + 1])
        return float(sigmoid(odds))


def sigmoid(values: Floats) -> Floats:
    return 0.5 * (1.0 + np.tanh(0.5 * values))


def log_odds(scores: Floats) -> Floats:
    """The log-odds of each label against all others together, from the scores of one vector."""
    if len(scores) == 1:
        return scores
    shifted = scores - scores.max()
    logs = np.minimum(shifted - np.log(np.exp(shifted).sum()), _CERTAIN)
    odds: Floats = logs - np.log(-np.expm1(logs))
    return odds


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A trained classifier.

    Each row is computed by itself: in which batch it comes changes no bit of its probabilities.
    """

    card: Card
    network: Network
    calibration: Calibration

    def probabilities(self, vectors: Sequence[NDArray[Any]]) -> Floats:
        """Of each label of the card, in its order.

        Args:
            vectors: for each embedding of the card a matrix [n, dimensions].

        Returns:
            [n, labels], rows sum to 1.

        Raises:
            ValueError: a matrix has not the shape that the card tells, or holds what is no number.
        """
        rows = _joined(vectors, self.card.dimensions)
        if not np.isfinite(rows).all():
            raise ValueError("a vector holds values that are not finite")
        found = [self.calibration.probabilities(self.network.scores(row)) for row in rows]
        return np.array(found).reshape(len(rows), len(self.card.labels))

    @property
    def arrays(self) -> dict[str, Floats]:
        """All that makes the head besides its card."""
        return arrays_of(self.network, self.calibration)


def _joined(vectors: Sequence[NDArray[Any]], dimensions: Sequence[int]) -> Floats:
    if len(vectors) != len(dimensions):
        raise ValueError(f"{len(vectors)} embeddings were given, and the head reads {len(dimensions)}")
    for number, (matrix, wanted) in enumerate(zip(vectors, dimensions, strict=True)):
        if matrix.ndim != 2 or matrix.shape[1] != wanted or len(matrix) != len(vectors[0]):
            raise ValueError(
                f"embedding {number} has the shape {list(matrix.shape)}, and the head reads "
                f"[{len(vectors[0])}, {wanted}]"
            )
    return np.concatenate([np.asarray(matrix, np.float64) for matrix in vectors], axis=1)


def arrays_of(network: Network, calibration: Calibration) -> dict[str, Floats]:
    arrays = {"mean": network.mean, "scale": network.scale}
    for number, (weights, bias) in enumerate(network.layers):
        arrays |= {f"weights_{number}": weights, f"bias_{number}": bias}
    if calibration.platt is not None:
        arrays["platt"] = calibration.platt
    for number, (xs, ys) in enumerate(calibration.isotonic):
        arrays |= {f"isotonic_{number}_x": xs, f"isotonic_{number}_y": ys}
    return {name: np.ascontiguousarray(array, "<f8") for name, array in arrays.items()}


def restored(card: Card, arrays: Arrays) -> Head:
    """A head from its card and its arrays.

    Raises:
        HeadDamaged: they do not fit together.
    """
    left = dict(arrays)

    def taken(name: str, *shape: int | None) -> Floats:
        """The array of this name, which must have this shape; None is any length but 0."""
        array = left.pop(name, None)
        if array is None:
            raise HeadDamaged(f"the array '{name}' is missing")
        fits = array.ndim == len(shape) and all(
            length == wanted if wanted is not None else length
            for length, wanted in zip(array.shape, shape, strict=True)
        )
        if not fits or array.dtype != np.float64:
            raise HeadDamaged(f"the array '{name}' is {array.dtype} of the shape {list(array.shape)}")
        if not np.isfinite(array).all():
            raise HeadDamaged(f"the array '{name}' holds values that are not finite")
        array.setflags(write=False)
        return array

    width = sum(card.dimensions)
    scores = 1 if len(card.labels) == 2 else len(card.labels)
    mean, scale = taken("mean", width), taken("scale", width)
    if not (scale > 0).all():
        raise HeadDamaged("the array 'scale' holds values that are not above 0")
    layers: list[tuple[Floats, Floats]] = []
    depth = sum(name.startswith("weights_") for name in left)
    for number in range(depth):
        weights = taken(f"weights_{number}", width, scores if number == depth - 1 else None)
        width = weights.shape[1]
        layers.append((weights, taken(f"bias_{number}", width)))
    if not layers:
        raise HeadDamaged("the array 'weights_0' is missing")
    calibration = Calibration()
    if card.calibration.method == "platt":
        calibration = Calibration(platt=taken("platt", scores, 2))
    elif card.calibration.method == "isotonic":
        calibration = Calibration(isotonic=tuple(_line(taken, number) for number in range(scores)))
    if left:
        raise HeadDamaged(f"the arrays {sorted(left)} belong to no head")
    return Head(card, Network(mean, scale, tuple(layers)), calibration)


def _line(taken: Callable[..., Floats], number: int) -> tuple[Floats, Floats]:
    xs: Floats = taken(f"isotonic_{number}_x", None)
    ys: Floats = taken(f"isotonic_{number}_y", len(xs))
    if (np.diff(xs) <= 0).any() or (np.diff(ys) < 0).any() or ys[0] < 0 or ys[-1] > 1:
        raise HeadDamaged(f"the line 'isotonic_{number}' does not rise from 0 to 1")
    return xs, ys


def stacked(rows: Sequence[Sequence[NDArray[Any]]], dimensions: Sequence[int]) -> list[NDArray[Any]]:
    """Vectors of rows, one for each embedding, as a matrix for each embedding."""
    return [
        np.array([vectors[number] for vectors in rows], np.float64).reshape(len(rows), width)
        for number, width in enumerate(dimensions)
    ]
