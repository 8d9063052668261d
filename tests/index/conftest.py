"""The storages that the suite in `test_storage.py` runs on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from app.index.local import LocalStorage
from app.index.postgres import PostgresStorage
from app.index.shared import SharedStorage
from app.index.storage import Storage
from tests.index.pgserver import PostgresServer, running

# One fork server serves all tests of a process: it imports what any of them needs, whichever is first.
PRELOADED = ["tests.index.crashing_server", "tests.index.test_local"]

OpenStorage = Callable[[], Storage]


@pytest.fixture(params=["local", "shared", "postgres"])
def open_storage(request: pytest.FixtureRequest) -> OpenStorage:
    """Opens a storage on the same data each time; what it gave before is to be closed first.

    A storage named X here is opened by the fixture `open_X`, which also closes what a test left open.
    """
    opened: OpenStorage = request.getfixturevalue(f"open_{request.param}")
    return opened


@pytest.fixture
def storage(open_storage: OpenStorage) -> Storage:
    """An empty storage."""
    return open_storage()


@pytest.fixture
def open_local(tmp_path: Path) -> Iterator[OpenStorage]:
    opened: list[LocalStorage] = []

    def open_one() -> LocalStorage:
        opened.append(LocalStorage(tmp_path / "index"))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def open_shared(tmp_path: Path) -> Iterator[OpenStorage]:
    """Gives one that asks another, which holds the index."""
    opened: list[SharedStorage] = []
    with TemporaryDirectory(prefix="sightgraph-") as workers:

        def open_one() -> SharedStorage:
            while opened:
                opened.pop().close()
            for _ in range(2):
                opened.append(SharedStorage(LocalStorage(tmp_path / "index"), Path(workers)))
                opened[-1].open()
            assert [each.is_held for each in opened] == [True, False]
            return opened[-1]

        yield open_one
        while opened:
            opened.pop().close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One for all tests of a process; each takes a database of its own."""
    with running() as server:
        yield server


@pytest.fixture
def open_postgres(postgres_server: PostgresServer) -> Iterator[OpenStorage]:
    url = postgres_server.new_database()
    opened: list[PostgresStorage] = []

    def open_one() -> PostgresStorage:
        opened.append(PostgresStorage(url))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()
