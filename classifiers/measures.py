"""What is measured of a region beside its vectors, to see later whether what comes in has changed."""

import math
from typing import Final, Literal

from classifiers.card import Card
from classifiers.head import Floats

Measure = Literal["brightness", "size", "score"]

BRIGHTNESS: Final = "brightness"
SIZE: Final = "size"
SCORE: Final = "score"

# Of the image; the score is of the head.
INPUTS: tuple[Measure, ...] = (BRIGHTNESS, SIZE)
MEASURES: tuple[Measure, ...] = (*INPUTS, SCORE)

# Finer differences say nothing of the input: two machines may round them differently.
_DECIMALS = 4


def size_of(width: int, height: int) -> float:
    """The side of a square of as many pixels."""
    return round(math.sqrt(width * height), 2)


def rounded(value: float) -> float:
    return round(float(value), _DECIMALS)


def scores(card: Card, probabilities: Floats) -> Floats:
    """What is watched of [n, labels] probabilities: of the positive label, else of the most probable one."""
    if card.positive is None:
        best: Floats = probabilities.max(axis=1, initial=0.0)
        return best
    positive: Floats = probabilities[:, card.labels.index(card.positive)]
    return positive
