"""How errors of the whole request become answers."""

import asyncio

import pytest

from app.api.bodies import in_time
from app.api.errors import STATUS
from app.core.errors import MalformedRequest, Overloaded, RequestError


@pytest.mark.parametrize("kind", RequestError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_refusal_has_a_status_of_its_own_side(kind):
    status = STATUS[kind]
    assert 400 <= status < 500 or kind is Overloaded


@pytest.mark.parametrize("path", ["/nowhere", "/analyze_image/nowhere", "/schema/nothing.json"])
def test_an_unknown_path_says_so(client, path):
    response = client.get(path)
    assert response.status_code == 404


def test_a_wrong_method_says_so(client):
    response = client.get("/analyze_image/")
    assert response.status_code == 405
    assert response.json() == {"detail": "Method Not Allowed"}


def test_a_query_that_does_not_fit_is_named(client):
    response = client.post("/plan/?format=svg", json={"tasks": [{"operation_id": "a", "type": "crop"}]})
    assert response.status_code == 400
    assert "format" in response.json()["detail"]
    assert "svg" in response.json()["detail"]


def test_a_form_that_is_sent_to_the_wrong_path_is_shown_the_right_one(client, astronaut_png):
    response = client.post("/analyze_image/", files={"image_file": ("a.png", astronaut_png)})
    assert response.status_code == 400
    assert "/analyze_image_upload/" in response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ({"tasks": [{"operationid": "a", "type": "crop"}]}, "operation_id"),
        ({"task": []}, "tasks"),
        ({"tasks": [{"operation_id": "a", "type": "crop", "param": {}}]}, "params"),
    ],
)
def test_an_unknown_field_is_told_its_nearest(client, body, hint):
    assert f"did you mean '{hint}'?" in client.post("/plan/", json=body).json()["detail"]


def test_a_body_that_does_not_arrive_is_not_waited_for():
    async def never() -> None:
        await asyncio.Event().wait()

    with pytest.raises(MalformedRequest, match="did not arrive within"):
        asyncio.run(in_time(never(), 0.05))
