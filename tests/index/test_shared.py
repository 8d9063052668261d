"""A local index that several workers use: who holds it, who asks, and what happens when one ends."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from app.core.errors import CollectionNotFound, IndexUnavailable
from app.index import shared
from app.index.answering import Answering, connected
from app.index.local import LocalStorage
from app.index.shared import SharedStorage
from app.index.storage import Declaration, ItemRegion, NewItem, Query

SPACE = "test-space"
DECLARED = Declaration("photos", "embed_test", {})

Open = Callable[[], SharedStorage]


@pytest.fixture
def workers() -> Iterator[Path]:
    # A socket's path is short.
    with TemporaryDirectory(prefix="sightgraph-") as folder:
        yield Path(folder)


@pytest.fixture
def open_one(tmp_path: Path, workers: Path) -> Iterator[Open]:
    opened: list[SharedStorage] = []

    def open_one() -> SharedStorage:
        opened.append(SharedStorage(LocalStorage(tmp_path / "index"), workers))
        opened[-1].open()
        return opened[-1]

    yield open_one
    for each in reversed(opened):
        each.close()


def item(name: str, *vector: float) -> NewItem:
    return NewItem(name, (ItemRegion(np.array(vector, np.float32)),))


def found(storage: SharedStorage, *vector: float) -> list[str]:
    (hits,) = storage.search("photos", np.array([vector], np.float32), Query(k=10))
    return [hit.id for hit in hits]


def test_the_first_holds_it_and_each_finds_what_any_added(open_one: Open) -> None:
    storages = [open_one() for _ in range(3)]
    assert [each.is_held for each in storages] == [True, False, False]
    storages[1].create(DECLARED)
    for number, storage in enumerate(storages):
        storage.add("photos", [item(f"{number}", number, 1)], SPACE)
        assert {len(found(each, 1, 1)) for each in storages} == {number + 1}
    assert storages[2].delete("photos", ["0"]) == 1
    assert {tuple(found(each, 0, 1)) for each in storages} == {("1", "2")}


def test_another_one_takes_it_over_when_it_is_closed(open_one: Open) -> None:
    first, second, third = open_one(), open_one(), open_one()
    first.create(DECLARED)
    second.add("photos", [item("a", 1, 0)], SPACE)
    assert found(third, 1, 0) == ["a"]
    first.close()
    assert third.add("photos", [item("b", 1, 1)], SPACE) == [False]
    assert found(second, 1, 0) == ["a", "b"]
    assert [each.is_held for each in (second, third)] == [False, True]
    with pytest.raises(IndexUnavailable, match="closed"):
        first.collections()


def test_what_was_asked_before_it_closed_is_answered(open_one: Open) -> None:
    first, second = open_one(), open_one()
    second.create(DECLARED)
    with ThreadPoolExecutor(5) as threads:
        adding = [threads.submit(second.add, "photos", [item(f"{n}", 1, n)], SPACE) for n in range(200)]
        first.close()
        assert [each.result(30) for each in adding] == [[False]] * 200
    assert second.collection("photos").items == 200
    assert second.is_held


def test_errors_and_their_words_come_over(open_one: Open) -> None:
    _, second = open_one(), open_one()
    second.create(DECLARED)
    with pytest.raises(CollectionNotFound, match=r"'photo'.*'photos'"):
        second.collection("photo")
    # Of others only the kind.
    with pytest.raises(RuntimeError, match=r"^add failed: AttributeError$"):
        second.add("photos", [None], SPACE)
    assert found(second, 1, 0) == []


def test_another_server_on_the_folder_is_told_of(tmp_path: Path, open_one: Open) -> None:
    other = LocalStorage(tmp_path / "index")
    other.open()
    with pytest.raises(IndexUnavailable, match="The index is open in process"):
        open_one()
    other.close()
    assert open_one().is_held


def test_what_changes_something_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workers: Path
) -> None:
    asked: list[str] = []

    class Dying:
        def __getattr__(self, method: str) -> Callable[..., None]:
            def die(*_: Any, **__: Any) -> None:
                asked.append(method)
                raise ConnectionResetError

            return die

    # An error of its connection ends the thread that answers, as the end of its process would.
    monkeypatch.setattr(Answering, "_answered", lambda self, method, args, _: getattr(Dying(), method)(*args))
    answering = Answering(object(), workers / "index.sock")
    storage = SharedStorage(LocalStorage(tmp_path / "index"), workers)
    with pytest.raises(IndexUnavailable, match="not known whether that was kept"):
        storage.add("photos", [item("a", 1, 0)], SPACE)
    assert asked == ["add"]
    with pytest.raises(IndexUnavailable, match="ended while they searched"):
        storage.search("photos", np.ones((1, 2), np.float32), Query())
    assert asked == ["add", "search", "search"]
    answering.close()
    storage.close()


def test_who_does_not_answer_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workers: Path
) -> None:
    monkeypatch.setattr(shared, "_PATIENCE_SECONDS", 0.1)
    first = SharedStorage(LocalStorage(tmp_path / "index"), workers)
    first.open()
    (workers / "index.sock").unlink()
    second = SharedStorage(LocalStorage(tmp_path / "index"), workers)
    with pytest.raises(IndexUnavailable, match="does not answer; try again"):
        second.open()
    first.close()
    second.open()
    assert second.is_held
    second.close()


def test_a_folder_that_is_gone_is_told_of(tmp_path: Path) -> None:
    storage = SharedStorage(LocalStorage(tmp_path / "index"), tmp_path / ("x" * 200))
    with pytest.raises(IndexUnavailable, match=r"The workers cannot use .*check its rights"):
        storage.open()


def test_no_thread_is_left(open_one: Open) -> None:
    before = threading.active_count()
    first, second = open_one(), open_one()
    second.collections()
    second.close()
    first.close()
    assert threading.active_count() == before


def test_a_connection_that_says_nothing_holds_up_no_close(workers: Path) -> None:
    answering = Answering(object(), workers / "index.sock")
    with connected(workers / "index.sock"):
        answering.close()
    assert not (workers / "index.sock").exists()
