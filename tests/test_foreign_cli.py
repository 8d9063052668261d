"""Commands that meet another server: one of another version, or one that is none of ours."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from click.testing import CliRunner, Result

from app.cli import main

OPERATIONS, ANALYZE, PLAN = "/available_operations/", "/analyze_image_upload/", "/plan/"
BOX = {
    "type": "array",
    "prefixItems": [{"title": title, "type": "integer"} for title in ("Xmin", "Ymin", "Xmax", "Ymax")],
}
FACTS = {
    "description": "Do it.",
    "details": "",
    "params": {"properties": {}},
    "data": BOX,
    "engines": [],
    "example": {},
    "state": "ready",
    "progress": None,
    "other_targets": False,
    "allowed_targets": [],
    "default_target": None,
}


class Foreign:
    """A server that answers what a test gives it."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {OPERATIONS: {"operations": {"x": FACTS}}}
        self.url = ""

    def give(self, form: str = "PNG", total: Any = 1.0, **result: Any) -> None:
        """Answer tasks so: one by its fields, or all of them by `results`."""
        self.answers[ANALYZE] = {
            "image_url": "uploaded:a.png",
            "image": {"width": 40, "height": 30, "format": form, "sha256": "0" * 64},
            "timings_ms": {"total": total},
            "results": result.pop("results", {"x": {"status": "success", "data": None, **result}}),
        }


@pytest.fixture(scope="module")
def server() -> Iterator[Foreign]:
    foreign = Foreign()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.dumps(foreign.answers.get(self.path, {})).encode()
            self.send_response(200 if self.path in foreign.answers else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=[0.01])
        thread.start()
        foreign.url = f"http://127.0.0.1:{listening.server_port}"
        yield foreign
        listening.shutdown()
        thread.join(30)


@pytest.fixture
def foreign(server: Foreign) -> Foreign:
    server.answers = Foreign().answers
    return server


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "a.png"
    PIL.Image.new("RGB", (40, 30)).save(file)
    return file


def run(foreign: Foreign, *arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--server", foreign.url])


def assert_one_line(result: Result) -> None:
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: "), result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr


@pytest.mark.parametrize(
    "operations",
    [
        {"x": 1},
        [1],
        {"x": {name: value for name, value in FACTS.items() if name not in ("details", "example")}},
        {"x": {**FACTS, "params": []}},
        {"x": {**FACTS, "data": {"$ref": "#/$defs/Gone"}}},
    ],
)
def test_a_catalog_of_another_form_is_one_line(operations, foreign):
    foreign.answers[OPERATIONS] = {"operations": operations}
    result = run(foreign, "operations", "x")
    assert_one_line(result)
    assert "as a server of" in result.stderr


@pytest.mark.parametrize("facts", [{}, {"params": None}, {**FACTS, "data": None}])
def test_tasks_that_cannot_be_read_by_the_catalog_are_one_line(facts, foreign, photo):
    foreign.answers[OPERATIONS] = {"operations": {"x": facts}}
    foreign.give()
    assert_one_line(run(foreign, "analyze", photo, "-t", "x"))


@pytest.mark.parametrize(
    ("result", "options"),
    [
        ({"data": ["a", "b", "c", "d"]}, []),
        ({"data": [1, 2]}, ["--annotate", "out.png"]),
        ({"cropped_image_base64": "!!!x"}, ["--save-crops", "crops"]),
        ({"total": "fast"}, []),
    ],
)
def test_an_answer_that_cannot_be_shown_is_one_line(result, options, foreign, photo, monkeypatch):
    monkeypatch.chdir(photo.parent)
    foreign.give(**result)
    ended = run(foreign, "analyze", photo, "-t", "x", *options)
    assert_one_line(ended)
    assert "Is the server of another version?" in ended.stderr


@pytest.mark.parametrize("options", [[], ["--mermaid"]])
@pytest.mark.parametrize(
    "planned", [{"nodes": [1], "tasks": []}, {"nodes": []}, {"nodes": [], "tasks": [{}]}]
)
def test_a_plan_of_another_form_is_one_line(planned, options, foreign):
    foreign.answers[PLAN] = planned
    assert_one_line(run(foreign, "plan", "-t", "x", *options))


def test_what_a_server_calls_things_moves_no_cursor(foreign, photo):
    escape = "\x1b[2J"
    foreign.answers[OPERATIONS] = {
        "operations": {
            name: {**FACTS, "state": "absent", "default_target": name, "allowed_targets": [name]}
            for name in (f"x{escape}", "y")
        }
    }
    foreign.answers[PLAN] = {"nodes": [], "tasks": [], "cold_models": [escape], "estimate_ms": None}
    foreign.give(form=f"P{escape}", results={f"x{escape}": {"status": "success", "data": {escape: escape}}})
    for arguments in (
        ["operations"],
        ["operations", f"x{escape}"],
        ["operations", "z"],
        ["analyze", photo, "-t", "y"],
        ["plan", "-t", "y"],
        ["plan", "-t", "y:z=1"],
    ):
        result = run(foreign, *arguments)
        assert isinstance(result.exception, SystemExit | None), repr(result.exception)
        assert "\x1b" not in result.output
    assert "\\x1b[2J" in run(foreign, "analyze", photo, "-t", "y").stdout.splitlines()[0]


def test_crops_of_tasks_with_dots_have_files_of_their_own(foreign, photo, tmp_path):
    one, two = (base64.b64encode(content).decode() for content in (b"one", b"two"))
    item = {"bbox": [0, 0, 1, 1], "data": None, "cropped_image_base64": one}
    foreign.give(
        results={
            "x": {"status": "success", "data": None, "items": [item]},
            "x.0": {"status": "success", "data": None, "cropped_image_base64": two},
        }
    )
    result = run(foreign, "analyze", photo, "-t", "x", "-t", "x.0=x", "--save-crops", tmp_path / "crops")
    assert result.exit_code == 0, result.output
    written = {path.name: path.read_bytes() for path in (tmp_path / "crops").iterdir()}
    assert written == {"a.x.0.png": b"one", "a.x%2E0.png": b"two"}


def test_a_drawing_that_its_format_cannot_hold_is_told_and_the_rest_goes_on(foreign, tmp_path):
    wide = tmp_path / "wide.png"
    PIL.Image.new("RGB", (17_000, 8)).save(wide)
    foreign.give(data=[1, 2, 30, 6])
    drawn = tmp_path / "wide.webp"
    result = run(foreign, "analyze", wide, "-t", "x", "--json", "--annotate", drawn)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["source"] == str(wide)
    assert result.stderr.startswith(f"{wide}: the drawing, 17000x")
    assert "cannot be written as WEBP: " in result.stderr
    assert "16383" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not drawn.exists()
