"""What hits say of regions, remembered: to ask the database takes as long as to find the nearest vectors.

A region never changes under its label, and a label that is deleted is never found again. So nothing that is
remembered here is ever wrong.
"""

import threading
from collections.abc import Sequence

from app.index import sqlite
from app.index.database import Database
from app.index.sqlite import RegionRow

# An estimate: what a row takes beside its metadata, and how much larger than JSON metadata is in memory.
_ROW_BYTES = 500
_GROWTH = 4


class Rows:
    """The rows of regions by their labels.

    They are kept in two generations. When the younger one takes half of the memory it becomes the older one,
    and what of that was not asked for since is forgotten.

    Args:
        database: the truth.
        limit: of the memory that they take, in bytes, about.
    """

    def __init__(self, database: Database, limit: int = 64 << 20) -> None:
        self._database = database
        self._limit = limit
        self._younger: dict[int, RegionRow] = {}
        self._older: dict[int, RegionRow] = {}
        self._bytes = 0
        self._changing = threading.Lock()

    def of(self, labels: Sequence[int]) -> list[RegionRow] | None:
        """The row of each label; None where one is not live."""
        try:
            return list(map(self._younger.__getitem__, labels))
        except KeyError:
            return self._of(labels)

    def _of(self, labels: Sequence[int]) -> list[RegionRow] | None:
        known = {label: row for label in labels if (row := self._younger.get(label)) is not None}
        known |= self._fetched([label for label in labels if label not in known])
        if len(known) < len(set(labels)):
            return None
        return [known[label] for label in labels]

    def _fetched(self, labels: list[int]) -> dict[int, RegionRow]:
        older = self._older
        found = {label: older[label] for label in labels if label in older}
        if unknown := [label for label in labels if label not in found]:
            with self._database.reading() as connection:
                found |= sqlite.regions(connection, unknown)
        with self._changing:
            self._younger |= found
            self._bytes += sum(_ROW_BYTES + _GROWTH * row.size for row in found.values())
            if self._bytes > self._limit // 2:
                self._older, self._younger, self._bytes = self._younger, {}, 0
        return found
