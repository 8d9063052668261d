"""The index in PostgreSQL with pgvector: for several servers, and more vectors than one holds in memory."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import NamedTuple

import numpy as np
from pgvector import Vector
from psycopg import sql
from psycopg.types.json import Json, Jsonb

from app.core.collection import Hit
from app.core.errors import IndexUnavailable, ItemNotFound
from app.core.filters import is_storable
from app.core.wording import quoted
from app.index import postgres_search as searches
from app.index import postgres_tables as layout
from app.index.hashes import near_pairs as hash_pairs
from app.index.items import checked_items
from app.index.pages import fitting
from app.index.postgres_database import Connection, Database
from app.index.postgres_filters import attributes_of
from app.index.postgres_tables import Tables
from app.index.refusals import exists_already, made_anew, not_found, of_another_space
from app.index.storage import (
    MAX_PAGE_NUMBERS,
    CollectionRecord,
    Declaration,
    Item,
    ItemRegion,
    ItemSummary,
    Matrix,
    Member,
    NearHash,
    NewItem,
    Query,
    VectorPage,
)
from app.index.vectors import checked, checked_regions, normalized

# Of vectors beyond this length, or below its inverse, pgvector's sums of squares overflow or vanish.
_MAX_LENGTH = 1e9


class _Stored(NamedTuple):
    """A row of `collections`."""

    number: int
    name: str
    operation: str
    params: dict[str, object]
    declared_space: str | None
    space: str | None
    dimensions: int | None
    created_at: datetime
    items: int
    vectors: int
    identity: str
    version: int
    generation: int

    @property
    def tables(self) -> Tables:
        return Tables(self.number, self.generation, self.dimensions, self.vectors)

    @property
    def record(self) -> CollectionRecord:
        return CollectionRecord(
            Declaration(self.name, self.operation, self.params, self.declared_space),
            space=self.space,
            dimensions=self.dimensions,
            created_at=_iso(self.created_at),
            items=self.items,
            vectors=self.vectors,
            state=f"{self.identity}-{self.version}",
            identity=self.identity,
        )


_COLUMNS = sql.SQL(
    "number, name, operation, params, declared_space, space, dimensions, created_at, items, vectors, "
    "incarnation::text, version, generation"
)


class PostgresStorage:
    """Collections in a database, each in tables of its own in the schema `sightgraph`.

    Several servers may use one database at the same time: nothing of what is stored is remembered outside of
    it. Changes of one collection wait for each other; searches wait for nothing.

    Args:
        url: of the database, `postgresql://user:password@host:port/name`. It is opened when it is used first.
        timeout_seconds: for how long a connection is waited for.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 5.0) -> None:
        self._database = Database(url, timeout_seconds=timeout_seconds)

    def open(self) -> None:
        if self._database.read(layout.has_leftovers):
            self._drop_leftovers()

    def collections(self) -> list[CollectionRecord]:
        def work(connection: Connection) -> list[CollectionRecord]:
            rows = connection.execute(sql.SQL("SELECT {} FROM collections ORDER BY name").format(_COLUMNS))
            return [_Stored(*row).record for row in rows]

        return self._database.read(work)

    def create(self, declaration: Declaration) -> CollectionRecord:
        def work(connection: Connection) -> CollectionRecord:
            space = declaration.space
            row = connection.execute(
                sql.SQL(
                    "INSERT INTO collections (name, operation, params, declared_space, space) "
                    "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (name) DO NOTHING RETURNING {}"
                ).format(_COLUMNS),
                (declaration.name, declaration.operation, Json(dict(declaration.params)), space, space),
            ).fetchone()
            if row is None:
                raise exists_already(declaration.name)
            stored = _Stored(*row)
            layout.create(connection, stored.tables)
            return stored.record

        return self._database.write(work)

    def collection(self, name: str) -> CollectionRecord:
        return self._database.read(lambda connection: _find(connection, name).record)

    def drop(self, name: str) -> None:
        def work(connection: Connection) -> None:
            stored = _find(connection, name, to_change=True)
            connection.execute("DELETE FROM collections WHERE number = %s", (stored.number,))
            layout.leave(connection, stored.tables.items_name, stored.tables.regions_name)

        self._database.write(work)
        self._drop_leftovers()

    def add(
        self, name: str, items: Sequence[NewItem], space: str, *, identity: str | None = None
    ) -> list[bool]:
        metadata = checked_items(items)

        def work(connection: Connection) -> tuple[list[bool], bool]:
            stored = _find(connection, name, identity, to_change=True)
            if stored.space is not None and stored.space != space:
                raise of_another_space(name, stored.space, space)
            matrix = checked_regions(items, stored.dimensions)
            if not items:
                return [], False
            vectors, replaced = _delete(connection, stored.tables, [item.id for item in items])
            changed = stored._replace(
                items=stored.items + len(items) - len(replaced),
                vectors=stored.vectors + (0 if matrix is None else len(matrix)) - vectors,
            )
            if matrix is not None:
                changed = changed._replace(space=space, dimensions=matrix.shape[1])
            changed = _changed(connection, stored, changed)
            _copy_items(connection, changed.tables, items, metadata)
            if matrix is not None:
                _copy_regions(connection, changed.tables, items, matrix)
            return [item.id in replaced for item in items], changed.generation != stored.generation

        replaced, renewed = self._database.write(work)
        if renewed:
            self._drop_leftovers()
        return replaced

    def item(self, name: str, item_id: str) -> Item:
        def work(connection: Connection) -> Item:
            tables = _find(connection, name).tables
            row = None
            if is_storable(item_id):
                row = connection.execute(
                    sql.SQL(
                        "SELECT metadata, sha256, width, height, thumbnail, added_at FROM {} WHERE id = %s"
                    ).format(tables.items),
                    (item_id,),
                ).fetchone()
            if row is None:
                raise ItemNotFound(f"The collection '{name}' holds no item {quoted(item_id)}.")
            metadata, sha256, width, height, thumbnail, added_at = row
            regions = _regions(connection, tables, [item_id]).get(item_id, ())
            return Item(item_id, regions, metadata, sha256, width, height, thumbnail, _iso(added_at))

        return self._database.read(work)

    def items(self, name: str, after: str | None = None, limit: int = 100) -> list[ItemSummary]:
        def work(connection: Connection) -> list[ItemSummary]:
            return _listed(connection, _find(connection, name).tables, after, limit)

        return self._database.read(work)

    def vectors(
        self, name: str, after: str | None = None, limit: int = 100, numbers: int = MAX_PAGE_NUMBERS
    ) -> VectorPage:
        def work(connection: Connection) -> VectorPage:
            stored = _find(connection, name)
            listed = _listed(connection, stored.tables, after, limit + 1)
            page = fitting(listed, stored.dimensions, limit, numbers)
            regions = _regions(connection, stored.tables, [summary.id for summary in page])
            items = tuple((summary, regions.get(summary.id, ())) for summary in page)
            return VectorPage(stored.space, items, len(page) < len(listed))

        return self._database.read(work)

    def delete(self, name: str, item_ids: Sequence[str]) -> int:
        def work(connection: Connection) -> tuple[int, bool]:
            stored = _find(connection, name, to_change=True)
            vectors, deleted = _delete(connection, stored.tables, [id for id in item_ids if is_storable(id)])
            if not deleted:
                return 0, False
            changed = _changed(
                connection,
                stored,
                stored._replace(items=stored.items - len(deleted), vectors=stored.vectors - vectors),
            )
            return len(deleted), changed.generation != stored.generation

        deleted, renewed = self._database.write(work)
        if renewed:
            self._drop_leftovers()
        return deleted

    def search(
        self, name: str, vectors: Matrix, query: Query, *, identity: str | None = None
    ) -> list[list[Hit]]:
        def work(connection: Connection) -> list[list[Hit]]:
            tables = _find(connection, name, identity).tables
            units = normalized(checked(vectors, tables.dimensions, "vectors"))
            return searches.nearest(connection, tables, units, query)

        return self._database.read(work, query.until)

    def near_hashes(
        self, name: str, phash: int, max_distance: int, query: Query, *, identity: str | None = None
    ) -> list[NearHash]:
        def work(connection: Connection) -> list[NearHash]:
            tables = _find(connection, name, identity).tables
            return searches.near_hashes(connection, tables, phash, max_distance, query)

        return self._database.read(work, query.until)

    def near_pairs(
        self, name: str, min_score: float, until: float | None = None
    ) -> list[tuple[Member, Member, float]]:
        identity = self.collection(name).identity
        scores: dict[tuple[Member, Member], float] = {}
        # In many transactions: one of minutes keeps the database from clearing up what was deleted.
        last: searches.Place | None = searches.START
        while last is not None:
            work = partial(_pairs_after, name=name, identity=identity, min_score=min_score, last=last)
            found, last = self._database.read(work, until)
            scores |= found
        return sorted(
            ((one, other, score) for (one, other), score in scores.items()),
            key=lambda pair: (pair[0].id, pair[0].region, pair[1].id, pair[1].region),
        )

    def near_hash_pairs(
        self, name: str, max_distance: int, until: float | None = None
    ) -> list[tuple[Member, Member, int]]:
        identity = self.collection(name).identity

        def read(connection: Connection) -> searches.Hashes:
            return searches.hashes(connection, _find(connection, name, identity).tables)

        hashes = self._database.read(read, until)
        pairs = [
            (hashes.places[one], hashes.places[other], distance)
            for one, other, distance in hash_pairs(
                hashes.phashes, hashes.owners, max_distance, searches.PAIRS_PER_REGION, until
            )
        ]
        concerned = sorted({place for one, other, _ in pairs for place in (one, other)})

        def read_members(connection: Connection) -> dict[searches.Place, Member]:
            return searches.members(connection, _find(connection, name, identity).tables, concerned)

        members = self._database.read(read_members, until)
        # Some may have been deleted meanwhile.
        return [
            (members[one], members[other], distance)
            for one, other, distance in pairs
            if one in members and other in members
        ]

    def close(self) -> None:
        self._database.close()

    def _drop_leftovers(self) -> None:
        # The collection is without them already. Where it fails now, the next time does it.
        with suppress(IndexUnavailable):
            self._database.write(layout.drop_leftovers)


def _find(
    connection: Connection, name: str, identity: str | None = None, *, to_change: bool = False
) -> _Stored:
    """A collection as it stands; to change it, after every other change of it has ended."""
    row = None
    if is_storable(name):
        statement = sql.SQL("SELECT {} FROM collections WHERE name = %s {}").format(
            _COLUMNS, sql.SQL("FOR UPDATE" if to_change else "")
        )
        row = connection.execute(statement, (name,)).fetchone()
    if row is None:
        names = [known for (known,) in connection.execute("SELECT name FROM collections ORDER BY name")]
        raise not_found(name, names)
    stored = _Stored(*row)
    if identity not in (None, stored.identity):
        raise made_anew(name)
    return stored


def _storable_start(text: str) -> str:
    """A text that can be sent; of storable ids those after it are those after the given one."""
    return text.encode(errors="surrogatepass").decode(errors="replace").partition("\0")[0]


def _changed(connection: Connection, before: _Stored, after: _Stored) -> _Stored:
    """Note what a change makes of a collection, and give its regions another table where it needs one."""
    if not after.vectors:
        after = after._replace(space=after.declared_space, dimensions=None)
    if after.dimensions != before.dimensions:
        after = after._replace(generation=before.generation + 1)
        layout.create_regions(connection, after.tables)
        layout.leave(connection, before.tables.regions_name)
    connection.execute(
        "UPDATE collections SET space = %s, dimensions = %s, items = %s, vectors = %s, generation = %s, "
        "version = version + 1 WHERE number = %s",
        (after.space, after.dimensions, after.items, after.vectors, after.generation, after.number),
    )
    return after


def _pairs_after(
    connection: Connection, *, name: str, identity: str, min_score: float, last: searches.Place
) -> tuple[dict[tuple[Member, Member], float], searches.Place | None]:
    return searches.pairs_after(connection, _find(connection, name, identity).tables, min_score, last)


def _listed(connection: Connection, tables: Tables, after: str | None, limit: int) -> list[ItemSummary]:
    """The items after an id."""
    rows = connection.execute(
        sql.SQL(
            """
            SELECT id, metadata, sha256, width, height,
                   (SELECT count(*) FROM {regions} WHERE item_id = id), added_at
            FROM {items} WHERE %(after)s::text IS NULL OR id > %(after)s ORDER BY id LIMIT %(limit)s
            """
        ).format(regions=tables.regions, items=tables.items),
        {"after": None if after is None else _storable_start(after), "limit": limit},
    )
    return [
        ItemSummary(item_id, metadata, sha256, width, height, regions, _iso(added_at))
        for item_id, metadata, sha256, width, height, regions, added_at in rows
    ]


def _regions(
    connection: Connection, tables: Tables, item_ids: Sequence[str]
) -> dict[str, tuple[ItemRegion, ...]]:
    """The regions of those items that have any."""
    rows = connection.execute(
        sql.SQL(
            "SELECT item_id, vector, given, bbox, phash FROM {} WHERE item_id = ANY(%s) "
            "ORDER BY item_id, region"
        ).format(tables.regions),
        (list(item_ids),),
    )
    return {
        item_id: tuple(
            ItemRegion(_given(vector.to_numpy(), given), layout.box(bbox), layout.unsigned(phash))
            for _, vector, given, bbox, phash in of_item
        )
        for item_id, of_item in groupby(rows, key=lambda row: str(row[0]))
    }


def _delete(connection: Connection, tables: Tables, item_ids: Sequence[str]) -> tuple[int, set[str]]:
    """Delete items; how many vectors went with which of them."""
    ids = list(item_ids)
    regions = connection.execute(
        sql.SQL("DELETE FROM {} WHERE item_id = ANY(%s)").format(tables.regions), (ids,)
    ).rowcount
    items = connection.execute(
        sql.SQL("DELETE FROM {} WHERE id = ANY(%s) RETURNING id").format(tables.items), (ids,)
    )
    return regions, {item_id for (item_id,) in items}


def _copy_items(
    connection: Connection, tables: Tables, items: Sequence[NewItem], metadata: Sequence[bytes]
) -> None:
    statement = sql.SQL(
        "COPY {} (id, metadata, sha256, width, height, thumbnail) FROM STDIN (FORMAT BINARY)"
    ).format(tables.items)
    with connection.cursor().copy(statement) as copy:
        # To the wire, json is its text.
        copy.set_types(["text", "text", "text", "integer", "integer", "bytea"])
        for item, written in zip(items, metadata, strict=True):
            copy.write_row((item.id, written.decode(), item.sha256, item.width, item.height, item.thumbnail))


def _copy_regions(connection: Connection, tables: Tables, items: Sequence[NewItem], matrix: Matrix) -> None:
    statement = sql.SQL(
        "COPY {} (item_id, region, vector, given, bbox, phash, attributes) FROM STDIN (FORMAT BINARY)"
    ).format(tables.regions)
    units = normalized(matrix)
    lengths = np.linalg.norm(matrix.astype(np.float64), axis=1)
    comparable = (lengths <= _MAX_LENGTH) & (lengths >= 1 / _MAX_LENGTH)
    rows = iter(range(len(matrix)))
    with connection.cursor().copy(statement) as copy:
        copy.set_types(["text", "integer", "vector", "bytea", "integer[]", "bigint", "jsonb"])
        for item in items:
            attributes = Jsonb(attributes_of(item.metadata))
            for number, region in enumerate(item.regions):
                row = next(rows)
                vector, given = (
                    (matrix[row], None) if comparable[row] else (units[row], matrix[row].tobytes())
                )
                bbox = None if region.bbox is None else list(region.bbox)
                phash = None if region.phash is None else layout.signed(region.phash)
                copy.write_row((item.id, number, Vector(vector), given, bbox, phash, attributes))


def _given(vector: Matrix, given: bytes | None) -> Matrix:
    return vector if given is None else np.frombuffer(given, np.float32)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
