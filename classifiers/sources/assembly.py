"""The rows of one collection, put together while a source is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.core.target import FaceContext
from app.core.wording import quoted, shortened
from classifiers.rows import DEFAULT_FACE_CONTEXT, Embedding, Row, SourceError, TrainingSet, Values
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
        spaces: those that the settings of the source tell, where they do.
        stated: those that the user tells, by operation.
        face_context: where a prominent face was looked for.

    Raises:
        SourceError: the settings and the user tell two spaces of one embedding.
    """

    def __init__(
        self,
        name: str,
        target: str,
        embeddings: Sequence[Embedding],
        spaces: Sequence[str | None] = (),
        *,
        stated: Mapping[str, str] | None = None,
        face_context: FaceContext = DEFAULT_FACE_CONTEXT,
    ) -> None:
        self.name = name
        self._target = target
        self._embeddings = tuple(embeddings)
        self._face_context = face_context
        self._spaces = [(stated or {}).get(embedding.operation) for embedding in embeddings]
        self._space_places = ["--space"] * len(embeddings)
        for number, space in enumerate(spaces):
            if space is not None:
                self._check_space(number, "its settings", space)
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
        """The rows that are complete, and contradict no other one.

        Raises:
            SourceError: there is none, or the labels do not fit together.
        """
        names, labels, positive = named([(row.place, row.label) for row in self._found])
        contradicting = _contradicting(self._found, names)
        notes = (*notes, *self._told_lacking(), *_told_contradicting(self._found, contradicting))
        if len(contradicting) == len(self._found):
            reason = "".join(f" {note}" for note in notes)
            raise SourceError(f"Collection '{shortened(self.name)}' has no rows.{reason}")
        rows = tuple(
            Row(
                row.photo_id,
                name,
                tuple(vector for vector in row.vectors if vector is not None),
                row.phash,
                row.slices,
                row.measures,
            )
            for number, (row, name) in enumerate(zip(self._found, names, strict=True))
            if number not in contradicting
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
            self._face_context,
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


def _contradicting(found: Sequence[Found], names: Sequence[str]) -> dict[int, int]:
    """The numbers of rows of one photo with the same vectors and several labels, each with that of another
    such row. Nothing tells which label is right, and nothing could learn both.
    """
    of_photo: dict[str, list[int]] = {}
    for number, row in enumerate(found):
        of_photo.setdefault(row.photo_id, []).append(number)
    contradicting: dict[int, int] = {}
    for numbers in of_photo.values():
        if len({names[number] for number in numbers}) < 2:
            continue
        alike: dict[bytes, list[int]] = {}
        for number in numbers:
            vectors = b"".join(vector.tobytes() for vector in found[number].vectors if vector is not None)
            alike.setdefault(vectors, []).append(number)
        for same in alike.values():
            other = next((one for one in same if names[one] != names[same[0]]), None)
            if other is not None:
                contradicting |= {one: other if one == same[0] else same[0] for one in same}
    return contradicting


def _told_contradicting(found: Sequence[Found], contradicting: Mapping[int, int]) -> list[str]:
    if not contradicting:
        return []
    one, other = next(iter(contradicting.items()))
    return [
        f"Left out, of one photo with the same vectors and several labels: "
        f"{counted(len(contradicting), 'row')}, such as {found[one].place} and {found[other].place}."
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
