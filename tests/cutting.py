"""A way to a server on which connections break in the middle of an answer."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Cut:
    """What became of the connections. `sent` are the bytes that each carried to the server."""

    url: str
    connections: int = 0
    sent: list[int] = field(default_factory=list)


@contextmanager
def cutting(url: str, marks: Sequence[bytes], *, after: int) -> Iterator[Cut]:
    """A proxy on loopback, which cuts one connection for each mark, when the mark came so often.

    Args:
        url: the server behind it.
        marks: what is counted in the answers, of one connection after the other; later ones stay whole.
        after: how often a mark passes.
    """
    parts = urlsplit(url)
    listener = socket.create_server(("127.0.0.1", 0))
    cut = Cut(f"http://127.0.0.1:{listener.getsockname()[1]}")
    threads: list[threading.Thread] = []

    def carry(client: socket.socket, mark: bytes | None, number: int) -> None:
        with client, socket.create_connection((parts.hostname or "", parts.port or 0)) as server:
            upwards = threading.Thread(target=send, args=[client, server, number])
            upwards.start()
            passed = bytearray()
            while data := received(server):
                passed += data
                if mark is not None and passed.count(mark) > after:
                    # Up to the last mark that may pass, and a piece of the next part.
                    end = -1
                    for _ in range(after + 1):
                        end = passed.index(mark, end + 1)
                    client.sendall(data[: max(0, end + 1 - (len(passed) - len(data)))])
                    break
                client.sendall(data)
            for each in (client, server):
                closed(each)
            upwards.join(30)

    def send(client: socket.socket, server: socket.socket, number: int) -> None:
        while data := received(client):
            cut.sent[number] += len(data)
            with suppress(OSError):
                server.sendall(data)
        # The server would keep the connection for a while.
        closed(server)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            number, mark = cut.connections, next(left, None)
            cut.connections += 1
            cut.sent.append(0)
            threads.append(threading.Thread(target=carry, args=[client, mark, number]))
            threads[-1].start()

    left = iter(marks)
    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield cut
    finally:
        closed(listener)
        listener.close()
        accepting.join(30)
        for thread in threads:
            thread.join(30)


def received(connection: socket.socket) -> bytes:
    """What comes; nothing at the end."""
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def closed(connection: socket.socket) -> None:
    """Ends a connection, also for who waits on it in another thread."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
