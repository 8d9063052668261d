"""The models over HTTP: how each stands, and fetching, loading and unloading it."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from click.testing import CliRunner
from litestar.testing import TestClient

from app.api.app import build_app
from app.api.doors import UNGUARDED, Doors
from app.cli import main
from app.core.access import made_key
from app.core.artifacts import Crop
from app.core.operation import EngineSpec
from app.core.registry import Registry
from app.core.weights import Placement, Store
from app.engines.store import LocalStore, Manifest
from app.engines.weights import Bundled, Hub
from app.main import build_room
from app.settings import Settings
from tests.conftest import nothing_to_load
from tests.engines.fake_hub import hub_of_this_process, noise
from tests.toys import ToyEngine, ToyStore, seeing, toy_engine

# Only a failing test waits as long as this. Importing torch, which a load does, takes some seconds.
PATIENCE_SECONDS = 60
SIZE = 300_000


NET = EngineSpec("net", Hub("toys/net", ("model.bin",), SIZE), "Apache-2.0", ToyEngine, memory_bytes=9)
SHIPPED = EngineSpec(
    "mtcnn", Bundled("facenet-pytorch", "facenet_pytorch", ("data/pnet.pt",)), "MIT", ToyEngine
)


@contextmanager
def asked(*operations: Any, store: Store, doors: Doors = UNGUARDED, **settings: Any) -> Iterator[Any]:
    """The application over operations and a store."""
    room = build_room(Settings(lanes=1, **settings), Registry(operations), store)
    with TestClient(build_app(room, "0", nothing_to_load, doors), raise_server_exceptions=False) as client:
        yield client
    room.pool.close()
    room.index.close()
    room.classifiers.close()


def model(client: Any, name: str) -> dict[str, Any]:
    answer = client.get(f"/models/{name}/")
    assert answer.status_code == 200, answer.text
    facts: dict[str, Any] = answer.json()
    return facts


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)


def refused(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    detail: str = answer.json()["detail"]
    return detail


# Reading


def test_every_model_is_listed_with_what_people_ask_of_it(client, registry):
    body = client.get("/models/").json()
    listed = {each["engine"]: each for each in body["models"]}
    assert list(listed) == sorted(registry.engines)
    assert body["may_change"] is True
    assert body["memory_budget_bytes"] is None
    assert body["memory_bytes"] >= 0
    blip = listed["blip-base"]
    assert blip["weights"] == "Salesforce/blip-image-captioning-base"
    assert (blip["kind"], blip["licence"], blip["commit"]) == ("hub", "BSD-3-Clause", "")
    assert (blip["operations"], blip["chosen_for"]) == (["describe_image"], ["describe_image"])
    assert (blip["state"], blip["download"], blip["in_use"]) == ("absent", None, False)
    assert "sightgraph models pull Salesforce/blip-image-captioning-base" in blip["problem"]
    assert "keeps off the network" in blip["obstacle"]
    assert blip["size_bytes"] == blip["memory_bytes"] > 900_000_000
    assert (blip["input_size"], blip["cost_ms"]) == ("384x384", 2200)
    assert "English" in blip["limits"]
    assert listed["blip-large"]["chosen_for"] == []
    # What only a param chooses serves its stages.
    assert "encode_clip" in listed["ViT-L-14"]["operations"]


def test_models_in_packages_tell_where_they_ship(client):
    facts = model(client, "mtcnn")
    assert facts["kind"] == "bundled"
    assert facts["source"].startswith("bundled in facenet-pytorch")
    assert "ships in the package facenet-pytorch" in facts["obstacle"]
    assert facts["chosen_for"] == facts["operations"] == ["detect_bounding_box"]
    assert facts["size_bytes"] > 1_000_000


@pytest.mark.parametrize("path", ["/models", "/models/", "/models/mtcnn", "/models/mtcnn/"])
def test_paths_answer_with_and_without_the_last_slash(client, path):
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("POST", "/pull"), ("POST", "/load"), ("POST", "/unload")]
)
def test_an_unknown_model_is_refused_with_the_nearest_name(client, method, path):
    assert "Did you mean 'blip-base'?" in refused(client.request(method, f"/models/blip-bas{path}"), 404)
    assert "GET /models/ lists" in refused(client.request(method, f"/models/{'x' * 500}{path}"), 404)


# Fetching


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with hub_of_this_process(tmp_path, monkeypatch) as hub:
        hub.repository("toys/net", {"model.bin": noise(SIZE)})
        yield hub


def test_a_pull_is_followed_to_its_end_and_then_serves(hub, tmp_path):
    hub.gate.clear()
    store = LocalStore(tmp_path / "data")
    with asked(seeing("see", NET), store=store) as client:
        assert model(client, "net")["state"] == "absent"
        started = client.post("/models/net/pull")
        assert started.status_code == 202
        assert started.json()["state"] == "downloading"
        assert started.json()["download"]["total_bytes"] == SIZE
        until(lambda: model(client, "net")["download"]["done_bytes"] > 0)
        facts = model(client, "net")
        assert 0 < facts["download"]["percent"] < 100
        assert facts["download"]["waiting"] is False
        assert f"{facts['download']['percent']} % so far" in facts["problem"]
        assert "are being downloaded" in refused(client.post("/models/net/pull"), 409)
        hub.gate.set()
        until(lambda: model(client, "net")["state"] == "on_disk")
        facts = model(client, "net")
        assert (facts["download"], facts["problem"], facts["obstacle"]) == (None, "", "")
        assert len(facts["commit"]) == 40
        assert facts["source"] == f"Hugging Face hub, toys/net@{facts['commit'][:7]}"
        assert facts["size_bytes"] == SIZE
        assert "on this machine already" in refused(client.post("/models/net/pull"), 409)
        assert client.post("/models/net/load").status_code == 202
        until(lambda: model(client, "net")["state"] == "ready")


def test_a_pull_that_fails_is_told_and_may_be_repeated(hub, tmp_path):
    hub.repositories["toys/net"].status = 403
    with asked(seeing("see", NET), store=LocalStore(tmp_path / "data")) as client:
        assert client.post("/models/net/pull").status_code == 202
        until(lambda: model(client, "net")["state"] == "absent")
        assert "The last download failed: 'toys/net' cannot be downloaded" in model(client, "net")["problem"]
        hub.repositories["toys/net"].status = 200
        assert client.post("/models/net/pull").status_code == 202
        until(lambda: model(client, "net")["state"] == "on_disk")


def test_a_pull_mends_what_is_damaged(hub, tmp_path):
    store = LocalStore(tmp_path / "data")
    store.pull(NET, lambda done, total: None)
    blob = next(path for path in tmp_path.rglob("model.bin") if path.is_file()).resolve()
    data = bytearray(blob.read_bytes())
    data[0] ^= 1
    blob.write_bytes(data)
    with asked(seeing("see", NET), store=store) as client:
        client.post("/models/net/load")
        until(lambda: model(client, "net")["state"] == "failed")
        assert "model.bin" in model(client, "net")["problem"]
        assert client.post("/models/net/pull").status_code == 202
        until(lambda: model(client, "net")["state"] == "on_disk")
        # Nobody has to wait until a failed load is forgotten.
        assert client.post("/models/net/load").status_code == 202
        until(lambda: model(client, "net")["state"] == "ready")


def test_one_download_waits_for_another():
    begun, finish = threading.Event(), threading.Event()

    def pull(spec, progress):
        progress(4, 10)
        begun.set()
        assert finish.wait(PATIENCE_SECONDS)

    store = ToyStore("a", "b", pull=pull)
    with asked(seeing("see", toy_engine("a"), toy_engine("b")), store=store) as client:
        client.post("/models/a/pull")
        assert begun.wait(PATIENCE_SECONDS)
        assert client.post("/models/b/pull").json()["download"] == {
            "percent": 0,
            "done_bytes": 0,
            "total_bytes": 10,
            "bytes_per_second": None,
            "waiting": True,
        }
        assert model(client, "a")["download"]["percent"] == 40
        finish.set()
        until(lambda: {each["state"] for each in client.get("/models").json()["models"]} == {"on_disk"})


def test_what_cannot_be_pulled_says_why(client, hub, tmp_path):
    # The server of `client` is offline.
    told = refused(client.post("/models/blip-base/pull"), 409)
    assert "keeps off the network" in told
    assert "sightgraph models pull Salesforce/blip-image-captioning-base` where the network may" in told
    pins = tmp_path / "pins.json"
    pins.write_text('{"version": 1, "weights": {}}')
    store = LocalStore(tmp_path / "data", pins=Manifest(pins))
    with asked(seeing("see", NET, SHIPPED), store=store) as pinned:
        assert "ships in the package facenet-pytorch" in refused(pinned.post("/models/mtcnn/pull"), 409)
        assert "SIGHTGRAPH_PINNED_WEIGHTS" in refused(pinned.post("/models/net/pull"), 409)
    assert not hub.requests


# Loading and unloading


def test_a_model_is_loaded_and_unloaded():
    with asked(seeing("see", toy_engine("a")), store=ToyStore(), memory_budget=10) as client:
        assert "is not loaded" in refused(client.post("/models/a/unload"), 409)
        assert client.post("/models/a/load").status_code == 202
        until(lambda: model(client, "a")["state"] == "ready")
        assert "loaded already" in refused(client.post("/models/a/load"), 409)
        body = client.get("/models/").json()
        assert (body["memory_bytes"], body["memory_budget_bytes"]) == (10, 10)
        unloaded = client.post("/models/a/unload")
        assert (unloaded.status_code, unloaded.json()["state"]) == (200, "unloaded")
        assert client.get("/models/").json()["memory_bytes"] == 0


def test_what_is_absent_is_not_loaded():
    with asked(seeing("see", toy_engine("a")), store=ToyStore("a")) as client:
        assert "Run: sightgraph models pull toys/a." in refused(client.post("/models/a/load"), 409)


def test_a_load_that_failed_is_told_and_tried_again_at_once():
    failures = [RuntimeError("no luck")]

    def load(placement: Placement) -> ToyEngine:
        if failures:
            raise failures.pop()
        return ToyEngine(placement)

    with asked(seeing("see", toy_engine("a", load)), store=ToyStore()) as client:
        client.post("/models/a/load")
        until(lambda: model(client, "a")["state"] == "failed")
        assert "cannot be loaded: RuntimeError" in model(client, "a")["problem"]
        client.post("/models/a/load")
        until(lambda: model(client, "a")["state"] == "ready")


def test_a_model_in_use_is_not_pulled_away(astronaut_png):
    begun, finish = threading.Event(), threading.Event()

    def hold(_: Sequence[Crop]) -> None:
        begun.set()
        assert finish.wait(PATIENCE_SECONDS)

    with asked(seeing("see", toy_engine("a"), batch=hold), store=ToyStore()) as client:
        answers = []

        def analyze() -> None:
            answers.append(
                client.post(
                    "/analyze_image_upload/",
                    files={"image_file": ("a.png", astronaut_png)},
                    data={"tasks_json": '[{"operation_id": "s", "type": "see"}]'},
                ).json()["results"]["s"]
            )

        asking = threading.Thread(target=analyze)
        asking.start()
        assert begun.wait(PATIENCE_SECONDS)
        assert model(client, "a")["in_use"] is True
        assert "is in use" in refused(client.post("/models/a/unload"), 409)
        finish.set()
        asking.join()
        assert answers[0]["data"] == "see"
        until(lambda: not model(client, "a")["in_use"])
        assert client.post("/models/a/unload").json()["state"] == "unloaded"


def test_a_model_that_is_being_loaded_is_left_alone():
    begun, finish = threading.Event(), threading.Event()

    def load(placement: Placement) -> ToyEngine:
        begun.set()
        assert finish.wait(PATIENCE_SECONDS)
        return ToyEngine(placement)

    with asked(seeing("see", toy_engine("a", load)), store=ToyStore()) as client:
        assert client.post("/models/a/load").json()["state"] == "loading"
        assert begun.wait(PATIENCE_SECONDS)
        assert "is being loaded" in refused(client.post("/models/a/load"), 409)
        assert "is being loaded" in refused(client.post("/models/a/unload"), 409)
        finish.set()
        until(lambda: model(client, "a")["state"] == "ready")


# Keys


def test_who_may_read_may_not_change():
    reader, entry = made_key("reader", ["analyze"])
    owner, admin = made_key("owner", ["analyze", "admin"])
    doors = Doors(keys=(entry, admin))
    with asked(seeing("see", toy_engine("a")), store=ToyStore("a"), doors=doors) as client:
        assert client.get("/models/").status_code == 401
        may_read = {"Authorization": f"Bearer {reader}"}
        may_all = {"Authorization": f"Bearer {owner}"}
        assert client.get("/models/", headers=may_read).json()["may_change"] is False
        assert client.get("/models/a", headers=may_read).status_code == 200
        for action in ("pull", "load", "unload"):
            assert client.post(f"/models/a/{action}").status_code == 401
            assert "the scope 'admin'" in refused(client.post(f"/models/a/{action}", headers=may_read), 403)
        assert client.get("/models/", headers=may_all).json()["may_change"] is True
        assert client.post("/models/a/pull", headers=may_all).status_code == 202
        until(lambda: client.get("/models/a", headers=may_read).json()["state"] == "on_disk")


def test_the_command_and_the_endpoint_speak_alike(client, tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTGRAPH_DATA", str(tmp_path))
    told = CliRunner().invoke(main, ["models", "list", "--json"])
    rows = json.loads(told.output)
    for row in rows:
        facts = model(client, row["engine"])
        assert {name: facts[name] for name in row if name != "state"} == {
            name: value for name, value in row.items() if name != "state"
        }
