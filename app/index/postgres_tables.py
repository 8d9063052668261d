"""The tables of one collection.

Each collection has its own, because an index of pgvector needs vectors of one dimension. So a collection is
also dropped at once, however large, and the planner has statistics of its own for it.

No table that is in use is ever altered or dropped: that waits for the longest read of it, a backup say, and
every search that comes meanwhile waits behind. Vectors of other dimensions get a new table. A table that
nothing refers to any more is left over, and dropped once nobody reads it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from psycopg import errors, sql

from app.core.geometry import Box
from app.index.postgres_database import Connection

# pgvector's limits of an HNSW index on `vector` and on `halfvec`.
MAX_INDEXED = 2000
MAX_INDEXED_HALF = 4000
# So many vectors are compared one by one about as fast as the index is searched, and never missed.
EXACT_UP_TO = 1000
# A page of 8 KB holds a row of up to so many dimensions, which is then read in one go.
_MAX_INLINE = 1536
# For so long, and for so many of them one after the other, a drop waits.
_DROP_TIMEOUT = "100ms"
_DROPS_AT_A_TIME = 20


@dataclass(frozen=True, slots=True)
class Tables:
    """Those of the collection with this number, which holds so many vectors.

    `generation` counts the tables that its regions had.
    """

    number: int
    generation: int
    dimensions: int | None
    vectors: int

    @property
    def items_name(self) -> str:
        return f"items_{self.number}"

    @property
    def regions_name(self) -> str:
        return f"regions_{self.number}_{self.generation}"

    @property
    def items(self) -> sql.Identifier:
        return sql.Identifier(self.items_name)

    @property
    def regions(self) -> sql.Identifier:
        return sql.Identifier(self.regions_name)

    @property
    def is_halved(self) -> bool:
        """Whether the index holds the vectors in half precision."""
        return self.dimensions is not None and MAX_INDEXED < self.dimensions <= MAX_INDEXED_HALF

    @property
    def is_searched_by_index(self) -> bool:
        return (
            self.dimensions is not None and self.dimensions <= MAX_INDEXED_HALF and self.vectors > EXACT_UP_TO
        )

    def indexed(self, vector: sql.Composable) -> sql.Composable:
        """What the index holds of a vector."""
        if not self.is_halved:
            return vector
        # At length 1 no number leaves the range of half precision.
        return sql.SQL("(l2_normalize({})::halfvec({}))").format(vector, self.dimensions)


def create(connection: Connection, tables: Tables) -> None:
    """Make the tables."""
    connection.execute(
        sql.SQL(
            """
            CREATE TABLE {} (
                id text COLLATE "C" PRIMARY KEY,
                metadata json NOT NULL,
                sha256 text,
                width integer,
                height integer,
                thumbnail bytea STORAGE EXTERNAL,
                added_at timestamptz NOT NULL DEFAULT now()
            )
            """
        ).format(tables.items)
    )
    create_regions(connection, tables)


def create_regions(connection: Connection, tables: Tables) -> None:
    """Make the table of the regions, for vectors of these dimensions, and index them."""
    dimensions = tables.dimensions
    connection.execute(
        sql.SQL(
            """
            CREATE TABLE {regions} (
                -- Of items. A foreign key would let no such table be dropped while the items are read.
                item_id text COLLATE "C" NOT NULL,
                region integer NOT NULL,
                vector {vector} NOT NULL,
                -- As it was given, where `vector` had to be brought to another length.
                given bytea,
                bbox integer[],
                phash bigint,
                -- What filters look at of the item's metadata.
                attributes jsonb NOT NULL,
                PRIMARY KEY (item_id, region)
            )
            """
        ).format(
            regions=tables.regions,
            vector=sql.SQL("vector" if dimensions is None else f"vector({dimensions})"),
        )
    )
    connection.execute(
        sql.SQL("CREATE INDEX ON {} USING gin (attributes jsonb_path_ops)").format(tables.regions)
    )
    if dimensions is None:
        return
    storage = sql.SQL("PLAIN" if dimensions <= _MAX_INLINE else "EXTERNAL")
    connection.execute(
        sql.SQL("ALTER TABLE {} ALTER COLUMN vector SET STORAGE {}").format(tables.regions, storage)
    )
    if dimensions <= MAX_INDEXED_HALF:
        connection.execute(
            sql.SQL("CREATE INDEX ON {} USING hnsw ({} {})").format(
                tables.regions,
                tables.indexed(sql.Identifier("vector")),
                sql.SQL("halfvec_cosine_ops" if tables.is_halved else "vector_cosine_ops"),
            )
        )


def leave(connection: Connection, *tables: str) -> None:
    """Note tables that nothing refers to from the end of this transaction on."""
    for table in tables:
        connection.execute("INSERT INTO leftovers VALUES (%s)", (table,))


def has_leftovers(connection: Connection) -> bool:
    return connection.execute("SELECT FROM leftovers LIMIT 1").fetchone() is not None


def drop_leftovers(connection: Connection) -> None:
    """Drop tables that are left over; those that are still read are left for another time."""
    connection.execute(f"SET LOCAL lock_timeout = '{_DROP_TIMEOUT}'")
    # In another order each time, so that some that are read do not keep the others from their turn. What
    # another server is dropping is not waited for.
    leftovers = connection.execute(
        "SELECT name FROM leftovers ORDER BY random() LIMIT %s FOR UPDATE SKIP LOCKED", (_DROPS_AT_A_TIME,)
    ).fetchall()
    for (name,) in leftovers:
        with suppress(errors.LockNotAvailable), connection.transaction():
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))
            connection.execute("DELETE FROM leftovers WHERE name = %s", (name,))


def signed(phash: int) -> int:
    """64 bits as PostgreSQL's bigint, which has a sign."""
    return phash - (1 << 64) if phash >> 63 else phash


def unsigned(phash: int | None) -> int | None:
    """What `signed` was made of."""
    return None if phash is None else phash % (1 << 64)


def box(corners: Sequence[int] | None) -> Box | None:
    return None if corners is None else Box(*corners)
