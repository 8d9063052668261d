"""What every storage promises; all of it runs on each of them."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from app.core.errors import (
    CollectionExists,
    CollectionNotFound,
    DeadlineExceeded,
    IndexUnavailable,
    InvalidParams,
    ItemNotFound,
    SpaceMismatch,
)
from app.core.filters import parsed
from app.core.geometry import Box
from app.index.storage import Declaration, ItemRegion, Matrix, Member, NewItem, Query, Storage

OpenStorage = Callable[[], Storage]

SPACE = "test-space"
DECLARED = Declaration("photos", "embed_test", {"target": "all_faces", "strict": True})


def random_vectors(count: int, dimensions: int = 8, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)


def item(item_id: str, *vectors: Any, **fields: Any) -> NewItem:
    return NewItem(item_id, tuple(ItemRegion(np.array(each, np.float32)) for each in vectors), **fields)


def hashed(item_id: str, *phashes: int | None) -> NewItem:
    regions = (
        ItemRegion(np.array([1, place, 0], np.float32), phash=phash) for place, phash in enumerate(phashes)
    )
    return NewItem(item_id, tuple(regions))


def cosines(vectors: Matrix, query: Matrix) -> Matrix:
    wide, query = vectors.astype(np.float64), query.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(query)
    return (wide @ query / lengths).astype(np.float32)


def ids(storage: Storage, query: Any, **asked: Any) -> list[str]:
    (hits,) = storage.search("photos", np.array([query], np.float32), Query(**asked))
    return [hit.id for hit in hits]


@pytest.fixture
def photos(storage: Storage) -> Storage:
    """A storage with an empty collection `photos`."""
    storage.create(DECLARED)
    return storage


# --- collections


def test_a_new_collection_is_empty_and_says_what_it_is(storage: Storage) -> None:
    before = datetime.now(UTC)
    record = storage.create(DECLARED)
    assert record.declared == DECLARED
    assert (record.space, record.dimensions, record.items, record.vectors) == (None, None, 0, 0)
    assert abs(datetime.fromisoformat(record.created_at) - before).total_seconds() < 60
    assert storage.collection("photos") == record
    assert storage.collections() == [record]


def test_collections_are_listed_by_name(storage: Storage) -> None:
    for name in ("b", "a.2", "Z", "a"):
        storage.create(replace(DECLARED, name=name))
    assert [record.declared.name for record in storage.collections()] == ["Z", "a", "a.2", "b"]


def test_a_storage_without_collections_lists_none(storage: Storage) -> None:
    assert storage.collections() == []


def test_a_name_is_taken_once(photos: Storage) -> None:
    photos.add("photos", [item("a", [1, 0])], SPACE)
    with pytest.raises(CollectionExists, match="photos"):
        photos.create(replace(DECLARED, operation="another"))
    assert photos.collection("photos").declared == DECLARED
    assert photos.collection("photos").items == 1


def test_an_unknown_collection_is_told_with_the_nearest_name(photos: Storage) -> None:
    vector = random_vectors(1)
    for call in (
        lambda: photos.collection("photo"),
        lambda: photos.drop("photo"),
        lambda: photos.add("photo", [item("a", [1, 0])], SPACE),
        lambda: photos.item("photo", "a"),
        lambda: photos.items("photo"),
        lambda: photos.vectors("photo"),
        lambda: photos.delete("photo", ["a"]),
        lambda: photos.search("photo", vector, Query()),
        lambda: photos.near_hashes("photo", 0, 1, Query()),
        lambda: photos.near_pairs("photo", 0.5),
        lambda: photos.near_hash_pairs("photo", 1),
    ):
        with pytest.raises(CollectionNotFound, match=r"'photo'.*'photos'"):
            call()


@pytest.mark.parametrize("name", ["", "\0", "pho\0tos", "\ud800", "'; DROP TABLE items; --", "x" * 10_000])
def test_no_name_is_more_than_unknown(photos: Storage, name: str) -> None:
    with pytest.raises(CollectionNotFound) as caught:
        photos.collection(name)
    assert len(str(caught.value)) < 200


def test_a_dropped_collection_is_gone_and_its_name_is_free(photos: Storage) -> None:
    photos.create(replace(DECLARED, name="others"))
    for name in ("photos", "others"):
        photos.add(name, [item("a", [1, 0])], SPACE)
    photos.drop("photos")
    with pytest.raises(CollectionNotFound):
        photos.search("photos", random_vectors(1, 2), Query())
    photos.create(DECLARED)
    assert photos.items("photos") == []
    # Of other vectors now.
    photos.add("photos", [item("b", [0, 0, 1])], "another-space")
    assert ids(photos, [0, 0, 1]) == ["b"]
    assert [each.id for each in photos.items("others")] == ["a"]


def test_a_collection_that_was_made_anew_is_another_one(photos: Storage) -> None:
    identity = photos.collection("photos").identity
    photos.add("photos", [hashed("a", 1)], SPACE, identity=identity)
    assert photos.collection("photos").identity == identity
    vector = np.array([[1, 0, 0]], np.float32)
    assert len(photos.search("photos", vector, Query(), identity=identity)[0]) == 1
    assert len(photos.near_hashes("photos", 1, 0, Query(), identity=identity)) == 1
    photos.drop("photos")
    assert photos.create(DECLARED).identity != identity
    for call in (
        lambda: photos.add("photos", [hashed("b", 1)], SPACE, identity=identity),
        lambda: photos.search("photos", vector, Query(), identity=identity),
        lambda: photos.near_hashes("photos", 1, 0, Query(), identity=identity),
    ):
        with pytest.raises(CollectionNotFound, match="'photos' was made anew meanwhile; send"):
            call()
    assert photos.collection("photos").items == 0


@pytest.mark.parametrize("declared_space", [None, SPACE])
@pytest.mark.parametrize("by", ["delete", "replace"])
def test_a_collection_without_vectors_may_have_any_again(
    storage: Storage, declared_space: str | None, by: str
) -> None:
    storage.create(replace(DECLARED, space=declared_space))
    for vector, space in (([1, 0], SPACE), ([1, 0, 0], declared_space or "another-space")):
        # More than one, so that it is the last one that counts.
        storage.add("photos", [item("a", vector, vector), item("b", vector)], space)
        record = storage.collection("photos")
        assert (record.space, record.dimensions) == (space, len(vector))
        assert ids(storage, vector) == ["a", "a", "b"]
        for name in "ab":
            assert storage.collection("photos").dimensions == len(vector)
            if by == "delete":
                storage.delete("photos", [name])
            else:
                storage.add("photos", [item(name)], space)
        record = storage.collection("photos")
        assert (record.space, record.dimensions, record.vectors) == (declared_space, None, 0)
        assert ids(storage, [1, 0, 0, 0]) == []
        assert storage.near_pairs("photos", 0.0) == []


def test_the_state_changes_with_the_contents_and_only_with_them(photos: Storage) -> None:
    states = [photos.collection("photos").state]

    def changed() -> bool:
        states.append(photos.collection("photos").state)
        return len(set(states)) == len(states)

    photos.add("photos", [item("a", [1, 0])], SPACE)
    assert changed()
    photos.add("photos", [item("a", [1, 0])], SPACE)
    assert changed()
    photos.delete("photos", ["a"])
    assert changed()
    photos.add("photos", [item("a", [1, 0])], SPACE)
    assert changed()
    photos.drop("photos")
    photos.create(DECLARED)
    assert changed()
    photos.add("photos", [], SPACE)
    photos.delete("photos", ["nothing"])
    photos.search("photos", random_vectors(1, 2), Query())
    assert photos.collection("photos").state == states[-1]


def test_collections_do_not_see_each_other(photos: Storage) -> None:
    photos.create(replace(DECLARED, name="others"))
    photos.add("photos", [item("a", [1, 0], metadata={"in": "photos"})], SPACE)
    photos.add("others", [item("a", [1, 0], metadata={"in": "others"}), item("b", [1, 0])], SPACE)
    assert ids(photos, [1, 0]) == ["a"]
    assert photos.item("photos", "a").metadata == {"in": "photos"}
    assert photos.delete("photos", ["b"]) == 0
    assert photos.delete("photos", ["a"]) == 1
    assert photos.item("others", "a").metadata == {"in": "others"}


# --- items


def test_an_item_comes_back_as_it_was_given(photos: Storage) -> None:
    vectors = random_vectors(2) * 1000
    given = NewItem(
        "holiday/1.jpg",
        (
            ItemRegion(vectors[0], Box(0, 1, 640, 480), 0xFFFF_FFFF_FFFF_FFFF),
            ItemRegion(vectors[1], None, 0x8000_0000_0000_0000),
        ),
        metadata={
            "text": "été 🏖",
            "whole": 2**53,
            "real": 0.1,
            "yes": True,
            "none": None,
            "list": [1, {"a": []}],
        },
        sha256="ab" * 32,
        width=640,
        height=480,
        thumbnail=b"\xff\xd8\0jpeg",
    )
    before = datetime.now(UTC)
    assert photos.add("photos", [given], SPACE) == [False]
    kept = photos.item("photos", "holiday/1.jpg")
    assert [region.vector.tolist() for region in kept.regions] == vectors.tolist()
    assert [region.vector.dtype for region in kept.regions] == [np.float32, np.float32]
    assert [(region.bbox, region.phash) for region in kept.regions] == [
        (Box(0, 1, 640, 480), 0xFFFF_FFFF_FFFF_FFFF),
        (None, 0x8000_0000_0000_0000),
    ]
    for name in ("id", "metadata", "sha256", "width", "height", "thumbnail"):
        assert getattr(kept, name) == getattr(given, name)
    assert abs(datetime.fromisoformat(kept.added_at) - before).total_seconds() < 60
    record = photos.collection("photos")
    assert (record.space, record.dimensions, record.items, record.vectors) == (SPACE, 8, 1, 2)


def test_an_item_may_have_nothing_to_compare(photos: Storage) -> None:
    assert photos.add("photos", [item("landscape")], SPACE) == [False]
    record = photos.collection("photos")
    assert (record.items, record.vectors, record.dimensions, record.space) == (1, 0, None, None)
    assert photos.item("photos", "landscape").regions == ()
    assert ids(photos, [1, 0]) == []
    # It fixed nothing.
    photos.add("photos", [item("portrait", [1, 0])], "another-space")
    assert ids(photos, [1, 0]) == ["portrait"]


@pytest.mark.parametrize(
    "item_id",
    [
        "a/b//c.jpg",
        "../../etc/passwd",
        "' OR 1=1 --",
        '"',
        "%2F%00",
        " ",
        "новый 年 🏖",
        "e\u0301",
        "\x01\x7f\u202e",
        "line\nbreak",
        "x" * 512,
        "😀" * 512,
        "\U0010ffff",
    ],
)
def test_any_text_is_an_id(photos: Storage, item_id: str) -> None:
    photos.add("photos", [item(item_id, [1, 0]), item("other", [0, 1])], SPACE)
    assert photos.item("photos", item_id).id == item_id
    assert ids(photos, [1, 0], k=1) == [item_id]
    assert ids(photos, [1, 0], without=item_id) == ["other"]
    assert item_id in [each.id for each in photos.items("photos")]
    assert photos.add("photos", [item(item_id, [1, 1])], SPACE) == [True]
    assert photos.delete("photos", [item_id]) == 1


@pytest.mark.parametrize("item_id", ["a\0b", "\ud800", "", "x" * 513])
def test_an_id_that_cannot_be_kept_is_refused(photos: Storage, item_id: str) -> None:
    with pytest.raises(InvalidParams, match="id"):
        photos.add("photos", [item("fine", [1, 0]), item(item_id, [1, 0])], SPACE)
    assert photos.items("photos") == []
    with pytest.raises(ItemNotFound):
        photos.item("photos", item_id)
    assert photos.delete("photos", [item_id]) == 0
    assert photos.items("photos", after=item_id) == []
    assert photos.vectors("photos", after=item_id).items == ()


def test_an_id_is_there_once_in_one_call(photos: Storage) -> None:
    with pytest.raises(InvalidParams, match=r"id.*twice"):
        photos.add("photos", [item("twice", [1, 0]), item("b", [1, 0]), item("twice", [0, 1])], SPACE)
    assert photos.items("photos") == []


@pytest.mark.parametrize("metadata", [{"a": "\0"}, {"a": "\ud800"}, {"a": float("nan")}, {"a": object()}])
def test_metadata_that_cannot_be_kept_is_refused(photos: Storage, metadata: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams, match="holiday"):
        photos.add("photos", [item("fine", [1, 0]), item("holiday", [1, 0], metadata=metadata)], SPACE)
    assert photos.items("photos") == []


def test_an_unknown_item_is_told(photos: Storage) -> None:
    with pytest.raises(ItemNotFound, match="nobody"):
        photos.item("photos", "nobody")


def test_items_are_listed_in_the_order_of_code_points(photos: Storage) -> None:
    names = ["a", "B", "é", "z", "10", "2", "\U0001f600", "\uffee", "a/b", "a b"]
    photos.add("photos", [item(name, [1, 0], metadata={"is": name}) for name in names], SPACE)
    listed = photos.items("photos")
    assert [each.id for each in listed] == sorted(names)
    assert [each.metadata["is"] for each in listed] == sorted(names)
    assert {each.regions for each in listed} == {1}


def test_items_are_listed_by_pages(photos: Storage) -> None:
    names = [f"{number:03}" for number in range(25)]
    photos.add("photos", [item(name, [1, 0]) for name in names], SPACE)
    seen: list[str] = []
    while page := photos.items("photos", after=seen[-1] if seen else None, limit=10):
        assert len(page) <= 10
        seen += [each.id for each in page]
    assert seen == names
    assert [each.id for each in photos.items("photos", after="0105", limit=2)] == ["011", "012"]
    assert photos.items("photos", after="zzz") == []


def scrolled(storage: Storage, limit: int = 100, **bounds: int) -> list[list[str]]:
    """The ids of each page of vectors."""
    pages: list[list[str]] = []
    while True:
        page = storage.vectors("photos", pages[-1][-1] if pages else None, limit, **bounds)
        pages.append([summary.id for summary, _ in page.items])
        if not page.more:
            return pages


def test_vectors_are_listed_with_their_items(photos: Storage) -> None:
    vectors = random_vectors(3)
    # So long that pgvector keeps it in another form.
    vectors[2] *= 1e12
    first = NewItem(
        "a/\U0001f600",
        (ItemRegion(vectors[0], Box(0, 1, 2, 3), 0xFFFF_FFFF_FFFF_FFFF), ItemRegion(vectors[2])),
        metadata={"is": "first"},
        sha256="ab" * 32,
        width=640,
        height=480,
        thumbnail=b"jpeg",
    )
    photos.create(replace(DECLARED, name="others"))
    photos.add("others", [item("a/a", vectors[0])], SPACE)
    photos.add("photos", [item("c", vectors[1]), first, item("b")], SPACE)
    page = photos.vectors("photos")
    assert (page.space, page.more) == (SPACE, False)
    assert [summary for summary, _ in page.items] == photos.items("photos")
    found = {summary.id: regions for summary, regions in page.items}
    assert [region.vector.tolist() for region in found["a/\U0001f600"]] == vectors[[0, 2]].tolist()
    assert [(region.bbox, region.phash) for region in found["a/\U0001f600"]] == [
        (Box(0, 1, 2, 3), 0xFFFF_FFFF_FFFF_FFFF),
        (None, None),
    ]
    assert found["b"] == ()
    (other,) = found["c"]
    assert (other.vector.dtype, other.vector.tolist()) == (np.float32, vectors[1].tolist())


def test_pages_of_vectors_join_whatever_bounds_them(photos: Storage) -> None:
    names = [f"{number:02}" for number in range(10)]
    # Two vectors of four numbers each; the last but one has none.
    photos.add(
        "photos",
        [item(name, *random_vectors(0 if name == "08" else 2, 4)) for name in names],
        SPACE,
    )
    assert scrolled(photos) == [names]
    assert scrolled(photos, 10) == [names]
    assert scrolled(photos, 4) == [names[:4], names[4:8], names[8:]]
    assert scrolled(photos, numbers=24) == [names[:3], names[3:6], names[6:]]
    assert scrolled(photos, 2, numbers=24) == [names[i : i + 2] for i in range(0, 10, 2)]
    # One comes in any case.
    assert scrolled(photos, numbers=1) == [[name] for name in names]


def test_an_empty_collection_has_a_page_without_vectors(photos: Storage) -> None:
    page = photos.vectors("photos")
    assert (page.space, page.items, page.more) == (None, (), False)
    photos.add("photos", [item("landscape")], SPACE)
    page = photos.vectors("photos")
    assert (page.space, [regions for _, regions in page.items], page.more) == (None, [()], False)
    assert photos.vectors("photos", "landscape").items == ()


def test_pages_of_vectors_hold_what_stays_while_others_change(photos: Storage) -> None:
    names = [f"{number:02}" for number in range(20)]
    photos.add("photos", [item(name, [1, 0]) for name in names], SPACE)
    first = photos.vectors("photos", limit=10)
    photos.delete("photos", ["03", "09", "15"])
    photos.add("photos", [item("00a", [1, 0]), item("12a", [0, 1]), item("13", [0, 1])], SPACE)
    second = photos.vectors("photos", "09", limit=100)
    assert [summary.id for summary, _ in first.items] == names[:10]
    assert [summary.id for summary, _ in second.items] == sorted([*names[10:15], *names[16:], "12a"])
    changed = {summary.id: regions[0].vector.tolist() for summary, regions in second.items}
    assert (changed["12"], changed["13"]) == ([1, 0], [0, 1])


def test_deleting_counts_what_was_there(photos: Storage) -> None:
    photos.add("photos", [item(name, [1, 0], [0, 1]) for name in "abc"], SPACE)
    assert photos.delete("photos", ["a", "a", "nobody", "c"]) == 2
    record = photos.collection("photos")
    assert (record.items, record.vectors) == (1, 2)
    assert ids(photos, [1, 0]) == ["b", "b"]
    assert photos.delete("photos", []) == 0


def test_an_item_of_the_same_id_replaces_another_with_all_its_regions(photos: Storage) -> None:
    photos.add("photos", [item("a", [1, 0], [0, 1], thumbnail=b"old", metadata={"old": True})], SPACE)
    assert photos.add("photos", [item("b", [1, 1]), item("a", [-1, 0])], SPACE) == [False, True]
    kept = photos.item("photos", "a")
    assert [region.vector.tolist() for region in kept.regions] == [[-1, 0]]
    assert (kept.metadata, kept.thumbnail) == ({}, None)
    assert ids(photos, [1, 0]) == ["b", "a"]
    assert photos.collection("photos").vectors == 2


# --- what is refused


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        ([1, 0, 0], r"3.* 2"),
        ([], "0"),
        ([0, 0], "zero"),
        ([np.nan, 1], "nan"),
        ([1, np.inf], "inf"),
        ([-np.inf, 1], "inf"),
    ],
)
def test_a_vector_that_cannot_be_compared_is_refused(photos: Storage, vector: list[float], said: str) -> None:
    photos.add("photos", [item("first", [1, 0])], SPACE)
    state = photos.collection("photos").state
    with pytest.raises(InvalidParams, match=said) as caught:
        photos.add("photos", [item("fine", [0, 1]), item("bad", [1, 1], vector)], SPACE)
    assert "bad" in str(caught.value)
    assert [each.id for each in photos.items("photos")] == ["first"]
    assert photos.collection("photos").state == state
    with pytest.raises(InvalidParams, match=said):
        photos.search("photos", np.array([vector], np.float32), Query())


def test_vectors_of_one_call_must_be_alike(photos: Storage) -> None:
    with pytest.raises(InvalidParams, match="3"):
        photos.add("photos", [item("a", [1, 0]), item("b", [1, 0, 0])], SPACE)
    assert photos.collection("photos").dimensions is None


def test_vectors_of_another_space_are_refused(photos: Storage) -> None:
    photos.add("photos", [item("a", [1, 0])], SPACE)
    with pytest.raises(SpaceMismatch, match=rf"{SPACE}.*another-space"):
        photos.add("photos", [item("b", [1, 0])], "another-space")
    assert [each.id for each in photos.items("photos")] == ["a"]


def test_a_declared_space_holds_from_the_first_vector_on(storage: Storage) -> None:
    storage.create(replace(DECLARED, space=SPACE))
    assert storage.collection("photos").space == SPACE
    with pytest.raises(SpaceMismatch):
        storage.add("photos", [item("a", [1, 0])], "another-space")
    storage.add("photos", [item("a", [1, 0])], SPACE)
    assert storage.collection("photos").declared.space == SPACE


# --- search


def test_the_nearest_come_first_with_their_cosines(photos: Storage) -> None:
    vectors, queries = random_vectors(60), random_vectors(3, seed=1)
    photos.add(
        "photos",
        [
            NewItem(f"{n:02}", (ItemRegion(vector, Box(n, 0, n + 1, 1)),), {"n": n})
            for n, vector in enumerate(vectors)
        ],
        SPACE,
    )
    for query, hits in zip(queries, photos.search("photos", queries, Query(k=7)), strict=True):
        expected = cosines(vectors, query)
        best = np.argsort(-expected)[:7]
        assert [hit.id for hit in hits] == [f"{n:02}" for n in best]
        assert [hit.score for hit in hits] == pytest.approx(expected[best], abs=1e-5)
        assert [hit.metadata for hit in hits] == [{"n": n} for n in best]
        assert [hit.bbox for hit in hits] == [Box(n, 0, n + 1, 1) for n in best]


def test_the_length_of_a_vector_does_not_matter(photos: Storage) -> None:
    photos.add(
        "photos", [item("tiny", [1e-30, 0]), item("huge", [3e38, 3e38]), item("back", [-1e-42, 0])], SPACE
    )
    (hits,) = photos.search("photos", np.array([[1e30, 0]], np.float32), Query())
    assert [hit.id for hit in hits] == ["tiny", "huge", "back"]
    assert [hit.score for hit in hits] == pytest.approx([1, 0.5**0.5, -1], abs=1e-5)
    assert all(-1 <= hit.score <= 1 for hit in hits)
    assert photos.item("photos", "huge").regions[0].vector.tolist() == np.float32([3e38, 3e38]).tolist()


def test_an_empty_collection_has_no_hits(photos: Storage) -> None:
    assert photos.search("photos", random_vectors(2, 5), Query()) == [[], []]
    photos.add("photos", [item("a", [1, 0])], SPACE)
    photos.delete("photos", ["a"])
    assert photos.search("photos", random_vectors(2, 2), Query()) == [[], []]


def test_no_more_hits_come_than_there_are(photos: Storage) -> None:
    photos.add("photos", [item("a", [1, 0]), item("b", [0, 1], [1, 1])], SPACE)
    assert ids(photos, [1, 0], k=1000) == ["a", "b", "b"]
    assert ids(photos, [1, 0], k=10, offset=2) == ["b"]
    assert ids(photos, [1, 0], k=10, offset=990) == []


def test_pages_join_without_gaps(photos: Storage) -> None:
    vectors = random_vectors(50)
    photos.add("photos", [item(f"{n}", vector) for n, vector in enumerate(vectors)], SPACE)
    query = random_vectors(1, seed=1)[0]
    found = [name for offset in range(0, 50, 9) for name in ids(photos, query, k=9, offset=offset)]
    assert found == [str(n) for n in np.argsort(-cosines(vectors, query))]


def test_equal_scores_are_in_the_order_of_ids_and_regions(photos: Storage) -> None:
    names = [f"{n}" for n in np.random.default_rng(0).permutation(40)]
    for start in range(0, 40, 10):
        photos.add(
            "photos",
            [item(name, [3, 4, 5], [6, 8, 10]) for name in names[start : start + 10]],
            SPACE,
        )
    expected = [(name, region) for name in sorted(names) for region in (0, 1)]
    for offset in range(0, 80, 5):
        (hits,) = photos.search("photos", np.array([[1, 1, 1]], np.float32), Query(k=5, offset=offset))
        assert [(hit.id, hit.region) for hit in hits] == expected[offset : offset + 5]


def test_a_least_score_is_kept_and_includes_its_equal(photos: Storage) -> None:
    photos.add(
        "photos", [item("same", [0.3, 0.4, 0.7]), item("near", [1, 1, 1]), item("far", [-1, 0, 0])], SPACE
    )
    assert ids(photos, [0.3, 0.4, 0.7], min_score=1.0) == ["same"]
    assert ids(photos, [0.3, 0.4, 0.7], min_score=0.5) == ["same", "near"]
    assert ids(photos, [0.3, 0.4, 0.7], min_score=-1.0) == ["same", "near", "far"]
    assert ids(photos, [-0.3, -0.4, 0.7], min_score=1.0) == []


def test_an_item_is_left_out_with_all_its_regions(photos: Storage) -> None:
    photos.add("photos", [item("a", *random_vectors(60)), item("b", *random_vectors(2, seed=1))], SPACE)
    assert set(ids(photos, random_vectors(1)[0], k=1, without="a")) == {"b"}
    assert ids(photos, random_vectors(1)[0], k=2, without="a") == ["b", "b"]
    assert len(ids(photos, random_vectors(1)[0], k=100, without="nobody")) == 62


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"n": 137}, {137}),
        ({"n": {"gte": 298}}, {298, 299}),
        ({"or": [{"n": 0}, {"n": {"in": [150, 299, 5000]}}]}, {0, 150, 299}),
        ({"parity": "odd", "n": {"lt": 4}}, {1, 3}),
        ({"n": "137"}, set()),
        ({"absent": None}, set()),
    ],
)
def test_a_filter_that_leaves_few_gives_them_all(
    photos: Storage, condition: dict[str, Any], expected: set[int]
) -> None:
    vectors = random_vectors(300)
    photos.add(
        "photos",
        [
            item(f"{n}", vector, metadata={"n": n, "parity": "odd" if n % 2 else "even"})
            for n, vector in enumerate(vectors)
        ],
        SPACE,
    )
    found = ids(photos, random_vectors(1, seed=1)[0], k=10, filter=parsed(condition))
    assert sorted(found) == sorted(str(n) for n in expected)


def test_a_filter_keeps_the_order(photos: Storage) -> None:
    vectors = random_vectors(300)
    photos.add("photos", [item(f"{n}", vector, metadata={"n": n}) for n, vector in enumerate(vectors)], SPACE)
    query = random_vectors(1, seed=1)[0]
    ranked = [n for n in np.argsort(-cosines(vectors, query)).tolist() if n >= 150]
    found = ids(photos, query, k=20, offset=5, filter=parsed({"n": {"gte": 150}}))
    assert found == [str(n) for n in ranked[5:25]]


def test_what_is_added_is_found_and_what_is_deleted_is_not_at_once(photos: Storage) -> None:
    vectors = random_vectors(40)
    for number, vector in enumerate(vectors):
        photos.add("photos", [item(f"{number}", vector)], SPACE)
        assert ids(photos, vector, k=1) == [f"{number}"]
    for number, vector in enumerate(vectors[:20]):
        photos.delete("photos", [f"{number}"])
        assert f"{number}" not in ids(photos, vector, k=1000)


def test_no_queries_have_no_answers(photos: Storage) -> None:
    photos.add("photos", [item("a", [1, 0])], SPACE)
    assert photos.search("photos", np.empty((0, 2), np.float32), Query()) == []


def test_a_hit_is_the_callers_own(photos: Storage) -> None:
    photos.add("photos", [item("a", [1, 0], metadata={"n": 1})], SPACE)
    for _ in range(2):
        ((hit,),) = photos.search("photos", np.array([[1, 0]], np.float32), Query())
        assert hit.metadata == {"n": 1}
        hit.metadata["n"] = 2


# --- perceptual hashes


def test_near_hashes_come_by_distance_then_by_id(photos: Storage) -> None:
    high = 1 << 63
    photos.add(
        "photos",
        [
            hashed("d", high | 1),
            hashed("b", high, None, high | 0b11),
            hashed("a", high),
            hashed("far", 0xFFFF_FFFF),
            hashed("none", None),
        ],
        SPACE,
    )
    near = photos.near_hashes("photos", high, 2, Query())
    assert [(each.hit.id, each.hit.region, each.distance) for each in near] == [
        ("a", 0, 0),
        ("b", 0, 0),
        ("d", 0, 1),
        ("b", 2, 2),
    ]
    assert len(photos.near_hashes("photos", high, 64, Query())) == 5
    page = photos.near_hashes("photos", high, 64, Query(k=2, offset=1, without="b"))
    assert [each.hit.id for each in page] == ["d", "far"]


def test_near_hashes_are_filtered_and_current(photos: Storage) -> None:
    photos.add("photos", [replace(hashed(f"{n}", n), metadata={"n": n}) for n in range(8)], SPACE)
    chosen = photos.near_hashes("photos", 0, 64, Query(filter=parsed({"n": {"gte": 6}})))
    assert [each.hit.id for each in chosen] == ["6", "7"]
    photos.delete("photos", ["6"])
    photos.add("photos", [hashed("7", 0)], SPACE)
    near = photos.near_hashes("photos", 0, 0, Query())
    assert [each.hit.id for each in near] == ["0", "7"]


def test_hash_pairs_are_between_items_and_each_is_there_once(photos: Storage) -> None:
    high = (1 << 64) - 1
    photos.add(
        "photos",
        [
            hashed("b", high, high),
            hashed("a", high ^ 1),
            hashed("c", 0),
            hashed("d", 0b111),
            hashed("e", None),
        ],
        SPACE,
    )
    pairs = photos.near_hash_pairs("photos", 2)
    assert pairs == [
        (Member("a", 0, None), Member("b", 0, None), 1),
        (Member("a", 0, None), Member("b", 1, None), 1),
    ]
    assert (Member("c", 0, None), Member("d", 0, None), 3) in photos.near_hash_pairs("photos", 3)
    assert len(photos.near_hash_pairs("photos", 64)) == 9


def test_vector_pairs_are_between_items_and_each_is_there_once(photos: Storage) -> None:
    photos.add(
        "photos",
        [
            item("b", [1, 0, 0], [1, 0, 0]),
            item("a", [2, 0, 0]),
            item("c", [0, 1, 0]),
            item("d", [0, 1, 0.1]),
            item("e", [0, 0, -1]),
        ],
        SPACE,
    )
    pairs = photos.near_pairs("photos", 0.9)
    assert [(one.id, one.region, other.id, other.region) for one, other, _ in pairs] == [
        ("a", 0, "b", 0),
        ("a", 0, "b", 1),
        ("c", 0, "d", 0),
    ]
    assert [score for *_, score in pairs] == pytest.approx([1, 1, 1 / 1.01**0.5], abs=1e-5)


def test_there_are_no_pairs_of_nothing(photos: Storage) -> None:
    for _ in range(2):
        assert photos.near_pairs("photos", 0.0) == []
        assert photos.near_hash_pairs("photos", 64) == []
        assert photos.near_hashes("photos", 0, 64, Query()) == []
        photos.add("photos", [item("landscape")], SPACE)


def test_what_nobody_waits_for_any_more_ends(photos: Storage) -> None:
    photos.add("photos", [hashed("a", 1), hashed("b", 1)], SPACE)
    vector, past = np.ones((1, 3), np.float32), time.monotonic() - 1
    late = Query(filter=parsed({"absent": 1}), until=past)
    for call in (
        lambda: photos.search("photos", vector, late),
        lambda: photos.near_hashes("photos", 1, 64, late),
        lambda: photos.near_pairs("photos", 0.5, past),
        lambda: photos.near_hash_pairs("photos", 64, past),
    ):
        with pytest.raises(DeadlineExceeded):
            call()
    in_time = Query(until=time.monotonic() + 60)
    assert len(photos.search("photos", vector, in_time)[0]) == 2


# --- several at once, and again


def test_everything_is_there_after_a_restart(open_storage: OpenStorage) -> None:
    storage = open_storage()
    storage.create(DECLARED)
    vectors = random_vectors(50)
    storage.add(
        "photos", [item(f"{n:02}", vector, metadata={"n": n}) for n, vector in enumerate(vectors)], SPACE
    )
    storage.delete("photos", ["07"])
    before = (
        storage.collection("photos"),
        storage.search("photos", vectors[:5], Query()),
        storage.items("photos"),
    )
    storage.close()
    storage = open_storage()
    assert storage.collection("photos").state == before[0].state
    assert storage.search("photos", vectors[:5], Query()) == before[1]
    assert storage.items("photos") == before[2]
    storage.add("photos", [item("50", vectors[7])], SPACE)
    assert ids(storage, vectors[7], k=1) == ["50"]


def test_a_closed_storage_says_so(photos: Storage) -> None:
    photos.close()
    photos.close()
    with pytest.raises(IndexUnavailable, match="closed"):
        photos.collections()


def test_a_replaced_item_is_never_seen_by_half(photos: Storage) -> None:
    """Each version of an item has three regions of one direction, and says which version it is."""
    others = random_vectors(50, 4, seed=5)
    photos.add("photos", [item(f"other {n}", vector) for n, vector in enumerate(others)], SPACE)
    done = threading.Event()

    def version(number: int) -> NewItem:
        direction = np.eye(4)[number % 4]
        return item("it", direction, direction * 2, direction * 3, metadata={"version": number})

    photos.add("photos", [version(0)], SPACE)

    def write() -> None:
        try:
            for number in range(1, 60):
                photos.add("photos", [version(number)], SPACE)
        finally:
            done.set()

    def read() -> int:
        looked = 0
        while not done.is_set() or not looked:
            (hits,) = photos.search("photos", np.ones((1, 4), np.float32), Query(k=1000))
            mine = [hit for hit in hits if hit.id == "it"]
            assert sorted(hit.region for hit in mine) == [0, 1, 2]
            assert len({hit.metadata["version"] for hit in mine}) == 1
            assert len(hits) == 53
            kept = photos.item("photos", "it")
            expected = version(kept.metadata["version"])
            assert [region.vector.tolist() for region in kept.regions] == [
                region.vector.tolist() for region in expected.regions
            ]
            (listed,) = photos.vectors("photos", "is").items[:1]
            expected = version(listed[0].metadata["version"])
            assert [region.vector.tolist() for region in listed[1]] == [
                region.vector.tolist() for region in expected.regions
            ]
            looked += 1
        return looked

    with ThreadPoolExecutor(3) as pool:
        tasks = [pool.submit(write), pool.submit(read), pool.submit(read)]
        for task in tasks:
            task.result(60)


def test_threads_add_and_delete_and_search_at_once(photos: Storage) -> None:
    """What a thread was told is done, it sees; and at the end everything adds up."""

    def work(thread: int) -> set[str]:
        rng = np.random.default_rng(thread)
        mine: dict[str, Matrix] = {}
        for step in range(25):
            names = [f"{thread}-{step}-{n}" for n in range(4)]
            vectors = rng.normal(size=(4, 8)).astype(np.float32)
            photos.add("photos", [item(name, each) for name, each in zip(names, vectors, strict=True)], SPACE)
            mine |= zip(names, vectors, strict=True)
            gone = str(rng.choice(sorted(mine)))
            vector = mine.pop(gone)
            assert photos.delete("photos", [gone]) == 1
            assert gone not in ids(photos, vector, k=5)
            kept = str(rng.choice(sorted(mine)))
            assert ids(photos, mine[kept], k=1) == [kept]
        return set(mine)

    with ThreadPoolExecutor(4) as pool:
        expected = set().union(*pool.map(work, range(4)))
    listed = {each.id for each in photos.items("photos", limit=1000)}
    assert listed == expected
    assert set(ids(photos, np.ones(8), k=1000)) == expected
    record = photos.collection("photos")
    assert (record.items, record.vectors) == (len(expected), len(expected))


def test_a_collection_that_is_dropped_while_it_is_used_is_not_found(storage: Storage) -> None:
    vectors = random_vectors(40)
    done = threading.Event()

    def use() -> int:
        missed = 0
        while not done.is_set():
            try:
                for hits in storage.search("photos", vectors[:3], Query(k=5)):
                    assert len(hits) in (0, 1, 5)
                storage.add("photos", [item("more", vectors[0])], SPACE)
            except CollectionNotFound:
                missed += 1
        return missed

    with ThreadPoolExecutor(3) as pool:
        tasks = [pool.submit(use) for _ in range(3)]
        try:
            for _ in range(8):
                storage.create(DECLARED)
                storage.add("photos", [item(f"{n}", each) for n, each in enumerate(vectors)], SPACE)
                storage.drop("photos")
        finally:
            done.set()
        for task in tasks:
            task.result(60)
    assert storage.collections() == []
