"""Discovery and health."""

import asyncio

import pytest

from app.core.registry import discover
from app.main import load_engines, wanted_engines

PUBLIC = discover("operations").public


@pytest.fixture(scope="module")
def operations(client):
    return client.get("/available_operations/").json()["operations"]


@pytest.mark.parametrize("path", ["/available_operations", "/available_operations/"])
def test_the_catalog_answers_with_and_without_the_last_slash(client, path):
    assert client.get(path).status_code == 200


def test_the_catalog_lists_the_public_operations_and_no_stage(operations):
    assert list(operations) == sorted(PUBLIC)
    assert "detect_faces" not in operations


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_an_entry_says_what_clients_need(operations, name):
    entry = operations[name]
    assert entry["description"]
    if name == "compare":
        assert (entry["default_target"], entry["allowed_targets"]) == (None, [])
    else:
        assert entry["default_target"] in entry["allowed_targets"]
        assert entry["params"]["properties"]["target"]
    assert PUBLIC[name].params.model_validate(entry["example"], strict=False) == PUBLIC[name].example_params
    assert entry["params"]["additionalProperties"] is False


def test_targets_are_those_of_the_known_clients(operations):
    entry = operations["detect_bounding_box"]
    assert entry["allowed_targets"] == [
        "prominent_person",
        "prominent_face",
        "all_persons",
        "all_faces",
    ]
    assert entry["default_target"] == "prominent_person"
    assert entry["other_targets"] == []
    assert operations["crop"]["other_targets"] == ['{"bbox": ...}', '{"task": ...}']


def test_the_catalog_tells_what_the_engines_cannot_do(operations):
    engines = {engine["name"]: engine for engine in operations["detect_bounding_box"]["engines"]}
    assert engines.keys() > {"d-fine-nano", "faster-rcnn", "opencv-hog-people", "mtcnn"}
    assert "standing people seen whole" in engines["opencv-hog-people"]["limits"].lower()
    assert engines["mtcnn"]["licence"] == "MIT"
    assert engines["mtcnn"]["size_bytes"] > 1_000_000


def test_an_operation_needs_the_engines_of_its_targets(operations):
    names = {engine["name"] for engine in operations["embed_hog_hsv"]["engines"]}
    assert names == {"opencv-hog-people", "mtcnn"}


def test_live(client):
    assert client.get("/health/live").json() == {"status": "ok"}


def test_ready_says_so_for_every_operation(tiny_client, tiny_room):
    asyncio.run(load_engines(tiny_room, wanted_engines(["all"], tiny_room)))
    response = tiny_client.get("/health/ready")
    assert response.status_code == 200
    body = response.json()
    assert body["status"] == "ready"
    assert {name: each["state"] for name, each in body["operations"].items()} == dict.fromkeys(
        sorted(PUBLIC), "ready"
    )
    assert body["operations"]["embed_clip"]["engine"] == "ViT-B-32"
    assert body["operations"]["read_text"]["licence"] == "Apache-2.0"
    assert body["operations"]["crop"]["engine"] is None


def test_the_server_is_not_ready_while_it_starts(client, room):
    room.starting = True
    try:
        response = client.get("/health/ready")
    finally:
        room.starting = False
    assert (response.status_code, response.json()["status"]) == (503, "loading")
