"""The local index's truth: the tables of collections, items, regions and vectors, and what is asked of them.

Labels number the vectors of all collections. AUTOINCREMENT never gives one twice, so a label means the same
region for ever, or nothing any more. Vectors and thumbnails have tables of their own: the rows that a search
reads stay small, and many of them fit a page.

Each function works inside the transaction of the connection that it is given.
"""

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from app.core.geometry import Box
from app.core.key import digest
from app.index.storage import Declaration, Item, ItemRegion, ItemSummary, Matrix, Member, NewItem

Connection = sqlite3.Connection
Labels = NDArray[np.int64]
VERSION = 1
SCHEMA = """
CREATE TABLE collections (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    operation TEXT NOT NULL,
    params TEXT NOT NULL,
    declared_space TEXT,
    space TEXT,
    dimensions INTEGER,
    created_at TEXT NOT NULL,
    origin TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 0,
    items INTEGER NOT NULL DEFAULT 0,
    vectors INTEGER NOT NULL DEFAULT 0,
    snapshot TEXT
) STRICT;
CREATE TABLE items (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    collection INTEGER NOT NULL REFERENCES collections,
    id TEXT NOT NULL,
    metadata TEXT NOT NULL,
    sha256 TEXT,
    width INTEGER,
    height INTEGER,
    regions INTEGER NOT NULL,
    added_at TEXT NOT NULL,
    UNIQUE (collection, id)
) STRICT;
CREATE TABLE thumbnails (
    item INTEGER PRIMARY KEY REFERENCES items ON DELETE CASCADE,
    image BLOB NOT NULL
) STRICT;
CREATE TABLE regions (
    label INTEGER PRIMARY KEY AUTOINCREMENT,
    collection INTEGER NOT NULL REFERENCES collections,
    item INTEGER NOT NULL REFERENCES items ON DELETE CASCADE,
    region INTEGER NOT NULL,
    bbox TEXT,
    phash INTEGER
) STRICT;
CREATE INDEX regions_of_items ON regions (item, region);
CREATE INDEX labels_of_collections ON regions (collection, label, phash);
CREATE TABLE vectors (
    label INTEGER PRIMARY KEY REFERENCES regions ON DELETE CASCADE,
    vector BLOB NOT NULL
) STRICT;
"""

# SQLite's limit on the variables of a statement is 999 in its oldest form, and one may be no label.
_MAX_LABELS = 998
_SIGN = 1 << 63
_REGIONS = (
    "SELECT label, id, region, bbox, metadata FROM regions CROSS JOIN items ON key = item WHERE label IN ({})"
)
_VECTORS = "SELECT label, vector FROM vectors WHERE label IN ({}) AND length(vector) = ? ORDER BY label"


class CollectionRow(NamedTuple):
    key: int
    name: str
    operation: str
    params: str
    declared_space: str | None
    space: str | None
    dimensions: int | None
    created_at: str
    origin: str
    version: int
    items: int
    vectors: int
    snapshot: str | None

    @property
    def declared(self) -> Declaration:
        return Declaration(self.name, self.operation, json.loads(self.params), self.declared_space)

    @property
    def state(self) -> str:
        return digest(self.origin, self.version)


class RegionRow(NamedTuple):
    """What a hit says of a region; `size` is that of the metadata as JSON."""

    id: str
    region: int
    bbox: Box | None
    metadata: dict[str, Any]
    size: int


class Added(NamedTuple):
    """What adding items came to: the labels of the new vectors, in order, and those that are no more."""

    replaced: list[bool]
    labels: list[int]
    gone: list[int]


def collections(connection: Connection) -> list[CollectionRow]:
    """All of them, by name."""
    rows = connection.execute("SELECT * FROM collections ORDER BY name")
    return [CollectionRow(*row) for row in rows]


def collection(connection: Connection, name: str) -> CollectionRow | None:
    row = connection.execute("SELECT * FROM collections WHERE name = ?", (name,)).fetchone()
    return None if row is None else CollectionRow(*row)


def collection_of(connection: Connection, key: int) -> CollectionRow | None:
    row = connection.execute("SELECT * FROM collections WHERE key = ?", (key,)).fetchone()
    return None if row is None else CollectionRow(*row)


def version(connection: Connection, key: int) -> int:
    """Another number after every change of a collection."""
    row = connection.execute("SELECT version FROM collections WHERE key = ?", (key,)).fetchone()
    return -1 if row is None else row[0]


def create(connection: Connection, declared: Declaration) -> CollectionRow:
    """Make an empty collection; its name must be free."""
    connection.execute(
        "INSERT INTO collections (name, operation, params, declared_space, space, created_at, origin)"
        " VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6)",
        (
            declared.name,
            declared.operation,
            json.dumps(dict(declared.params)),
            declared.space,
            _now(),
            # Of two collections of one name, one after the other, no state is alike.
            secrets.token_hex(16),
        ),
    )
    row = collection(connection, declared.name)
    assert row is not None
    return row


def drop(connection: Connection, key: int) -> None:
    """Delete a collection with all that it holds."""
    # By ranges of the tables: quicker than row by row through foreign keys.
    connection.execute(
        "DELETE FROM vectors WHERE label IN (SELECT label FROM regions WHERE collection = ?)", (key,)
    )
    connection.execute("DELETE FROM regions WHERE collection = ?", (key,))
    connection.execute(
        "DELETE FROM thumbnails WHERE item IN (SELECT key FROM items WHERE collection = ?)", (key,)
    )
    connection.execute("DELETE FROM items WHERE collection = ?", (key,))
    connection.execute("DELETE FROM collections WHERE key = ?", (key,))


def add(
    connection: Connection,
    row: CollectionRow,
    items: Sequence[NewItem],
    metadata: Sequence[bytes],
    vectors: Matrix | None,
    space: str,
) -> Added:
    """Add items with the rows of `vectors` for their regions; those with the ids of others replace them."""
    gone = [_delete_item(connection, row.key, item.id) for item in items]
    labels = []
    for item, written in zip(items, metadata, strict=True):
        key = connection.execute(
            "INSERT INTO items (collection, id, metadata, sha256, width, height, regions, added_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.key,
                item.id,
                written.decode(),
                item.sha256,
                item.width,
                item.height,
                len(item.regions),
                _now(),
            ),
        ).lastrowid
        if item.thumbnail is not None:
            connection.execute("INSERT INTO thumbnails VALUES (?, ?)", (key, item.thumbnail))
        for number, region in enumerate(item.regions):
            box = None if region.bbox is None else json.dumps(region.bbox)
            label = connection.execute(
                "INSERT INTO regions (collection, item, region, bbox, phash) VALUES (?, ?, ?, ?, ?)",
                (row.key, key, number, box, None if region.phash is None else _signed(region.phash)),
            ).lastrowid
            assert label is not None
            labels.append(label)
    if vectors is not None:
        connection.executemany(
            "INSERT INTO vectors VALUES (?, ?)",
            ((label, vector.tobytes()) for label, vector in zip(labels, vectors, strict=True)),
        )
        connection.execute(
            "UPDATE collections SET space = ?, dimensions = ? WHERE key = ?",
            (space, vectors.shape[1], row.key),
        )
    replaced = [labels_of_one is not None for labels_of_one in gone]
    gone_labels = [label for of_one in gone if of_one for label in of_one]
    _count(connection, row.key, len(items) - sum(replaced), len(labels) - len(gone_labels))
    return Added(replaced, labels, gone_labels)


def delete(connection: Connection, key: int, item_ids: Sequence[str]) -> tuple[int, list[int]]:
    """Delete items of a collection; how many were there, and the labels of their vectors."""
    gone = [labels for item_id in item_ids if (labels := _delete_item(connection, key, item_id)) is not None]
    labels = [label for of_one in gone for label in of_one]
    if gone:
        _count(connection, key, -len(gone), -len(labels))
    return len(gone), labels


def item(connection: Connection, key: int, item_id: str) -> Item | None:
    found = connection.execute(
        "SELECT key, metadata, sha256, width, height, image, added_at FROM items"
        " LEFT JOIN thumbnails ON item = key WHERE collection = ? AND id = ?",
        (key, item_id),
    ).fetchone()
    if found is None:
        return None
    item_key, metadata, sha256, width, height, thumbnail, added_at = found
    rows = connection.execute(
        "SELECT vector, bbox, phash FROM regions JOIN vectors USING (label) WHERE item = ? ORDER BY region",
        (item_key,),
    )
    regions = tuple(_region(*row) for row in rows)
    return Item(item_id, regions, orjson.loads(metadata), sha256, width, height, thumbnail, added_at)


def items(connection: Connection, key: int, after: str | None, limit: int) -> list[ItemSummary]:
    """Items in order of their ids, those after an id."""
    rows = connection.execute(
        "SELECT id, metadata, sha256, width, height, regions, added_at FROM items"
        " WHERE collection = ? AND (?2 IS NULL OR id > ?2) ORDER BY id LIMIT ?3",
        (key, after, limit),
    )
    return [ItemSummary(id_, orjson.loads(metadata), *rest) for id_, metadata, *rest in rows]


def regions_between(
    connection: Connection, key: int, first: str, last: str
) -> dict[str, tuple[ItemRegion, ...]]:
    """The regions of the items of a collection from one id to another, by the ids of those that have any."""
    rows = connection.execute(
        "SELECT id, vector, bbox, phash FROM items CROSS JOIN regions ON item = items.key"
        " CROSS JOIN vectors USING (label)"
        " WHERE items.collection = ? AND id BETWEEN ? AND ? ORDER BY id, region",
        (key, first, last),
    )
    return {
        id_: tuple(_region(*rest) for _, *rest in of_item)
        for id_, of_item in groupby(rows, key=lambda row: str(row[0]))
    }


def regions(connection: Connection, labels: Iterable[int]) -> dict[int, RegionRow]:
    """Those of the labels that are live."""
    found = {}
    for some in _portions(labels):
        statement = _REGIONS.format(_marks(some))
        for label, id_, region, bbox, metadata in connection.execute(statement, some):
            found[label] = RegionRow(id_, region, _box(bbox), orjson.loads(metadata), len(metadata))
    return found


def labels_of(connection: Connection, key: int, passes: Callable[[str, str], bool]) -> Iterator[int]:
    """The labels of those items of a collection that pass by id and metadata, which is JSON, in order of ids
    and regions."""
    known, passed = None, False
    rows = connection.execute(
        "SELECT items.key, id, metadata, label FROM items CROSS JOIN regions ON item = items.key"
        " WHERE items.collection = ? ORDER BY id, region",
        (key,),
    )
    for item_key, id_, metadata, label in rows:
        if item_key != known:
            known, passed = item_key, passes(id_, metadata)
        if passed:
            yield label


def labels(connection: Connection, key: int) -> Labels:
    """The live labels of a collection, rising."""
    rows = connection.execute("SELECT label FROM regions WHERE collection = ? ORDER BY label", (key,))
    return np.fromiter((label for (label,) in rows), np.int64)


def phashes(connection: Connection, key: int) -> tuple[Labels, NDArray[np.uint64]]:
    """The labels of a collection's regions that have a perceptual hash, and the hashes."""
    rows = connection.execute(
        "SELECT label, phash FROM regions WHERE collection = ? AND phash IS NOT NULL ORDER BY label", (key,)
    ).fetchall()
    both = np.array(rows, np.int64).reshape(-1, 2)
    return both[:, 0].copy(), both[:, 1].astype(np.uint64)


def owners(connection: Connection, key: int) -> dict[int, int]:
    """The item of each region of a collection."""
    return dict(connection.execute("SELECT label, item FROM regions WHERE collection = ?", (key,)))


def members(connection: Connection, key: int) -> dict[int, Member]:
    """All regions of a collection by their labels."""
    rows = connection.execute(
        "SELECT label, id, region, bbox FROM items CROSS JOIN regions ON item = key"
        " WHERE items.collection = ?",
        (key,),
    )
    return {label: Member(id_, region, _box(bbox)) for label, id_, region, bbox in rows}


def most_regions(connection: Connection, key: int) -> int:
    """How many regions the item has that has most of them."""
    (most,) = connection.execute("SELECT max(regions) FROM items WHERE collection = ?", (key,)).fetchone()
    return most or 0


def vectors(connection: Connection, labels: Sequence[int], dimensions: int) -> tuple[Labels, Matrix]:
    """The vectors of those labels that are live, as they were given, in the order of rising labels.

    One of other dimensions is newer than a moment at which the collection was empty, and left out.
    """
    rows = []
    for some in _portions(sorted(labels)):
        statement = _VECTORS.format(_marks(some))
        rows += connection.execute(statement, (*some, _bytes(dimensions))).fetchall()
    return _matrix(rows, dimensions)


def vectors_after(
    connection: Connection, key: int, label: int, limit: int, dimensions: int
) -> tuple[Labels, Matrix]:
    """The next vectors of a collection after a label, as of `vectors`."""
    rows = connection.execute(
        "SELECT label, vector FROM regions CROSS JOIN vectors USING (label)"
        " WHERE collection = ? AND label > ? AND length(vector) = ? ORDER BY label LIMIT ?",
        (key, label, _bytes(dimensions), limit),
    ).fetchall()
    return _matrix(rows, dimensions)


def set_snapshot(connection: Connection, key: int, token: str) -> str | None:
    """Name the snapshot of a collection; the one that is not named any more, which is this one where the
    collection is gone."""
    row = connection.execute("SELECT snapshot FROM collections WHERE key = ?", (key,)).fetchone()
    if row is None:
        return token
    connection.execute("UPDATE collections SET snapshot = ? WHERE key = ?", (token, key))
    (unnamed,) = row
    return None if unnamed == token else unnamed


def _delete_item(connection: Connection, collection_key: int, item_id: str) -> list[int] | None:
    """Delete an item; the labels of its vectors, or None where there is no such item."""
    found = connection.execute(
        "SELECT key FROM items WHERE collection = ? AND id = ?", (collection_key, item_id)
    ).fetchone()
    if found is None:
        return None
    rows = connection.execute("SELECT label FROM regions WHERE item = ?", found).fetchall()
    connection.execute("DELETE FROM items WHERE key = ?", found)
    return [label for (label,) in rows]


def _count(connection: Connection, key: int, items: int, vectors: int) -> None:
    connection.execute(
        "UPDATE collections SET version = version + 1, items = items + ?, vectors = vectors + ?"
        " WHERE key = ?",
        (items, vectors, key),
    )
    # Vectors of any space may come next, for which no snapshot of these is of use.
    connection.execute(
        "UPDATE collections SET space = declared_space, dimensions = NULL, snapshot = NULL"
        " WHERE key = ? AND vectors = 0",
        (key,),
    )


def _matrix(rows: Sequence[tuple[int, bytes]], dimensions: int) -> tuple[Labels, Matrix]:
    labels = np.fromiter((label for label, _ in rows), np.int64, len(rows))
    joined = b"".join(vector for _, vector in rows)
    return labels, np.frombuffer(joined, np.float32).reshape(len(rows), dimensions)


def _bytes(dimensions: int) -> int:
    return dimensions * np.dtype(np.float32).itemsize


def _portions(labels: Iterable[int]) -> Iterator[list[int]]:
    every = list(labels)
    for start in range(0, len(every), _MAX_LABELS):
        yield every[start : start + _MAX_LABELS]


def _marks(values: Sequence[int]) -> str:
    return ",".join("?" * len(values))


def _region(vector: bytes, bbox: str | None, phash: int | None) -> ItemRegion:
    values = np.frombuffer(vector, np.float32)
    return ItemRegion(values, _box(bbox), None if phash is None else _unsigned(phash))


def _box(written: str | None) -> Box | None:
    return None if written is None else Box(*orjson.loads(written))


def _signed(phash: int) -> int:
    """64 bits as SQLite's integer, which is signed."""
    return phash - (1 << 64) if phash >= _SIGN else phash


def _unsigned(phash: int) -> int:
    return phash + (1 << 64) if phash < 0 else phash


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
