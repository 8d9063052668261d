"""The server's stop: seen from outside, without losing what it has taken, and in time whatever happens."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.api.test_disconnect import until, upload_request
from tests.images import encoded, noise
from tests.site import site

ROOT = Path(__file__).resolve().parent.parent
PICTURE = encoded(noise(16, 12))
STARTS_WITHIN = 60


class Stoppable:
    """The process of `tests.stoppable`."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self.process = process
        assert until((folder / "port").exists, STARTS_WITHIN), self.log
        self.port = int((folder / "port").read_text())
        self.url = f"http://127.0.0.1:{self.port}"
        assert until(self._answers, STARTS_WITHIN), self.log

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/live").status_code == 200
        except httpx.TransportError:
            return False

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def ask(self, *types: str) -> httpx.Response:
        tasks = [{"operation_id": each, "type": each} for each in types]
        return httpx.post(
            f"{self.url}/analyze_image_upload/",
            files={"image_file": ("a.png", PICTURE)},
            data={"tasks_json": json.dumps(tasks)},
            timeout=60,
        )

    def holds(self) -> bool:
        return until((self.folder / "held").exists)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        return self.process.wait(40)


@contextmanager
def stoppable(folder: Path, **settings: str) -> Iterator[Stoppable]:
    own = {f"SIGHTGRAPH_{name}".upper(): value for name, value in settings.items()}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.stoppable", str(folder)],
            cwd=ROOT,
            stderr=log,
            env={**os.environ, **own},
        )
    try:
        yield Stoppable(folder, process)
    finally:
        process.kill()
        process.wait(30)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def readiness(client: httpx.Client) -> tuple[int, Any, str | None]:
    answer = client.get("/health/ready")
    return answer.status_code, answer.json()["status"], answer.headers.get("connection")


def test_what_is_in_work_is_finished_and_new_work_refused(tmp_path, threads):
    with stoppable(tmp_path) as server, httpx.Client(base_url=server.url) as kept:
        assert readiness(kept) == (200, "ready", None)
        working = threads.submit(server.ask, "hold")
        assert server.holds()
        server.stop()
        # Also on a connection that was open before, which ends with the answer.
        assert until(lambda: readiness(kept) == (503, "stopping", "close"))
        assert until(lambda: server.ask("measure").status_code == 503)
        refused = server.ask("measure")
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["connection"] == "close"
        assert refused.headers["x-request-id"]
        assert "stopping" in refused.json()["detail"]
        assert httpx.get(f"{server.url}/health/live").status_code == 200
        (tmp_path / "gate").touch()
        answer = working.result(30)
        assert answer.status_code == 200
        assert answer.json()["results"]["hold"]["status"] == "success"
        assert answer.headers["connection"] == "close"
        assert server.ended() in (0, -signal.SIGTERM)
        assert "Traceback" not in server.log


def test_for_a_while_new_work_is_taken_where_a_load_balancer_needs_it(tmp_path, threads):
    with stoppable(tmp_path, stop_delay="10", stop_within="12") as server:
        server.stop()
        with httpx.Client(base_url=server.url) as client:
            assert until(lambda: readiness(client) == (503, "stopping", "close"))
        answer = server.ask("measure")
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"


def test_what_hangs_is_answered_with_what_is_finished(tmp_path, threads):
    with stoppable(tmp_path, stop_within="2") as server:
        working = threads.submit(server.ask, "hold", "measure")
        assert server.holds()
        server.stop()
        answer = working.result(30)
        assert answer.status_code == 200
        results = answer.json()["results"]
        assert results["hold"]["error_code"] == "deadline_exceeded"
        assert results["measure"]["status"] == "success"
        # The lane still hangs: nobody opens the gate.
        assert server.ended() in (0, -signal.SIGTERM)


def test_what_has_no_plan_yet_is_told_to_come_back(tmp_path, threads):
    gate = threading.Event()
    with site({"slow.png": PICTURE}, gate) as files, stoppable(tmp_path, stop_within="2") as server:
        body = {"image_url": f"{files}/slow.png", "tasks": [{"operation_id": "a", "type": "measure"}]}
        working = threads.submit(httpx.post, f"{server.url}/analyze_image/", json=body, timeout=60)
        metrics = f"{server.url}/metrics"
        assert until(lambda: "sightgraph_requests_working 1.0" in httpx.get(metrics).text)
        server.stop()
        answer = working.result(30)
        gate.set()
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert server.ended() in (0, -signal.SIGTERM)
        assert "Traceback" not in server.log


def test_a_client_that_never_reads_holds_up_nothing(tmp_path):
    with stoppable(tmp_path, stop_within="2") as server:
        request = upload_request("x", PICTURE, [{"operation_id": "a", "type": "flood"}])
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(request)
            # The answer has begun.
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
            server.stop()
            assert server.ended() in (0, -signal.SIGTERM)
        assert "Traceback" not in server.log


def test_a_loop_that_is_stuck_ends_with_a_word_on_where(tmp_path, threads):
    with stoppable(tmp_path, stop_within="1") as server:
        threads.submit(server.ask, "block")
        assert server.holds()
        server.stop()
        assert server.ended() == 1
        assert "in block" in server.log


def test_the_delay_must_leave_time():
    with pytest.raises(ValueError, match="SIGHTGRAPH_STOP_WITHIN, which is 5"):
        Settings(stop_within=5, stop_delay=5)
    assert Settings(stop_within=5, stop_delay=4.5).stop_delay == 4.5
