"""The index in a folder of this machine, which one process holds at a time.

SQLite keeps what is added, and is the truth. Graphs in memory find the nearest vectors; they can always be
made again from the database, and a snapshot of each on the disk only makes the next start fast.
"""

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from filelock import FileLock, Timeout

from app.core.collection import Hit
from app.core.errors import IndexUnavailable, ItemNotFound
from app.core.filters import is_storable
from app.core.wording import quoted
from app.index import sqlite
from app.index.database import Database
from app.index.items import checked_items
from app.index.keeper import Keeper, Progress, Tuning
from app.index.pages import fitting
from app.index.pairs import Pairs
from app.index.refusals import exists_already, made_anew, not_found, of_another_space
from app.index.rows import Rows
from app.index.search import Search
from app.index.snapshots import Snapshots
from app.index.sqlite import CollectionRow
from app.index.storage import (
    MAX_PAGE_NUMBERS,
    CollectionRecord,
    Declaration,
    Item,
    ItemSummary,
    Matrix,
    Member,
    NearHash,
    NewItem,
    Query,
    Storage,
    VectorPage,
)
from app.index.structure import Structure
from app.index.vectors import checked_regions, checked_units, normalized

logger = logging.getLogger(__name__)

T = TypeVar("T")

# What lies in the folder, beside the snapshots.
DATABASE = "index.sqlite"
_LOCK = "lock"
_OWNER = "owner"


class LocalStorage(Storage):
    """Keeps collections in a folder.

    It is opened at first use. While it is open no other process can open it.

    Args:
        folder: where everything lies; it is made where there is none.
        progress: told of the rebuild of a graph: the collection, the vectors that it has, and all of them.
        tuning: when graphs are built, and snapshots written.
    """

    def __init__(
        self, folder: Path, progress: Progress | None = None, *, tuning: Tuning | None = None
    ) -> None:
        self._folder = folder
        self._progress = progress
        self._tuning = tuning or Tuning()
        self._opening = threading.Lock()
        self._held: _Held | None = None
        self._closed = False

    def open(self) -> None:
        """Open it now, and begin to load the search structures.

        Raises:
            IndexUnavailable: another process holds it, or it cannot be read.
        """
        self._opened()

    def close(self) -> None:
        with self._opening:
            self._closed = True
            held, self._held = self._held, None
            if held is not None:
                held.close()

    def collections(self) -> list[CollectionRecord]:
        held = self._opened()
        with held.database.reading() as connection:
            rows = sqlite.collections(connection)
        return [held.record(row) for row in rows]

    def create(self, declaration: Declaration) -> CollectionRecord:
        held = self._opened()
        with held.database.mutex:
            with held.database.writing() as connection:
                if sqlite.collection(connection, declaration.name) is not None:
                    raise exists_already(declaration.name)
                row = sqlite.create(connection, declaration)
            held.structures[row.name] = Structure(row.key, row.origin, None)
        return held.record(row)

    def collection(self, name: str) -> CollectionRecord:
        held = self._opened()
        with held.database.reading() as connection:
            row = _find(connection, name)
        return held.record(row)

    def drop(self, name: str) -> None:
        held = self._opened()
        with held.database.mutex:
            with held.database.writing() as connection:
                row = _find(connection, name)
                sqlite.drop(connection, row.key)
            held.structures.pop(name).retired = True
        if row.snapshot is not None:
            held.snapshots.delete(row.snapshot)

    def add(
        self, name: str, items: Sequence[NewItem], space: str, *, identity: str | None = None
    ) -> list[bool]:
        metadata = checked_items(items)
        held = self._opened()
        with held.database.mutex:
            with held.database.writing() as connection:
                row = _find(connection, name)
                _check_identity(row.origin, identity, name)
                if row.space is not None and row.space != space:
                    raise of_another_space(name, row.space, space)
                vectors = checked_regions(items, row.dimensions)
                if not items:
                    return []
                added = sqlite.add(connection, row, items, metadata, vectors, space)
            held.change(row, added.labels, vectors, added.gone)
        return added.replaced

    def item(self, name: str, item_id: str) -> Item:
        with self._opened().database.reading() as connection:
            row = _find(connection, name)
            found = sqlite.item(connection, row.key, item_id) if is_storable(item_id) else None
        if found is None:
            raise ItemNotFound(f"The collection '{name}' holds no item {quoted(item_id)}.")
        return found

    def items(self, name: str, after: str | None = None, limit: int = 100) -> list[ItemSummary]:
        with self._opened().database.reading() as connection:
            return sqlite.items(connection, _find(connection, name).key, _storable_start(after), limit)

    def vectors(
        self, name: str, after: str | None = None, limit: int = 100, numbers: int = MAX_PAGE_NUMBERS
    ) -> VectorPage:
        with self._opened().database.reading() as connection:
            row = _find(connection, name)
            listed = sqlite.items(connection, row.key, _storable_start(after), limit + 1)
            page = fitting(listed, row.dimensions, limit, numbers)
            regions = sqlite.regions_between(connection, row.key, page[0].id, page[-1].id) if page else {}
        items = tuple((summary, regions.get(summary.id, ())) for summary in page)
        return VectorPage(row.space, items, len(page) < len(listed))

    def delete(self, name: str, item_ids: Sequence[str]) -> int:
        held = self._opened()
        with held.database.mutex:
            with held.database.writing() as connection:
                row = _find(connection, name)
                storable = [item_id for item_id in item_ids if is_storable(item_id)]
                deleted, gone = sqlite.delete(connection, row.key, storable)
            held.change(row, [], None, gone)
        return deleted

    def search(
        self, name: str, vectors: Matrix, query: Query, *, identity: str | None = None
    ) -> list[list[Hit]]:
        held, structure = self._loaded(name, identity)
        units = checked_units(vectors, structure.dimensions, "vectors")
        return held.still_there(name, structure, held.search.nearest(structure, units, query))

    def near_hashes(
        self, name: str, phash: int, max_distance: int, query: Query, *, identity: str | None = None
    ) -> list[NearHash]:
        held, structure = self._loaded(name, identity)
        near = held.search.near_hashes(structure, phash, max_distance, query)
        return held.still_there(name, structure, near)

    def near_pairs(
        self, name: str, min_score: float, until: float | None = None
    ) -> list[tuple[Member, Member, float]]:
        held, structure = self._loaded(name)
        return held.still_there(name, structure, held.pairs.near(structure, min_score, until))

    def near_hash_pairs(
        self, name: str, max_distance: int, until: float | None = None
    ) -> list[tuple[Member, Member, int]]:
        held, structure = self._loaded(name)
        return held.still_there(name, structure, held.pairs.near_hashes(structure, max_distance, until))

    def _opened(self) -> "_Held":
        held = self._held
        if held is not None:
            return held
        with self._opening:
            if self._closed:
                raise IndexUnavailable("The index was closed.")
            if self._held is None:
                self._held = _Held(self._folder, self._progress, self._tuning)
            return self._held

    def _loaded(self, name: str, identity: str | None = None) -> "tuple[_Held, Structure]":
        held = self._opened()
        structure = held.structures.get(name)
        if structure is None:
            raise not_found(name, held.structures)
        _check_identity(structure.identity, identity, name)
        held.keeper.load(structure)
        return held, structure


class _Held:
    """The folder while it is open."""

    def __init__(self, folder: Path, progress: Progress | None, tuning: Tuning) -> None:
        self._lock = _locked(folder)
        try:
            self.database = Database(folder / DATABASE, sqlite.SCHEMA, sqlite.VERSION)
        except BaseException:
            self._lock.release()
            raise
        try:
            with self.database.reading() as connection:
                rows = sqlite.collections(connection)
        except BaseException:
            self.database.close()
            self._lock.release()
            raise
        self.structures = {row.name: Structure(row.key, row.origin, row.dimensions) for row in rows}
        self.snapshots = Snapshots(folder / "snapshots")
        self.snapshots.keep_only([row.snapshot for row in rows if row.snapshot is not None])
        self.search = Search(self.database, Rows(self.database))
        self.pairs = Pairs(self.database)
        self.keeper = Keeper(self.database, self.structures, self.snapshots, tuning, progress)
        self.keeper.start()
        self.keeper.wake()

    def change(
        self, row: CollectionRow, labels: Sequence[int], vectors: Matrix | None, gone: Sequence[int]
    ) -> None:
        """Tell a structure of what was committed; the database's mutex must still be held."""
        structure = self.structures[row.name]
        if row.vectors + len(labels) == len(gone):
            # Vectors of any dimensions may come next.
            self._replace(row, None)
            if row.snapshot is not None:
                self.snapshots.delete(row.snapshot)
            return
        try:
            structure.change(
                np.array(labels, np.int64), None if vectors is None else normalized(vectors), gone
            )
        except MemoryError:
            # It is in the database, from which another structure reads it when there is memory.
            logger.exception("the search structure of the collection %s is read again", row.name)
            self._replace(row, structure.dimensions)
        self.keeper.wake()

    def still_there(self, name: str, structure: Structure, found: T) -> T:
        """What was found, if the collection was not dropped meanwhile: then it may be a part of it only."""
        current = self.structures.get(name)
        if current is None:
            raise not_found(name, self.structures)
        _check_identity(current.identity, structure.identity, name)
        return found

    def _replace(self, row: CollectionRow, dimensions: int | None) -> None:
        self.structures[row.name].retired = True
        self.structures[row.name] = Structure(row.key, row.origin, dimensions)

    def record(self, row: CollectionRow) -> CollectionRecord:
        structure = self.structures.get(row.name)
        pending = row.vectors
        rebuilt = None
        if structure is not None and structure.loaded:
            pending, rebuilt = self.keeper.pending(structure), structure.rebuilt
        return CollectionRecord(
            row.declared,
            space=row.space,
            dimensions=row.dimensions,
            created_at=row.created_at,
            items=row.items,
            vectors=row.vectors,
            state=row.state,
            identity=row.origin,
            pending=pending,
            rebuilt=rebuilt,
        )

    def close(self) -> None:
        self.keeper.stop()
        self.database.close()
        self._lock.release()


def holder_of(folder: Path) -> str:
    """Who has the index of a folder open, as a sentence; empty where nobody has."""
    try:
        with FileLock(folder / _LOCK).acquire(blocking=False):
            return ""
    except Timeout:
        return _held_by(folder / _OWNER)


def _locked(folder: Path) -> FileLock:
    """The folder's lock, which ends with the process that holds it."""
    owner = folder / _OWNER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Whichever thread closes the index lets go of it.
        lock = FileLock(folder / _LOCK, thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise IndexUnavailable(_held_by(owner)) from None
        owner.write_text(str(os.getpid()))
    except OSError as error:
        logger.exception("the index's folder %s cannot be used", folder)
        raise IndexUnavailable(
            f"The index's folder cannot be used ({error.strerror}). Check its rights and its disk, or set "
            "SIGHTGRAPH_DATA to another folder."
        ) from error
    return lock


def _held_by(owner: Path) -> str:
    try:
        holder = f"process {int(owner.read_text())}"
    except (OSError, ValueError):
        holder = "another process"
    return (
        f"The index is open in {holder}. Stop that one, or use its HTTP interface, or set SIGHTGRAPH_DATA to "
        "another folder."
    )


def _find(connection: sqlite.Connection, name: str) -> CollectionRow:
    row = sqlite.collection(connection, name) if is_storable(name) else None
    if row is None:
        raise not_found(name, [known.name for known in sqlite.collections(connection)])
    return row


def _storable_start(after: str | None) -> str | None:
    """Ids are storable: those after a text are those after what of it is."""
    return None if after is None else after.encode(errors="surrogatepass").decode(errors="replace")


def _check_identity(identity: str, expected: str | None, name: str) -> None:
    if expected is not None and identity != expected:
        raise made_anew(name)
