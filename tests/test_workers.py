"""Several processes on one port: they share the index and the sight of each other, and none is missed."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli.workers import shared_among
from app.settings import Settings
from tests.api.test_disconnect import until

ROOT = Path(__file__).resolve().parent.parent
WITHIN = 90
CLOSED = {"Connection": "close"}


class Server:
    """The process of `tests.workers_of`."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self.process = process
        assert until((folder / "port").exists, WITHIN), self.log
        self.url = f"http://127.0.0.1:{(folder / 'port').read_text()}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        # On a connection of its own, which any worker may accept.
        return httpx.request(method, f"{self.url}{path}", json=body, headers=CLOSED, timeout=60)

    def told(self, path: str = "/metrics") -> str:
        try:
            return self.ask("GET", path).text
        except httpx.TransportError:
            return ""

    def seen(self) -> set[str]:
        """The workers in one scrape."""
        return set(re.findall(r'^sightgraph_lanes{worker="(\d+)"} ', self.told(), re.MULTILINE))

    def workers(self) -> list[int]:
        """The process of each place."""
        started = re.findall(r"worker (\d+) is process (\d+)", self.log)
        return [int(pid) for _, pid in sorted(dict(started).items())]

    def holder(self) -> int:
        """The process that holds the index."""
        return int((self.folder / "data" / "index" / "owner").read_text())

    def add(self, name: str) -> httpx.Response:
        item = {
            "id": name,
            "vector": vector(name),
            "space": self.ask("GET", "/index/things/").json()["space"],
        }
        return self.ask("POST", "/index/things/items/", {"items": [item]})

    def found(self, name: str) -> list[str]:
        answer = self.ask("POST", "/index/things/search/", {"vector": vector(name), "k": 1})
        assert answer.status_code == 200, answer.text
        return [hit["id"] for hit in answer.json()["hits"]]


def vector(name: str) -> list[float]:
    number = int(name)
    return [1.0 if place == number else 0.0 for place in range(128)]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@contextmanager
def started(folder: Path, build: str, count: int = 2, **settings: str) -> Iterator[Server]:
    own = {f"SIGHTGRAPH_{name}".upper(): value for name, value in settings.items()}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.workers_of", str(folder), str(count), build],
            cwd=ROOT,
            stderr=log,
            env={**os.environ, **own},
        )
    try:
        yield Server(folder, process)
    finally:
        # Its workers end when it does.
        process.kill()
        process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with started(tmp_path_factory.mktemp("workers"), "whole", stop_within="5") as server:
        assert until(lambda: len(server.seen()) == 2, WITHIN), server.log
        body = {"name": "things", "operation": "embed_hog_hsv"}
        assert server.ask("POST", "/index/", body).status_code == 201
        yield server
        workers = server.workers()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert all(map(is_gone, workers))
        assert "Traceback" not in server.log


def test_every_worker_answers_and_one_scrape_shows_them_all(server: Server) -> None:
    def answered() -> set[str]:
        server.ask("GET", "/operations/")
        told = server.ask("GET", "/metrics").text
        counted = re.findall(r'^sightgraph_requests_total{.*worker="(\d+)"} ', told, re.MULTILINE)
        return set(counted)

    assert len(server.workers()) == 2
    assert until(lambda: answered() == {"0", "1"}, WITHIN)
    told = server.ask("GET", "/metrics").text
    assert 'sightgraph_lanes{worker="0"} 1.0' in told
    assert 'sightgraph_lanes{worker="1"} 1.0' in told
    assert told.count("# TYPE sightgraph_lanes gauge") == 1


def test_what_one_worker_acknowledged_every_one_finds_at_once(server: Server) -> None:
    names = [str(number) for number in range(100, 124)]
    for name in names:
        assert server.add(name).json()["added"] == 1
        # Each by whichever worker accepts.
        assert server.found(name) == [name]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(server.found, names)) == [[name] for name in names]
    listed = server.ask("GET", "/index/things/items/").json()["items"]
    assert {item["id"] for item in listed} >= set(names)
    # The errors too are those of the index.
    assert server.ask("GET", "/index/nothing/").status_code == 404
    again = server.ask("POST", "/index/", {"name": "things", "operation": "embed_hog_hsv"})
    assert again.status_code == 409


def test_the_worker_that_holds_the_index_is_not_missed(server: Server) -> None:
    assert server.add("7").status_code == 200
    before, holder = server.workers(), server.holder()
    os.kill(holder, signal.SIGKILL)
    assert until(lambda: is_gone(holder))
    # By the worker that is left, which takes the index over.
    assert server.found("7") == ["7"]
    assert server.add("8").status_code == 200
    assert server.found("8") == ["8"]
    assert server.holder() in set(before) - {holder}
    assert until(lambda: len(server.seen()) == 2 and server.workers() != before, WITHIN), server.log
    for _ in range(10):
        assert server.found("8") == ["8"]
    assert f"process {holder}) ended: SIGKILL" in server.log


def test_a_worker_that_is_killed_is_replaced_and_a_signal_ends_all(tmp_path: Path) -> None:
    with started(tmp_path, "toy", stop_within="5") as server:
        assert until(lambda: {server.told() for _ in range(8)} == {*map(str, server.workers())}, WITHIN)
        killed, other = server.workers()
        os.kill(killed, signal.SIGKILL)
        assert until(lambda: is_gone(killed))
        assert server.told() == str(other)
        assert until(lambda: killed not in server.workers(), WITHIN)
        new = server.workers()[0]
        assert until(lambda: server.told() == str(new), WITHIN), server.log
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert is_gone(new)
        assert is_gone(other)
        assert server.told() == ""


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    with started(tmp_path, "toy", 1, stop_within="1") as server:
        assert until(server.told, WITHIN)
        server.process.kill()
        server.process.wait(30)
        assert until(lambda: is_gone(server.workers()[0]), 30)


@pytest.mark.parametrize(
    ("build", "how", "starts"), [("wrong", "exit code 3", 1), ("crashing", "exit code 9", 3)]
)
def test_workers_that_cannot_start_end_it_with_a_message(
    tmp_path: Path, build: str, how: str, starts: int
) -> None:
    with started(tmp_path, build, 1) as server:
        assert server.process.wait(WITHIN) == 1
        assert f"The workers end before they serve, the last one with {how}" in server.log
        assert server.log.count("is process") == starts


def test_the_lanes_are_shared_where_they_were_not_set() -> None:
    assert shared_among(Settings(lanes=8), 4).lanes == 8
    cores = Settings().lanes
    shares: Sequence[int] = [shared_among(Settings(), count).lanes for count in (1, 2, 2 * cores)]
    assert shares == [cores, max(1, cores // 2), 1]
