"""What a server's operations see of the shelf: the head that serves each collection."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from app.core.artifacts import Vector
from app.core.classifier import Classifier, ClassifierFacts, EmbeddingFacts, Figure, embedding_need
from app.core.drift import Health
from app.core.errors import ClassifierNotFound, ClassifierUnavailable, SpaceMismatch
from app.core.operation import Ref
from app.core.registry import Registry
from app.core.resolver import validated
from app.core.target import FaceContext
from app.core.wording import shortened
from classifiers.card import Card
from classifiers.head import Head, stacked
from classifiers.shelf import Shelf, ShelfError
from classifiers.sources.targets import PROMINENT_FACE
from classifiers.watch import Watch

log = logging.getLogger(__name__)

_SHOWN_NAMES = 300


class ServedClassifiers:
    """The heads that serve, for any number of threads. A version that is promoted serves from then on.

    Args:
        shelf: where they are kept.
        registry: the operations that make the vectors that they read.
        watch: notes what they are asked; None where drift is not watched.
    """

    def __init__(self, shelf: Shelf, registry: Registry, watch: Watch | None) -> None:
        self._shelf = shelf
        self._registry = registry
        self._watch = watch

    def find(self, collection: str) -> Classifier:
        return self._found(collection)

    def collections(self) -> list[str]:
        """Those that have a head that serves.

        Raises:
            ClassifierUnavailable: it cannot be read which do.
        """
        try:
            return sorted(self._shelf.bests())
        except ShelfError as error:
            # It may tell of paths, which are no client's.
            log.warning("%s", error)
            raise ClassifierUnavailable(
                "It cannot be read which classifiers serve; the server's log tells why."
            ) from None

    def facts(self, collection: str) -> ClassifierFacts:
        return _facts(self._found(collection).head.card)

    def problem(self, collection: str) -> str | None:
        version = self._found(collection).version
        if self._shelf.problem(collection) is None:
            return None
        # The shelf has logged why.
        return f"The version that was promoted last cannot be read; {version} goes on serving."

    def health(self, collection: str) -> Health | None:
        card = self._found(collection).head.card
        return None if self._watch is None else self._watch.health(card)

    def close(self) -> None:
        """Keep what was noted."""
        if self._watch is not None:
            self._watch.close()

    def _found(self, collection: str) -> "ServedClassifier":
        head = self._shelf.current(collection)
        if head is not None:
            return ServedClassifier(head, self._registry, self._watch)
        if self._shelf.problem(collection) is not None:
            # The shelf has logged why.
            raise ClassifierUnavailable(
                f"The classifier of '{shortened(collection)}' cannot be read; the server's log tells why. "
                "Put its files back, or promote another version."
            )
        known = shortened(", ".join(self.collections()), _SHOWN_NAMES) or "none"
        raise ClassifierNotFound(
            f"There is no classifier for the collection '{shortened(collection)}'. There are: {known}. "
            "`sightgraph classifiers train` makes them."
        )


@dataclass(frozen=True)
class ServedClassifier:
    """`app.core.classifier.Classifier` for operations."""

    head: Head
    registry: Registry
    watch: Watch | None

    @property
    def collection(self) -> str:
        return self.head.card.collection

    @property
    def version(self) -> str:
        return self.head.card.version

    @property
    def state(self) -> str:
        return self.version

    @cached_property
    def spaces(self) -> Mapping[str, str]:
        known = enumerate(self.head.card.spaces)
        return {embedding_need(number): space for number, space in known if space is not None}

    @property
    def target(self) -> str:
        return self.head.card.target

    @property
    def face_context(self) -> FaceContext:
        return self.head.card.face_context

    @property
    def unproven(self) -> tuple[str, ...]:
        card = self.head.card
        pairs = zip(card.embeddings, card.spaces, strict=True)
        return tuple(each.operation for each, space in pairs if space is None)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.head.card.labels

    @property
    def positive(self) -> str | None:
        return self.head.card.positive

    @property
    def threshold(self) -> float | None:
        return None if self.head.card.threshold is None else self.head.card.threshold.value

    @property
    def is_watched(self) -> bool:
        return self.watch is not None

    def embeddings(self, chosen: Mapping[str, Any]) -> Sequence[Ref]:
        refs = []
        for each in self.head.card.embeddings:
            operation = self.registry.find(each.operation)
            refs.append(Ref(operation, validated(operation, {**each.params, **chosen})))
        return refs

    def probabilities(self, vectors: Sequence[Sequence[Vector]]) -> list[tuple[float, ...]]:
        dimensions = self.head.card.dimensions
        for number, (column, wanted) in enumerate(zip(vectors, dimensions, strict=True)):
            for vector in column:
                if len(vector.values) != wanted:
                    raise SpaceMismatch(
                        f"The classifier '{shortened(self.collection)}' was trained on vectors of {wanted} "
                        f"floats of {self.head.card.embeddings[number].operation}, which now makes "
                        f"{len(vector.values)}. Train it anew, or bring the weights back."
                    )
        rows = [[vector.values for vector in row] for row in zip(*vectors, strict=True)]
        found = self.head.probabilities(stacked(rows, dimensions))
        return [tuple(row) for row in np.asarray(found, np.float64).tolist()]

    def observe(self, measures: Mapping[str, float], score: float) -> None:
        if self.watch is not None:
            self.watch.observe(self.head.card, measures, score)


def _facts(card: Card) -> ClassifierFacts:
    return ClassifierFacts(
        collection=card.collection,
        version=card.version,
        created=card.created,
        target=card.target,
        face_context=card.face_context if card.target == PROMINENT_FACE else None,
        embeddings=tuple(
            EmbeddingFacts(operation=each.operation, params=each.params, space=space, dimensions=length)
            for each, space, length in zip(card.embeddings, card.spaces, card.dimensions, strict=True)
        ),
        labels=card.labels,
        positive=card.positive,
        threshold=None if card.threshold is None else card.threshold.value,
        threshold_aim=None if card.threshold is None else card.threshold.aim,
        model=card.model.kind,
        rows=card.data.rows,
        metrics={
            name: Figure(value=figure.value, low=figure.low, high=figure.high)
            for name, figure in card.metrics.items()
        },
    )
