"""API keys: who comes in, with what, and what everybody else is told."""

import hmac

import orjson
import pytest
from litestar import Litestar, get
from litestar.exceptions import ImproperlyConfiguredException, TooManyRequestsException
from litestar.testing import TestClient

from app.api.app import build_app
from app.api.auth import Authentication
from app.api.doors import OPEN, UNGUARDED, Doors, check_declared, declared, doors_of
from app.api.rate_limits import MovingWindow
from app.core.access import SCOPES, Limit, made_key
from tests.conftest import nothing_to_load

KEYS = {scope: made_key(scope, [scope]) for scope in SCOPES}
ALL = made_key("all", SCOPES)
DOORS = Doors(keys=(*(entry for _, entry in KEYS.values()), ALL[1]))
PLAN = {"tasks": [{"operation_id": "a", "type": "crop"}]}


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def guarded(room):
    """The application with a key for each scope."""
    with TestClient(build_app(room, "0", nothing_to_load, DOORS), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic YTpi"}, bearer(""), {"X-API-Key": " "}])
def test_a_request_without_a_key_is_told_how_to_show_one(guarded, headers):
    response = guarded.post("/plan/", json=PLAN, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    detail = response.json()["detail"]
    assert "Authorization: Bearer" in detail
    assert "X-API-Key" in detail


def test_a_wrong_key_is_refused(guarded):
    wrong, _ = made_key("analyze", SCOPES)
    for headers in (bearer(wrong), {"X-API-Key": wrong}, bearer(KEYS["analyze"][1].digest)):
        response = guarded.post("/plan/", json=PLAN, headers=headers)
        assert response.status_code == 401
        assert 'error="invalid_token"' in response.headers["www-authenticate"]
        assert wrong not in response.text


@pytest.mark.parametrize(
    "headers",
    [
        bearer(ALL[0]),
        {"Authorization": f"bearer  {ALL[0]} "},
        {"X-API-Key": ALL[0]},
        {"X-API-Key": ALL[0], **bearer(ALL[0])},
        {"X-API-Key": ALL[0], "Authorization": "Basic YTpi"},
    ],
)
def test_a_right_key_comes_in_by_either_header(guarded, headers):
    assert guarded.post("/plan/", json=PLAN, headers=headers).status_code == 200


def test_two_different_keys_are_refused(guarded):
    headers = {**bearer(ALL[0]), "X-API-Key": KEYS["analyze"][0]}
    response = guarded.post("/plan/", json=PLAN, headers=headers)
    assert response.status_code == 400
    assert "two different API keys" in response.json()["detail"]


def test_a_key_in_the_address_is_none(guarded):
    for name in ("api_key", "key", "access_token", "X-API-Key"):
        assert guarded.post(f"/plan/?{name}={ALL[0]}", json=PLAN).status_code == 401


def test_a_key_without_the_scope_is_told_which_it_needs_and_has(guarded):
    response = guarded.get("/index/", headers=bearer(KEYS["analyze"][0]))
    assert response.status_code == 403
    assert "'index'" in response.json()["detail"]
    assert "has analyze" in response.json()["detail"]
    assert 'error="insufficient_scope", scope="index"' in response.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/analyze_image/", "analyze"),
        ("POST", "/analyze_image_upload/", "analyze"),
        ("POST", "/plan/", "analyze"),
        ("POST", "/find_duplicates/", "analyze"),
        ("GET", "/available_operations/", "analyze"),
        ("GET", "/classifiers/", "analyze"),
        ("GET", "/index/", "index"),
        ("POST", "/index/", "index"),
        ("DELETE", "/index/none/", "index"),
        ("POST", "/index/none/search/", "index"),
        ("GET", "/metrics", "admin"),
    ],
)
def test_every_endpoint_takes_the_key_of_its_scope_only(guarded, method, path, scope):
    for name, (key, _) in KEYS.items():
        status = guarded.request(method, path, headers=bearer(key)).status_code
        assert (status == 403) == (name != scope), (name, status)
        assert status != 401
    assert guarded.request(method, path).status_code == 401


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/schema/openapi.json"])
def test_health_and_the_document_are_open(guarded, path):
    assert guarded.get(path).status_code == 200


def test_every_route_declares_its_scope(guarded):
    doors = {
        (method, path): declared(handler, method)["scope"] for path, method, handler in doors_of(guarded.app)
    }
    assert set(doors.values()) == {OPEN, *SCOPES}
    assert {path for (method, path), scope in doors.items() if scope == OPEN and method != "OPTIONS"} == {
        "/",
        "/playground/samples",
        "/playground/samples/{name}",
        "/playground/samples/{name}/thumbnail",
        "/playground/{path}",
        "/health/live",
        "/health/ready",
        "/schema",
        "/schema/openapi.json",
        "/schema/{path}",
    }
    assert all(
        scope == "index"
        for (method, path), scope in doors.items()
        if path.startswith("/index") and method != "OPTIONS"
    )
    assert {path for (_, path), scope in doors.items() if scope == "admin"} == {
        "/metrics",
        "/models/{name}/load",
        "/models/{name}/pull",
        "/models/{name}/unload",
    }


def test_a_route_that_declares_no_scope_stops_the_start():
    @get("/live")
    async def forgotten() -> None: ...

    with pytest.raises(ImproperlyConfiguredException, match="GET /live declares no scope"):
        check_declared(Litestar([forgotten], openapi_config=None))


def test_without_keys_everybody_may_come_in(client):
    for headers in ({}, bearer("anything"), {"X-API-Key": "anything", **bearer("else")}):
        assert client.post("/plan/", json=PLAN, headers=headers).status_code == 200


def test_a_task_reaches_the_index_with_its_scope_only(tiny_room, astronaut_png):
    task = {"operation_id": "t", "type": "search_similar", "params": {"collection": "photos"}}

    def asked(key):
        response = client.post(
            "/analyze_image_upload/",
            files={"image_file": ("image.png", astronaut_png)},
            data={"tasks_json": orjson.dumps([task]).decode()},
            headers=bearer(key),
        )
        assert response.status_code == 200
        return response.json()["results"]["t"]

    with TestClient(build_app(tiny_room, "0", nothing_to_load, DOORS)) as client:
        refused, answered = asked(KEYS["analyze"][0]), asked(ALL[0])
    assert refused["status"] == "skipped"
    assert refused["error_code"] == "not_permitted"
    assert "scope 'index'" in refused["error_message"]
    assert answered["status"] == "success"


def test_a_key_is_compared_with_all_in_constant_time(monkeypatch):
    compared = []

    def compare(known, shown):
        compared.append(known)
        return equal(known, shown)

    equal = hmac.compare_digest
    monkeypatch.setattr("app.api.auth.hmac.compare_digest", compare)
    authentication = Authentication(DOORS.keys)
    for key, entry in (*KEYS.values(), ALL):
        compared.clear()
        found = authentication.caller([(b"x-api-key", key.encode())], min(entry.scopes), "10.0.0.1")
        assert found is entry
        assert compared == [each.digest for each in DOORS.keys]


def test_wrong_keys_of_an_address_are_limited(room):
    with TestClient(build_app(room, "0", nothing_to_load, DOORS)) as client:
        statuses = [
            client.post("/plan/", json=PLAN, headers=bearer(f"guess {n}")).status_code for n in range(31)
        ]
        refused = client.post("/plan/", json=PLAN, headers=bearer(ALL[0]))
        # Who shows no key guesses nothing.
        keyless = client.post("/plan/", json=PLAN)
    assert statuses == [401] * 30 + [429]
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "wrong API keys" in refused.json()["detail"]
    assert "ratelimit" not in refused.headers
    assert keyless.status_code == 401


def test_who_shares_an_address_with_a_guesser_is_not_shut_out():
    now = 0.0
    authentication = Authentication(DOORS.keys, MovingWindow(Limit(1, 60), lambda: now))

    def enters(key, address):
        return authentication.caller([(b"x-api-key", key.encode())], "index", address).name

    assert enters(KEYS["index"][0], "10.0.0.1") == "index"
    with pytest.raises(Exception, match="not one of this server's"):
        enters("a guess", "10.0.0.1")
    for key in ("a guess", ALL[0]):
        with pytest.raises(TooManyRequestsException):
            enters(key, "10.0.0.1")
    assert enters(KEYS["index"][0], "10.0.0.1") == "index"
    assert enters(ALL[0], "10.0.0.2") == "all"
    now = 60.0
    assert enters(ALL[0], "10.0.0.1") == "all"


def security_of(client):
    paths = client.get("/schema/openapi.json").json()["paths"]
    return {
        f"{method} {path}": operation
        for path, operations in paths.items()
        for method, operation in operations.items()
    }


def test_the_document_tells_how_a_key_is_shown_and_what_it_needs(guarded):
    document = guarded.get("/schema/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    assert (schemes["bearer"]["type"], schemes["bearer"]["scheme"]) == ("http", "bearer")
    assert (schemes["api_key"]["in"], schemes["api_key"]["name"]) == ("header", "X-API-Key")
    operations = security_of(guarded)
    assert not any("/schema" in name for name in operations)
    for name, operation in operations.items():
        assert "403" in operation["responses"], name
        if operation["security"]:
            assert "401" in operation["responses"], name
    search = operations["post /index/{collection}/search"]
    assert search["security"] == [{"bearer": ["index"]}, {"api_key": ["index"]}]
    assert "scope `index`" in search["description"]
    assert {"401", "403", "429"} <= search["responses"].keys()
    live = operations["get /health/live"]
    assert live["security"] == []
    assert not {"401", "429"} & live["responses"].keys()


def test_without_keys_the_document_asks_for_none(client):
    assert UNGUARDED.keys == ()
    for name, operation in security_of(client).items():
        assert operation["security"] == [] or operation["security"][0] == {}, name
