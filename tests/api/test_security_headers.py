"""What every answer tells browsers, and which pages may use the server."""

import pytest
from litestar.testing import TestClient

from app.api.app import build_app
from app.api.doors import SECURITY_HEADERS, Doors
from app.core.access import Limit, made_key
from tests.conftest import nothing_to_load

PLAN = {"tasks": [{"operation_id": "a", "type": "crop"}]}
PAGE = "https://app.example.org"


def serving(room, **doors):
    return TestClient(build_app(room, "0", nothing_to_load, Doors(**doors)), raise_server_exceptions=False)


def protects(response):
    return all(response.headers.get(name) == value for name, value in SECURITY_HEADERS.items())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health/live", 200),
        ("GET", "/available_operations/", 200),
        ("GET", "/schema/openapi.json", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/plan/", 405),
        ("POST", "/plan/", 400),
        ("OPTIONS", "/plan/", 204),
        ("GET", "/index/none/", 404),
    ],
)
def test_every_answer_carries_the_security_headers(client, method, path, status):
    response = client.request(method, path)
    assert response.status_code == status
    assert protects(response)


def test_refusals_at_the_door_carry_them_too(room):
    with serving(room, keys=(made_key("app", ["analyze"])[1],)) as client:
        refused = client.post("/plan/", json=PLAN)
    assert refused.status_code == 401
    assert protects(refused)
    with serving(room, rate_limit=Limit(1, 3600)) as client:
        client.post("/plan/", json=PLAN)
        refused = client.post("/plan/", json=PLAN)
    assert refused.status_code == 429
    assert protects(refused)


# CORS


def test_no_page_of_another_origin_reads_an_answer_by_default(client):
    response = client.get("/health/live", headers={"Origin": PAGE})
    assert "access-control-allow-origin" not in response.headers
    preflight = client.options("/plan/", headers={"Origin": PAGE, "Access-Control-Request-Method": "POST"})
    assert "access-control-allow-origin" not in preflight.headers


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ((PAGE,), PAGE, True),
        ((PAGE,), "https://evil.example", False),
        ((PAGE,), f"{PAGE}.evil.example", False),
        (("https://*.example.org",), PAGE, True),
        (("https://*.example.org",), "https://example.org.evil.example", False),
        (("*",), "https://anywhere.example", True),
    ],
)
def test_pages_of_allowed_origins_use_the_server(room, origins, origin, allowed):
    key, entry = made_key("app", ["analyze"])
    with serving(room, keys=(entry,), cors_origins=origins) as client:
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        preflight = client.options("/plan/", headers=asked)
        headers = {"Origin": origin, "Authorization": f"Bearer {key}"}
        answer = client.post("/plan/", json=PLAN, headers=headers)
        refused = client.post("/plan/", json=PLAN, headers={"Origin": origin})
    assert (preflight.status_code == 204) == allowed
    assert answer.status_code == 200
    assert refused.status_code == 401
    for response in (answer, refused):
        told = response.headers.get("access-control-allow-origin")
        assert told == (None if not allowed else "*" if origins == ("*",) else origin)
        assert "access-control-allow-credentials" not in response.headers
        assert protects(response)
    if allowed:
        assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
        assert "X-Request-ID" in answer.headers["access-control-expose-headers"]


# Pages of other sites, where no key keeps them out


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": PAGE}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://other.localhost"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": PAGE}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[", "Host": "localhost:8000"}, 403),
        ({"Origin": "http://localhost:8000", "Host": "localhost:8000"}, 200),
        ({"Origin": "http://localhost:3000", "Host": "localhost:8000"}, 403),
    ],
)
def test_a_page_of_another_site_computes_and_changes_nothing(client, headers, status):
    response = client.post("/plan/", json=PLAN, headers=headers)
    assert response.status_code == status
    if status == 403:
        assert "SIGHTGRAPH_CORS_ORIGINS" in response.json()["detail"]


def test_a_form_that_another_site_sends_is_refused(client, astronaut_png):
    response = client.post(
        "/analyze_image_upload/",
        files={"image_file": ("x.png", astronaut_png)},
        data={"tasks_json": '[{"operation_id": "a", "type": "crop"}]'},
        headers={"Origin": PAGE, "Sec-Fetch-Site": "cross-site"},
    )
    assert response.status_code == 403
    deleted = client.delete("/index/photos/", headers={"Origin": PAGE})
    assert deleted.status_code == 403


def test_a_page_that_cors_allows_is_let_in_without_keys(room):
    with serving(room, cors_origins=(PAGE,)) as client:
        headers = {"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}
        assert client.post("/plan/", json=PLAN, headers=headers).status_code == 200
        headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        assert client.post("/plan/", json=PLAN, headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("LocalHost.:8000", 200),
        ("app.localhost:8000", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("192.168.0.7:8000", 200),
        ("sight.example.org", 200),
        ("a.b.example.net:443", 200),
        ("evil.example", 403),
        ("localhost.evil.example:8000", 403),
        ("127.0.0.1.evil.example", 403),
        ("example.net", 403),
    ],
)
def test_a_server_of_this_machine_answers_to_its_own_names_only(room, host, status):
    names = ("Sight.example.org", "*.example.net")
    with serving(room, names=names) as client:
        for path in ("/health/live", "/available_operations/"):
            response = client.get(path, headers={"Host": host})
            assert response.status_code == status
    if status == 403:
        assert "SIGHTGRAPH_SERVER_NAMES" in response.json()["detail"]
