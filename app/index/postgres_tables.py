"""The tables of one collection.

Each collection has its own, because an index of pgvector needs vectors of one dimension. So a collection is
also dropped at once, however large, and the planner has statistics of its own for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from app.core.geometry import Box
from app.index.postgres_database import Connection

# pgvector's limits of an HNSW index on `vector` and on `halfvec`.
MAX_INDEXED = 2000
MAX_INDEXED_HALF = 4000
# So many vectors are compared one by one about as fast as the index is searched, and never missed.
EXACT_UP_TO = 1000
# A page of 8 KB holds a row of up to so many dimensions, which is then read in one go.
_MAX_INLINE = 1536


@dataclass(frozen=True, slots=True)
class Tables:
    """Those of the collection with this number, which holds so many vectors."""

    number: int
    dimensions: int | None
    vectors: int

    @property
    def items(self) -> sql.Identifier:
        return sql.Identifier(f"items_{self.number}")

    @property
    def regions(self) -> sql.Identifier:
        return sql.Identifier(f"regions_{self.number}")

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
    """Make the tables, for vectors of any dimension."""
    connection.execute(
        sql.SQL(
            """
            CREATE TABLE {items} (
                id text COLLATE "C" PRIMARY KEY,
                metadata json NOT NULL,
                sha256 text,
                width integer,
                height integer,
                thumbnail bytea STORAGE EXTERNAL,
                added_at timestamptz NOT NULL DEFAULT now()
            )
            """
        ).format(items=tables.items)
    )
    connection.execute(
        sql.SQL(
            """
            CREATE TABLE {regions} (
                item_id text COLLATE "C" NOT NULL REFERENCES {items} ON DELETE CASCADE,
                region integer NOT NULL,
                vector vector NOT NULL,
                -- As it was given, where `vector` had to be brought to another length.
                given bytea,
                bbox integer[],
                phash bigint,
                -- What filters look at of the item's metadata.
                attributes jsonb NOT NULL,
                PRIMARY KEY (item_id, region)
            )
            """
        ).format(regions=tables.regions, items=tables.items)
    )
    connection.execute(
        sql.SQL("CREATE INDEX ON {} USING gin (attributes jsonb_path_ops)").format(tables.regions)
    )


def fix_dimensions(connection: Connection, tables: Tables) -> None:
    """Let the empty tables take vectors of these dimensions only, and index them."""
    assert tables.dimensions is not None
    connection.execute(
        sql.SQL(
            "ALTER TABLE {} ALTER COLUMN vector TYPE vector({}), ALTER COLUMN vector SET STORAGE {}"
        ).format(
            tables.regions,
            tables.dimensions,
            sql.SQL("PLAIN" if tables.dimensions <= _MAX_INLINE else "EXTERNAL"),
        )
    )
    if tables.dimensions <= MAX_INDEXED_HALF:
        connection.execute(
            sql.SQL("CREATE INDEX ON {} USING hnsw ({} {})").format(
                tables.regions,
                tables.indexed(sql.Identifier("vector")),
                sql.SQL("halfvec_cosine_ops" if tables.is_halved else "vector_cosine_ops"),
            )
        )


def drop(connection: Connection, tables: Tables) -> None:
    connection.execute(sql.SQL("DROP TABLE {}, {}").format(tables.regions, tables.items))


def signed(phash: int) -> int:
    """64 bits as PostgreSQL's bigint, which has a sign."""
    return phash - (1 << 64) if phash >> 63 else phash


def unsigned(phash: int | None) -> int | None:
    """What `signed` was made of."""
    return None if phash is None else phash % (1 << 64)


def box(corners: Sequence[int] | None) -> Box | None:
    return None if corners is None else Box(*corners)
