"""Vectors of image files, kept between runs, so that training again embeds only what is new."""

import contextlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from classifiers.rows import Values

_BUSY_SECONDS = 5
# Raised when the table changes: one of another shape is made anew.
_SHAPE = 2
# The newest row has the highest number.
_TABLE = """
create table vectors (
    number integer primary key autoincrement, sha256 text not null, asked text not null, sizes text not null,
    numbers blob not null, phash text, slices text not null, measures text not null, unique (sha256, asked)
)
"""
_MAX_BYTES = 1_000_000_000
# After so many new entries it is seen to that there are not too many.
_ENTRIES_BETWEEN = 500


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """What was made of a file."""

    vectors: Sequence[Values]
    phash: int | None
    slices: Mapping[str, str]
    measures: Mapping[str, float] = field(default_factory=dict)


class VectorCache:
    """One SQLite file. Nothing depends on it: what cannot be read or kept is made anew.

    Its methods are called by one thread at a time. Where it grows too large, the oldest entries go.

    Args:
        file: it is made when it is missing, with its folder.
        max_bytes: how large it may become, but for some entries.
    """

    def __init__(self, file: Path, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._added = 0
        self._connection: sqlite3.Connection | None = None
        with contextlib.suppress(OSError, sqlite3.Error):
            file.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            for statement in ("pragma journal_mode = wal", "pragma synchronous = off"):
                self._connection.execute(statement)
            _shape(self._connection)
            _thin_out(self._connection, max_bytes)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def get(self, sha256: str, asked: str) -> Entry | None:
        """What was made of a file.

        Args:
            sha256: of the file.
            asked: what else the vectors depend on.
        """
        if self._connection is None:
            return None
        with contextlib.suppress(sqlite3.Error, ValueError):
            found = self._connection.execute(
                "select sizes, numbers, phash, slices, measures from vectors where sha256 = ? and asked = ?",
                (sha256, asked),
            ).fetchone()
            return None if found is None else _entry(*found)
        return None

    def put(self, sha256: str, asked: str, entry: Entry) -> None:
        if self._connection is None:
            return
        phash = None if entry.phash is None else f"{entry.phash:016x}"
        sizes = json.dumps([len(vector) for vector in entry.vectors])
        numbers = np.concatenate(list(entry.vectors)).tobytes()
        # A full disk, say, or a file that is none of SQLite's.
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute(
                "insert or replace into vectors values (null, ?, ?, ?, ?, ?, ?, ?)",
                (sha256, asked, sizes, numbers, phash, _json(entry.slices), _json(entry.measures)),
            )
            self._added += 1
            if self._added % _ENTRIES_BETWEEN == 0:
                _thin_out(self._connection, self._max_bytes)


def _shape(connection: sqlite3.Connection) -> None:
    """Make the table, in the place of one that an earlier version of this program made."""
    connection.execute("begin immediate")
    with connection:
        if connection.execute("pragma user_version").fetchone() != (_SHAPE,):
            connection.execute("drop table if exists vectors")
            connection.execute(_TABLE)
            connection.execute(f"pragma user_version = {_SHAPE}")


def _thin_out(connection: sqlite3.Connection, max_bytes: int) -> None:
    """Delete the oldest entries, an eighth at a time, until the rest fits. What they took is used again."""
    while _used(connection) > max_bytes:
        (count,) = connection.execute("select count(*) from vectors").fetchone()
        if not count:
            return
        connection.execute(
            "delete from vectors where number in (select number from vectors order by number limit ?)",
            (count // 8 + 1,),
        )


def _used(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        int(connection.execute(f"pragma {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _json(values: Mapping[str, str] | Mapping[str, float]) -> str:
    return json.dumps(dict(values))


def _entry(sizes: str, numbers: bytes, phash: str | None, slices: str, measures: str) -> Entry:
    """Raises ValueError: it is not what was put."""
    ends = np.cumsum(np.array(json.loads(sizes), np.int64))
    values = np.frombuffer(numbers, np.float32)
    if len(ends) == 0 or ends[-1] != len(values):
        raise ValueError("the sizes are not those of the numbers")
    vectors = np.split(values, ends[:-1])
    hashed = None if phash is None else int(phash, 16)
    return Entry(vectors, hashed, json.loads(slices), json.loads(measures))
