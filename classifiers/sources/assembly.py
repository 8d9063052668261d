"""The rows of one collection, put together while a source is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.core.wording import quoted, shortened
from classifiers.rows import Embedding, Row, SourceError, TrainingSet, Values
from classifiers.sources.labels import Label, named


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A row as a source has it. `place` is what messages call it, such as `line 3`.

    `vectors` and `spaces` are in the order of the embeddings; a vector that it has not is None, and so is a
    space that it does not tell.
    """

    place: str
    photo_id: str
    label: Label
    vectors: Sequence[Values | None]
    spaces: Sequence[str | None]
    phash: int | None = None
    slices: Mapping[str, str] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)


class Assembly:
    """Checks that rows fit together, and makes the training set of them.

    Args:
        name: of the collection.
        target: which region the vectors are of.
        embeddings: what made them.
        spaces: those that every row must have, where they are known.
    """

    def __init__(
        self,
        name: str,
        target: str,
        embeddings: Sequence[Embedding],
        spaces: Sequence[str | None] = (),
    ) -> None:
        self.name = name
        self._target = target
        self._embeddings = tuple(embeddings)
        self._spaces = list(spaces) or [None] * len(embeddings)
        self._space_places = ["its settings"] * len(embeddings)
        # Of the first vector of each embedding: its place and dimensions.
        self._shapes: list[tuple[str, int] | None] = [None] * len(embeddings)
        self._lacking = [0] * len(embeddings)
        self._found: list[Found] = []

    def add(self, row: Found) -> None:
        """Take a row. One that lacks a vector is counted instead.

        Raises:
            SourceError: its vectors have other dimensions or another space than those before.
        """
        for number, (vector, space) in enumerate(zip(row.vectors, row.spaces, strict=True)):
            if vector is None:
                self._lacking[number] += 1
                continue
            self._check_dimensions(number, row.place, len(vector))
            if space is not None:
                self._check_space(number, row.place, space)
        if all(vector is not None for vector in row.vectors):
            self._found.append(row)

    def training_set(self, notes: Sequence[str] = ()) -> TrainingSet:
        """The rows that are complete.

        Raises:
            SourceError: there is none, or the labels do not fit together.
        """
        notes = (*notes, *self._told_lacking())
        if not self._found:
            reason = "".join(f" {note}" for note in notes)
            raise SourceError(f"Collection '{shortened(self.name)}' has no rows.{reason}")
        names, labels, positive = named([(row.place, row.label) for row in self._found])
        rows = tuple(
            Row(
                row.photo_id,
                name,
                tuple(vector for vector in row.vectors if vector is not None),
                row.phash,
                row.slices,
                row.measures,
            )
            for row, name in zip(self._found, names, strict=True)
        )
        return TrainingSet(
            self.name,
            self._target,
            self._embeddings,
            tuple(self._spaces),
            labels,
            rows,
            positive,
            notes,
        )

    def _check_dimensions(self, number: int, place: str, dimensions: int) -> None:
        first_place, first = self._shapes[number] or (place, dimensions)
        self._shapes[number] = (first_place, first)
        if dimensions != first:
            raise SourceError(
                f"{place}: {self._embeddings[number].operation}: has {dimensions} numbers, and {first_place} "
                f"has {first}: vectors of one embedding are of one length."
            )

    def _check_space(self, number: int, place: str, space: str) -> None:
        known = self._spaces[number]
        if known is None:
            self._spaces[number], self._space_places[number] = space, place
        elif space != known:
            raise SourceError(
                f"{place}: {self._embeddings[number].operation}: is of the space {quoted(space)}, and "
                f"{self._space_places[number]} of {quoted(known)}: vectors of two spaces cannot be compared."
            )

    def _told_lacking(self) -> list[str]:
        return [
            f"Left out for want of {embedding.operation}: {counted(lacking, 'row')}."
            for embedding, lacking in zip(self._embeddings, self._lacking, strict=True)
            if lacking
        ]


def vector_of(numbers: Sequence[float], place: str) -> Values:
    """A row's numbers as a vector.

    Raises:
        SourceError: one is beyond what float32 holds.
    """
    with np.errstate(over="ignore"):
        vector = np.asarray(numbers, np.float32)
    if not np.isfinite(vector).all():
        beyond = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise SourceError(f"{place}[{beyond}]: is beyond float32, got {quoted(numbers[beyond])}.")
    return vector


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
