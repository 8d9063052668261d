"""How alike two vectors are."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from app.core.artifacts import Data, Vector
from app.core.errors import InvalidReference, TaskError
from app.core.operation import OUTSIDE_KEY, Gathered, Needs, Params, TaskId, TaskRef, Wanted, operation

ItemNumber = Annotated[int, Field(ge=0, le=10_000)]


class CompareParams(Params):
    a: Annotated[TaskId, OUTSIDE_KEY]
    """The operation_id of a task that embeds something."""

    b: Annotated[TaskId, OUTSIDE_KEY]
    """The operation_id of another one, in the same space."""

    a_item: ItemNumber | None = None
    """Which of the items of `a`, from 0 on; needed where it has several."""

    b_item: ItemNumber | None = None
    """Which of the items of `b`, from 0 on; needed where it has several."""


class Likeness(Data):
    cosine: float | None
    """-1 to 1, and 1 for the same direction; null where a vector is zero."""
    distance: float | None
    """Euclidean distance of the two vectors at length 1, 0 to 2; null where a vector is zero."""


def needs(params: CompareParams) -> Needs:
    return {
        "a": Gathered(TaskRef(params.a, field="a", wanted=Wanted.VECTORS)),
        "b": Gathered(TaskRef(params.b, field="b", wanted=Wanted.VECTORS)),
    }


@operation(
    params=CompareParams,
    needs=needs,
    inline=True,
    example=CompareParams(a="first", b="second"),
)
def compare(
    a: Sequence[Sequence[Vector]], b: Sequence[Sequence[Vector]], params: CompareParams
) -> list[Likeness | TaskError]:
    """Tell how alike the vectors of two other tasks are: two faces, two crops, an image and a text.

    Both tasks must embed in the same space. What counts as alike depends on the space: compare with pairs
    that you know.
    """
    return [_compared(one, other, params) for one, other in zip(a, b, strict=True)]


def _compared(a: Sequence[Vector], b: Sequence[Vector], params: CompareParams) -> Likeness | TaskError:
    try:
        first = _one_of(a, params.a_item, "a").normalized().values.astype(np.float64)
        second = _one_of(b, params.b_item, "b").normalized().values.astype(np.float64)
    except InvalidReference as error:
        return error
    if not first.any() or not second.any():
        return Likeness(cosine=None, distance=None)
    cosine = float(np.clip(first @ second, -1.0, 1.0))
    return Likeness(cosine=round(cosine, 6), distance=round(float(np.linalg.norm(first - second)), 6))


def _one_of(vectors: Sequence[Vector], number: int | None, field: str) -> Vector:
    if not vectors:
        raise InvalidReference(f"{field}: that task found nothing to embed")
    if number is None:
        if len(vectors) > 1:
            raise InvalidReference(
                f"{field}: that task has {len(vectors)} items; say which by {field}_item, from 0 on"
            )
        number = 0
    if number >= len(vectors):
        raise InvalidReference(f"{field}_item: that task has {len(vectors)} items, and no number {number}")
    return vectors[number]
