"""Sides of photos: stable, grouped, and never a test of what was trained on."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers import split as splitting
from classifiers.rows import Row
from classifiers.split import Seen, Split, photo_digest, split

PINNED_DIGESTS = [6950546083564658545, 17679381260251166741]
PINNED_SIDES = ("validation", "train", "test", "validation", "train", "train", "test", "train")

NOTHING = Seen.of([])
VECTOR = (np.zeros(2, np.float32),)


def row(photo: str, phash: int | None = None, label: str = "a") -> Row:
    return Row(photo, label, VECTOR, phash)


def drawn(rows: Sequence[Row], seen: Seen = NOTHING, distance: int = 4, test: float = 0.3) -> Split:
    return split(rows, seen, validation=0.2, test=test, max_distance=distance)


def side_of(rows: Sequence[Row], found: Split) -> dict[str, str]:
    return {one.photo_id: side for one, side in zip(rows, found.sides, strict=True)}


# Few bits, so that many are near.
PHASHES = st.none() | st.integers(0, 2**10 - 1) | st.integers(0, 2**64 - 1)
ROWS = st.lists(st.builds(row, st.text(max_size=3), PHASHES), max_size=30)


@given(ROWS, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_a_side_depends_on_no_order(rows, random):
    shuffled = random.sample(rows, len(rows))
    assert side_of(rows, drawn(rows)) == side_of(shuffled, drawn(shuffled))


@given(ROWS)
@settings(max_examples=60)
def test_no_group_is_on_two_sides_and_near_photos_are_of_one_group(rows):
    found = drawn(rows)
    for one, its_side, its_group in zip(rows, found.sides, found.groups, strict=True):
        for other, side, group in zip(rows, found.sides, found.groups, strict=True):
            near = None not in (one.phash, other.phash) and (one.phash ^ other.phash).bit_count() <= 4
            if one.photo_id == other.photo_id or near:
                assert its_group == group
            if its_group == group:
                assert its_side == side


@given(st.lists(st.text(max_size=4), max_size=20), st.lists(st.text(max_size=4), max_size=20))
@settings(max_examples=60)
def test_photos_without_copies_never_change_sides(before, later):
    old, new = [row(photo) for photo in before], [row(photo) for photo in [*later, *before]]
    sides = side_of(new, drawn(new))
    assert all(sides[photo] == side for photo, side in side_of(old, drawn(old)).items())


@given(ROWS, ROWS)
@settings(max_examples=100)
def test_what_was_seen_is_never_tested_whatever_arrives(before, later):
    found = drawn(before)
    trained = [one for one, side in zip(before, found.sides, strict=True) if side != "test"]
    seen = Seen.of(trained)
    # The earlier rows may be gone, or not; shares may be others.
    for rows in (later, [*later, *before]):
        for one, side in zip(rows, drawn(rows, seen, test=0.7).sides, strict=True):
            if side == "test":
                assert one.photo_id not in {other.photo_id for other in trained}
                assert not any(
                    one.phash is not None
                    and other.phash is not None
                    and (one.phash ^ other.phash).bit_count() <= 4
                    for other in trained
                )


def test_shares_are_what_was_asked_for():
    rows = [row(f"photo {number}") for number in range(5000)]
    sides = drawn(rows).sides
    assert sides.count("test") == pytest.approx(1500, rel=0.1)
    assert sides.count("validation") == pytest.approx(1000, rel=0.1)


def test_shares_of_groups_are_no_others():
    """A rule that took the side of any member would leave hardly a group of six for the test."""
    rows = [row(f"photo {number}", number // 6 * 0x9E3779B97F4A7C15 % 2**64) for number in range(6000)]
    assert drawn(rows, distance=0).sides.count("test") == pytest.approx(1800, rel=0.15)


def test_sides_are_those_of_every_version_of_this_program():
    rows = [row(name) for name in ("1", "2", "3", "4", "5", "6", "é", "\ud800")]
    assert [photo_digest(one.photo_id) for one in rows[:2]] == PINNED_DIGESTS
    assert drawn(rows).sides == PINNED_SIDES


def test_a_moved_group_is_counted():
    rows = [row(f"photo {number}") for number in range(200)]
    found = drawn(rows)
    tested = [one for one, side in zip(rows, found.sides, strict=True) if side == "test"]
    again = drawn(rows, Seen.of(tested[:7]))
    assert again.moved == 7
    assert again.sides.count("test") == len(tested) - 7


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_chains_join_whatever_the_block(block, monkeypatch):
    monkeypatch.setattr(splitting, "_BLOCK", block)
    rows = [row(f"p{number}", (1 << number) - 1) for number in range(20)] + [row("far", 2**64 - 1)]
    found = drawn(rows, distance=1)
    assert len(set(found.groups[:20].tolist())) == 1
    assert found.groups[20] != found.groups[0]


def test_nothing_splits_into_nothing():
    found = drawn([])
    assert found.sides == ()
    assert found.groups.shape == (0,)


def test_records_are_joined():
    one, other = Seen.of([row("a", 5), row("b")]), Seen.of([row("b", 5), row("c", 9)])
    both = Seen.union([one, other])
    assert both.phashes.tolist() == [5, 9]
    assert both.digests.tolist() == sorted(photo_digest(name) for name in "abc")
    assert both.digests.dtype == both.phashes.dtype == np.uint64
