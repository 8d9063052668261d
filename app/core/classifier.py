"""A trained classifier as operations see it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from app.core.artifacts import Data, Vector
from app.core.drift import Health
from app.core.operation import Ref
from app.core.resource import Resource
from app.core.target import FaceContext


def embedding_need(number: int) -> str:
    """The name of the need that takes the vectors of a classifier's embedding, counted from 0."""
    return f"embedding_{number}"


class Classifier(Resource, Protocol):
    """The version of a head that serves a collection, as it stood when it was looked up."""

    @property
    def collection(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def target(self) -> str:
        """The region on whose vectors it was trained."""

    @property
    def face_context(self) -> FaceContext:
        """Where the prominent faces of its training were looked for; of other targets it says nothing."""

    @property
    def unproven(self) -> tuple[str, ...]:
        """Of its embedding operations those of which nobody knows in which space the vectors of the training
        lay."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def positive(self) -> str | None:
        """Of two labels the one that means "is in the collection"; None where there is no such one."""

    @property
    def threshold(self) -> float | None:
        """From which probability of the positive label on an image is in the collection."""

    @property
    def is_watched(self) -> bool:
        """Whether `observe` is of any use."""

    def embeddings(self, chosen: Mapping[str, Any]) -> Sequence[Ref]:
        """What makes the vectors that it reads, of the regions that the params of a target choose.

        Raises:
            UnsupportedOperation: the server lacks an operation that it needs.
            UnsupportedTarget, InvalidParams: the operation does not take these params.
        """

    def probabilities(self, vectors: Sequence[Sequence[Vector]]) -> list[tuple[float, ...]]:
        """Of each label, for each item.

        Args:
            vectors: for each embedding those of all items.

        Raises:
            SpaceMismatch: they have not the dimensions on which it was trained.
        """

    def observe(self, measures: Mapping[str, float], score: float) -> None:
        """Note how an item looked and what was found, to see when either changes over time."""


class EmbeddingFacts(Data):
    operation: str
    """The operation that makes the vectors."""
    params: dict[str, object]
    """Its params that are not at their defaults."""
    space: str | None
    """The space in which they must lie; null where the source of the training rows did not tell."""
    dimensions: int
    """The length of a vector."""


class Figure(Data):
    value: float
    """On rows that were held out."""
    low: float
    """Where the interval of 95 % begins; rows of one photo count as one."""
    high: float
    """Where it ends."""


class ClassifierFacts(Data):
    collection: str
    """The id or name by which `classify` asks for it."""
    version: str
    """The version that serves."""
    created: datetime
    """When it was trained."""
    target: str
    """The region that it looks at."""
    face_context: FaceContext | None
    """Where a prominent face is looked for; null for other regions."""
    embeddings: tuple[EmbeddingFacts, ...]
    """What it reads of that region."""
    labels: tuple[str, ...]
    """What it tells apart."""
    positive: str | None
    """The label that means "is in the collection"; null for several classes."""
    threshold: float | None
    """From which probability on an image is in the collection."""
    threshold_aim: str | None
    """What the threshold was chosen for."""
    model: str
    """What was fitted."""
    rows: int
    """How many rows it was trained and judged with."""
    metrics: dict[str, Figure]
    """How good it was found, each figure with its interval; empty where it was not judged."""


class Classifiers(Protocol):
    """The classifiers of one server. The methods read files: they are called off the event loop."""

    def find(self, collection: str) -> Classifier:
        """The one that serves.

        Raises:
            ClassifierNotFound: there is none.
            ClassifierUnavailable: it cannot be read.
        """

    def collections(self) -> Sequence[str]:
        """Those that have a classifier that serves.

        Raises:
            ClassifierUnavailable: it cannot be read which do.
        """

    def facts(self, collection: str) -> ClassifierFacts:
        """Raises as `find`."""

    def problem(self, collection: str) -> str | None:
        """Why the version that should serve does not, and an earlier one does."""

    def health(self, collection: str) -> Health | None:
        """Whether what it is asked has drifted from what it was trained on; None where nobody watches.

        Raises as `find`.
        """

    def close(self) -> None: ...
