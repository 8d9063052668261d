"""How the pages for people are served."""

import io
import re

import PIL.Image
import pytest
from litestar.testing import TestClient

from app.api.app import build_app
from app.api.doors import SECURITY_HEADERS, Doors
from app.api.playground import web_files
from app.api.samples import SAMPLES
from app.core.access import Limit, made_key
from tests.conftest import nothing_to_load

PAGES = ("/", "/playground/search", "/playground/models")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_takes_nothing_from_elsewhere(client, path):
    page = client.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == SECURITY_HEADERS["X-Content-Type-Options"]
    # Neither a script nor a style stands in the page itself.
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page.text)


@pytest.mark.parametrize("path", PAGES)
def test_all_that_a_page_names_is_there(client, path):
    named = re.findall(r'(?:href|src)="([^"#]+)"', client.get(path).text)
    assert named
    folder = path.rpartition("/")[0]
    for each in named:
        assert client.get(f"{folder}/{each}").status_code == 200, each


def test_every_module_that_is_imported_is_there():
    files = web_files()
    for path, file in files.items():
        if not path.endswith(".js"):
            continue
        for name in re.findall(
            r'^(?:import|\} from|export .* from) .*?"(\.[^"]+)"', file.content.decode(), re.MULTILINE
        ):
            folder = path.split("/")[:-1]
            for step in name.split("/"):
                folder = folder[:-1] if step == ".." else folder if step == "." else [*folder, step]
            assert "/".join(folder) in files, f"{path} imports {name}"


@pytest.mark.parametrize("path", ["/", "/playground/style.css", "/playground/samples/astronaut/thumbnail"])
def test_a_browser_asks_whether_a_file_changed(client, path):
    first = client.get(path)
    assert first.headers["cache-control"] == "no-cache"
    again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(path, headers={"If-None-Match": '"other"'}).content == first.content
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    "path", ["none", "../settings.py", "%2e%2e/settings.py", "..%2f..%2fpyproject.toml", "analyze"]
)
def test_only_the_files_of_the_pages_are_served(client, path):
    answer = client.get(f"/playground/{path}")
    assert answer.status_code == 404
    assert "detail" in answer.json()


def test_a_last_slash_leads_to_the_page(client):
    answer = client.get("/playground/search/", follow_redirects=True)
    assert answer.status_code == 200
    assert answer.url.path == "/playground/search"


@pytest.mark.parametrize("path", ["/playground/index", "/playground/index.html", "/playground/index/"])
def test_the_start_page_stands_at_one_place(client, path):
    answer = client.get(path, follow_redirects=True)
    assert answer.status_code == 200
    # What it names is looked for below the server's root.
    assert answer.url.path == "/"


def test_samples_are_images_with_tasks_of_this_server(client, registry):
    listed = client.get("/playground/samples").json()
    assert [each["name"] for each in listed] == list(SAMPLES)
    for each in listed:
        assert each["credit"]
        assert {task["type"] for task in each["tasks"]} <= set(registry.public)
        image = client.get(f"/playground/samples/{each['name']}")
        with PIL.Image.open(io.BytesIO(image.content)) as opened:
            assert PIL.Image.MIME[opened.format] == image.headers["content-type"]
        small = client.get(f"/playground/samples/{each['name']}/thumbnail")
        assert len(small.content) < 20_000
    assert client.get("/playground/samples/none").status_code == 404


def test_the_pages_are_open_and_count_for_no_limit(room):
    _, entry = made_key("reader", ["analyze"])
    doors = Doors(keys=(entry,), rate_limit=Limit(1, 3600))
    with TestClient(build_app(room, "0", nothing_to_load, doors)) as client:
        assert [client.get("/").status_code for _ in range(3)] == [200, 200, 200]
        assert client.get("/available_operations/").status_code == 401


def test_a_server_may_do_without_pages(room):
    with TestClient(build_app(room, "0", nothing_to_load, playground=False)) as client:
        for path in (*PAGES, "/playground/style.css", "/playground/samples"):
            assert client.get(path).status_code == 404
        assert client.get("/health/live").status_code == 200


def test_a_param_that_names_a_task_or_a_collection_says_so(client):
    """The forms offer what there is by these formats."""
    operations = client.get("/available_operations/").json()["operations"]
    assert operations["compare"]["params"]["properties"]["a"]["format"] == "task-id"
    assert operations["crop"]["params"]["$defs"]["TaskTarget"]["properties"]["task"]["format"] == "task-id"
    assert operations["search_similar"]["params"]["properties"]["collection"]["format"] == "collection"
    name = operations["classify"]["params"]["properties"]["collection_id"]["anyOf"][1]
    assert name["format"] == "classifier"
