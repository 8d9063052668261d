"""A lock that several readers share, and that one writer has to itself.

A reader takes and lets go of a plain lock twice, in 1 to 3 µs. fasteners' ReaderWriterLock, which serves many
writers and knows who holds it, took 18 µs of a search that takes 300.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedLock:
    """Nobody may take it while they hold it, and only one thread may ever write."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._readers = 0
        self._writing = False

    def acquire_shared(self) -> None:
        with self._lock:
            # Who waits to write comes first, or would wait for as long as others read in turns.
            while self._writing:
                self._changed.wait()
            self._readers += 1

    def release_shared(self) -> None:
        with self._lock:
            self._readers -= 1
            if self._writing:
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._lock:
            self._writing = True
            while self._readers:
                self._changed.wait()
        try:
            yield
        finally:
            with self._lock:
                self._writing = False
                self._changed.notify_all()
