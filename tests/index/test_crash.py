"""What was acknowledged over HTTP survives a kill at any moment, wholly."""

import itertools
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.index.local import LocalStorage
from app.index.storage import Declaration
from tests.images import encoded
from tests.index import crashing_server
from tests.index.conftest import PRELOADED

KILLS = 50
WRITERS = 3
IDS = 40
SPACE = "of the test"
DIMENSIONS = 16


def vector_of(version: int) -> list[float]:
    """One that no other version has, so that a half replaced item would be seen."""
    return np.random.default_rng(version).standard_normal(DIMENSIONS).round(3).tolist()


class Acknowledged:
    """What the writers were told, by id: the last version that was acknowledged and the last that was sent.

    A version of 0 stands for nothing: a deletion, or never added.
    """

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}
        self.sent: dict[str, int] = {}
        self.count = 0
        self.enough = threading.Event()
        self.wanted = 0

    def acknowledge(self, item_id: str, version: int) -> None:
        self.kept[item_id] = version
        self.count += 1
        if self.count >= self.wanted:
            self.enough.set()


@contextmanager
def server(data: Path) -> Iterator[tuple[str, int]]:
    """A server of its own process; gives its URL and its process id."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=crashing_server.serve, args=(data, sender))
    process.start()
    try:
        assert receiver.poll(60), "the server did not start"
        yield f"http://127.0.0.1:{receiver.recv()}", process.pid or 0
    finally:
        process.kill()
        process.join()
        process.close()
        receiver.close()
        sender.close()


def write(url: str, number: int, acknowledged: Acknowledged, versions: Iterator[int], seed: int) -> None:
    """Add, replace and delete items of this writer's own ids until the server is gone."""
    chance = random.Random(seed)
    with httpx.Client(base_url=url, timeout=30) as client:
        while True:
            chosen = sorted(chance.sample(range(IDS), chance.randint(1, 4)))
            ids = [f"{number}-{each}" for each in chosen]
            if chance.random() < 0.2:
                item_id = ids[0]
                acknowledged.sent[item_id] = 0
                try:
                    deleted = client.delete(f"/index/crash/items/{item_id}")
                except httpx.TransportError:
                    return
                assert deleted.status_code in (200, 404), deleted.text
                acknowledged.acknowledge(item_id, 0)
                continue
            items = [
                {
                    "id": item_id,
                    "vector": vector_of(version),
                    "space": SPACE,
                    "metadata": {"version": version},
                }
                for item_id, version in zip(ids, versions, strict=False)
            ]
            for item in items:
                acknowledged.sent[str(item["id"])] = item["metadata"]["version"]
            try:
                answer = client.post("/index/crash/items/", json={"items": items}).json()
            except httpx.TransportError:
                return
            assert answer["failed"] == 0, answer
            for item in items:
                acknowledged.acknowledge(str(item["id"]), item["metadata"]["version"])


def check(url: str, acknowledged: Acknowledged) -> None:
    """Every acknowledged item is there, nothing else but what was under way, and no item is half of two."""
    with httpx.Client(base_url=url, timeout=30) as client:
        listed: dict[str, int] = {}
        after: dict[str, str] = {}
        while True:
            page = client.get("/index/crash/items/", params={"limit": 1000, **after}).json()
            listed |= {item["id"]: item["metadata"]["version"] for item in page["items"]}
            assert all(item["regions"] == 1 for item in page["items"])
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        for item_id in acknowledged.kept.keys() | acknowledged.sent.keys() | listed.keys():
            possible = {acknowledged.kept.get(item_id, 0), acknowledged.sent[item_id]}
            assert listed.get(item_id, 0) in possible, item_id
        # From here on what is there counts as acknowledged.
        acknowledged.kept = dict(listed)
        described = client.get("/index/crash/").json()
        assert (described["items"], described["vectors"]) == (len(listed), len(listed))
        for item_id, version in random.Random(len(listed)).sample(
            sorted(listed.items()), min(8, len(listed))
        ):
            shown = client.get(f"/index/crash/items/{item_id}?vectors=true").json()
            assert shown["metadata"] == {"version": version}
            np.testing.assert_array_equal(
                np.float32(shown["regions"][0]["vector"]), np.float32(vector_of(version))
            )
            hits = client.post("/index/crash/search/", json={"vector": vector_of(version), "k": 3}).json()[
                "hits"
            ]
            assert (hits[0]["id"], hits[0]["metadata"]["version"]) == (item_id, version)
            assert hits[0]["score"] > 0.9999
            assert all(hit["metadata"]["version"] == listed[hit["id"]] for hit in hits)


def test_acknowledged_items_survive_fifty_kills(tmp_path):
    storage = LocalStorage(tmp_path / "index")
    storage.create(Declaration("crash", "embed_hog_hsv", {"target": "whole_image"}, space=SPACE))
    storage.close()
    acknowledged, versions, chance = Acknowledged(), itertools.count(1), random.Random(7)
    for kill in range(KILLS):
        with server(tmp_path) as (url, pid):
            check(url, acknowledged)
            acknowledged.count, acknowledged.wanted = 0, chance.randint(1, 60)
            acknowledged.enough.clear()
            with ThreadPoolExecutor(WRITERS) as threads:
                writers = [
                    threads.submit(write, url, number, acknowledged, versions, kill * WRITERS + number)
                    for number in range(WRITERS)
                ]
                assert acknowledged.enough.wait(60)
                os.kill(pid, signal.SIGKILL)
            for writer in writers:
                writer.result()
    with server(tmp_path) as (url, _):
        check(url, acknowledged)
        assert len(acknowledged.kept) > IDS


def test_an_image_that_was_acknowledged_survives_a_kill(tmp_path):
    """With what is embedded of it: vector, hash and thumbnail."""
    picture = encoded(np.random.default_rng(1).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    with server(tmp_path) as (url, pid):
        body = {"name": "images", "operation": "embed_hog_hsv"}
        assert httpx.post(f"{url}/index/", json=body).status_code == 201
        answer: Any = httpx.post(
            f"{url}/index/images/items/",
            files={"image_file": ("a.png", picture)},
            data={"id": "a", "thumbnails": "true"},
            timeout=60,
        ).json()
        assert answer["added"] == 1, answer
        os.kill(pid, signal.SIGKILL)
    with server(tmp_path) as (url, _):
        shown = httpx.get(f"{url}/index/images/items/a").json()
        assert (shown["width"], shown["height"], shown["sha256"]) == (60, 40, answer["items"][0]["sha256"])
        assert shown["thumbnail_base64"]
        assert shown["regions"][0]["phash"]
        hits = httpx.post(
            f"{url}/index/images/search/", files={"image_file": ("a.png", picture)}, timeout=60
        ).json()["hits"]
        assert [(hit["id"], hit["score"]) for hit in hits] == [("a", 1.0)]
