"""A SQLite database that one process uses from many threads: one writer, some readers, errors that say what
to do.
"""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.core.errors import IndexUnavailable

logger = logging.getLogger(__name__)

# "Sgrf", so that no other program's database is taken for an index.
APPLICATION_ID = 0x53677266

# Vectors of 512 numbers take 2 KB: of these three fit a page of 8 KB, and only one a page of 4 KB.
_PAGE_SIZE = 8192
_MAX_READERS = 8
# Only a tool that looks at the file from outside can hold it: this process has one writer.
_BUSY_SECONDS = 10.0
# What a large transaction leaves of the write-ahead log on the disk.
_LOG_BYTES = 64 << 20


class Database:
    """An open database.

    Args:
        path: of its file, which is made where there is none.
        schema: the statements that make its tables.
        version: of the schema. A database of a newer one is refused.

    Raises:
        IndexUnavailable: it cannot be opened.
    """

    def __init__(self, path: Path, schema: str, version: int) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._readers = threading.BoundedSemaphore(_MAX_READERS)
        self._closed = False
        self.mutex = threading.RLock()
        """Held by whoever writes; to be held also by one who tells others of what was written."""
        with _reported(path):
            self._writer = self._connect()
            try:
                self._prepare(schema, version)
            except BaseException:
                self._writer.close()
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The database as it stands now, for as long as the block lasts."""
        with _reported(self._path), self._readers:
            if self._closed:
                raise IndexUnavailable("The index was closed.")
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                self._idle.append(connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: durable when the block ends, undone when it raises."""
        with _reported(self._path), self.mutex:
            if self._closed:
                raise IndexUnavailable("The index was closed.")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                # After some errors SQLite has rolled back by itself.
                with suppress(sqlite3.Error):
                    self._writer.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Wait for those who read and write, and let go of the file."""
        with self.mutex:
            self._closed = True
            for _ in range(_MAX_READERS):
                self._readers.acquire()
            # The last connection to be closed copies the log into the database, which a reader may not.
            for connection in [*self._idle, self._writer]:
                with suppress(sqlite3.Error):
                    connection.close()
            self._idle.clear()
            self._readers.release(_MAX_READERS)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, schema: str, version: int) -> None:
        writer = self._writer
        (found,) = writer.execute("PRAGMA user_version").fetchone()
        (application,) = writer.execute("PRAGMA application_id").fetchone()
        (tables,) = writer.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables and application != APPLICATION_ID:
            raise IndexUnavailable(
                "The index's database was made by another program. Move it away, or set SIGHTGRAPH_DATA to "
                "another folder."
            )
        if found > version:
            raise IndexUnavailable(
                f"The index was written by a newer version of Sightgraph (its schema is {found}; this one "
                f"reads up to {version}). Run that version, or set SIGHTGRAPH_DATA to another folder."
            )
        if not tables:
            writer.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
        writer.execute("PRAGMA journal_mode = WAL")
        if not tables:
            # In one transaction, so that a crash leaves all of the schema or nothing.
            writer.executescript(
                f"BEGIN; {schema}; PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {version}; COMMIT;"
            )


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """SQLite's errors as IndexUnavailable; the log has the details."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.DatabaseError as error:
        logger.exception("the index's database %s failed", path)
        raise IndexUnavailable(_remedy(error)) from error


def _remedy(error: sqlite3.DatabaseError) -> str:
    # Of an extended code the lowest byte says the kind.
    match error.sqlite_errorcode & 0xFF:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return (
                f"The index's database is damaged ({error}). Restore the index's folder from a backup, or "
                "move it away to begin anew."
            )
        case sqlite3.SQLITE_FULL:
            return "The disk of the index is full; nothing was written. Free some space and try again."
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "Another program holds the index's database. Let it finish, and try again."
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_AUTH:
            return (
                f"The index's database cannot be opened or written ({error}). Check the rights to its folder."
            )
    return f"The index's database cannot be read or written ({error}). The server's log has the details."
