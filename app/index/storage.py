"""What the index keeps and how it is asked: the records, and the interface that every storage implements.

A storage is used from several threads at once. Its methods block: call them off the event loop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.collection import Hit
from app.core.filters import Filter
from app.core.geometry import Box

Matrix = NDArray[np.float32]

# The most hits that one query may look at, those of earlier pages included.
MAX_HITS = 1000
# pgvector's `vector` ends here, and no embedding in use is longer.
MAX_DIMENSIONS = 16_000
# In the vectors of a page of items: 512 vectors of 512. As JSON they take some megabytes.
MAX_PAGE_NUMBERS = 1 << 18


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a collection is, fixed when it is created.

    `operation` embeds what is added, with `params` as plain JSON, the target among them. `space` is that of
    its vectors where it is known beforehand; else the first vector that is added fixes it.
    """

    name: str
    operation: str
    params: Mapping[str, Any]
    space: str | None = None


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A collection as it stands.

    `state` is another one after every change of its contents, also across restarts and in a collection that
    was made anew under the same name. `identity` stays the same as long as the collection does, and is
    another one when it was made anew. `pending` vectors are searched exactly until the search structure has
    them; `rebuilt` is how far a rebuild of the structure has come, 0 to 1, while one runs.
    """

    declared: Declaration
    space: str | None
    dimensions: int | None
    created_at: str
    items: int
    vectors: int
    state: str
    identity: str
    pending: int = 0
    rebuilt: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ItemRegion:
    """A vector of an item, with the part of the image that it stands for.

    `vector` is [dimensions] float32 as it was given. `bbox` is None for the whole image and where there is
    none. `phash` is the 64 bits of the perceptual hash of these pixels, unsigned.
    """

    vector: NDArray[np.float32]
    bbox: Box | None = None
    phash: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class NewItem:
    """An item to add. One whose image had nothing to embed, no face say, has no regions, and is kept."""

    id: str
    regions: tuple[ItemRegion, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """An item as it is kept. `added_at` is ISO 8601 in UTC."""

    id: str
    regions: tuple[ItemRegion, ...]
    metadata: Mapping[str, Any]
    sha256: str | None
    width: int | None
    height: int | None
    thumbnail: bytes | None
    added_at: str


@dataclass(frozen=True, slots=True)
class ItemSummary:
    """An item in a listing: all but its vectors and its thumbnail."""

    id: str
    metadata: Mapping[str, Any]
    sha256: str | None
    width: int | None
    height: int | None
    regions: int
    added_at: str


@dataclass(frozen=True, slots=True, eq=False)
class VectorPage:
    """Items with their regions, as they all stood at one moment.

    `space` is that of the vectors. `more` tells whether further items come after these.
    """

    space: str | None
    items: tuple[tuple[ItemSummary, tuple[ItemRegion, ...]], ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Query:
    """What of a collection is wanted, best first: `k` hits after the first `offset`.

    `offset + k` is at most MAX_HITS. Hits of the item `without` are left out. `until` is the time of
    `time.monotonic` after which nobody waits for the answer any more.
    """

    k: int = 10
    offset: int = 0
    min_score: float | None = None
    filter: Filter | None = None
    without: str | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class NearHash:
    """A region whose perceptual hash differs in `distance` bits of 64. Its hit's `score` says nothing."""

    hit: Hit
    distance: int


@dataclass(frozen=True, slots=True)
class Member:
    """A region of an item, in a pair or a group."""

    id: str
    region: int
    bbox: Box | None


class Storage(Protocol):
    """Keeps collections.

    Every method raises IndexUnavailable where the storage cannot be reached or is held by another process.
    What is written is durable when the method returns: all of it, or after an error none. One that is given
    the `identity` of a collection raises CollectionNotFound where the name now belongs to another one. One
    that is given `until`, a time of `time.monotonic`, raises DeadlineExceeded soon after it.
    """

    def open(self) -> None:
        """Make ready what the first use would wait for."""

    def collections(self) -> list[CollectionRecord]:
        """All of them, by name."""

    def create(self, declaration: Declaration) -> CollectionRecord:
        """Make an empty collection.

        Raises:
            CollectionExists: the name is taken.
        """

    def collection(self, name: str) -> CollectionRecord:
        """Raises CollectionNotFound, naming the nearest name."""

    def drop(self, name: str) -> None:
        """Delete a collection with all of its items.

        Raises:
            CollectionNotFound
        """

    def add(
        self, name: str, items: Sequence[NewItem], space: str, *, identity: str | None = None
    ) -> list[bool]:
        """Add items, all or none; one with the id of another replaces it, with all its regions.

        Args:
            name: of the collection.
            items: each id once. Their vectors are finite and not zero.
            space: of the vectors.

        Returns:
            For each whether it replaced another.

        Raises:
            CollectionNotFound
            SpaceMismatch: the collection's vectors lie in another space.
            InvalidParams: a vector has another dimension than the collection's, is zero or not finite.
        """

    def item(self, name: str, item_id: str) -> Item:
        """Raises CollectionNotFound or ItemNotFound."""

    def items(self, name: str, after: str | None = None, limit: int = 100) -> list[ItemSummary]:
        """Items in order of their ids by code points, those after an id.

        Raises:
            CollectionNotFound
        """

    def vectors(
        self, name: str, after: str | None = None, limit: int = 100, numbers: int = MAX_PAGE_NUMBERS
    ) -> VectorPage:
        """Items with their vectors, in the order of `items`.

        Args:
            name: of the collection.
            after: the id after which they begin.
            limit: how many items there are at most.
            numbers: how many numbers their vectors have at most together; one item comes in any case.

        Raises:
            CollectionNotFound
        """

    def delete(self, name: str, item_ids: Sequence[str]) -> int:
        """Delete items, and tell how many of them were there.

        A collection without vectors has the space that was declared, and no dimensions.

        Raises:
            CollectionNotFound
        """

    def search(
        self, name: str, vectors: Matrix, query: Query, *, identity: str | None = None
    ) -> list[list[Hit]]:
        """For each vector its nearest ones by cosine, the best first; equal scores by id and region.

        Args:
            name: of the collection.
            vectors: [n, dimensions] float32, of the collection's space.
            query: what is wanted.

        Raises:
            CollectionNotFound
            InvalidParams: the vectors have another dimension, are zero or not finite.
        """

    def near_hashes(
        self, name: str, phash: int, max_distance: int, query: Query, *, identity: str | None = None
    ) -> list[NearHash]:
        """The regions whose perceptual hash differs in at most so many bits, the nearest first; equal ones by
        id and region. `query.min_score` says nothing here.

        Raises:
            CollectionNotFound
        """

    def near_pairs(
        self, name: str, min_score: float, until: float | None = None
    ) -> list[tuple[Member, Member, float]]:
        """Pairs of regions of different items whose cosine is at least so high, each pair once.

        Of each region its nearest 50 are looked at.

        Raises:
            CollectionNotFound
        """

    def near_hash_pairs(
        self, name: str, max_distance: int, until: float | None = None
    ) -> list[tuple[Member, Member, int]]:
        """Pairs of regions of different items whose hashes differ in at most so many bits, each pair once.

        They are at most the 50 nearest later regions of each.

        Raises:
            CollectionNotFound
        """

    def close(self) -> None:
        """End what runs in the background, and keep what makes the next start fast."""
