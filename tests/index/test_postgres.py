"""What is PostgreSQL's own in its storage: the schema, several servers, indexes, and a database that fails.

What every storage does is tested in `test_storage.py`.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from math import inf
from typing import Any

import numpy as np
import psycopg
import pytest

from app.core.errors import (
    CollectionExists,
    CollectionNotFound,
    DeadlineExceeded,
    IndexUnavailable,
    InvalidParams,
    SightgraphError,
    SpaceMismatch,
)
from app.core.filters import parsed
from app.index import postgres_database, postgres_search, postgres_tables
from app.index.postgres import PostgresStorage
from app.index.storage import Declaration, ItemRegion, Matrix, NewItem, Query
from tests.index.pgserver import PostgresServer, run

SPACE = "space"
PETS = Declaration("pets", "embed", {"target": "whole_image"})


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    """Of an empty database."""
    return postgres_server.new_database()


@pytest.fixture(autouse=True)
def never_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine all attempts to connect may be slow, those too that are to be repeated at once."""
    monkeypatch.setattr(postgres_database, "_SLOW_SECONDS", inf)


OpenOne = Callable[[], PostgresStorage]


@pytest.fixture
def open_one(url: str) -> Iterator[OpenOne]:
    """Opens a storage on the database, as one more server would."""
    opened: list[PostgresStorage] = []

    def open_one() -> PostgresStorage:
        opened.append(PostgresStorage(url))
        return opened[-1]

    yield open_one
    for storage in opened:
        storage.close()


@pytest.fixture
def storage(open_one: OpenOne) -> PostgresStorage:
    """With an empty collection."""
    storage = open_one()
    storage.create(PETS)
    return storage


@pytest.fixture
def indexed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is searched in collections of any size, also where the planner finds it slower."""
    monkeypatch.setattr(postgres_tables, "EXACT_UP_TO", 0)
    for setting in ("enable_seqscan = off", "enable_bitmapscan = off"):
        configure(url, setting)


def vectors(count: int, dimensions: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)


def new_items(matrix: Matrix, prefix: str = "item") -> list[NewItem]:
    return [
        NewItem(f"{prefix}{number:04d}", (ItemRegion(row),), {"number": number})
        for number, row in enumerate(matrix)
    ]


def cosines(queries: Matrix, matrix: Matrix) -> Matrix:
    wide, others = queries.astype(np.float64), matrix.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    similar: Matrix = wide @ others.T
    return similar


def in_threads(*works: Callable[[], Any]) -> list[Any]:
    """What each gives, or the error that it raises; all start together."""
    start = threading.Barrier(len(works))

    def outcome(work: Callable[[], Any]) -> Any:
        start.wait()
        try:
            return work()
        except SightgraphError as error:
            return error

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(outcome, works))


def scans(url: str, *storages: PostgresStorage) -> int:
    """How often the HNSW indexes of a database were searched, by storages that end thereby."""
    for storage in storages:
        storage.close()
    # What a connection counted is known when it has ended.
    wait_until(lambda: not connections(url))
    ((count,),) = run(
        url,
        "SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes "
        "JOIN pg_indexes ON indexname = indexrelname AND indexdef LIKE '%hnsw%'",
    )
    return int(count)


class TestSchema:
    def test_servers_that_start_at_once_make_it_once(self, open_one: OpenOne, url: str) -> None:
        servers = [open_one() for _ in range(6)]
        assert in_threads(*(server.collections for server in servers)) == [[]] * 6
        assert run(url, "SELECT version FROM sightgraph.schema_version") == [(2,)]

    def test_nothing_lies_outside_of_it(self, storage: PostgresStorage, url: str) -> None:
        storage.add("pets", new_items(vectors(2, 3)), SPACE)
        schemas = run(
            url,
            "SELECT DISTINCT schemaname FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
        )
        assert schemas == [("sightgraph",)]

    def test_that_of_another_version_is_refused(self, open_one: OpenOne, url: str) -> None:
        open_one().collections()
        run(url, "UPDATE sightgraph.schema_version SET version = 1")
        with pytest.raises(IndexUnavailable, match="its schema has the version 1, this server needs 2"):
            open_one().collections()

    def test_an_old_pgvector_is_refused(self, open_one: OpenOne, url: str) -> None:
        run(url, "CREATE EXTENSION vector")
        run(url, "UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
        with pytest.raises(IndexUnavailable, match=r"needs pgvector 0\.8 or newer.*has 0\.7\.4.*UPDATE"):
            open_one().collections()

    def test_without_the_right_to_create_the_extension(
        self, postgres_server: PostgresServer, url: str
    ) -> None:
        run(url, "CREATE ROLE guest LOGIN")
        try:
            guest = url.replace("postgres:@", "guest:@")
            with closing(PostgresStorage(guest)) as storage:
                with pytest.raises(IndexUnavailable, match="has to run `CREATE EXTENSION vector`"):
                    storage.collections()
                run(url, "CREATE EXTENSION vector")
                with pytest.raises(IndexUnavailable, match="permission denied for database"):
                    storage.collections()
                run(url, f"GRANT CREATE ON DATABASE {name_of(url)} TO guest")
                assert storage.collections() == []
        finally:
            run(url, "DROP OWNED BY guest CASCADE")
            run(url, "DROP ROLE guest")

    def test_an_extension_in_another_schema_is_found(self, open_one: OpenOne, url: str) -> None:
        run(url, 'CREATE SCHEMA "My Extensions"')
        run(url, 'CREATE EXTENSION vector SCHEMA "My Extensions"')
        storage = open_one()
        storage.create(PETS)
        storage.add("pets", new_items(vectors(3, 4)), SPACE)
        assert len(storage.search("pets", vectors(1, 4), Query())[0]) == 3

    def test_one_that_was_dropped_is_made_anew(self, storage: PostgresStorage, url: str) -> None:
        run(url, "DROP SCHEMA sightgraph CASCADE")
        with pytest.raises(CollectionNotFound):
            storage.collection("pets")
        assert storage.create(PETS).items == 0


class TestSeveralServers:
    def test_each_sees_what_the_others_write(self, storage: PostgresStorage, open_one: OpenOne) -> None:
        other = open_one()
        before = storage.collection("pets")
        assert other.add("pets", new_items(vectors(3, 4)), SPACE) == [False] * 3
        after = storage.collection("pets")
        assert (after.items, after.vectors, after.dimensions, after.space) == (3, 3, 4, SPACE)
        assert after.state != before.state
        assert other.collection("pets") == after
        assert len(storage.search("pets", vectors(1, 4), Query())[0]) == 3

        other.drop("pets")
        with pytest.raises(CollectionNotFound):
            storage.search("pets", vectors(1, 4), Query())
        other.create(PETS)
        assert storage.search("pets", vectors(1, 9), Query()) == [[]]
        assert storage.collection("pets").state not in (before.state, after.state)

    def test_of_two_that_create_a_collection_one_wins(self, open_one: OpenOne) -> None:
        outcomes = in_threads(*(partial(open_one().create, PETS) for _ in range(4)))
        assert sum(isinstance(outcome, CollectionExists) for outcome in outcomes) == 3

    def test_of_two_first_adds_one_fixes_the_space(self, storage: PostgresStorage, open_one: OpenOne) -> None:
        servers = storage, open_one(), open_one()
        outcomes = in_threads(
            *(
                lambda server=server, number=number: server.add(
                    "pets", new_items(vectors(5, 4 + number), f"of{number}-"), f"space{number}"
                )
                for number, server in enumerate(servers)
            )
        )
        winners = [number for number, outcome in enumerate(outcomes) if outcome == [False] * 5]
        assert sum(isinstance(outcome, SpaceMismatch) for outcome in outcomes) == 2
        record = storage.collection("pets")
        assert (record.space, record.dimensions) == (f"space{winners[0]}", 4 + winners[0])
        assert {item.id[:3] for item in storage.items("pets")} == {f"of{winners[0]}"}

    def test_of_two_adds_with_one_id_the_last_replaces_all(
        self, storage: PostgresStorage, open_one: OpenOne
    ) -> None:
        def item(server: int) -> NewItem:
            regions = vectors(server + 1, 4, seed=server)
            return NewItem("same", tuple(ItemRegion(region) for region in regions), {"server": server})

        servers = storage, open_one(), open_one()
        for _ in range(5):
            outcomes = in_threads(
                *(
                    lambda server=server, number=number: server.add("pets", [item(number)], SPACE)
                    for number, server in enumerate(servers)
                )
            )
            assert all(isinstance(outcome, list) for outcome in outcomes)
            kept = storage.item("pets", "same")
            assert len(kept.regions) == kept.metadata["server"] + 1
            record = storage.collection("pets")
            assert (record.items, record.vectors) == (1, len(kept.regions))

    def test_batches_that_overlap_in_any_order(self, storage: PostgresStorage, open_one: OpenOne) -> None:
        batch = new_items(vectors(30, 4))
        servers = [storage, open_one(), storage, open_one()]
        outcomes = in_threads(
            *(
                lambda server=server, turn=turn: [
                    server.add("pets", batch[::turn], SPACE),
                    server.delete("pets", [item.id for item in batch[::-turn][:10]]),
                ]
                for server, turn in zip(servers, [1, -1, -1, 1], strict=True)
            )
        )
        assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        record = storage.collection("pets")
        assert record.items == record.vectors == len(storage.items("pets"))

    def test_searches_while_a_collection_is_made_anew(
        self, storage: PostgresStorage, open_one: OpenOne
    ) -> None:
        matrix = vectors(20, 4)
        done = threading.Event()

        def remake() -> None:
            other = open_one()
            for _ in range(10):
                other.add("pets", new_items(matrix), SPACE)
                other.drop("pets")
                other.create(PETS)
            done.set()

        def search() -> set[int]:
            counts = set()
            while not done.is_set():
                try:
                    counts.add(len(storage.search("pets", matrix[:1], Query(k=20))[0]))
                except CollectionNotFound:
                    counts.add(0)
            return counts

        _, counts = in_threads(remake, search)
        # All of a batch is seen or nothing.
        assert counts <= {0, 20}

    def test_a_change_that_another_holds_up_for_too_long(
        self, open_one: OpenOne, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_database, "_LOCK_TIMEOUT", "100ms")
        storage = open_one()
        storage.create(PETS)
        with psycopg.connect(url) as holder:
            holder.execute("SELECT * FROM sightgraph.collections FOR UPDATE")
            with pytest.raises(IndexUnavailable, match="held by another change for over 100ms"):
                storage.delete("pets", ["any"])
            assert storage.collection("pets").items == 0


class TestLongReads:
    """A backup, or a search of all pairs, holds the tables; nobody waits for it."""

    def test_a_drop_leaves_what_is_read_for_later(
        self, storage: PostgresStorage, open_one: OpenOne, url: str
    ) -> None:
        storage.add("pets", new_items(vectors(5, 4)), SPACE)
        with reading(url, "regions_1_1"):
            storage.drop("pets")
            with pytest.raises(CollectionNotFound):
                storage.collection("pets")
            storage.create(PETS)
            storage.add("pets", new_items(vectors(2, 3)), SPACE)
            assert len(storage.search("pets", vectors(1, 3), Query())[0]) == 2
            assert tables(url) == {"items_2", "regions_1_1", "regions_2_1"}
            open_one().open()
            assert "regions_1_1" in tables(url)
        open_one().open()
        assert tables(url) == {"items_2", "regions_2_1"}
        assert run(url, "SELECT * FROM sightgraph.leftovers") == []

    def test_other_dimensions_wait_for_nobody(self, storage: PostgresStorage, url: str) -> None:
        for dimensions in (4, 3, 2500, 5000):
            matrix = vectors(3, dimensions)
            with reading(url, *(name for name in tables(url) if name.startswith("regions"))):
                storage.add("pets", [*new_items(matrix), NewItem("none", ())], f"of {dimensions}")
                assert len(storage.search("pets", matrix, Query())[0]) == 3
                assert storage.delete("pets", [item.id for item in new_items(matrix)]) == 3
                record = storage.collection("pets")
                assert (record.items, record.vectors, record.space, record.dimensions) == (1, 0, None, None)
                assert storage.search("pets", vectors(1, 7), Query()) == [[]]
        storage.drop("pets")
        assert tables(url) == set()

    def test_a_replacement_without_vectors_frees_the_dimensions(self, storage: PostgresStorage) -> None:
        storage.add("pets", [NewItem("a", (ItemRegion(np.ones(4, np.float32)),))], SPACE)
        assert storage.add("pets", [NewItem("a", ())], SPACE) == [True]
        assert storage.collection("pets").dimensions is None
        assert storage.add("pets", new_items(vectors(1, 9)), "another") == [False]

    def test_a_declared_space_comes_back(self, storage: PostgresStorage) -> None:
        storage.create(Declaration("declared", "embed", {}, SPACE))
        storage.add("declared", new_items(vectors(1, 4)), SPACE)
        storage.delete("declared", ["item0000"])
        record = storage.collection("declared")
        assert (record.space, record.dimensions) == (SPACE, None)

    def test_pairs_of_a_collection_that_is_made_anew_meanwhile(
        self, storage: PostgresStorage, open_one: OpenOne, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_search, "_ROWS_AT_A_TIME", 2)
        storage.add("pets", new_items(vectors(5, 4)), SPACE)
        pairs_after, other = postgres_search.pairs_after, open_one()

        def then_remade(*arguments: Any) -> Any:
            found = pairs_after(*arguments)
            other.drop("pets")
            other.create(PETS)
            return found

        monkeypatch.setattr(postgres_search, "pairs_after", then_remade)
        with pytest.raises(
            CollectionNotFound, match="'pets' was made anew meanwhile; send the request again"
        ):
            storage.near_pairs("pets", -1)

    def test_hash_pairs_of_what_is_deleted_meanwhile(
        self, storage: PostgresStorage, open_one: OpenOne, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        alike = [NewItem(id, (ItemRegion(np.ones(4, np.float32), phash=1 << 63),)) for id in "abc"]
        storage.add("pets", alike, SPACE)
        hashes, other = postgres_search.hashes, open_one()

        def then_deleted(*arguments: Any) -> Any:
            found = hashes(*arguments)
            other.delete("pets", ["b"])
            return found

        monkeypatch.setattr(postgres_search, "hashes", then_deleted)
        assert [(one.id, two.id, bits) for one, two, bits in storage.near_hash_pairs("pets", 3)] == [
            ("a", "c", 0)
        ]


class TestDeadlines:
    @pytest.mark.parametrize("left", [-1, 0.2])
    def test_what_reads_ends_with_its_request(self, storage: PostgresStorage, url: str, left: float) -> None:
        storage.add("pets", new_items(vectors(3, 4)), SPACE)
        with psycopg.connect(url) as holder:
            holder.execute("LOCK TABLE sightgraph.regions_1_1")
            for read in (
                lambda until: storage.search("pets", vectors(1, 4), Query(until=until)),
                lambda until: storage.near_hashes("pets", 0, 64, Query(until=until)),
                lambda until: storage.near_pairs("pets", 0.5, until),
                lambda until: storage.near_hash_pairs("pets", 3, until),
            ):
                with pytest.raises(DeadlineExceeded):
                    read(time.monotonic() + left)
            holder.rollback()
        assert len(storage.search("pets", vectors(1, 4), Query(until=time.monotonic() + 60))[0]) == 3

    def test_no_statement_lasts_for_ever(
        self, open_one: OpenOne, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_database, "_STATEMENT_SECONDS", 0.2)
        storage = open_one()
        storage.create(PETS)
        with psycopg.connect(url) as holder:
            holder.execute("LOCK TABLE sightgraph.regions_1_0")
            for until in (None, time.monotonic() + 60):
                with pytest.raises(IndexUnavailable, match=r"took over 0\.2 s"):
                    storage.search("pets", vectors(1, 4), Query(until=until))

    def test_a_wait_for_a_connection_ends_too(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(postgres_database, "MAX_CONNECTIONS", 1)
        with closing(PostgresStorage(url)) as storage:
            storage.create(PETS)
            with psycopg.connect(url) as holder, ThreadPoolExecutor(1) as threads:
                holder.execute("SELECT * FROM sightgraph.collections FOR UPDATE")
                deleting = threads.submit(storage.delete, "pets", ["any"])
                wait_until(lambda: waits_for_a_lock(url))
                with pytest.raises(DeadlineExceeded):
                    storage.search("pets", vectors(1, 4), Query(until=time.monotonic() + 0.1))
                holder.rollback()
                assert deleting.result() == 0


class TestUnreachable:
    """A host that does not answer is waited for by one request, and not by each."""

    @pytest.fixture
    def host(self) -> Iterator[socket.socket]:
        """That takes connections and says nothing."""
        with socket.create_server(("127.0.0.1", 0)) as host:
            host.setblocking(False)
            yield host

    @pytest.fixture
    def tries(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The attempts to connect, each of which gives up at once, as if it had lasted."""
        tries: list[int] = []

        def connect(*_: Any, **__: Any) -> Any:
            tries.append(1)
            # Long enough for the other threads to come.
            time.sleep(0.05)
            raise psycopg.errors.ConnectionTimeout("connection timeout expired")

        monkeypatch.setattr(psycopg, "connect", connect)
        monkeypatch.setattr(postgres_database, "_SLOW_SECONDS", 0)
        return tries

    def test_a_silent_host_is_given_up(self, host: socket.socket) -> None:
        port = host.getsockname()[1]
        with closing(
            PostgresStorage(f"postgresql://me:hush@127.0.0.1:{port}/x", timeout_seconds=1)
        ) as storage:
            with pytest.raises(IndexUnavailable, match="timeout expired") as refused:
                storage.collections()
        assert "hush" not in str(refused.value)

    def test_one_tries_for_all(self, tries: list[int]) -> None:
        with closing(PostgresStorage("postgresql://127.0.0.1/x")) as storage:
            outcomes = in_threads(*[storage.collections] * 8)
            assert {str(outcome) for outcome in outcomes} == {
                "The index's database cannot be used: connection timeout expired."
            }
            assert all(isinstance(outcome, IndexUnavailable) for outcome in outcomes)
            assert len(set(map(id, outcomes))) == 8
        assert len(tries) == 1

    def test_later_one_tries_again(self, tries: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(postgres_database, "_REST_SECONDS", 0)
        with closing(PostgresStorage("postgresql://127.0.0.1/x")) as storage:
            for number in range(3):
                with pytest.raises(IndexUnavailable):
                    storage.collections()
                assert len(tries) == number + 1

    def test_one_that_is_back_is_used(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(postgres_database, "_REST_SECONDS", 0)
        with closing(PostgresStorage(url)) as storage:
            with monkeypatch.context() as away:
                away.setattr(postgres_database, "_SLOW_SECONDS", 0)
                away.setattr(psycopg, "connect", partial(psycopg.connect, user="nobody"))
                with pytest.raises(IndexUnavailable, match='role "nobody" does not exist'):
                    storage.collections()
            assert storage.collections() == []


class TestSearch:
    def test_the_index_finds_nearly_all_that_is_near(
        self, indexed: None, storage: PostgresStorage, url: str
    ) -> None:
        matrix, queries = vectors(500, 16), vectors(40, 16, seed=1)
        storage.add("pets", new_items(matrix), SPACE)
        found = storage.search("pets", queries, Query(k=10))
        assert scans(url, storage) > 0
        similar = cosines(queries, matrix)
        truth = np.argsort(-similar, axis=1)[:, :10]
        hits = [
            {hit.metadata["number"] for hit in hits} & set(best)
            for hits, best in zip(found, truth, strict=True)
        ]
        assert sum(map(len, hits)) >= 0.97 * truth.size
        for row, hits_of_one in enumerate(found):
            scores = [hit.score for hit in hits_of_one]
            assert scores == sorted(scores, reverse=True)
            numbers = [hit.metadata["number"] for hit in hits_of_one]
            np.testing.assert_allclose(scores, similar[row, numbers], atol=1e-5)

    def test_a_scan_that_gives_up_is_done_again_without_the_index(
        self, indexed: None, open_one: OpenOne, url: str
    ) -> None:
        configure(url, "hnsw.max_scan_tuples = 1")
        storage = open_one()
        storage.create(PETS)
        matrix = vectors(400, 8)
        storage.add("pets", new_items(matrix), SPACE)
        query = Query(k=10, filter=parsed({"number": {"gte": 380}}))
        found = storage.search("pets", np.concatenate([matrix[:1], matrix[399:]]), query)
        assert scans(url, storage) > 0
        for hits, row in zip(found, (0, 399), strict=True):
            truth = 380 + np.argsort(-cosines(matrix[row : row + 1], matrix[380:])[0])[:10]
            assert [hit.metadata["number"] for hit in hits] == truth.tolist()

    @pytest.mark.parametrize(
        ("dimensions", "index"),
        [(1537, "vector vector_cosine_ops"), (2020, "halfvec(2020)"), (4000, "halfvec(4000)"), (4001, None)],
    )
    def test_many_dimensions(
        self, indexed: None, open_one: OpenOne, url: str, dimensions: int, index: str | None
    ) -> None:
        storage = open_one()
        storage.create(PETS)
        matrix = vectors(30, dimensions)
        # Half precision would overflow and vanish.
        matrix[0] *= 1e6
        matrix[1] *= 1e-8
        storage.add("pets", new_items(matrix), SPACE)
        (definitions,) = run(
            url, "SELECT string_agg(indexdef, '') FROM pg_indexes WHERE indexdef LIKE '%hnsw%'"
        )
        assert index is None or index in definitions[0]
        assert (definitions[0] is None) == (index is None)
        found = storage.search("pets", matrix, Query(k=3))
        similar = cosines(matrix, matrix)
        for row, hits in enumerate(found):
            assert hits[0].metadata["number"] == row
            numbers = [hit.metadata["number"] for hit in hits]
            np.testing.assert_allclose([hit.score for hit in hits], similar[row, numbers], atol=1e-5)
        # Copies of one image are paired also where only their halves are indexed.
        storage.add("pets", [NewItem("copy", (ItemRegion(matrix[7]),))], SPACE)
        ((one, other, score),) = storage.near_pairs("pets", 0.9)
        assert (one.id, other.id) == ("copy", "item0007")
        assert score == pytest.approx(1)
        assert (scans(url, storage) > 0) == (index is not None)

    def test_of_many_copies_the_first_come_first(
        self, indexed: None, storage: PostgresStorage, url: str
    ) -> None:
        matrix = vectors(300, 8)
        copies = [NewItem(f"copy{number:02d}", (ItemRegion(matrix[0]),)) for number in range(45)]
        storage.add("pets", [*new_items(matrix[1:]), *copies[::-1]], SPACE)
        for offset in (0, 10, 20):
            (hits,) = storage.search("pets", matrix[:1], Query(k=10, offset=offset))
            assert [hit.id for hit in hits] == [item.id for item in copies[offset : offset + 10]]
        assert scans(url, storage) > 0

    def test_vectors_of_any_length(self, open_one: OpenOne) -> None:
        storage = open_one()
        for length in (1e-38, 1e-20, 1e-9, 1e9, 1e20, 3e37):
            name = f"of {length}"
            storage.create(Declaration(name, "embed", {}))
            matrix = vectors(10, 8)
            matrix[::2] *= np.float32(length)
            storage.add(name, new_items(matrix), SPACE)
            similar = cosines(matrix, matrix)
            for row, hits in enumerate(storage.search(name, matrix, Query(k=10))):
                numbers = [hit.metadata["number"] for hit in hits]
                assert numbers == np.argsort(-similar[row]).tolist()
                np.testing.assert_allclose([hit.score for hit in hits], similar[row, numbers], atol=1e-5)
            for number, row in enumerate(matrix):
                (region,) = storage.item(name, f"item{number:04d}").regions
                np.testing.assert_array_equal(region.vector, row)

    def test_the_most_hits_at_once_and_the_fewest(self, storage: PostgresStorage) -> None:
        matrix = vectors(1010, 4)
        storage.add("pets", new_items(matrix), SPACE)
        last, all_at_once = (
            storage.search("pets", matrix[:2], Query(k=k, offset=offset))
            for k, offset in ((10, 990), (1000, 0))
        )
        assert [len(hits) for hits in all_at_once] == [1000, 1000]
        assert [hits[990:] for hits in all_at_once] == last
        few = Query(filter=parsed({"number": {"in": [3, 400, 1009]}}))
        (hits,) = storage.search("pets", -matrix[3:4], few)
        assert {hit.metadata["number"] for hit in hits} == {3, 400, 1009}
        assert (hits[-1].metadata["number"], hits[-1].score) == (3, -1)

    def test_pairs_come_in_portions(
        self, indexed: None, storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_search, "_ROWS_AT_A_TIME", 7)
        matrix = vectors(40, 8)
        twins = [NewItem(f"twin{number:04d}", (ItemRegion(row),)) for number, row in enumerate(matrix)]
        storage.add("pets", [*new_items(matrix), *twins], SPACE)
        pairs = [(one.id, other.id) for one, other, _ in storage.near_pairs("pets", 0.999)]
        assert pairs == [(f"item{number:04d}", f"twin{number:04d}") for number in range(40)]


class TestFailures:
    @pytest.mark.parametrize(
        ("broken", "message"),
        [
            ("postgresql://me:hush@127.0.0.1:1/x", "Connection refused"),
            ("postgresql://me:hush@/x?host=/nowhere/at/all", "No such file or directory"),
            # Special characters that should be percent-encoded move parts of the password elsewhere.
            ("postgresql://127.0.0.1:hush/hush@127.0.0.1/x", "cannot be read"),
            ("postgresql://me:hush:hush@[/x", "cannot be read"),
            ("postgresql://me:hush%zz@127.0.0.1/x", "cannot be read"),
            ("postgresql://me:hush@127.0.0.1/x?sslmode=hush", "cannot be read"),
            ("postgresql://me:hush@127.0.0.1/x?hush=1", "cannot be read"),
        ],
    )
    def test_a_url_that_leads_nowhere(self, broken: str, message: str) -> None:
        with closing(PostgresStorage(broken, timeout_seconds=1)) as storage:
            with pytest.raises(IndexUnavailable, match=message) as refused:
                storage.collections()
        assert "hush" not in str(refused.value)

    def test_a_wrong_password(self, postgres_server: PostgresServer, url: str) -> None:
        run(url, "CREATE ROLE locked LOGIN PASSWORD 'right'")
        rules = postgres_server.folder / "pg_hba.conf"
        before = rules.read_text()
        try:
            rules.write_text(f"local all locked scram-sha-256\n{before}")
            run(url, "SELECT pg_reload_conf()")
            with closing(PostgresStorage(url.replace("postgres:@", "locked:hush@"))) as storage:
                with pytest.raises(IndexUnavailable, match="password authentication failed") as refused:
                    storage.collections()
            assert "hush" not in str(refused.value)
        finally:
            rules.write_text(before)
            run(url, "SELECT pg_reload_conf()")
            run(url, "DROP ROLE locked")

    def test_a_database_that_is_missing(self, postgres_server: PostgresServer) -> None:
        with closing(PostgresStorage(postgres_server.url("nothing"))) as storage:
            with pytest.raises(IndexUnavailable, match='database "nothing" does not exist'):
                storage.collections()

    def test_connections_that_were_cut_are_made_anew(self, storage: PostgresStorage, url: str) -> None:
        for _ in range(2):
            in_threads(*[storage.collections] * 6)
            cut(url)
            storage.add("pets", new_items(vectors(2, 4)), SPACE)
            cut(url)
            assert len(storage.search("pets", vectors(1, 4), Query())[0]) == 2

    def test_a_change_that_was_cut_off_is_done_once(self, storage: PostgresStorage, url: str) -> None:
        with psycopg.connect(url) as holder, ThreadPoolExecutor(1) as threads:
            holder.execute("SELECT * FROM sightgraph.collections FOR UPDATE")
            adding = threads.submit(storage.add, "pets", new_items(vectors(3, 4)), SPACE)
            wait_until(lambda: waits_for_a_lock(url))
            cut(url, "wait_event_type = 'Lock'")
            wait_until(lambda: waits_for_a_lock(url))
            holder.rollback()
            assert adding.result() == [False] * 3
        assert storage.collection("pets").items == 3

    def test_a_server_that_stops_and_comes_back(
        self, storage: PostgresStorage, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        storage.add("pets", new_items(vectors(3, 4)), SPACE)
        caplog.set_level(logging.CRITICAL, "psycopg.pool")
        postgres_server.stop()
        try:
            for _ in range(2):
                with pytest.raises(IndexUnavailable, match="No such file or directory"):
                    storage.collections()
                with pytest.raises(IndexUnavailable, match="No such file or directory"):
                    storage.add("pets", new_items(vectors(3, 4)), SPACE)
        finally:
            postgres_server.start()
        assert storage.collection("pets").items == 3
        assert len(storage.search("pets", vectors(1, 4), Query())[0]) == 3

    def test_when_all_connections_are_busy(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(postgres_database, "MAX_CONNECTIONS", 1)
        with closing(PostgresStorage(url, timeout_seconds=0.2)) as storage:
            storage.create(PETS)
            with psycopg.connect(url) as holder, ThreadPoolExecutor(1) as threads:
                holder.execute("SELECT * FROM sightgraph.collections FOR UPDATE")
                deleting = threads.submit(storage.delete, "pets", ["any"])
                wait_until(lambda: waits_for_a_lock(url))
                with pytest.raises(
                    IndexUnavailable, match=r"All 1 connections to the index's database are busy"
                ):
                    storage.collections()
                holder.rollback()
                assert deleting.result() == 0
            assert storage.collection("pets").items == 0

    def test_a_database_that_may_only_be_read(
        self, storage: PostgresStorage, open_one: OpenOne, url: str
    ) -> None:
        configure(url, "default_transaction_read_only = on")
        standby = open_one()
        assert standby.collection("pets").items == 0

    def test_what_the_database_cannot_do_is_told_by_what_was_wanted(self, storage: PostgresStorage) -> None:
        with pytest.raises(InvalidParams, match="database cannot look for this: LIMIT must not be negative"):
            storage.items("pets", limit=-1)
        with pytest.raises(InvalidParams, match=r"database cannot store this: .*NUL"):
            storage.create(Declaration("a\0", "embed", {}))

    def test_after_it_was_closed(self, storage: PostgresStorage) -> None:
        storage.close()
        storage.close()
        with pytest.raises(IndexUnavailable, match="closed"):
            storage.collections()

    def test_one_that_was_never_used_is_closed(self, url: str) -> None:
        PostgresStorage(url).close()


OURS = "application_name = 'sightgraph' AND datname = current_database()"


def cut(url: str, which: str = "TRUE") -> None:
    """End connections of the index from the server's side."""
    run(
        url,
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {OURS} AND {which}",
    )


def connections(url: str, which: str = "TRUE") -> int:
    """How many connections of the index there are."""
    ((count,),) = run(url, f"SELECT count(*) FROM pg_stat_activity WHERE {OURS} AND {which}")
    return int(count)


@contextmanager
def reading(url: str, *tables: str) -> Iterator[None]:
    """As a backup does, in one transaction for all of the block."""
    with psycopg.connect(url) as connection:
        for table in tables:
            connection.execute(f"SELECT * FROM sightgraph.{table}")
        yield


def tables(url: str) -> set[str]:
    """Those of the collections."""
    found = run(
        url, "SELECT tablename FROM pg_tables WHERE schemaname = 'sightgraph' AND tablename ~ '[0-9]'"
    )
    return {name for (name,) in found}


def waits_for_a_lock(url: str) -> bool:
    return connections(url, "wait_event_type = 'Lock'") == 1


def name_of(url: str) -> str:
    """The name of a database."""
    return url.partition("@/")[2].partition("?")[0]


def configure(url: str, setting: str) -> None:
    """Change a setting for the connections that come."""
    run(url, f"ALTER DATABASE {name_of(url)} SET {setting}")


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come about")
