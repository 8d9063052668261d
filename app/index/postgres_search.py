"""Searches of a collection in SQL.

Up to 2000 dimensions an HNSW index of the vectors is searched, up to 4000 one of their halves in precision,
whose candidates are ranked by the vectors themselves; beyond that pgvector has no index, and all vectors are
compared. So they are in small collections, where that is as fast, and always right.
"""

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector
from psycopg import sql

from app.core.collection import Hit
from app.core.filters import is_storable
from app.index.postgres_database import EF_SEARCH, Connection, end_by
from app.index.postgres_filters import condition
from app.index.postgres_tables import Tables, box, signed
from app.index.storage import Matrix, Member, NearHash, Query
from app.index.vectors import SCORE_DECIMALS

# Half precision may misplace about so many.
_HALF_MARGIN = 40
# pgvector's limit of `hnsw.ef_search`, of how many candidates a scan keeps.
_MAX_EF_SEARCH = 1000
PAIRS_PER_REGION = 50
_ROWS_AT_A_TIME = 1000
# Without an index, all vectors are compared with those of a portion.
_COMPARISONS_AT_A_TIME = 1_000_000

# Of a region: the id of its item, and its number there.
Place = tuple[str, int]
# Before all of them.
START: Place = ("", -1)

_NEIGHBOURS = sql.SQL(
    """
    SELECT item_id, region, bbox, round((1 - distance) * {scale}) / {scale} AS score
    FROM (
        SELECT item_id, region, bbox, kept.vector <=> query.vector AS distance
        FROM {regions} AS kept
        WHERE {selection}
        {candidates}
    ) AS compared
    ORDER BY score DESC, item_id, region LIMIT %(limit)s
    """
)
# Keeps the planner from using the index.
_ALL = sql.SQL("OFFSET 0")
# With ties, so that of equal vectors, copies of one image, the same ones come first every time.
_FROM_INDEX = sql.SQL("ORDER BY {distance} FETCH FIRST %(candidates)s ROWS WITH TIES")


def nearest(connection: Connection, tables: Tables, units: Matrix, query: Query) -> list[list[Hit]]:
    """For each vector, of length 1, its hits."""
    limit = query.offset + query.k
    indexed = tables.is_searched_by_index
    found = dict(enumerate(_look(connection, tables, units, query, exactly=not indexed)))
    # A scan of the index gives up after some thousand regions that the filter turns down.
    short = [number for number, hits in found.items() if len(hits) < min(limit, tables.vectors)]
    if indexed and short:
        end_by(connection, query.until)
        found |= zip(short, _look(connection, tables, units[short], query, exactly=True), strict=True)
    return [_page(hits, query) for hits in found.values()]


def near_hashes(
    connection: Connection, tables: Tables, phash: int, max_distance: int, query: Query
) -> list[NearHash]:
    """The regions of the nearest hashes."""
    selection, values = _selection(query)
    statement = sql.SQL(
        """
        SELECT item_id, region, bbox, metadata, distance
        FROM (
            SELECT item_id, region, bbox, bit_count((phash # %(phash)s)::bit(64)) AS distance
            FROM {regions} AS kept
            WHERE phash IS NOT NULL AND {selection}
        ) AS hashed
        JOIN {items} AS item ON item.id = item_id
        WHERE distance <= %(max_distance)s
        ORDER BY distance, item_id, region LIMIT %(k)s OFFSET %(offset)s
        """
    ).format(regions=tables.regions, items=tables.items, selection=selection)
    values |= {"phash": signed(phash), "max_distance": max_distance, "k": query.k, "offset": query.offset}
    return [
        NearHash(Hit(item_id, 0.0, box(bbox), metadata, region), distance)
        for item_id, region, bbox, metadata, distance in connection.execute(statement, values)
    ]


def pairs_after(
    connection: Connection, tables: Tables, min_score: float, last: Place
) -> tuple[dict[tuple[Member, Member], float], Place | None]:
    """Pairs of alike regions of different items, found from some regions that follow the last one.

    Returns:
        The scores of the pairs, and the last of those regions; None where no more follow.
    """
    exactly = not tables.is_searched_by_index
    limit = _ROWS_AT_A_TIME
    if exactly:
        limit = min(limit, 1 + _COMPARISONS_AT_A_TIME // (1 + tables.vectors))
    statement = sql.SQL(
        """
        SELECT query.item_id, query.region, query.bbox, near.item_id, near.region, near.bbox, near.score
        FROM (
            SELECT item_id, region, bbox, vector FROM {regions}
            WHERE (item_id, region) > (%(last_item)s, %(last_region)s)
            ORDER BY item_id, region LIMIT %(rows)s
        ) AS query
        LEFT JOIN LATERAL ({neighbours}) AS near ON near.score >= %(min_score)s
        """
    ).format(
        regions=tables.regions,
        neighbours=_neighbours(tables, sql.SQL("kept.item_id <> query.item_id"), exactly=exactly),
    )
    values = {
        **_limits(tables, PAIRS_PER_REGION),
        "min_score": min_score,
        "last_item": last[0],
        "last_region": last[1],
        "rows": limit,
    }
    scores: dict[tuple[Member, Member], float] = {}
    seen: set[Place] = set()
    for one, region, bbox, other, other_region, other_bbox, score in connection.execute(statement, values):
        seen.add((one, region))
        if other is not None:
            pair = Member(one, region, box(bbox)), Member(other, other_region, box(other_bbox))
            # Most pairs are found from both sides.
            scores[pair if one < other else pair[::-1]] = score
    return scores, max(seen) if len(seen) == limit else None


class Hashes(NamedTuple):
    """The perceptual hashes of a collection, the places that they belong to, and a number for each item."""

    phashes: NDArray[np.uint64]
    owners: NDArray[np.int64]
    places: list[Place]


def hashes(connection: Connection, tables: Tables) -> Hashes:
    """All of them, in order of their places. Here they are compared a hundred times faster than there."""
    statement = sql.SQL(
        """
        SELECT phash, dense_rank() OVER (ORDER BY item_id), item_id, region
        FROM {} WHERE phash IS NOT NULL ORDER BY item_id, region
        """
    ).format(tables.regions)
    phashes, owners, places = array("q"), array("q"), []
    with connection.cursor(name="hashes") as rows:
        rows.itersize = _ROWS_AT_A_TIME
        for phash, owner, item_id, region in rows.execute(statement):
            phashes.append(phash)
            owners.append(owner)
            places.append((item_id, region))
    return Hashes(np.array(phashes, np.int64).astype(np.uint64), np.array(owners, np.int64), places)


def members(connection: Connection, tables: Tables, places: Sequence[Place]) -> dict[Place, Member]:
    """The regions at these places, where there still is one."""
    statement = sql.SQL(
        """
        SELECT item_id, region, bbox FROM {}
        JOIN unnest(%s::text[], %s::integer[]) AS wanted (item_id, region) USING (item_id, region)
        """
    ).format(tables.regions)
    wanted = ([item_id for item_id, _ in places], [region for _, region in places])
    return {
        (item_id, region): Member(item_id, region, box(bbox))
        for item_id, region, bbox in connection.execute(statement, wanted)
    }


def _look(
    connection: Connection, tables: Tables, units: Matrix, query: Query, *, exactly: bool
) -> list[list[Hit]]:
    """For each vector its hits on this page and those before, of any score and in no promised order."""
    limit = query.offset + query.k
    if not exactly:
        _set_ef_search(connection, limit)
    selection, values = _selection(query)
    statement = sql.SQL(
        """
        SELECT number, item_id, score, bbox, metadata, region
        FROM unnest(%(vectors)b::vector[]) WITH ORDINALITY AS query (vector, number)
        CROSS JOIN LATERAL ({neighbours}) AS near
        JOIN {items} AS item ON item.id = item_id
        """
    ).format(neighbours=_neighbours(tables, selection, exactly=exactly), items=tables.items)
    values |= {**_limits(tables, limit), "vectors": [Vector(unit) for unit in units]}
    found: list[list[Hit]] = [[] for _ in units]
    for number, item_id, score, bbox, metadata, region in connection.execute(statement, values):
        found[number - 1].append(Hit(item_id, score, box(bbox), metadata, region))
    return found


def _page(hits: list[Hit], query: Query) -> list[Hit]:
    if query.min_score is not None:
        hits = [hit for hit in hits if hit.score >= query.min_score]
    ordered = sorted(hits, key=lambda hit: (-hit.score, hit.id, hit.region))
    return ordered[query.offset : query.offset + query.k]


def _selection(query: Query) -> tuple[sql.Composable, dict[str, Any]]:
    selected, values = condition(query.filter)
    if query.without is not None and is_storable(query.without):
        selected = sql.SQL("{} AND kept.item_id <> %(without)s").format(selected)
        values["without"] = query.without
    return selected, values


def _neighbours(tables: Tables, selection: sql.Composable, *, exactly: bool) -> sql.Composable:
    """The regions next to `query.vector`."""
    kept, wanted = (tables.indexed(sql.Identifier(side, "vector")) for side in ("kept", "query"))
    distance = sql.SQL("{} <=> {}").format(kept, wanted)
    candidates = _ALL if exactly else _FROM_INDEX.format(distance=distance)
    return _NEIGHBOURS.format(
        regions=tables.regions, selection=selection, candidates=candidates, scale=10.0**SCORE_DECIMALS
    )


def _limits(tables: Tables, limit: int) -> dict[str, int]:
    return {"limit": limit, "candidates": limit + (_HALF_MARGIN if tables.is_halved else 0)}


def _set_ef_search(connection: Connection, limit: int) -> None:
    """For this transaction, so that a scan of the index finds so many at once."""
    if limit > EF_SEARCH:
        candidates = str(min(limit, _MAX_EF_SEARCH))
        connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", (candidates,))
