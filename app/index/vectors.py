"""What every storage asks of vectors before it keeps or compares them."""

from collections.abc import Sequence
from math import inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.core.errors import InvalidParams
from app.core.wording import shortened
from app.index.storage import MAX_DIMENSIONS, Matrix, NewItem

# float32 sums of products differ from the seventh decimal on by the order in which they are added.
SCORE_DECIMALS = 6
_SCORE_STEPS = np.float64(10**SCORE_DECIMALS)
# The square of a length of 1 is off by no more in float32.
_UNIT_ERROR = 2e-7
# So many numbers are rounded one by one in the time of one call of NumPy.
_FEW = 50


def checked(vectors: ArrayLike, dimensions: int | None, field: str) -> Matrix:
    """Vectors that can be compared by cosine, as a [n, dimensions] float32 matrix.

    Args:
        vectors: [n, dimensions] numbers.
        dimensions: how many numbers each must have; None where any number will do.
        field: what the client calls them; a message adds the place of the vector at fault.

    Raises:
        InvalidParams: one has other dimensions, is not finite in float32, or is zero.
    """
    matrix = _matrix(vectors, dimensions, field)
    _check(_measured(matrix)[1], matrix, field)
    return matrix


def checked_units(vectors: ArrayLike, dimensions: int | None, field: str) -> Matrix:
    """`normalized` vectors that are `checked`, in less time than one after the other."""
    matrix = _matrix(vectors, dimensions, field)
    if len(matrix) == 1:
        # What most searches bring, with few calls of NumPy: each takes some microseconds.
        wide = matrix.astype(np.float64)
        squared = float(np.vdot(wide, wide))
        if abs(squared - 1.0) < _UNIT_ERROR:
            return matrix
        if not 0 < squared < inf:
            raise InvalidParams(_fault(matrix, field))
        wide /= sqrt(squared)
        return wide.astype(np.float32)
    wide, lengths = _measured(matrix)
    _check(lengths, matrix, field)
    return _divided(wide, lengths)


def checked_regions(items: Sequence[NewItem], dimensions: int | None) -> Matrix | None:
    """The vectors of all regions of new items, one row each in their order; None where there is no region.

    Raises:
        InvalidParams: as `checked` does, naming the item and the region.
    """
    rows: list[Matrix] = []
    for item in items:
        for number, region in enumerate(item.regions):
            row = checked(
                region.vector[np.newaxis], dimensions, f"item {shortened(item.id)!r}, vector {number}"
            )
            # The first vector fixes what the others must be.
            dimensions = row.shape[1]
            rows.append(row)
    return np.concatenate(rows) if rows else None


def normalized(matrix: Matrix) -> Matrix:
    """Each row at length 1, whatever its own length."""
    return _divided(*_measured(matrix))


def rounded(cosines: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scores of cosines, -1 to 1: what differs by the order of additions alone is equal."""
    # In a third of the time of np.round.
    scores: NDArray[np.float64] = np.rint(cosines * _SCORE_STEPS) / _SCORE_STEPS
    np.minimum(scores, 1.0, out=scores)
    return np.maximum(scores, -1.0, out=scores)


def scores_of(distances: NDArray[np.float32]) -> list[list[float]]:
    """The scores of distances, 1 less the cosine, [n, m], as lists."""
    if distances.size > _FEW:
        scores: list[list[float]] = rounded(1 - distances.astype(np.float64)).tolist()
        return scores
    steps = float(10**SCORE_DECIMALS)
    return [
        [1.0 if x < 0.0 else -1.0 if x > 2.0 else round((1.0 - x) * steps) / steps for x in row]
        for row in distances.tolist()
    ]


def _matrix(vectors: ArrayLike, dimensions: int | None, field: str) -> Matrix:
    if isinstance(vectors, np.ndarray) and vectors.dtype == np.float32:
        return _shaped(vectors, dimensions, field)
    try:
        # A number that is too large for float32 becomes infinite, and is refused as such later.
        with np.errstate(over="ignore"):
            matrix = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError):
        raise InvalidParams(f"{field}: must be vectors of numbers, each of as many") from None
    return _shaped(matrix, dimensions, field)


def _shaped(matrix: Matrix, dimensions: int | None, field: str) -> Matrix:
    if matrix.ndim != 2:
        raise InvalidParams(f"{field}: must be a list of vectors, not an array of {matrix.ndim} dimensions")
    given = matrix.shape[1]
    if dimensions is not None and given != dimensions:
        raise InvalidParams(
            f"{field}: has {given} dimensions; the vectors of this collection have {dimensions}"
        )
    if not 1 <= given <= MAX_DIMENSIONS:
        raise InvalidParams(f"{field}: has {given} dimensions; must have 1 to {MAX_DIMENSIONS}")
    return matrix


def _measured(matrix: Matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rows and their lengths, as numbers whose squares neither overflow nor vanish."""
    wide = matrix.astype(np.float64)
    return wide, np.sqrt(np.vecdot(wide, wide))


def _check(lengths: NDArray[np.float64], matrix: Matrix, field: str) -> None:
    # A length that is not a number is neither.
    if not all(0 < length < inf for length in lengths.tolist()):
        raise InvalidParams(_fault(matrix, field))


def _divided(wide: NDArray[np.float64], lengths: NDArray[np.float64]) -> Matrix:
    wide /= lengths[:, np.newaxis]
    return wide.astype(np.float32)


def _fault(matrix: Matrix, field: str) -> str:
    finite = np.isfinite(matrix)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        return (
            f"{_place(field, row, matrix)}: must hold finite float32 numbers, not {matrix[row, column]} "
            f"at position {column}"
        )
    row = int(matrix.any(axis=1).argmin())
    return f"{_place(field, row, matrix)}: is zero throughout, and has no direction to compare"


def _place(field: str, row: int, matrix: Matrix) -> str:
    return field if len(matrix) == 1 else f"{field}[{row}]"
