"""How often a key or an address may ask."""

import json
from typing import Any

import httpx
import pytest
from litestar.exceptions import TooManyRequestsException
from litestar.testing import TestClient

from app.api.app import build_app
from app.api.doors import Doors
from app.api.rate_limits import Account, MovingWindow, client_address
from app.core.access import Limit, made_key
from tests.conftest import nothing_to_load, served

PLAN = {"tasks": [{"operation_id": "a", "type": "crop"}]}
TWO_AN_HOUR = Limit(2, 3600)


class Clock:
    """Time that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_window_moves():
    clock = Clock()
    window = MovingWindow(Limit(2, 10), clock)
    first = window.take("a")
    assert first is not None
    assert (first.remaining, first.more_in) == (1, 10)
    clock.now += 4
    second = window.take("a")
    assert second is not None
    assert (second.remaining, second.more_in) == (0, 6)
    assert window.take("a") is None
    clock.now += 5.5
    assert window.take("a") is None
    clock.now += 0.5
    # The first is ten seconds old; the refused ones were not counted.
    third = window.take("a")
    assert third is not None
    assert (third.remaining, third.more_in) == (0, 4)
    assert window.take("a") is None
    assert window.take("b") is not None


def test_a_quiet_client_is_forgotten():
    clock = Clock()
    window = MovingWindow(Limit(5, 10), clock)
    for number in range(100):
        window.take(f"client {number}")
    clock.now += 11
    window.take("another")
    assert len(window._times) == 1


@pytest.mark.parametrize(("more_in", "told"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (59.01, "60")])
def test_a_wait_is_told_in_whole_seconds(more_in, told):
    clock = Clock()
    window = MovingWindow(Limit(1, 60), clock)
    window.take("a")
    clock.now += 60 - more_in
    refusal = window.left("a").refusal("Too many")
    assert refusal.headers is not None
    assert refusal.headers["Retry-After"] == told


def test_beyond_the_limit_a_client_is_told_when_to_come_back(room):
    doors = Doors(rate_limit=TWO_AN_HOUR)
    with TestClient(build_app(room, "0", nothing_to_load, doors)) as client:
        answers = [client.post("/plan/", json=PLAN) for _ in range(3)]
        # A malformed request counts as well: it is a request.
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        refused = answers[2]
        assert 3590 <= int(refused.headers["retry-after"]) <= 3600
        assert refused.json()["detail"].startswith(
            "More than 2 requests came within 3,600 seconds; try again"
        )
        assert [answer.headers["ratelimit-policy"] for answer in answers] == ['"requests";q=2;w=3600'] * 3
        left = [answer.headers["ratelimit"].split(";")[1] for answer in answers]
        assert left == ["r=1", "r=0", "r=0"]
        # Probes are not counted, nor told of.
        for path in ("/health/live", "/health/ready"):
            probe = client.get(path)
            assert probe.status_code == 200
            assert "ratelimit" not in probe.headers
        assert client.get("/schema/openapi.json").status_code == 429


def test_a_request_that_is_refused_for_its_body_counts(room):
    with TestClient(build_app(room, "0", nothing_to_load, Doors(rate_limit=TWO_AN_HOUR))) as client:
        answers = [client.post("/plan/", content=b"{") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [400, 400, 429]
    assert answers[0].headers["ratelimit"].startswith('"requests";r=1;')


def test_every_key_has_a_limit_of_its_own(room):
    keys = [made_key(name, ["analyze"]) for name in ("one", "two")]
    doors = Doors(keys=tuple(entry for _, entry in keys), rate_limit=TWO_AN_HOUR)
    with TestClient(build_app(room, "0", nothing_to_load, doors)) as client:
        for key, _ in keys:
            statuses = [
                client.post("/plan/", json=PLAN, headers={"X-API-Key": key}).status_code for _ in range(3)
            ]
            assert statuses == [200, 200, 429]
        # Who shows no key takes nothing from those who do.
        assert client.post("/plan/", json=PLAN).status_code == 401


def test_without_keys_every_address_has_a_limit_of_its_own(room):
    with served(room, Doors(rate_limit=TWO_AN_HOUR)) as url, httpx.Client(base_url=url) as client:
        for address in ("203.0.113.1", "203.0.113.2"):
            # uvicorn trusts a proxy on loopback, as the server's setting does.
            statuses = [
                client.post("/plan/", json=PLAN, headers={"X-Forwarded-For": address}).status_code
                for _ in range(3)
            ]
            assert statuses == [200, 200, 429]
        assert client.post("/plan/", json=PLAN).status_code == 200


def test_without_a_limit_nothing_is_told_of_one(client):
    answer = client.post("/plan/", json=PLAN)
    assert "ratelimit" not in answer.headers
    assert "ratelimit-policy" not in answer.headers


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("203.0.113.9", 4711), "203.0.113.9"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::", 1), "2001:db8:1:2::/64"),
        (("::ffff:203.0.113.9", 1), "203.0.113.9"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (("unix", 0), "unix"),
        (("x" * 1000, 0), "x" * 64),
        (None, ""),
    ],
)
def test_an_address_of_ipv6_is_that_of_the_subscriber(client, address):
    assert client_address({"client": client}) == address


@pytest.mark.parametrize("path", ["/analyze_batch/", "/index/photos/items/", "/find_duplicates/"])
def test_every_image_of_a_request_counts(room, path):
    doors = Doors(rate_limit=Limit(10, 3600))
    texts = {"tasks_json": json.dumps(PLAN["tasks"])} if path == "/analyze_batch/" else {}
    with TestClient(build_app(room, "0", nothing_to_load, doors)) as client:

        def send(images: int) -> Any:
            files = [("image_file", (f"{n}.png", b"no image")) for n in range(images)]
            return client.post(path, files=files, data=texts)

        # None of them is an image, or there is no such collection: they were sent all the same.
        first = send(6)
        assert first.status_code != 429
        assert first.headers["ratelimit"].startswith('"requests";r=4;')
        too_many = send(5)
        assert too_many.status_code == 429
        assert too_many.json()["detail"].startswith(
            "The request has 5 images, each of which counts as a request, and of 10 within 3,600 seconds "
            "4 are left; send fewer at once; try again in "
        )
        assert int(too_many.headers["retry-after"]) > 3590
        # What is refused is not counted.
        assert too_many.headers["ratelimit"].startswith('"requests";r=4;')
        never = send(11)
        assert never.status_code == 429
        assert "no more than 10 are taken within 3,600 seconds; send fewer at once." in never.json()["detail"]
        assert "retry-after" not in never.headers
        assert send(4).status_code != 429
        assert client.get("/available_operations/").status_code == 429


def test_who_comes_back_when_told_to_is_served():
    clock = Clock()
    window = MovingWindow(Limit(10, 60), clock)
    account = Account(window, "a")
    for _ in range(5):
        account.take()
        clock.now += 9
    # Five are left, and six wanted: the first of the five is 45 seconds old.
    account.take()
    with pytest.raises(TooManyRequestsException) as refused:
        account.take_images(6)
    assert refused.value.headers is not None
    assert refused.value.headers["Retry-After"] == "15"
    clock.now += 15
    account.take()
    account.take_images(6)
    assert window.left("a").remaining == 0


def test_vectors_that_are_added_count_as_one_request(room):
    doors = Doors(rate_limit=Limit(2, 3600))
    items = [{"id": str(n), "vector": [1.0], "space": "made/1"} for n in range(5)]
    with TestClient(build_app(room, "0", nothing_to_load, doors)) as client:
        answer = client.post("/index/nowhere/items/", json={"items": items})
        assert answer.status_code == 404
        assert answer.headers["ratelimit"].startswith('"requests";r=1;')


def test_more_are_free_when_the_oldest_have_left():
    clock = Clock()
    window = MovingWindow(Limit(5, 10), clock)
    window.take("a", 2)
    clock.now += 4
    window.take("a", 3)
    assert [window.left("a", count).more_in for count in (1, 2, 3, 5, 9)] == [6, 6, 10, 10, 10]
    assert window.left("a").more_in == 6
    assert window.take("a") is None
    clock.now += 6
    assert window.take("a", 3) is None
    assert window.take("a", 2) is not None
