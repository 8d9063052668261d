"""The graph of a request, shown without running it."""

import pytest

from tests.api.test_wire import task

TASKS = [
    task("detect_bounding_box", "face", target="prominent_face"),
    task("embed_hog_hsv", "vector", target={"task": "face"}),
    task("crop", "shown", target="prominent_face"),
    task("nothing", "unknown"),
]


def plan(client, tasks=TASKS, **more):
    response = client.post("/plan/", json={"tasks": tasks, **more})
    assert response.status_code == 200, response.text
    return response.json()


def test_nodes_name_the_tasks_that_share_them(client):
    nodes = {node["id"]: node for node in plan(client)["nodes"]}
    assert nodes["detect_persons#1"]["tasks"] == ["face", "vector", "shown"]
    assert nodes["detect_faces#1"]["tasks"] == ["face", "vector", "shown"]
    assert nodes["crop#1"]["tasks"] == ["shown"]


def test_every_node_follows_its_inputs(client):
    known = {"image"}
    for node in plan(client)["nodes"]:
        assert set(node["needs"].values()) <= known
        known.add(node["id"])


def test_a_refused_task_has_no_node(client):
    tasks = {each["operation_id"]: each for each in plan(client)["tasks"]}
    assert tasks["unknown"]["node"] is None
    assert tasks["unknown"]["error_code"] == "unsupported_operation"
    assert tasks["face"]["error_code"] is None
    assert tasks["shown"]["crop"] == "encode_crop#2"


def test_nothing_is_said_of_the_cache_without_an_image(client):
    assert {node["cached"] for node in plan(client)["nodes"]} == {None}
    unseen = plan(client, image_sha256="0" * 64)
    assert {node["cached"] for node in unseen["nodes"]} == {False}


def test_a_node_below_one_that_is_not_cached_is_not_cached(client, analyze, astronaut_png):
    body = analyze(astronaut_png, task("detect_bounding_box", "face", target="prominent_face"))
    shown = plan(client, [TASKS[0], TASKS[2]], image_sha256=body["image"]["sha256"])
    cached = {node["operation"]: node["cached"] for node in shown["nodes"]}
    assert cached["detect_faces"]
    assert cached["regions"]
    assert not cached["crop"] or cached["encode_crop"]


def test_costs_are_told_once_they_were_measured(client, analyze, astronaut_png):
    analyze(astronaut_png, task("hash_perceptual"))
    shown = plan(client, [task("hash_perceptual")])
    assert shown["estimate_ms"] > 0
    assert shown["cold_models"] == []


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/plan/?format=mermaid", {}),
        ("/plan/", {"Accept": "text/vnd.mermaid"}),
        ("/plan", {"Accept": "text/vnd.mermaid, application/json;q=0.5"}),
    ],
)
def test_the_graph_as_a_diagram(client, path, headers):
    response = client.post(path, json={"tasks": TASKS}, headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/vnd.mermaid")
    lines = response.text.splitlines()
    assert lines[0] == "flowchart LR"
    assert any('["detect_faces' in line and "mtcnn (ready)" in line for line in lines)
    assert sum(" ==> t" in line for line in lines) == 3
    assert sum("-.- x" in line for line in lines) == 1


@pytest.mark.parametrize("path", ["/plan/?format=json", "/plan/"])
def test_json_is_the_default_form(client, path):
    response = client.post(path, json={"tasks": TASKS}, headers={"Accept": "*/*"})
    assert response.headers["content-type"].startswith("application/json")


def test_a_name_cannot_become_a_part_of_the_diagram(client):
    name = 'x"]; click t0 "javascript:alert(1)"\n%%{init}%%'
    response = client.post("/plan/?format=mermaid", json={"tasks": [task("crop", name)]})
    (line,) = [line for line in response.text.splitlines() if line.startswith("    t0(")]
    inside = line.removeprefix('    t0(["').removesuffix('"])')
    assert not set('"[]{}<>%\n;') & set(inside.replace("#34;", "").replace("#93;", "")) - {";"}
    assert "javascript" in inside
