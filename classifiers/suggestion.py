"""Which images to label next: those that a head is least sure of, and no two of them alike.

The images are chosen as by k-centre greedy (Sener and Savarese 2018, "Active Learning for Convolutional
Neural Networks: A Core-Set Approach"), with two things of Zhdanov 2019 ("Diverse mini-batch Active
Learning"): only the most uncertain ones, ten times as many as are wanted, are looked at, and distances are
weighted with the uncertainty.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.head import Calibration, Head
from classifiers.rows import Values

Floats = NDArray[np.float64]

# From this cosine on one image is no news after the other: recompressed and resized copies have as much.
COPY_COSINE = 0.98
_POOL = 10
# Vectors of 512 numbers then take some 16 MB.
_LEAST_KEPT = 4096


def uncertainties(
    probabilities: Floats, threshold: float | None = None, positive: int | None = None
) -> Floats:
    """How unsure each row of probabilities is: 1 between two labels, 0 at certainty.

    With a threshold it falls with the distance from it, on either side by the share of what is possible
    there. Else it is how close the best two labels are: what is decided is which of them it is. The entropy
    would also count how the rest is spread over labels that are out of the question, and of many labels
    little else.

    Args:
        probabilities: [n, labels], rows sum to 1.
        threshold: from which probability of the positive label on a row is said to have it.
        positive: the number of that label.
    """
    if threshold is None or positive is None:
        best, second = -np.partition(-probabilities, 1, axis=1)[:, :2].T
        return np.asarray(1.0 - (best - second), np.float64)
    values = probabilities[:, positive]
    possible = np.where(values < threshold, threshold, 1.0 - threshold)
    distances = np.abs(values - threshold) / np.where(possible > 0, possible, 1.0)
    return np.clip(1.0 - distances, 0.0, 1.0)


def uncertainties_of(head: Head, vectors: Sequence[NDArray[Any]]) -> Floats:
    """How unsure a head is of each row, as `uncertainties` has it.

    Isotonic regression gives one probability to many scores, and would rank nothing among them: then it is
    the probabilities before it that count, with the threshold as it is among those.

    Args:
        head: of the collection.
        vectors: for each embedding of its card a matrix [n, dimensions].
    """
    card = head.card
    positive: int | None = None
    threshold: float | None = None
    if card.positive is not None and card.threshold is not None:
        positive, threshold = card.labels.index(card.positive), card.threshold.value
    elif len(card.labels) == 2:
        positive, threshold = 1, 0.5
    if head.calibration.isotonic:
        if threshold is not None:
            # What is calibrated is the probability of the second label.
            of_second = head.calibration.uncalibrated(threshold if positive == 1 else 1.0 - threshold)
            threshold = of_second if positive == 1 else 1.0 - of_second
        head = replace(head, calibration=Calibration())
    return uncertainties(head.probabilities(vectors), threshold, positive)


def diverse(
    unsure: Floats,
    vectors: Sequence[NDArray[Any]],
    count: int,
    *,
    phashes: Sequence[int | None] | None = None,
    max_distance: int = 6,
) -> list[int]:
    """The rows to label, those that teach most first.

    The first one is the most uncertain. Each further one has the largest product of its uncertainty and its
    cosine distance from the nearest that was chosen. No two are near copies, by cosine or perceptual hash.

    Args:
        unsure: [n], of `uncertainties`.
        vectors: for each embedding a matrix [n, dimensions]; cosines are the mean over the embeddings.
        count: how many rows are wanted; there are fewer only where all others are near copies.
        phashes: perceptual hashes, where they are known.
        max_distance: in how many bits those of copies differ at most.
    """
    order = np.argsort(-unsure, kind="stable")
    chosen: list[int] = []
    size = _POOL * count
    for start in range(0, len(order), max(size, 1)):
        if len(chosen) >= count:
            break
        # Where copies leave too few in a pool, the next most uncertain ones are another.
        rows = [*chosen, *order[start : start + size].tolist()]
        pool = _Pool(
            unsure[rows],
            _units([matrix[rows] for matrix in vectors]),
            None if phashes is None else [phashes[row] for row in rows],
            max_distance,
        )
        for place in range(len(chosen)):
            pool.take(place)
        while len(chosen) < count and (best := pool.best()) is not None:
            pool.take(best)
            chosen.append(rows[best])
    return chosen


class _Pool:
    """Rows among which one after the other is chosen."""

    def __init__(
        self, unsure: Floats, units: Values, phashes: Sequence[int | None] | None, max_distance: int
    ) -> None:
        known = [] if phashes is None else phashes
        self._unsure = unsure
        self._units = units
        self._is_hashed = np.array([phash is not None for phash in known], bool)
        self._phashes = np.array([phash or 0 for phash in known], np.uint64)
        self._max_distance = max_distance
        self._is_left = np.ones(len(unsure), bool)
        # Before any is chosen all are equally far.
        self._distances = np.full(len(unsure), np.inf)

    def best(self) -> int | None:
        """The row to choose next."""
        if not self._is_left.any():
            return None
        distances = np.where(np.isinf(self._distances), 1.0, self._distances)
        return int(np.argmax(np.where(self._is_left, self._unsure * distances, -1.0)))

    def take(self, row: int) -> None:
        """Choose a row; its near copies are out."""
        distances = np.clip(1.0 - (self._units @ self._units[row]).astype(np.float64), 0.0, 2.0)
        self._distances = np.minimum(self._distances, distances)
        self._is_left &= distances > 1.0 - COPY_COSINE
        if len(self._is_hashed) and self._is_hashed[row]:
            bits = np.bitwise_count(self._phashes ^ self._phashes[row])
            self._is_left &= ~(self._is_hashed & (bits <= self._max_distance))
        self._is_left[row] = False


def _units(vectors: Sequence[NDArray[Any]]) -> Values:
    """Vectors whose dot product is the mean of the cosines of each embedding; zero vectors stay zero."""
    parts = []
    for matrix in vectors:
        values = np.asarray(matrix, np.float32)
        # The squares of very large and very small numbers would not be finite, or nothing.
        values = values / _not_zero(np.abs(values).max(axis=1, keepdims=True))
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        parts.append(values / (_not_zero(lengths) * np.float32(np.sqrt(len(vectors)))))
    return np.concatenate(parts, axis=1)


def _not_zero(values: Values) -> Values:
    return np.where(values > 0, values, np.float32(1.0))


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """An image that may be suggested. `vectors` has one for each embedding of the head."""

    id: str
    probabilities: Floats
    uncertainty: float
    vectors: Sequence[Values]
    phash: int | None = None


class Shortlist:
    """The most uncertain of any number of candidates, in memory for some thousands.

    Equal candidates, whatever the portions in which they come, give equal suggestions.

    Args:
        count: how many are to be suggested.
        max_distance: in how many bits the perceptual hashes of copies differ at most.
    """

    def __init__(self, count: int, max_distance: int) -> None:
        self._count = count
        self._max_distance = max_distance
        self._limit = max(_POOL * count, _LEAST_KEPT)
        self._kept: list[Candidate] = []

    def offer(self, candidates: Iterable[Candidate]) -> None:
        self._kept.extend(candidates)
        if len(self._kept) > 2 * self._limit:
            self._kept = self._best()

    def suggested(self) -> list[Candidate]:
        """Those to label next, those that teach most first."""
        kept = self._best()
        if not kept:
            return []
        vectors = [np.stack(of_one) for of_one in zip(*(each.vectors for each in kept), strict=True)]
        rows = diverse(
            np.array([each.uncertainty for each in kept]),
            vectors,
            self._count,
            phashes=[each.phash for each in kept],
            max_distance=self._max_distance,
        )
        return [kept[row] for row in rows]

    def _best(self) -> list[Candidate]:
        return sorted(self._kept, key=lambda each: (-each.uncertainty, each.id))[: self._limit]
