"""Preparation: rows that are checked, split and laid out as arrays."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.core.key import digest
from classifiers.card import DataCard
from classifiers.figures import Labels
from classifiers.head import Floats
from classifiers.rows import Row, TrainingSet
from classifiers.split import SIDES, Seen, Side, Split, split
from classifiers.training_settings import TrainingSettings

# So many photos of each label, on each side, are the least that any figure can be taken from.
LEAST: Mapping[Side, int] = {"train": 4, "validation": 2, "test": 2}
# With so many in all, 19 of 20 draws of the sides have the least of each, at the default shares.
_ENOUGH = 22


class TrainingRefused(Exception):
    """Nothing can be learned from these rows, or not be judged; the message tells what is needed."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows as arrays: vectors [n, d] of all embeddings side by side, numbers of labels [n], groups [n]."""

    rows: tuple[Row, ...]
    vectors: Floats
    labels: Labels
    groups: Labels


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The sides of a split, and what they are."""

    dimensions: tuple[int, ...]
    train: Table
    validation: Table
    test: Table
    data: DataCard


def prepare(training_set: TrainingSet, seen: Seen, settings: TrainingSettings) -> Prepared:
    """Check and split the rows of a collection. Their order does not matter.

    Raises:
        TrainingRefused: they cannot be used, or are too few.
    """
    _check_declaration(training_set)
    dimensions = _checked_dimensions(training_set)
    rows = sorted(training_set.rows, key=_identity)
    drawn = split(
        rows,
        seen,
        validation=settings.validation,
        test=settings.test,
        max_distance=settings.phash_distance,
    )
    _check_counts(training_set, rows, drawn)
    vectors = np.array([np.concatenate(row.vectors) for row in rows], np.float64)
    number = {label: number for number, label in enumerate(training_set.labels)}
    labels = np.array([number[row.label] for row in rows], np.int64)

    def side(name: Side) -> Table:
        places = np.flatnonzero(np.array(drawn.sides) == name)
        kept = tuple(rows[place] for place in places)
        return Table(kept, vectors[places], labels[places], drawn.groups[places])

    train, validation, test = (side(name) for name in SIDES)
    return Prepared(dimensions, train, validation, test, _data_card(training_set, rows, drawn))


def _check_declaration(training_set: TrainingSet) -> None:
    name, labels = training_set.name, training_set.labels
    slices = {text for row in training_set.rows for pair in row.slices.items() for text in pair}
    for text in (name, training_set.target, *labels, *sorted(slices)):
        if not text.isascii() and text != text.encode("utf-8", "replace").decode():
            raise TrainingRefused(f"{text!r} is no text: half a character cannot be written. Rename it.")
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise TrainingRefused(
            f"Collection '{name}' has the labels {_listed(labels)}: two different ones are needed at least, "
            f"each with about {_ENOUGH} photos."
        )
    if training_set.positive is not None and (len(labels) != 2 or training_set.positive not in labels):
        raise TrainingRefused(
            f"Collection '{name}' names '{training_set.positive}' as the positive one of the labels "
            f"{_listed(labels)}; it must be one of two."
        )
    if not training_set.embeddings or len(training_set.spaces) != len(training_set.embeddings):
        raise TrainingRefused(
            f"Collection '{name}' has {len(training_set.embeddings)} embeddings and "
            f"{len(training_set.spaces)} spaces; it needs one at least, and as many of both."
        )


def _checked_dimensions(training_set: TrainingSet) -> tuple[int, ...]:
    """How long the vectors are; all of one embedding are as long."""
    wanted: tuple[int, ...] | None = None
    labels = frozenset(training_set.labels)
    for number, row in enumerate(training_set.rows, 1):
        where = f"Row {number} of collection '{training_set.name}' (photo '{row.photo_id}')"
        if row.label not in labels:
            raise TrainingRefused(
                f"{where} has the label '{row.label}', which is not among {_listed(training_set.labels)}."
            )
        if row.phash is not None and not 0 <= row.phash < 2**64:
            raise TrainingRefused(f"{where} has the perceptual hash {row.phash}; it must have 64 bits.")
        if any(vector.ndim != 1 or not len(vector) for vector in row.vectors):
            raise TrainingRefused(f"{where} has a vector that is no list of numbers.")
        lengths = tuple(len(vector) for vector in row.vectors)
        wanted = wanted or lengths
        if lengths != wanted or len(lengths) != len(training_set.embeddings):
            raise TrainingRefused(
                f"{where} has vectors of {list(lengths)} values, and those before it have {list(wanted)}, "
                f"for {len(training_set.embeddings)} embeddings. All rows must come from the same embeddings."
            )
        if not all(np.isfinite(vector).all() for vector in row.vectors):
            raise TrainingRefused(f"{where} has a vector with values that are not finite.")
    if wanted is None:
        raise TrainingRefused(
            f"Collection '{training_set.name}' has no rows; about {_ENOUGH} photos of each label are needed."
        )
    return wanted


def _check_counts(training_set: TrainingSet, rows: Sequence[Row], drawn: Split) -> None:
    """Groups are counted, and not rows: copies of a photo are no more evidence than the photo."""
    short = []
    seen = {
        (row.label, side, group)
        for row, side, group in zip(rows, drawn.sides, drawn.groups.tolist(), strict=True)
    }
    groups = Counter((label, side) for label, side, _ in seen)
    for label in training_set.labels:
        counts = {side: groups[label, side] for side in SIDES}
        if any(counts[side] < LEAST[side] for side in SIDES):
            parts = ", ".join(f"{counts[side]} for {side} (of {LEAST[side]})" for side in SIDES)
            lacking = max(_ENOUGH - sum(counts.values()), *(LEAST[side] - counts[side] for side in SIDES))
            short.append(f"'{label}' has {parts}: add about {lacking}")
    if not short:
        return
    moved = (
        f" {drawn.moved} photos are not for test: versions that are kept were trained on them or on copies."
        if drawn.moved
        else ""
    )
    raise TrainingRefused(
        f"Collection '{training_set.name}' has too few photos that differ. The label "
        f"{'; the label '.join(short)}. The side of a photo is drawn by its id: about {_ENOUGH} photos of "
        f"each label are mostly enough.{moved}"
    )


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(f"'{label}'" for label in labels) or "none"


def _identity(row: Row) -> tuple[str, str, bytes, tuple[tuple[str, str], ...], int]:
    """Equal for equal rows alone; measures, of which nothing is learned, do not count."""
    whole = b"".join(np.asarray(vector, "<f4").tobytes() for vector in row.vectors)
    return (
        row.photo_id,
        row.label,
        whole,
        tuple(sorted(row.slices.items())),
        -1 if row.phash is None else row.phash,
    )


def _data_card(training_set: TrainingSet, rows: Sequence[Row], drawn: Split) -> DataCard:
    parts = [
        (photo, label, digest(whole.hex()), slices, phash)
        for photo, label, whole, slices, phash in map(_identity, rows)
    ]
    counts = Counter((side, row.label) for side, row in zip(drawn.sides, rows, strict=True))
    sides = {side: {label: counts[side, label] for label in training_set.labels} for side in SIDES}
    return DataCard(
        digest=digest(training_set.target, training_set.labels, parts),
        rows=len(rows),
        photos=len({row.photo_id for row in rows}),
        groups=len(np.unique(drawn.groups)),
        moved=drawn.moved,
        sides=sides,
    )
