"""A client that goes away takes along what only it needed."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from app.core.artifacts import Crop, Pixels
from app.core.geometry import Box
from app.core.operation import IMAGE, NoParams, operation
from app.core.registry import Registry
from app.main import build_room
from app.settings import Settings
from tests.conftest import served
from tests.images import encoded, noise

BOUNDARY = "boundary"


def upload_request(host: str, image: bytes, tasks: list[dict[str, str]]) -> bytes:
    body = b"".join(
        [
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="tasks_json"\r\n\r\n'.encode(),
            json.dumps(tasks).encode(),
            f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="image_file"; '.encode(),
            b'filename="a.png"\r\n\r\n' + image,
            f"\r\n--{BOUNDARY}--\r\n".encode(),
        ]
    )
    head = (
        f"POST /analyze_image_upload/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    return head.encode() + body


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_work_of_a_client_that_left_is_dropped():
    started, gate = threading.Event(), threading.Event()

    @operation(needs=lambda params: {"crop": IMAGE})
    def hold(crop: Sequence[Crop], params: NoParams) -> list[Box]:
        """Hold the lane until the test lets go."""
        started.set()
        gate.wait(30)
        return [each.box for each in crop]

    room = build_room(Settings(lanes=1), Registry([hold]))
    with served(room) as url:
        try:
            with connected(url, noise(8, 8, seed=1)):
                assert started.wait(20)
                with connected(url, noise(8, 8, seed=2)):
                    # The second request waits for the lane: first with its image, which is not decoded yet.
                    assert until(lambda: room.working == 2 and room.pool.waiting == 1)
                assert until(lambda: room.working == 1)
            assert until(lambda: room.working == 0)
        finally:
            gate.set()
    room.pool.close()


@contextmanager
def connected(url: str, image: Pixels) -> Iterator[socket.socket]:
    """A connection that has sent a request and reads no answer."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        tasks = [{"operation_id": "t", "type": "hold"}]
        connection.sendall(upload_request(where.netloc, encoded(image), tasks))
        yield connection


def test_a_client_that_leaves_while_it_sends_is_no_fault_of_the_server(registry, caplog):
    room = build_room(Settings(), registry)
    with served(room) as url:
        where = urlsplit(url)
        body = b'{"tasks": [{"operation_id": "t", "type": "crop"}]}'
        head = f"POST /plan/ HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
        whole = head.encode() + body
        for sent in (len(head), len(whole) - 10):
            with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
                connection.sendall(whole[:sent])
        # The server is past both when it has answered the next.
        with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
            connection.sendall(whole)
            assert connection.recv(12) == b"HTTP/1.1 200"
    room.pool.close()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
