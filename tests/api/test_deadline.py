"""The time that a client gives to its request."""

import json
import threading
from collections.abc import Sequence

import httpx
import pytest

from app.core.artifacts import Crop
from app.core.geometry import Box
from app.core.operation import IMAGE, NoParams, operation
from app.core.registry import Registry
from app.main import build_room
from app.settings import Settings
from tests.conftest import served
from tests.images import encoded, noise
from tests.site import site

PICTURE = encoded(noise(16, 12))
TASKS = [{"operation_id": "quick", "type": "measure"}, {"operation_id": "late", "type": "hold"}]
HASTY = {"X-Request-Timeout": "0.5"}


@operation(needs=lambda params: {"crop": IMAGE})
def measure(crop: Sequence[Crop], params: NoParams) -> list[Box]:
    """Measure."""
    return [each.box for each in crop]


@pytest.fixture
def url():
    """A server whose `hold` holds its lane for longer than any request has."""
    gate = threading.Event()

    @operation(needs=lambda params: {"crop": IMAGE})
    def hold(crop: Sequence[Crop], params: NoParams) -> list[Box]:
        """Hold the lane until the test ends."""
        gate.wait(30)
        return [each.box for each in crop]

    settings = Settings(lanes=4, request_timeout=20, allow_private_urls=True)
    room = build_room(settings, Registry([measure, hold]))
    with served(room) as url:
        yield url
        gate.set()
    room.pool.close()


def upload(url, path="/analyze_image_upload/", **headers):
    return httpx.post(
        url + path,
        files={"image_file": ("a.png", PICTURE)},
        data={"tasks_json": json.dumps(TASKS)},
        headers={**HASTY, **headers},
        timeout=30,
    )


def is_finished_in_part(results):
    assert results["quick"]["status"] == "success"
    assert results["quick"]["data"] == [0, 0, 16, 12]
    assert results["late"]["status"] == "error"
    assert results["late"]["error_code"] == "deadline_exceeded"
    return True


def test_what_is_finished_in_the_clients_time_is_answered(url):
    assert is_finished_in_part(upload(url).json()["results"])


def test_the_image_behind_a_url_has_the_clients_time(url):
    with site({"a.png": PICTURE}) as where:
        body = {"image_url": f"{where}/a.png", "tasks": TASKS}
        answer = httpx.post(f"{url}/analyze_image/", json=body, headers=HASTY, timeout=30)
    assert is_finished_in_part(answer.json()["results"])


def test_a_streamed_answer_ends_in_the_clients_time(url):
    lines = [json.loads(line) for line in upload(url, Accept="application/x-ndjson").text.splitlines()]
    assert is_finished_in_part({line["operation_id"]: line["result"] for line in lines[1:-1]})
    assert "timings_ms" in lines[-1]


def test_every_image_of_a_batch_has_the_clients_time(url):
    lines = [json.loads(line) for line in upload(url, "/analyze_batch/").text.splitlines()]
    assert is_finished_in_part(lines[0]["results"])
    assert (lines[1]["done"], lines[1]["failed"]) == (1, 0)


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_the_clients_time_counts_while_the_image_is_downloaded(url, accept):
    gate = threading.Event()
    with site({"slow.png": PICTURE}, gate) as where:
        body = {"image_url": f"{where}/slow.png", "tasks": TASKS}
        headers = {**HASTY, "Accept": accept}
        answer = httpx.post(f"{url}/analyze_image/", json=body, headers=headers, timeout=30)
        gate.set()
    assert answer.status_code == 200
    assert "deadline_exceeded" in answer.text
    first = json.loads(answer.text.splitlines()[0])
    assert first["image"] is None
    if accept == "application/json":
        assert [each["error_code"] for each in first["results"].values()] == ["deadline_exceeded"] * 2


def asked(client, path, sent):
    return client.post(
        path,
        files={"image_file": ("a.png", PICTURE)},
        data={"tasks_json": '[{"operation_id": "t", "type": "no_such"}]'},
        headers={"X-Request-Timeout": sent},
    )


@pytest.mark.parametrize("sent", ["0", "-1", "60.5", "1e9", "nan", "inf", "soon", "", "1_0", "0x1", "1,5"])
@pytest.mark.parametrize("path", ["/analyze_image/", "/analyze_image_upload/", "/analyze_batch/"])
def test_a_time_that_is_none_is_refused(client, path, sent):
    answer = asked(client, path, sent)
    assert answer.status_code == 400
    detail = answer.json()["detail"]
    assert detail.startswith("X-Request-Timeout: ")
    assert "at most 60" in detail
    assert json.dumps(sent) in detail


@pytest.mark.parametrize("sent", ["60", "2e1", " 7 ", ".5"])
@pytest.mark.parametrize("path", ["/analyze_image_upload/", "/analyze_batch/"])
def test_a_time_within_the_servers_own_is_taken(client, path, sent):
    assert asked(client, path, sent).status_code == 200
