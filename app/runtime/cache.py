"""The result cache: across requests, bounded in bytes, least recently used goes first."""

from typing import Any

import cachetools

from app.core.artifacts import size_in_bytes


class ResultCache:
    """Results by key. Used from the event loop's thread only."""

    def __init__(self, max_bytes: int) -> None:
        self.hits = 0
        self.misses = 0
        self._entries: cachetools.LRUCache[str, Any] = cachetools.LRUCache(max_bytes, getsizeof=size_in_bytes)

    def get(self, key: str) -> Any | None:
        value = self._entries.get(key)
        if value is None:
            self.misses += 1
        else:
            self.hits += 1
        return value

    def put(self, key: str, value: Any) -> None:
        """Keep a result; one that is larger than the whole cache is let go."""
        if size_in_bytes(value) <= self._entries.maxsize:
            self._entries[key] = value

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def max_bytes(self) -> int:
        return int(self._entries.maxsize)

    @property
    def bytes_used(self) -> int:
        return int(self._entries.currsize)
