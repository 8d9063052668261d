"""Which rows train, which choose and which judge.

A photo's side is drawn by a hash, so it is the same in every run, in any order and beside any other photos.
Rows that show the same photo stay together: those of one photo id, and those of photos whose perceptual
hashes differ in few bits, joined in chains. Such a group has the side of its member with the smallest digest.

What is guaranteed: both sides of a split never share a group; a photo without near copies never changes
sides; and no photo is on the test side that a version which is still kept was trained, calibrated or chosen
on, or that is a near copy of one, whatever became of groups, shares or rows meanwhile: versions record what
they saw, and groups that hold any of it are taken out of the test.

What is not: a group may change its side when a copy with a smaller digest joins it (a group of k in one of k
+ 1 cases). From train to test the record stops it; from test to train is harmless, as no earlier version had
seen it. Copies that have no perceptual hash, or a different one, are not known for copies.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from classifiers.rows import Row

Side = Literal["train", "validation", "test"]
SIDES: tuple[Side, ...] = ("train", "validation", "test")

Hashes = NDArray[np.uint64]

# So many hashes by so many are compared at a time, in some tens of megabytes.
_BLOCK = 1024


def photo_digest(photo_id: str) -> int:
    """64 bits that stand for a photo; that two of a million share them has a chance of one in 10 million."""
    return int.from_bytes(_hashed(b"photo", photo_id.encode("utf-8", "surrogatepass")), "little")


def drawn_side(digest: int, validation: float, test: float) -> Side:
    """The side of a group that this photo names."""
    point = int.from_bytes(_hashed(b"side", digest.to_bytes(8, "little")), "little") / 2**64
    if point < test:
        return "test"
    return "validation" if point < test + validation else "train"


def _hashed(person: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8, person=person).digest()


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What versions were trained, calibrated or chosen on: 16 bytes a photo.

    Args:
        digests: of the photo ids, sorted.
        phashes: of the photos, sorted.
    """

    digests: Hashes
    phashes: Hashes

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Seen":
        rows = list(rows)
        return cls(
            np.array(sorted({photo_digest(row.photo_id) for row in rows}), np.uint64),
            np.array(sorted({row.phash for row in rows if row.phash is not None}), np.uint64),
        )

    @classmethod
    def union(cls, records: Iterable["Seen"]) -> "Seen":
        records = list(records)
        return cls(
            np.unique(np.concatenate([np.empty(0, np.uint64), *(record.digests for record in records)])),
            np.unique(np.concatenate([np.empty(0, np.uint64), *(record.phashes for record in records)])),
        )

    def holds(self, row: Row, max_distance: int) -> bool:
        """Whether the photo of a row, or a near copy of it, is among them."""
        return self.holds_photo(row.photo_id, row.phash, max_distance)

    def holds_photo(self, photo_id: str, phash: int | None, max_distance: int) -> bool:
        """Whether a photo, or a near copy of it, is among them."""
        if _contains(self.digests, photo_digest(photo_id)):
            return True
        if phash is None:
            return False
        return bool((np.bitwise_count(self.phashes ^ np.uint64(phash)) <= max_distance).any())


def _contains(ordered: Hashes, value: int) -> bool:
    place = int(np.searchsorted(ordered, np.uint64(value)))
    return place < len(ordered) and int(ordered[place]) == value


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The side and the group of each row, and how many photos the record moved out of the test."""

    sides: tuple[Side, ...]
    groups: NDArray[np.int64]
    moved: int


def split(rows: Sequence[Row], seen: Seen, *, validation: float, test: float, max_distance: int) -> Split:
    """Draw the side of each row.

    Args:
        rows: of one collection.
        seen: by the versions that will be judged on the test side.
        validation: the share of photos which choose calibration and threshold.
        test: the share of photos which judge.
        max_distance: in how many bits perceptual hashes of copies differ at most.
    """
    by_photo: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        by_photo.setdefault(row.photo_id, []).append(number)
    photos = list(by_photo)
    joined = _Joined(len(photos))
    for one, other in _near_photos(
        [[rows[n].phash for n in by_photo[photo]] for photo in photos], max_distance
    ):
        joined.join(one, other)
    members: dict[int, list[int]] = {}
    for photo in range(len(photos)):
        members.setdefault(joined.root(photo), []).append(photo)
    sides: list[Side] = ["train"] * len(rows)
    groups = np.zeros(len(rows), np.int64)
    moved = 0
    for group, of_group in enumerate(members.values()):
        numbers = [number for photo in of_group for number in by_photo[photos[photo]]]
        side = drawn_side(min(photo_digest(photos[photo]) for photo in of_group), validation, test)
        if side == "test" and any(seen.holds(rows[number], max_distance) for number in numbers):
            side = "train"
            moved += len(of_group)
        for number in numbers:
            sides[number] = side
            groups[number] = group
    return Split(tuple(sides), groups, moved)


class _Joined:
    """Sets that are joined (union-find with path halving)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, member: int) -> int:
        parent = self._parent
        while parent[member] != member:
            parent[member] = member = parent[parent[member]]
        return member

    def join(self, one: int, other: int) -> None:
        one, other = self.root(one), self.root(other)
        self._parent[max(one, other)] = min(one, other)


def _near_photos(phashes: Sequence[Sequence[int | None]], max_distance: int) -> Iterable[tuple[int, int]]:
    """Pairs of photos that join all that are near; of equal hashes each only with the first."""
    first: dict[int, int] = {}
    for photo, of_photo in enumerate(phashes):
        for phash in of_photo:
            if phash is not None and first.setdefault(phash, photo) != photo:
                yield first[phash], photo
    owners = list(first.values())
    hashes = np.array(list(first), np.uint64)
    for top in range(0, len(hashes), _BLOCK):
        for left in range(top, len(hashes), _BLOCK):
            distances = np.bitwise_count(hashes[top : top + _BLOCK, None] ^ hashes[left : left + _BLOCK])
            near = distances <= max_distance
            ones, others = np.nonzero(np.triu(near, k=1) if left == top else near)
            for one, other in zip(ones + top, others + left, strict=True):
                yield owners[one], owners[other]
