"""The endpoints of the classifiers, and `classify` on the wire."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from litestar.testing import TestClient

from app.api.app import build_app
from app.core.registry import Registry
from app.main import build_room
from app.settings import Settings
from classifiers.shelf import Shelf
from tests.conftest import ask, nothing_to_load
from tests.heads import put_head
from tests.images import encoded, noise


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def shelf(data: Path) -> Shelf:
    return Shelf(data / "classifiers")


@pytest.fixture
def wire(registry: Registry, data: Path) -> Iterator[TestClient[Any]]:
    yield from served_with(registry, Settings(lanes=2, offline=True, data=data))


def served_with(registry: Registry, settings: Settings) -> Iterator[TestClient[Any]]:
    room = build_room(settings, registry)
    with TestClient(build_app(room, "0", nothing_to_load), raise_server_exceptions=False) as client:
        yield client
    room.pool.close()
    room.index.close()
    room.classifiers.close()


def classified(wire: TestClient[Any], collection: str | int, image: bytes | None = None) -> dict[str, Any]:
    task = {"operation_id": "c", "type": "classify", "params": {"collection_id": collection}}
    result: dict[str, Any] = ask(wire, image or encoded(noise(64, 48)), task)["results"]["c"]
    return result


def test_a_client_of_image_embed_reads_what_it_knows(wire, shelf):
    put_head(shelf, "12", spaces=["embed_hog_hsv/1"])
    result = classified(wire, 12)
    assert result["status"] == "success"
    assert isinstance(result["data"]["is_in_collection"], bool)
    assert 0 < result["data"]["probability"] < 1
    assert result["model"]["space"] == "embed_hog_hsv/1"


def test_without_a_classifier_it_is_skipped(wire):
    result = classified(wire, 12)
    assert (result["status"], result["error_code"]) == ("skipped", "classifier_not_found")
    assert "There are: none" in result["error_message"]


def test_those_that_serve_are_listed(wire, shelf):
    assert wire.get("/classifiers/").json() == {"classifiers": []}
    put_head(shelf, "b", labels=("x", "y", "z"))
    card = put_head(shelf, "a", spaces=["embed_hog_hsv/1"], threshold=0.3)
    first, second = wire.get("/classifiers/").json()["classifiers"]
    assert (first["collection"], second["collection"]) == ("a", "b")
    assert first["problem"] is None
    assert first["classifier"]["version"] == card.version
    assert first["classifier"]["threshold"] == 0.3
    assert first["classifier"]["embeddings"] == [
        {"operation": "embed_hog_hsv", "params": {}, "space": "embed_hog_hsv/1", "dimensions": 2020}
    ]
    assert second["classifier"]["labels"] == ["x", "y", "z"]


def test_one_that_cannot_be_read_is_listed_with_its_problem(wire, shelf):
    card = put_head(shelf, "a")
    put_head(shelf, "b")
    (shelf.folder / "a" / card.version / "card.json").write_bytes(b"{")
    first, second = wire.get("/classifiers/").json()["classifiers"]
    assert first["classifier"] is None
    assert "cannot be read" in first["problem"]
    assert second["classifier"] is not None
    response = wire.get("/classifiers/a/")
    assert response.status_code == 503
    assert str(shelf.folder) not in response.text


def test_where_an_earlier_version_goes_on_serving_the_list_says_so(wire, shelf):
    first = put_head(shelf, "a", seed=1)
    assert classified(wire, "a")["data"]["version"] == first.version
    second = put_head(shelf, "a", seed=2)
    (shelf.folder / "a" / second.version / "head.npz").write_bytes(b"no head")
    (listed,) = wire.get("/classifiers/").json()["classifiers"]
    assert listed["classifier"]["version"] == first.version
    assert f"{first.version} goes on serving" in listed["problem"]


def test_a_damaged_list_is_told_and_blocks_nothing_else(wire, shelf):
    put_head(shelf, "a")
    (shelf.folder / "best_models.json").write_bytes(b"[")
    assert wire.get("/classifiers/").status_code == 503
    assert classified(wire, "a")["error_code"] == "classifier_unavailable"
    assert wire.get("/health/live").status_code == 200


@pytest.mark.parametrize("path", ["/classifiers/{}/", "/classifiers/{}/health"])
@pytest.mark.parametrize("name", ["nobody", "..", "é", "a b", "\x00", "x" * 2000])
def test_an_unknown_one_is_not_found(wire, path, name):
    response = wire.get(path.format(quote(name, safe="").replace(".", "%2E")))
    assert response.status_code == 404
    assert response.json()["detail"]


def test_health_tells_what_was_seen(wire, shelf):
    card = put_head(shelf, "a")
    body = wire.get("/classifiers/a/health").json()
    assert (body["watched"], body["drift"]["seen"], body["drift"]["since"]) == (True, 0, None)
    classified(wire, "a", encoded(np.full((30, 40, 3), 90, np.uint8)))
    drift = wire.get("/classifiers/a/health").json()["drift"]
    assert (drift["seen"], drift["window"], drift["version"]) == (1, 1, card.version)
    # The head was not trained on images whose looks are known.
    assert drift["state"] == "unknown"


def test_the_same_image_again_is_counted_once(wire, shelf):
    put_head(shelf, "a")
    for _ in range(3):
        classified(wire, "a")
    assert wire.get("/classifiers/a/health").json()["drift"]["seen"] == 1


def test_nothing_is_noted_where_the_setting_is_off(registry, data, shelf):
    put_head(shelf, "a")
    settings = Settings(lanes=2, offline=True, data=data, watch_drift=False)
    for wire in served_with(registry, settings):
        assert classified(wire, "a")["status"] == "success"
        body = wire.get("/classifiers/a/health").json()
        assert body == {"collection": "a", "watched": False, "drift": None}
    assert not list(shelf.folder.rglob("watch.json"))
