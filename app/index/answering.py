"""An object of which other processes call the methods, over a Unix socket.

What goes over it is Python's own serialisation: whoever may connect is trusted, so the socket lies in a
folder of its owner alone.
"""

import logging
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from app.core.errors import SightgraphError

logger = logging.getLogger(__name__)

_BACKLOG = 128

Asked = tuple[str, Sequence[Any], Mapping[str, Any]]
"""The name of a method and its arguments."""
Answer = tuple[bool, Any]
"""Whether it succeeded, and what it gave or raised."""


def connected(path: Path) -> Connection:
    """A connection to whom answers there.

    Raises:
        OSError: nobody does.
    """
    with socket.socket(socket.AF_UNIX) as opened:
        opened.connect(str(path))
        return Connection(opened.detach())


class Answering:
    """Answers until it is closed.

    Args:
        answerer: whose methods are called, from several threads.
        path: of the socket. Of one that lies there nobody may be listening any more.

    Raises:
        OSError: nobody can be listened to there.
    """

    def __init__(self, answerer: object, path: Path) -> None:
        self._answerer = answerer
        self._path = path
        self._lock = threading.Lock()
        self._threads: dict[threading.Thread, Connection] = {}
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            self._listener.bind(str(path))
            self._listener.listen(_BACKLOG)
            self._listener.setblocking(False)
        except OSError:
            self._listener.close()
            raise
        self._closing, self._closed = socket.socketpair()
        self._accepting = threading.Thread(target=self._accept, name=f"{path.stem}-accepts", daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Answer what was asked before, and no more."""
        self._path.unlink(missing_ok=True)
        self._closing.close()
        self._accepting.join()
        self._closed.close()
        self._listener.close()
        with self._lock:
            threads = list(self._threads)
            for connection in self._threads.values():
                _ask_no_more(connection)
        for thread in threads:
            thread.join()

    def _accept(self) -> None:
        ends = False
        while not ends:
            # Who has come before the end is still answered.
            ends = self._closed in wait([self._listener, self._closed])
            with suppress(BlockingIOError):
                while True:
                    self._begin(Connection(self._listener.accept()[0].detach()))

    def _begin(self, connection: Connection) -> None:
        thread = threading.Thread(
            target=self._answer, args=(connection,), name=f"{self._path.stem}-answers", daemon=True
        )
        with self._lock:
            self._threads[thread] = connection
        thread.start()

    def _answer(self, connection: Connection) -> None:
        try:
            while True:
                asked: Asked = connection.recv()
                connection.send(self._answered(*asked))
        except (EOFError, OSError):
            # The other process has ended, or has what it wanted.
            pass
        finally:
            with self._lock:
                connection.close()
                del self._threads[threading.current_thread()]

    def _answered(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Answer:
        try:
            return True, getattr(self._answerer, method)(*args, **kwargs)
        except SightgraphError as error:
            return False, error
        except Exception as error:
            logger.exception("%s failed, which another process had called", method)
            # Of another one it is not known whether it can be sent.
            return False, RuntimeError(f"{method} failed: {type(error).__name__}")


def _ask_no_more(connection: Connection) -> None:
    """Let the other side send nothing any more; what it has sent is still there to be read."""
    with suppress(OSError), socket.socket(fileno=socket.dup(connection.fileno())) as opened:
        opened.shutdown(socket.SHUT_RD)
