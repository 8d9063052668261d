"""Discovery and health."""

import pytest

from app.core.registry import discover

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
    assert entry["default_target"] in entry["allowed_targets"]
    assert entry["params"]["properties"]["target"]
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
    assert engines.keys() == {"opencv-hog-people", "mtcnn"}
    assert "standing people seen whole" in engines["opencv-hog-people"]["limits"].lower()
    assert engines["mtcnn"]["licence"] == "MIT"
    assert engines["mtcnn"]["size_bytes"] > 1_000_000


def test_an_operation_needs_the_engines_of_its_targets(operations):
    names = {engine["name"] for engine in operations["embed_hog_hsv"]["engines"]}
    assert names == {"opencv-hog-people", "mtcnn"}


def test_live(client):
    assert client.get("/health/live").json() == {"status": "ok"}


def test_ready_says_so_for_every_operation(client, analyze, astronaut_png):
    tasks = [{"operation_id": name, "type": name} for name in PUBLIC]
    tasks.append({"operation_id": "f", "type": "crop", "params": {"target": "prominent_face"}})
    analyze(astronaut_png, *tasks)
    response = client.get("/health/ready")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "operations": dict.fromkeys(sorted(PUBLIC), "ready")}
