"""A collection of vectors as operations see it: searched, but not changed."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from app.core.artifacts import Vector
from app.core.filters import Filter
from app.core.geometry import Box
from app.core.operation import Ref
from app.core.resource import Resource

# The name of the need that takes the vectors to search with.
VECTOR = "vector"


class Hit(NamedTuple):
    """A region of an item that was found.

    `score` is the cosine of the two vectors, -1 to 1. `region` counts the item's regions from 0 on; `bbox` is
    None for the whole image. A tuple, because a search makes thousands a second.
    """

    id: str
    score: float
    bbox: Box | None
    metadata: Mapping[str, Any]
    region: int = 0


class Collection(Resource, Protocol):
    """A named collection of vectors of one space."""

    @property
    def name(self) -> str: ...

    @property
    def space(self) -> str | None:
        """That of its vectors; None as long as it has none."""

    def embedding(self, chosen: Mapping[str, Any] = ...) -> Ref:
        """What embeds an image as the collection's own items were.

        Args:
            chosen: params of a target other than the collection's own.

        Raises:
            UnsupportedTarget: the operation does not take that target.
            InvalidParams: the operation does not take these params.
        """

    def text(self, text: str) -> Ref:
        """What embeds a text in the space of the collection.

        Raises:
            InvalidParams: its operation embeds no texts.
        """

    def search(
        self, vectors: Sequence[Vector], *, k: int, min_score: float | None, filter: Filter | None
    ) -> list[list[Hit]]:
        """For each vector its nearest ones, the best first."""

    def near_hashes(
        self, phashes: Sequence[int], *, k: int, max_distance: int, filter: Filter | None
    ) -> list[list[tuple[Hit, int]]]:
        """For each perceptual hash the regions that differ in at most so many bits, with their number."""
