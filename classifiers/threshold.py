"""Thresholds: from which probability on an image is said to be in the collection."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from classifiers.card import Frozen, ThresholdCard

Floats = NDArray[np.float64]
Cost = Annotated[float, Field(gt=0, le=1e9)]


class LeastCost(Frozen):
    """The threshold at which the mistakes on the validation rows cost least."""

    kind: Literal["least_cost"] = "least_cost"
    false_positive: Cost = 1.0
    false_negative: Cost = 1.0

    def __str__(self) -> str:
        return (
            f"least cost, where a false positive costs {self.false_positive:g} and "
            f"a false negative {self.false_negative:g}"
        )


class LeastPrecision(Frozen):
    """The threshold with the highest recall among those with this precision on the validation rows."""

    kind: Literal["least_precision"] = "least_precision"
    precision: Annotated[float, Field(gt=0, le=1)] = 0.9

    def __str__(self) -> str:
        return f"a precision of at least {self.precision:g}"


Aim = Annotated[LeastCost | LeastPrecision, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """What each threshold would do, thresholds rising; the first accepts every row and the last none."""

    thresholds: Floats
    true_positives: Floats
    false_positives: Floats
    positives: int

    @property
    def precision(self) -> Floats:
        """1 where nothing is accepted: nothing was accepted in error."""
        accepted = self.true_positives + self.false_positives
        return np.where(accepted > 0, self.true_positives / np.maximum(accepted, 1), 1.0)

    @property
    def recall(self) -> Floats:
        return self.true_positives / max(self.positives, 1)

    def cost(self, aim: LeastCost) -> Floats:
        """Of all mistakes together."""
        missed = self.positives - self.true_positives
        return aim.false_positive * self.false_positives + aim.false_negative * missed


def curve(probabilities: Floats, is_positive: NDArray[np.bool_]) -> Curve:
    """One threshold between each two neighbouring probabilities: no other would do anything else."""
    values = np.unique(probabilities)
    middles = (values[:-1] + values[1:]) / 2
    # Of two floats without another one between them, the middle may be the lower one.
    middles = np.where(middles > values[:-1], middles, values[1:])
    thresholds = np.concatenate([[0.0], middles, [1.0]])
    positives, negatives = (np.sort(probabilities[side]) for side in (is_positive, ~is_positive))
    return Curve(
        thresholds,
        (len(positives) - np.searchsorted(positives, thresholds)).astype(np.float64),
        (len(negatives) - np.searchsorted(negatives, thresholds)).astype(np.float64),
        len(positives),
    )


def choose(found: Curve, aim: LeastCost | LeastPrecision) -> ThresholdCard:
    """The threshold that fits the aim best; `met` tells whether it fits it at all."""
    if isinstance(aim, LeastCost):
        # Of equal ones that which would be right if the probabilities were.
        right = aim.false_positive / (aim.false_positive + aim.false_negative)
        place = int(np.lexsort([np.abs(found.thresholds - right), found.cost(aim)])[0])
        met = True
    else:
        fits = (found.precision >= aim.precision) & (found.true_positives > 0)
        met = bool(fits.any())
        by = [-found.precision, -found.recall] if met else [-found.recall, -found.precision]
        accepts = fits if met else found.true_positives > 0
        place = int(np.lexsort([*by, ~accepts])[0])
    return ThresholdCard(
        value=float(found.thresholds[place]),
        aim=str(aim),
        met=met,
        precision=float(found.precision[place]),
        recall=float(found.recall[place]),
    )
