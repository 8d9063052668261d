"""The lines of the log: one a request, without queries, keys and what clients would smuggle in."""

import json
import logging
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import pytest

from app.api.doors import Doors
from app.cli.logs import LineFormatter
from app.core.access import ApiKey, digest_of
from app.main import build_room
from app.settings import Settings
from tests.api.test_metrics import REGISTRY
from tests.conftest import served
from tests.test_stopping import stoppable
from tests.toys import ToyStore

SECRET = "secret-of-the-query"  # no key: what somebody may write into an address


@pytest.fixture
def light(tmp_path) -> Iterator:
    room = build_room(Settings(data=tmp_path), REGISTRY, ToyStore())
    yield room
    room.pool.close()
    room.index.close()
    room.classifiers.close()


@pytest.fixture
def lines(caplog):
    """The access lines so far."""
    caplog.set_level(logging.DEBUG, "app.api.access_log")
    return lambda: [record for record in caplog.records if record.name == "app.api.access_log"]


def test_a_request_has_one_line_without_its_query(light, lines):
    with served(light) as url:
        answer = httpx.get(f"{url}/index/cats%0aforged/?q={SECRET}", headers={"X-Request-ID": "mine"})
    (line,) = lines()
    assert line.levelno == logging.INFO
    assert (line.method, line.status, line.bytes) == ("GET", 404, len(answer.content))
    assert line.route == "/index/{collection}"
    assert line.path == "/index/cats%0Aforged/"
    assert line.ms > 0
    assert line.api_key is None
    assert SECRET not in line.getMessage()
    assert "\n" not in line.getMessage()


def test_what_no_route_takes_has_a_line_of_bounded_length(light, lines):
    with served(light) as url:
        httpx.get(f"{url}/{'é' * 3000}")
    (line,) = lines()
    assert (line.status, line.route) == (404, "unmatched")
    assert line.path.startswith("/%C3%A9")
    assert len(line.path) <= 203


def test_probes_are_of_the_level_debug(light, lines):
    with served(light) as url:
        for path in ("/health/live", "/health/ready/", "/metrics"):
            assert httpx.get(url + path).status_code == 200
    assert [line.levelno for line in lines()] == [logging.DEBUG] * 3


def test_the_line_names_the_key_and_does_not_show_it(light, lines):
    key = "the-key-itself-which-is-secret"
    doors = Doors(keys=(ApiKey("shop", frozenset({"analyze"}), digest_of(key.encode())),))
    with served(light, doors) as url:
        httpx.get(f"{url}/available_operations/", headers={"X-API-Key": key})
        httpx.get(f"{url}/available_operations/", headers={"X-API-Key": "wrong"})
    assert [(line.status, line.api_key) for line in lines()] == [(200, "shop"), (401, None)]
    assert "key shop" in lines()[0].getMessage()
    assert not [line for line in lines() if key in line.getMessage() or "wrong" in line.getMessage()]


@pytest.mark.parametrize(
    "sent", [b"x" * 10_000, b"a b", b"\xff\xfe", b'{"$":1}', b"a\rforged", b"\x1b[31m"], ids=range(6)
)
def test_a_hostile_id_reaches_neither_the_answer_nor_the_log(light, caplog, sent):
    caplog.set_level(logging.DEBUG)
    with served(light) as url:
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port)) as connection:
            head = b"GET /index/a/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-ID: %s\r\n\r\n"
            connection.sendall(head % sent)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
    assert sent not in answer
    text = "".join(map(repr, (vars(record) for record in caplog.records)))
    assert repr(sent)[2:-1] not in text


def test_every_line_of_json_can_be_read(tmp_path):
    with stoppable(tmp_path, log_format="json") as server:
        answer = server.ask("fail", "measure")
        httpx.get(f"{server.url}/available_operations/?q={SECRET}", headers={"X-Request-ID": "mine"})
        server.stop()
        server.ended()
        lines = [json.loads(line) for line in server.log.splitlines()]
    for line in lines:
        assert {"time", "level", "logger", "message", "request_id"} <= line.keys()
        assert datetime.fromisoformat(line["time"]).tzinfo == UTC
    failed = next(line for line in lines if line["level"] == "ERROR")
    assert failed["exception"].endswith("ValueError: first line\nsecond line")
    assert failed["request_id"] == answer.headers["x-request-id"]
    access = [line for line in lines if line["logger"] == "app.api.access_log"]
    assert [(line["path"], line["request_id"]) for line in access] == [
        ("/analyze_image_upload/", answer.headers["x-request-id"]),
        ("/available_operations/", "mine"),
    ]
    assert access[0]["status"] == 200
    assert access[0]["ms"] > 0
    assert SECRET not in server.log


def test_the_level_is_a_setting(tmp_path):
    with stoppable(tmp_path, log_level="WARNING") as server:
        server.ask("measure")
        server.stop()
        server.ended()
        assert server.log == ""


def test_text_keeps_a_message_on_its_line():
    formatter = LineFormatter("%(levelname)s: %(message)s")
    record = logging.makeLogRecord({"levelname": "INFO", "msg": "a\nINFO: forged\r\x1b[31m\u2028b\n"})
    assert formatter.format(record) == "INFO: a\\nINFO: forged\\r\\x1b[31m\\u2028b"
    try:
        raise ValueError("why")
    except ValueError:
        record = logging.makeLogRecord({"levelname": "ERROR", "msg": "failed", "exc_info": sys.exc_info()})
    first, *rest = formatter.format(record).splitlines()
    assert first == "ERROR: failed"
    assert rest[-1] == "ValueError: why"
