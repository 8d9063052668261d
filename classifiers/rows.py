"""Training rows: labelled vectors of images, wherever they come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.target import FaceContext

Values = NDArray[np.float32]

# As operations have it.
DEFAULT_FACE_CONTEXT: FaceContext = "prominent_person"


@dataclass(frozen=True, slots=True)
class Embedding:
    """What makes one of a head's vectors: an operation with the params that are not at their defaults.

    The region is the head's own: neither the target nor the face context is among the params.
    """

    operation: str
    params: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One labelled region of an image.

    `vectors` has one for each embedding of the training set, in their order, each [n] float32. `photo_id`
    names the photo: rows of one photo, crops and faces of it, are never on both sides of a split. `phash` is
    the perceptual hash of the photo where it is known, so that copies of it under other names stay on its
    side. `slices` are what reports are broken down by. `measures` are those of the region, by the names
    in `classifiers.measures.INPUTS`, where they are known.
    """

    photo_id: str
    label: str
    vectors: Sequence[Values]
    phash: int | None = None
    slices: Mapping[str, str] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """The rows of one collection.

    `name` is its id or the name of its folder. `labels` are all that may occur; of two, `positive` is the one
    that means "is in the collection". `spaces` are those of the embeddings' vectors, where the source tells
    them: a head serves vectors of these spaces alone. `notes` say what of the source is not among the rows,
    and why. `face_context` is where a prominent face was looked for; of other targets it says nothing.
    """

    name: str
    target: str
    embeddings: tuple[Embedding, ...]
    spaces: tuple[str | None, ...]
    labels: tuple[str, ...]
    rows: tuple[Row, ...]
    positive: str | None = None
    notes: tuple[str, ...] = ()
    face_context: FaceContext = DEFAULT_FACE_CONTEXT

    @property
    def positive_number(self) -> int | None:
        """The number of the label that means "is in the collection"."""
        return None if self.positive is None else self.labels.index(self.positive)


class Source(Protocol):
    """Where training sets come from."""

    def collections(self) -> Sequence[str]:
        """The names of the collections that it has."""

    def training_set(self, name: str) -> TrainingSet:
        """Raises SourceError: it cannot be read; the message names the row and the remedy."""


class SourceError(Exception):
    """A source cannot be read, or holds what is no training row."""
