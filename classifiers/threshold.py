"""Thresholds: from which probability on an image is said to be in the collection."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from classifiers.card import Frozen, Interval, ThresholdCard
from classifiers.head import Floats
from classifiers.intervals import evidence, limits

Cost = Annotated[float, Field(gt=0, le=1e9)]

# How sure it must be that a threshold has the precision that is asked for. The best of many thresholds on the
# validation rows is flattered: of those that just reached it there, hardly half had it on other rows.
SURE = 0.9


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
    """The threshold with the highest recall among those that surely have this precision."""

    kind: Literal["least_precision"] = "least_precision"
    precision: Annotated[float, Field(gt=0, le=1)] = 0.9

    def __str__(self) -> str:
        return f"a precision of at least {self.precision:g}"


Aim = Annotated[LeastCost | LeastPrecision, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """What each threshold would do, thresholds rising; the first accepts every row and the last none.

    `evidence` is the part of the rows that independent ones would need to tell as much.
    """

    thresholds: Floats
    true_positives: Floats
    false_positives: Floats
    positives: int
    evidence: float

    @property
    def precision(self) -> Floats:
        """1 where nothing is accepted: nothing was accepted in error."""
        accepted = self.true_positives + self.false_positives
        return np.where(accepted > 0, self.true_positives / np.maximum(accepted, 1), 1.0)

    @property
    def least_precision(self) -> Floats:
        """Above which the precision of other rows surely is; 0 where nothing is accepted."""
        accepted = self.true_positives + self.false_positives
        lows, _ = limits(self.precision, accepted * self.evidence, 2 * SURE - 1)
        return lows

    @property
    def recall(self) -> Floats:
        return self.true_positives / max(self.positives, 1)

    def cost(self, aim: LeastCost) -> Floats:
        """Of all mistakes together."""
        missed = self.positives - self.true_positives
        return aim.false_positive * self.false_positives + aim.false_negative * missed


def curve(probabilities: Floats, is_positive: NDArray[np.bool_], groups: NDArray[np.int64]) -> Curve:
    """One threshold between each two neighbouring probabilities: no other would do anything else."""
    _, numbers = np.unique(groups, return_inverse=True)
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
        evidence(numbers) / max(len(numbers), 1),
    )


def choose(found: Curve, aim: LeastCost | LeastPrecision) -> ThresholdCard:
    """The threshold that fits the aim best; `met` tells whether it surely fits it."""
    if isinstance(aim, LeastCost):
        # Of equal ones that which would be right if the probabilities were.
        right = aim.false_positive / (aim.false_positive + aim.false_negative)
        place = int(np.lexsort([np.abs(found.thresholds - right), found.cost(aim)])[0])
        met = True
    else:
        accepts = found.true_positives > 0
        fits = accepts & (found.least_precision >= aim.precision)
        met = bool(fits.any())
        if met:
            order = [-found.least_precision, -found.recall, ~fits]
        else:
            # The surest of those that have the precision at least on these rows, else of all.
            order = [-found.recall, -found.least_precision, found.precision < aim.precision, ~accepts]
        place = int(np.lexsort(order)[0])
    return ThresholdCard(
        value=float(found.thresholds[place]),
        aim=str(aim),
        met=met,
        precision=float(found.precision[place]),
        least_precision=float(found.least_precision[place]),
        recall=float(found.recall[place]),
    )


def told(kept: ThresholdCard, positive: str, metrics: Mapping[str, Interval]) -> str:
    """What was asked of a threshold, and what it came to on other rows than those that chose it."""
    text = f"From a probability of {kept.value:.3f} on an image is '{positive}', for {kept.aim}."
    if not kept.met:
        text += f" The validation rows make no threshold {SURE:.0%} sure of that; this one comes nearest."
    if kept.precision is not None and kept.recall is not None:
        surely = "" if kept.least_precision is None else f" ({SURE:.0%} sure: {kept.least_precision:.3f})"
        text += f" On the validation rows the precision is {kept.precision:.3f}{surely} and the recall "
        text += f"{kept.recall:.3f}."
    if "precision" in metrics and "recall" in metrics:
        precision, recall = (
            f"{metrics[name].value:.3f} ({metrics[name].low:.3f} to {metrics[name].high:.3f})"
            for name in ("precision", "recall")
        )
        text += f" On the test rows the precision is {precision} and the recall {recall}."
    return text
