"""A local index that the workers of one server use together.

One of them holds it: the first that needs it. The others ask that one, so that each finds at once whatever
any of them has acknowledged, and the graphs are in memory once. When it ends another one takes its place.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from filelock import FileLock, Timeout

from app.core.collection import Hit
from app.core.errors import IndexUnavailable
from app.index.answering import Answer, Answering, connected
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

P = ParamSpec("P")
T = TypeVar("T")

# Until the next worker holds the index: it opens the database, or the one before still closes it.
_PATIENCE_SECONDS = 10.0
_ASK_EVERY_SECONDS = 0.02


class SharedStorage(Storage):
    """A storage that this process holds, or asks another one for.

    What was only read is asked again where the process that held the index ended meanwhile.

    Args:
        local: what is held. Nobody else in this process uses it.
        folder: of the workers, and of their owner alone.
    """

    def __init__(self, local: Storage, folder: Path) -> None:
        self._local = local
        self._path = folder / "index.sock"
        self._lock = FileLock(folder / "index.lock", thread_local=False)
        self._taking = threading.Lock()
        self._answering: Answering | None = None
        self._closed = False
        self._idle: list[Connection] = []

    @property
    def is_held(self) -> bool:
        """Whether this process holds it."""
        return self._answering is not None

    def open(self) -> None:
        self._ask(Storage.open)

    def close(self) -> None:
        with self._taking:
            if self._closed:
                return
            self._closed = True
            if self._answering is not None:
                self._answering.close()
                self._local.close()
                self._lock.release()
        while self._idle:
            self._idle.pop().close()

    def collections(self) -> list[CollectionRecord]:
        return self._ask(Storage.collections)

    def create(self, declaration: Declaration) -> CollectionRecord:
        return self._tell(Storage.create, declaration)

    def collection(self, name: str) -> CollectionRecord:
        return self._ask(Storage.collection, name)

    def drop(self, name: str) -> None:
        self._tell(Storage.drop, name)

    def add(
        self, name: str, items: Sequence[NewItem], space: str, *, identity: str | None = None
    ) -> list[bool]:
        return self._tell(Storage.add, name, items, space, identity=identity)

    def item(self, name: str, item_id: str) -> Item:
        return self._ask(Storage.item, name, item_id)

    def items(self, name: str, after: str | None = None, limit: int = 100) -> list[ItemSummary]:
        return self._ask(Storage.items, name, after, limit)

    def vectors(
        self, name: str, after: str | None = None, limit: int = 100, numbers: int = MAX_PAGE_NUMBERS
    ) -> VectorPage:
        return self._ask(Storage.vectors, name, after, limit, numbers)

    def delete(self, name: str, item_ids: Sequence[str]) -> int:
        return self._tell(Storage.delete, name, item_ids)

    def search(
        self, name: str, vectors: Matrix, query: Query, *, identity: str | None = None
    ) -> list[list[Hit]]:
        return self._ask(Storage.search, name, vectors, query, identity=identity)

    def near_hashes(
        self, name: str, phash: int, max_distance: int, query: Query, *, identity: str | None = None
    ) -> list[NearHash]:
        return self._ask(Storage.near_hashes, name, phash, max_distance, query, identity=identity)

    def near_pairs(
        self, name: str, min_score: float, until: float | None = None
    ) -> list[tuple[Member, Member, float]]:
        return self._ask(Storage.near_pairs, name, min_score, until)

    def near_hash_pairs(
        self, name: str, max_distance: int, until: float | None = None
    ) -> list[tuple[Member, Member, int]]:
        return self._ask(Storage.near_hash_pairs, name, max_distance, until)

    def _ask(self, method: Callable[Concatenate[Storage, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a method that changes nothing gives."""
        # Once more and not again and again: it may be what is asked that ends those who answer.
        with suppress(_Ended):
            return self._called(method, *args, **kwargs)
        try:
            return self._called(method, *args, **kwargs)
        except _Ended:
            raise IndexUnavailable("The processes that held the index ended while they searched.") from None

    def _tell(self, method: Callable[Concatenate[Storage, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a method gives that changes something, and is called once."""
        try:
            return self._called(method, *args, **kwargs)
        except _Ended:
            raise IndexUnavailable(
                "The process that held the index ended while it wrote, and it is not known whether that was "
                "kept. Send it again."
            ) from None

    def _called(self, method: Callable[Concatenate[Storage, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        until = time.monotonic() + _PATIENCE_SECONDS
        while not self.is_held:
            if self._closed:
                raise IndexUnavailable("The index was closed.")
            connection = self._connection()
            if connection is not None:
                try:
                    connection.send((method.__name__, args, kwargs))
                except OSError:
                    # Who answered is gone, and has read no whole question.
                    connection.close()
                    continue
                answer: T = self._answered(connection)
                return answer
            if self._taken():
                break
            if time.monotonic() > until:
                raise IndexUnavailable("The process that holds the index does not answer; try again.")
            time.sleep(_ASK_EVERY_SECONDS)
        given: T = getattr(self._local, method.__name__)(*args, **kwargs)
        return given

    def _answered(self, connection: Connection) -> Any:
        try:
            answer: Answer = connection.recv()
        except (EOFError, OSError):
            connection.close()
            raise _Ended from None
        self._idle.append(connection)
        succeeded, given = answer
        if succeeded:
            return given
        raise given

    def _connection(self) -> Connection | None:
        """One to who holds it; None where nobody answers."""
        try:
            return self._idle.pop()
        except IndexError:
            with suppress(OSError):
                return connected(self._path)
            return None

    def _taken(self) -> bool:
        """Hold it, if no other worker does.

        Raises:
            IndexUnavailable: it cannot be opened, or another server holds it.
        """
        with self._taking:
            if self._closed:
                raise IndexUnavailable("The index was closed.")
            if self._answering is None:
                try:
                    self._lock.acquire(blocking=False)
                    self._local.open()
                    self._answering = Answering(self._local, self._path)
                except Timeout:
                    return False
                except OSError as error:
                    self._lock.release()
                    raise IndexUnavailable(
                        f"The workers cannot use {self._path.parent} ({error.strerror}); check its rights."
                    ) from error
                except BaseException:
                    self._lock.release()
                    raise
            return True


class _Ended(Exception):
    """The process that was asked ended before it answered."""
