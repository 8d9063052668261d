"""Every answer carries the id under which the log speaks of the request."""

import logging
import re

import pytest

from app.api.request_id import RequestIdFilter


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("abc-123_x.Y", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("", False),
        ("two words", False),
        ("x\ty", False),
        ("<script>", False),
    ],
)
def test_a_plain_id_is_kept_and_another_is_replaced(client, sent, kept):
    answered = client.get("/health/live", headers={"X-Request-ID": sent}).headers["x-request-id"]
    if kept:
        assert answered == sent
    else:
        assert re.fullmatch("[0-9a-f]{32}", answered)


def test_the_answer_names_the_same_id(analyze, client, astronaut_png):
    response = client.post(
        "/analyze_image_upload/",
        files={"image_file": ("x.png", astronaut_png)},
        data={"tasks_json": '[{"operation_id": "a", "type": "crop"}]'},
        headers={"X-Request-ID": "mine"},
    )
    assert response.json()["request_id"] == response.headers["x-request-id"] == "mine"


def test_two_requests_have_two_ids(client):
    ids = {client.get("/health/live").headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


def test_refusals_carry_one_too(client):
    assert client.get("/nowhere").headers["x-request-id"]
    assert client.post("/plan/", content=b"{").headers["x-request-id"]


def test_a_log_line_outside_of_a_request_has_a_dash():
    record = logging.makeLogRecord({})
    assert RequestIdFilter().filter(record)
    assert record.request_id == "-"
