"""What only the local storage does: its lock, its files, its graphs, and how it lives through a crash."""

import multiprocessing
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import IndexUnavailable
from app.core.filters import parsed
from app.index import sqlite, structure
from app.index.keeper import Tuning
from app.index.local import LocalStorage
from app.index.shared_lock import SharedLock
from app.index.storage import Declaration, ItemRegion, Matrix, NewItem, Query
from app.index.structure import Graph, Structure
from app.index.vectors import normalized
from tests.index.conftest import PRELOADED

SPACE = "test-space"
DIMENSIONS = 16
# So that a few hundred vectors are worth a graph and a snapshot.
SMALL = Tuning(
    graph_from=100, compact_least=50, snapshot_at=0.0, snapshot_least=50, snapshot_seconds=0.0, slice=8
)

ONLY_AT_CLOSE = Tuning(graph_from=100, compact_least=50, snapshot_least=50)

Open = Callable[..., LocalStorage]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def open_one(folder: Path) -> Iterator[Open]:
    """Opens storages on one folder, and closes what a test leaves open."""
    opened: list[LocalStorage] = []

    def open_one(tuning: Tuning = SMALL, **options: object) -> LocalStorage:
        opened.append(LocalStorage(folder, tuning=tuning, **options))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def clustered(number: int, seed: int = 0) -> Matrix:
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(20, DIMENSIONS))
    vectors = centers[rng.integers(0, 20, number)] + 0.5 * rng.normal(size=(number, DIMENSIONS))
    return vectors.astype(np.float32)


def items(vectors: Matrix, start: int = 0) -> list[NewItem]:
    return [
        NewItem(f"{number}", (ItemRegion(vector),), {"n": number})
        for number, vector in enumerate(vectors, start)
    ]


def filled(storage: LocalStorage, vectors: Matrix, name: str = "photos") -> None:
    storage.create(Declaration(name, "embed_test", {}))
    for start in range(0, len(vectors), 100):
        storage.add(name, items(vectors[start : start + 100], start), SPACE)


def settled(storage: LocalStorage, name: str = "photos") -> None:
    """Wait until all vectors are in the graph, and the keeper has nothing to do."""
    until = time.monotonic() + 60
    while (record := storage.collection(name)).pending or record.rebuilt is not None:
        assert time.monotonic() < until
        time.sleep(0.002)


def found(storage: LocalStorage, vectors: Matrix, k: int = 10) -> list[list[str]]:
    return [[hit.id for hit in hits] for hits in storage.search("photos", vectors, Query(k=k))]


def exactly(vectors: Matrix, queries: Matrix, k: int = 10) -> list[list[str]]:
    order = np.argsort(-(normalized(queries) @ normalized(vectors).T), axis=1)[:, :k]
    return [[str(n) for n in row] for row in order.tolist()]


def recall(answers: list[list[str]], expected: list[list[str]]) -> float:
    return float(np.mean([len(set(a) & set(e)) / len(e) for a, e in zip(answers, expected, strict=True)]))


def snapshots(folder: Path) -> list[Path]:
    return sorted((folder / "snapshots").glob("*"))


# --- the folder and its lock


def test_nothing_is_touched_before_the_first_use(folder: Path, open_one: Open) -> None:
    storage = open_one()
    assert not folder.exists()
    storage.open()
    assert folder.exists()


def test_a_folder_is_open_once_and_says_where(open_one: Open) -> None:
    first, second = open_one(), open_one()
    first.create(Declaration("photos", "embed_test", {}))
    for _ in range(2):
        with pytest.raises(IndexUnavailable, match=rf"process {os.getpid()}\b.*SIGHTGRAPH_DATA"):
            second.collections()
    first.close()
    # Each call tries again.
    assert [record.declared.name for record in second.collections()] == ["photos"]


def test_a_holder_that_cannot_be_read_is_another_process(folder: Path, open_one: Open) -> None:
    open_one().open()
    (folder / "owner").write_text("not a number")
    with pytest.raises(IndexUnavailable, match="another process"):
        open_one().open()


def test_a_closed_storage_stays_closed(open_one: Open) -> None:
    storage = open_one()
    storage.close()
    with pytest.raises(IndexUnavailable, match="closed"):
        storage.open()


def test_a_folder_that_cannot_be_made_is_told_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    storage = LocalStorage(tmp_path / "file" / "index")
    with pytest.raises(IndexUnavailable, match="Not a directory") as caught:
        storage.collections()
    assert str(tmp_path) not in str(caught.value)


def test_no_thread_is_left_behind(open_one: Open) -> None:
    before = set(threading.enumerate())
    storage = open_one()
    filled(storage, clustered(300))
    storage.close()
    assert set(threading.enumerate()) <= before


# --- the database


def test_a_damaged_database_is_told(folder: Path, open_one: Open) -> None:
    folder.mkdir(parents=True)
    (folder / "index.sqlite").write_bytes(b"no database at all " * 1000)
    with pytest.raises(IndexUnavailable, match=r"damaged.*backup"):
        open_one().collections()
    # The lock was let go.
    (folder / "index.sqlite").unlink()
    assert open_one().collections() == []


def test_damage_inside_of_the_database_is_told(folder: Path, open_one: Open) -> None:
    storage = open_one()
    filled(storage, clustered(300))
    storage.close()
    file = folder / "index.sqlite"
    whole = bytearray(file.read_bytes())
    whole[3 * 8192 :] = os.urandom(len(whole) - 3 * 8192)
    file.write_bytes(whole)
    storage = open_one()
    with pytest.raises(IndexUnavailable, match="damaged"):
        storage.items("photos", limit=1000)


def test_a_newer_schema_is_refused(folder: Path, open_one: Open) -> None:
    storage = open_one()
    storage.open()
    storage.close()
    connection = sqlite3.connect(folder / "index.sqlite")
    connection.execute(f"PRAGMA user_version = {sqlite.VERSION + 1}")
    connection.close()
    with pytest.raises(IndexUnavailable, match=f"newer version.*{sqlite.VERSION + 1}"):
        open_one().collections()


def test_another_programs_database_is_refused(folder: Path, open_one: Open) -> None:
    folder.mkdir(parents=True)
    connection = sqlite3.connect(folder / "index.sqlite")
    connection.execute("CREATE TABLE collections (name)")
    connection.close()
    with pytest.raises(IndexUnavailable, match="another program"):
        open_one().collections()


def test_a_full_disk_leaves_what_was_there(open_one: Open, caplog: pytest.LogCaptureFixture) -> None:
    vectors = clustered(400)
    storage = open_one()
    filled(storage, vectors[:200])
    before = storage.collection("photos")
    writer = storage._held.database._writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(IndexUnavailable, match=r"full.*nothing was written"):
        storage.add("photos", items(vectors[200:], 200), SPACE)
    assert storage.collection("photos").state == before.state
    assert len(storage.items("photos", limit=1000)) == 200
    assert found(storage, vectors[300:301], k=200)[0] == exactly(vectors[:200], vectors[300:301], k=200)[0]
    writer.execute("PRAGMA max_page_count = 1000000")
    storage.add("photos", items(vectors[200:], 200), SPACE)
    assert found(storage, vectors[300:301], k=1) == [["300"]]


def test_labels_are_never_given_twice(open_one: Open) -> None:
    storage = open_one()
    filled(storage, clustered(10))
    storage.delete("photos", [f"{n}" for n in range(10)])
    storage.drop("photos")
    storage.close()
    storage = open_one()
    filled(storage, clustered(1))
    with storage._held.database.reading() as connection:
        row = sqlite.collection(connection, "photos")
        assert row is not None
        assert sqlite.labels(connection, row.key).tolist() == [11]


# --- graphs


def test_the_graph_finds_nearly_all_and_in_order(open_one: Open) -> None:
    vectors, queries = clustered(4000), clustered(200, seed=1)
    storage = open_one()
    filled(storage, vectors)
    expected = exactly(vectors, queries)
    # Also while the graph is not there yet.
    assert recall(found(storage, queries), expected) > 0.98
    settled(storage)
    assert recall(found(storage, queries), expected) > 0.98
    one_by_one = [found(storage, query[np.newaxis])[0] for query in queries]
    assert recall(one_by_one, expected) > 0.98
    for hits in storage.search("photos", queries, Query(k=50)):
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("k", [1, 10, 299, 300, 301, 1000])
def test_any_number_of_hits_comes_from_a_graph(open_one: Open, k: int) -> None:
    vectors = clustered(300)
    storage = open_one()
    filled(storage, vectors)
    settled(storage)
    (hits,) = found(storage, vectors[:1], k=k)
    assert len(set(hits)) == min(k, 300)
    assert recall([hits], exactly(vectors, vectors[:1], k=k)) > 0.9


def test_a_filter_that_leaves_few_of_a_graph_gives_them_all(open_one: Open) -> None:
    vectors = clustered(2000)
    storage = open_one()
    filled(storage, vectors)
    settled(storage)
    # Those farthest from the query, so that no neighbour of it passes.
    far = exactly(vectors, vectors[:1], k=2000)[0][-30:]
    query = Query(k=20, filter=parsed({"n": {"in": [int(name) for name in far]}}))
    (hits,) = storage.search("photos", vectors[:1], query)
    assert [hit.id for hit in hits] == far[:20]
    (hits,) = storage.search("photos", vectors[:1], Query(k=20, filter=parsed({"n": 1234})))
    assert [hit.id for hit in hits] == ["1234"]


def test_many_equal_vectors_are_in_the_order_of_ids(open_one: Open) -> None:
    """A graph may miss some of many equal ones; those that it finds keep the order, however far it looks."""
    storage = open_one()
    filled(storage, clustered(300))
    same = np.ones(DIMENSIONS, np.float32)
    storage.add("photos", [NewItem(f"same {n:03}", (ItemRegion(same),)) for n in range(100)], SPACE)
    settled(storage)
    for k in (5, 50):
        (hits,) = storage.search("photos", same[np.newaxis], Query(k=k))
        names = [hit.id for hit in hits]
        assert {hit.score for hit in hits} == {1.0}
        assert names == sorted(names)
        # Those of the lowest ids, though the graph prefers none.
        assert names[-1] < f"same {k + 25:03}"


def test_what_is_deleted_is_not_found_whatever_the_graph_holds(open_one: Open) -> None:
    vectors = clustered(600)
    storage = open_one()
    filled(storage, vectors)
    settled(storage)
    storage.delete("photos", [f"{n}" for n in range(0, 600, 4)])
    kept = np.array([n for n in range(600) if n % 4])
    for _ in range(20):
        answers = found(storage, vectors[:8], k=30)
        assert {int(name) % 4 for hits in answers for name in hits} == {1, 2, 3}
    expected = [[str(kept[int(n)]) for n in row] for row in exactly(vectors[kept], vectors[:8], k=30)]
    assert recall(answers, expected) > 0.98


def test_a_graph_of_mostly_deleted_vectors_is_built_anew(open_one: Open) -> None:
    vectors = clustered(1000)
    told: list[tuple[str, int, int]] = []
    storage = open_one(progress=lambda *progress: told.append(progress))
    filled(storage, vectors)
    settled(storage)
    first = graph_of(storage)
    storage.delete("photos", [f"{n}" for n in range(500)])
    wait_for(lambda: graph_of(storage) is not first)
    settled(storage)
    assert graph_of(storage).count == 500
    assert told[-1] == ("photos", 500, 500)
    assert (
        recall(found(storage, vectors[500:600]), shifted(exactly(vectors[500:], vectors[500:600]), 500))
        > 0.98
    )


def test_a_graph_that_lost_nearly_all_gives_way_to_comparing(open_one: Open) -> None:
    vectors = clustered(1000)
    storage = open_one()
    filled(storage, vectors)
    settled(storage)
    storage.delete("photos", [f"{n}" for n in range(950)])
    wait_for(lambda: view_of(storage).graph is None)
    assert found(storage, vectors[:2], k=100) == shifted(exactly(vectors[950:], vectors[:2], k=100), 950)
    storage.delete("photos", [f"{n}" for n in range(1000)])
    assert found(storage, vectors[:2]) == [[], []]
    storage.add("photos", items(vectors[:300]), SPACE)
    settled(storage)
    assert recall(found(storage, vectors[:50]), exactly(vectors[:300], vectors[:50])) > 0.98


def test_searches_do_not_wait_for_a_rebuild(open_one: Open) -> None:
    """The rebuild is held up for as long as the searches take."""
    vectors = clustered(1000)
    going_on, done = threading.Event(), threading.Event()

    def hold(*_: object) -> None:
        going_on.set()
        done.wait(30)

    storage = open_one(progress=hold)
    filled(storage, vectors)
    try:
        assert going_on.wait(30)
        assert storage.collection("photos").rebuilt is not None
        assert storage.collection("photos").pending == 1000
        assert found(storage, vectors[:20]) == exactly(vectors, vectors[:20])
        # What happens meanwhile is seen at once, and lasts.
        storage.delete("photos", ["0"])
        more = clustered(1, seed=7)
        storage.add("photos", [NewItem("more", (ItemRegion(more[0]),))], SPACE)
        assert found(storage, more, k=1) == [["more"]]
        assert "0" not in found(storage, vectors[:1], k=100)[0]
    finally:
        done.set()
    settled(storage)
    assert found(storage, more, k=1) == [["more"]]
    assert "0" not in found(storage, vectors[:1], k=100)[0]
    assert storage.collection("photos").rebuilt is None


def test_a_failing_rebuild_leaves_searches_exact(
    open_one: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Graph, "empty", fail)
    vectors = clustered(300)
    storage = open_one()
    filled(storage, vectors)
    wait_for(lambda: "could not be kept in order" in caplog.text)
    assert found(storage, vectors[:5]) == exactly(vectors, vectors[:5])


def test_a_structure_that_finds_no_memory_is_read_again(
    open_one: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    vectors = clustered(90)
    storage = open_one()
    filled(storage, vectors[:50])
    settled(storage)
    with monkeypatch.context() as patched:
        patched.setattr(Structure, "change", fail)
        assert storage.add("photos", items(vectors[50:], 50), SPACE) == [False] * 40
    assert "read again" in caplog.text
    assert found(storage, vectors[60:70]) == exactly(vectors, vectors[60:70])


@pytest.mark.parametrize("graphed", [False, True])
def test_what_is_committed_and_then_loaded_is_there_once(
    open_one: Open, monkeypatch: pytest.MonkeyPatch, graphed: bool
) -> None:
    """Another thread loads the structure between the commit of an add and the structure's hearing of it."""
    vectors = clustered(300)
    storage = open_one(SMALL if graphed else Tuning())
    storage.create(Declaration("photos", "embed_test", {}))
    committed, goes_on = threading.Event(), threading.Event()
    change = Structure.change

    def held(self: Structure, *arguments: object) -> None:
        committed.set()
        assert goes_on.wait(30)
        change(self, *arguments)

    with monkeypatch.context() as patched, ThreadPoolExecutor(1) as pool:
        patched.setattr(Structure, "change", held)
        adding = pool.submit(storage.add, "photos", items(vectors), SPACE)
        try:
            assert committed.wait(30)
            seen = found(storage, vectors[:3], k=3)
            # Nothing, where it was loaded before the commit.
            assert seen in ([[], [], []], exactly(vectors, vectors[:3], k=3))
            if graphed and seen[0]:
                wait_for(lambda: view_of(storage).graph is not None)
        finally:
            goes_on.set()
        adding.result(30)
    settled(storage)
    view = view_of(storage)
    assert len(view.tail) == (0 if graphed else 300)
    assert len(set(view.tail.labels.tolist())) == len(view.tail)
    assert found(storage, vectors[:3], k=1000) == exactly(vectors, vectors[:3], k=300)
    more = clustered(1, seed=7)
    storage.add("photos", [NewItem("more", (ItemRegion(more[0]),))], SPACE)
    assert found(storage, more, k=1) == [["more"]]


def test_a_collection_that_was_emptied_keeps_no_snapshot(folder: Path, open_one: Open) -> None:
    storage = open_one()
    filled(storage, clustered(300))
    settled(storage)
    wait_for(lambda: len(snapshots(folder)) == 1)
    storage.delete("photos", [f"{n}" for n in range(300)])
    # One that was being written goes a moment later.
    wait_for(lambda: snapshots(folder) == [])
    longer = np.random.default_rng(1).normal(size=(200, 2 * DIMENSIONS)).astype(np.float32)
    storage.add("photos", items(longer), "another-space")
    assert found(storage, longer[:5], k=1) == [[f"{n}"] for n in range(5)]
    settled(storage)
    storage.close()
    storage = open_one(progress=never)
    assert found(storage, longer[:5], k=1) == [[f"{n}"] for n in range(5)]
    assert graph_of(storage).count == 200


def test_a_filter_is_exact_for_many_vectors_at_once(open_one: Open) -> None:
    vectors = clustered(1500)
    # Copies: what is equal is in the order of ids, whatever the order of labels.
    vectors[1000:1100] = vectors[0]
    storage = open_one()
    filled(storage, vectors[::-1])
    settled(storage)
    chosen = {n: vectors[1499 - n] for n in range(0, 1500, 7)}
    query = Query(k=12, offset=3, min_score=0.2, filter=parsed({"n": {"in": list(chosen)}}))
    queries = clustered(60, seed=4)
    scores = normalized(np.stack(list(chosen.values()))) @ normalized(queries).T
    for hits, mine in zip(storage.search("photos", queries, query), scores.T, strict=True):
        ranked = sorted(zip(-np.round(mine.astype(np.float64), 6), map(str, chosen), strict=True))
        expected = [(name, -negated) for negated, name in ranked[3:15] if -negated >= 0.2]
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected], abs=2e-6)
    same = np.array([vectors[0]])
    names = sorted(str(n) for n in chosen if 399 < n < 500)
    (hits,) = storage.search("photos", same, Query(k=10, filter=query.filter))
    assert [hit.id for hit in hits] == names[:10]


def test_the_keeper_comes_back_to_what_failed(
    open_one: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.index.keeper._RETRY_SECONDS", 0.02)
    storage = open_one()
    with monkeypatch.context() as patched:
        patched.setattr(Graph, "empty", never)
        filled(storage, clustered(300))
        wait_for(lambda: "could not be kept in order" in caplog.text)
    # Nothing wakes it but the time.
    wait_for(lambda: view_of(storage).graph is not None)


def test_a_late_snapshot_is_written_without_a_change(folder: Path, open_one: Open) -> None:
    storage = open_one(Tuning(graph_from=100, snapshot_least=50, snapshot_at=0.0, snapshot_seconds=0.5))
    filled(storage, clustered(300))
    settled(storage)
    wait_for(lambda: len(snapshots(folder)) == 1)
    (first,) = snapshots(folder)
    storage.add("photos", items(clustered(100, seed=2), 300), SPACE)
    wait_for(lambda: len(snapshots(folder)) == 1 and snapshots(folder) != [first])


def test_readers_share_a_lock_and_a_writer_is_alone() -> None:
    lock, values = SharedLock(), [0, 0]
    meet = threading.Barrier(2, timeout=30)

    def read(rounds: int) -> None:
        lock.acquire_shared()
        # Both are inside.
        meet.wait()
        lock.release_shared()
        for _ in range(rounds):
            lock.acquire_shared()
            assert values[0] == values[1]
            lock.release_shared()

    def write(rounds: int) -> None:
        for _ in range(rounds):
            with lock.alone():
                values[0] += 1
                time.sleep(0)
                values[1] += 1

    with ThreadPoolExecutor(3) as pool:
        tasks = [pool.submit(read, 2000), pool.submit(read, 2000), pool.submit(write, 300)]
        for task in tasks:
            task.result(60)
    assert values == [300, 300]


def test_a_graph_whose_parts_do_not_meet_is_not_relied_on(
    open_one: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = clustered(300)
    storage = open_one()
    filled(storage, vectors)
    settled(storage)

    class Unreachable:
        def __init__(self, index: object) -> None:
            self.get_current_count = index.get_current_count

        def knn_query(self, *_: object, **__: object) -> None:
            raise RuntimeError("Cannot return the results in a contiguous 2D array")

    graph = graph_of(storage)
    with monkeypatch.context() as patched:
        patched.setattr(graph, "index", Unreachable(graph.index))
        assert found(storage, vectors[:5]) == exactly(vectors, vectors[:5])
        assert len(storage.near_pairs("photos", 0.9)) > 0


def test_the_pairs_of_a_graph_are_those_of_comparing(open_one: Open) -> None:
    vectors = clustered(500)
    storage = open_one()
    filled(storage, vectors)
    settled(storage)
    units = normalized(vectors)
    near = np.argwhere(np.triu(units @ units.T >= 0.95, k=1))
    expected = {frozenset((str(one), str(other))) for one, other in near.tolist()}
    pairs = storage.near_pairs("photos", 0.95)
    got = [frozenset((one.id, other.id)) for one, other, _ in pairs]
    assert len(got) == len(set(got))
    assert len(expected) > 30
    assert expected.symmetric_difference(got) == set()
    assert [(one.id, other.id) for one, other, _ in pairs] == sorted(
        (one.id, other.id) for one, other, _ in pairs
    )


def test_threads_find_what_they_know_while_graphs_change(open_one: Open) -> None:
    """Adds, replacements and deletes from two threads, searches from two more, against what must hold."""
    storage = open_one()
    vectors = clustered(4000)
    filled(storage, vectors[:200])
    fixed = vectors[:100]
    done = threading.Event()

    def write(thread: int) -> dict[str, int]:
        rng = np.random.default_rng(thread)
        mine: dict[str, int] = {}
        for _ in range(60):
            places = rng.integers(200, 4000, 20).tolist()
            names = {f"{thread}/{place % 300}": place for place in places}
            storage.add(
                "photos",
                [NewItem(name, (ItemRegion(vectors[place]),), {"n": place}) for name, place in names.items()],
                SPACE,
            )
            mine |= names
            gone = [str(name) for name in rng.choice(sorted(mine), 6, replace=False)]
            assert storage.delete("photos", gone) == 6
            lost = {name: mine.pop(name) for name in gone}
            for name, place in [*lost.items()][:2]:
                assert name not in found(storage, vectors[place][np.newaxis], k=20)[0]
        return mine

    def read() -> int:
        rounds = 0
        while not done.is_set():
            for number, hits in enumerate(found(storage, fixed[:10], k=3)):
                assert hits[0] == f"{number}"
                assert len(hits) == len(set(hits)) == 3
            rounds += 1
        return rounds

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        writers = [pool.submit(write, thread) for thread in range(2)]
        try:
            mine = [writer.result(90) for writer in writers]
        finally:
            done.set()
        assert all(reader.result(30) for reader in readers)
    settled(storage)
    expected = {f"{n}": n for n in range(200)} | mine[0] | mine[1]
    assert {each.id: each.metadata["n"] for each in storage.items("photos", limit=5000)} == expected
    names = sorted(expected)
    kept = vectors[[expected[name] for name in names]]
    queries = clustered(100, seed=3)
    wanted = [[names[int(n)] for n in row] for row in exactly(kept, queries)]
    assert recall(found(storage, queries), wanted) > 0.97
    assert len(set(found(storage, queries[:1], k=1000)[0])) == len(expected)


# --- snapshots


def test_a_start_with_a_snapshot_builds_nothing(folder: Path, open_one: Open) -> None:
    vectors = clustered(600)
    storage = open_one()
    filled(storage, vectors)
    settled(storage)
    before = found(storage, vectors[:50])
    storage.close()
    assert len(snapshots(folder)) == 1

    storage = open_one(progress=never)
    assert found(storage, vectors[:50]) == before
    assert graph_of(storage).count == 600


def test_what_came_after_a_snapshot_is_caught_up(folder: Path, open_one: Open) -> None:
    vectors = clustered(700)
    storage = open_one(ONLY_AT_CLOSE)
    filled(storage, vectors[:600])
    settled(storage)
    storage.close()
    # Too little for another snapshot: one more comes from the tail, and what is gone is marked.
    storage = open_one(Tuning(graph_from=100, snapshot_least=10_000))
    storage.add("photos", items(vectors[600:640], 600), SPACE)
    storage.delete("photos", ["0", "1", "620"])
    storage.add("photos", items(vectors[650:651], 2), SPACE)
    storage.close()
    assert len(snapshots(folder)) == 1

    storage = open_one(ONLY_AT_CLOSE, progress=never)
    assert found(storage, vectors[600:620], k=1) == [[f"{n}"] for n in range(600, 620)]
    assert found(storage, vectors[650:651], k=1) == [["2"]]
    everything = found(storage, vectors[:1], k=1000)[0]
    assert set(everything) == {f"{n}" for n in range(640)} - {"0", "1", "620"}
    settled(storage)
    assert graph_of(storage).live == 637
    assert not {"0", "1", "620"} & set(found(storage, vectors[:1], k=100)[0])


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def swap(file: Path) -> None:
    """A right snapshot, of other vectors."""
    graph = Graph.empty(DIMENSIONS, 600)
    graph.add(np.arange(1, 601), normalized(clustered(600, seed=8)))
    graph.index.save_index(str(file))


@pytest.mark.parametrize("harm", [truncate, flip, empty, swap, Path.unlink])
def test_a_snapshot_that_is_not_what_was_written_is_not_used(
    folder: Path, open_one: Open, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    vectors = clustered(600)
    storage = open_one()
    filled(storage, vectors)
    settled(storage)
    storage.close()
    (file,) = snapshots(folder)
    harm(file)

    told: list[tuple[str, int, int]] = []
    storage = open_one(progress=lambda *progress: told.append(progress))
    expected = exactly(vectors, vectors[:50])
    assert recall(found(storage, vectors[:50]), expected) > 0.98
    assert "is built anew" in caplog.text
    settled(storage)
    assert recall(found(storage, vectors[:50]), expected) > 0.98
    assert told
    storage.close()
    open_one(progress=never).search("photos", vectors[:1], Query())


def test_a_restored_database_does_not_take_a_later_snapshot(folder: Path, open_one: Open) -> None:
    vectors = clustered(800)
    storage = open_one()
    filled(storage, vectors[:400])
    settled(storage)
    storage.close()
    backup = (folder / "index.sqlite").read_bytes()
    storage = open_one()
    storage.delete("photos", [f"{n}" for n in range(100)])
    storage.add("photos", items(vectors[400:], 400), SPACE)
    settled(storage)
    storage.close()

    (folder / "index.sqlite").write_bytes(backup)
    storage = open_one()
    # The same labels are given again, to other vectors than before.
    storage.add("photos", items(clustered(200, seed=5), 1000), SPACE)
    every = np.concatenate([vectors[:400], clustered(200, seed=5)])
    names = [f"{n}" for n in [*range(400), *range(1000, 1200)]]
    settled(storage)
    expected = [[names[int(n)] for n in row] for row in exactly(every, every[::10])]
    assert recall(found(storage, every[::10]), expected) > 0.98


def test_a_snapshot_that_cannot_be_written_harms_nothing(
    folder: Path, open_one: Open, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = clustered(300)
    # hnswlib says nothing when it cannot write.
    (folder / "snapshots" / "1.partial").mkdir(parents=True)
    storage = open_one()
    filled(storage, vectors)
    settled(storage)
    storage.close()
    assert "no snapshot of the collection photos was written" in caplog.text
    storage = open_one()
    assert recall(found(storage, vectors[:20]), exactly(vectors, vectors[:20])) > 0.98


def test_old_snapshots_and_halves_are_cleaned_up(folder: Path, open_one: Open) -> None:
    storage = open_one()
    for name in ("photos", "others"):
        filled(storage, clustered(300), name)
        settled(storage, name)
    wait_for(lambda: len(snapshots(folder)) == 2)
    storage.drop("others")
    wait_for(lambda: len(snapshots(folder)) == 1)
    storage.close()
    for name in ("left.partial", "f" * 64 + ".hnsw"):
        (folder / "snapshots" / name).write_bytes(b"of a crash")
    open_one().open()
    assert len(snapshots(folder)) == 1


def test_an_interrupted_first_build_goes_on_where_it_was(
    open_one: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.index.keeper._READ", 100)
    vectors = clustered(1000)
    building, closing = threading.Event(), threading.Event()

    def hold(*_: object) -> None:
        building.set()
        closing.wait(30)

    storage = open_one(ONLY_AT_CLOSE, progress=hold)
    filled(storage, vectors)
    assert building.wait(30)
    keeper = storage._held.keeper
    closer = threading.Thread(target=storage.close)
    closer.start()
    wait_for(lambda: keeper._stopping)
    closing.set()
    closer.join(30)
    assert not closer.is_alive()

    storage = open_one(ONLY_AT_CLOSE, progress=never)
    assert recall(found(storage, vectors[:50]), exactly(vectors, vectors[:50])) > 0.98
    settled(storage)
    assert graph_of(storage).count == 1000


# --- crashes


def crashing(folder: Path, first: int, told: Connection) -> None:
    """Add batches until killed, and tell of each when it is done. Each batch also replaces one item."""
    storage = LocalStorage(folder, tuning=SMALL)
    if not storage.collections():
        storage.create(Declaration("photos", "embed_test", {}))
    for number in count(first):
        storage.add("photos", batch(number), SPACE)
        told.send(number)


def batch(number: int) -> list[NewItem]:
    vectors = clustered(13, seed=number)
    latest = NewItem("latest", tuple(ItemRegion(vector) for vector in vectors[10:]), {"batch": number})
    return [*items(vectors[:10], 10 * number), latest]


def test_what_was_acknowledged_survives_being_killed(folder: Path, open_one: Open) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    acknowledged = -1
    for kill_after in (1, 12, 17, 30):
        receives, sends = context.Pipe(duplex=False)
        child = context.Process(target=crashing, args=(folder, acknowledged + 1, sends))
        child.start()
        sends.close()
        for _ in range(kill_after):
            assert receives.poll(60)
            acknowledged = receives.recv()
        child.kill()
        child.join()
        while receives.poll():
            try:
                acknowledged = receives.recv()
            except EOFError:
                break
        receives.close()
        child.close()

        storage = open_one()
        kept = {each.id for each in storage.items("photos", limit=10_000)} - {"latest"}
        batches, rest = divmod(len(kept), 10)
        # One batch may have been committed and not told of; none is there by half.
        assert rest == 0
        assert acknowledged + 1 <= batches <= acknowledged + 2
        assert kept == {f"{n}" for n in range(10 * batches)}
        latest = storage.item("photos", "latest")
        assert latest.metadata == {"batch": batches - 1}
        expected = [region.vector.tolist() for region in batch(batches - 1)[-1].regions]
        assert [region.vector.tolist() for region in latest.regions] == expected
        for number in range(batches):
            first = batch(number)[0]
            assert found(storage, first.regions[0].vector[np.newaxis], k=1) == [[first.id]]
        assert storage.collection("photos").vectors == 10 * batches + 3
        storage.close()
        acknowledged = batches - 1


def never(*_: object) -> None:
    raise AssertionError("nothing is to be built")


def shifted(answers: list[list[str]], by: int) -> list[list[str]]:
    return [[str(int(name) + by) for name in row] for row in answers]


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def view_of(storage: LocalStorage) -> structure.View:
    held = storage._held
    assert held is not None
    return held.structures["photos"].view


def graph_of(storage: LocalStorage) -> Graph:
    graph = view_of(storage).graph
    assert graph is not None
    return graph
