"""Hostile requests over the whole application, which asks for keys: all are answered, and none by a fault of
the server's own.

What cannot be read is refused with a 4xx and one `detail`; what can be read is answered with 200, and then no
task fails with `internal`. No answer tells of the machine.
"""

import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from litestar.testing import TestClient

import app
from app.api.app import build_app
from app.api.doors import Doors
from app.api.room import Room
from app.core.access import SCOPES, made_key
from app.settings import Settings
from classifiers.shelf import Shelf
from tests.conftest import nothing_to_load
from tests.heads import put_head
from tests.images import encoded, noise, plain
from tests.runtime.test_decode import BROKEN_EXIF, HEIC, LAYOUTS, OVERSIZED, REFUSED, WHOLE, saved

URL = "http://pictures.test/a.png"
TASK = {"operation_id": "t", "type": "crop"}
SIBLING = {"operation_id": "sibling", "type": "image_properties"}
IMAGE = encoded(noise(24, 16))
ENDPOINTS = ["/analyze_image/", "/plan/"]

# Nothing of this belongs in a message.
MACHINE = (
    str(Path(app.__file__).parents[1]),
    sys.prefix,
    sys.base_prefix,
    "site-packages",
    "Traceback",
    'File "',
)


@pytest.fixture(scope="module")
def client(room: Room) -> Iterator[TestClient[Any]]:
    key, declared = made_key("tests", SCOPES)
    guarded = build_app(room, "0", nothing_to_load, Doors(keys=(declared,)))
    with TestClient(guarded, raise_server_exceptions=False) as client:
        client.headers["X-API-Key"] = key
        yield client


def judged(response: Any, status: int) -> Any:
    """The body of an answer that has the expected status and keeps the rules."""
    assert response.status_code == status < 500, response.text[:1000]
    assert response.headers["X-Request-ID"]
    body = response.json()
    if status >= 400:
        assert body.keys() == {"detail"}
        assert isinstance(body["detail"], str)
        keeps_to_itself(body["detail"], 2000)
    for result in body.get("results", {}).values():
        assert result["status"] in ("success", "error", "skipped")
        assert result["error_code"] != "internal", result["error_message"]
        assert (result["error_message"] is None) == (result["status"] == "success")
        for message in (result["error_message"] or "none", *result["warnings"]):
            # The longest shows the path of 64 tasks in a circle.
            keeps_to_itself(message, 8000)
    return body


def keeps_to_itself(message: str, longest: int) -> None:
    """A message says something, is no longer than need be, and tells nothing of the machine."""
    assert 0 < len(message) <= longest
    assert not [part for part in MACHINE if part in message]


def refused(response: Any, status: int = 400) -> str:
    """Why a whole request was refused."""
    detail: str = judged(response, status)["detail"]
    return detail


def uploaded(client: Any, image: bytes, *tasks: Any) -> Any:
    return client.post(
        "/analyze_image_upload/",
        files={"image_file": ("image.png", image, "image/png")},
        data={"tasks_json": json.dumps(tasks)},
    )


def posted(client: Any, path: str, body: Any) -> Any:
    """Send JSON; bytes go as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(path, content=content, headers={"Content-Type": "application/json"})


def request_of(path: str, **fields: Any) -> dict[str, Any]:
    """A body that is sound but for the fields that are given; one that is MISSING is left out."""
    sound = {"tasks": [TASK]} | ({"image_url": URL} if path == "/analyze_image/" else {})
    return {name: value for name, value in (sound | fields).items() if value is not MISSING}


MISSING = object()


# Litestar leaves the files of a form that it cannot decode to the collector.
unclosed_by_litestar = pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")

# What is nested, around a number: (what opens it, what closes it).
NESTINGS = {"arrays": ("[", "]"), "objects": ('{"a":', "}")}


def deep(template: Any, depth: int, nesting: str) -> str:
    """JSON in which every "@" is replaced by so many arrays or objects inside each other."""
    opening, closing = NESTINGS[nesting]
    return json.dumps(template).replace('"@"', opening * depth + "0" + closing * depth)


# --- images --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything(client) -> Iterator[list[dict[str, Any]]]:
    """A task for every operation whose model is here, on the whole image where it takes that."""
    client.delete("/index/photos/")
    assert client.post("/index/", json={"name": "photos", "operation": "embed_hog_hsv"}).status_code == 201
    shelf = Shelf(Settings().data / "classifiers")
    put_head(shelf, "photos")
    operations = client.get("/available_operations/").json()["operations"]
    yield [
        {
            "operation_id": name,
            "type": name,
            "params": facts["example"]
            | ({"target": "whole_image"} if "whole_image" in facts["allowed_targets"] else {}),
        }
        for name, facts in operations.items()
        if facts["state"] != "absent" and name != "compare"
    ]
    client.delete("/index/photos/")
    shutil.rmtree(shelf.folder)


def checkerboard(width: int, height: int) -> Any:
    grid = (np.indices((height, width)).sum(axis=0) % 2 * 255).astype(np.uint8)
    return np.repeat(grid[:, :, None], 3, axis=2)


ODD_IMAGES = {
    "1x1": encoded(plain(1, 1)),
    "2x1": encoded(noise(2, 1)),
    "1x2": encoded(noise(1, 2)),
    "2000x1": encoded(noise(2000, 1)),
    "19x19": encoded(noise(19, 19)),
    "21x21": encoded(noise(21, 21)),
    "64x128, the smallest person": encoded(noise(64, 128)),
    "black": encoded(plain(64, 64, (0, 0, 0))),
    "white": encoded(plain(64, 64, (255, 255, 255))),
    "checkerboard": encoded(checkerboard(64, 64)),
    "wholly transparent": saved(PIL.Image.new("RGBA", (32, 32), (0, 0, 0, 0))),
    "not a number": saved(PIL.Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF"),
    "infinite": saved(PIL.Image.fromarray(np.full((8, 8), np.inf, np.float32)), "TIFF"),
    "HEIC": HEIC,
    "HTML behind the image": IMAGE + b"<script>alert(1)</script>",
    "a script in its EXIF": encoded(
        plain(16, 16), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x32\0\x02\0\0\0\x04<b>\0\0\0\0\0"
    ),
    "EXIF inside itself": encoded(plain(16, 16), "JPEG", exif=BROKEN_EXIF["a block inside itself"]),
    "CMYK": LAYOUTS["CMYK"],
    "16 bits": saved(PIL.Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257)),
}


@pytest.mark.parametrize("name", ODD_IMAGES)
def test_odd_images_are_analysed_by_every_operation(client, everything, name):
    results = judged(uploaded(client, ODD_IMAGES[name], *everything), 200)["results"]
    assert results.keys() == {task["operation_id"] for task in everything}
    assert {result["status"] for result in results.values()} == {"success"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_sound_image_is_refused(client, everything, name):
    detail = refused(uploaded(client, REFUSED[name], *everything))
    assert detail.startswith("Could not process image: ")


@pytest.mark.parametrize("name", OVERSIZED)
def test_images_that_claim_to_be_huge_are_refused(client, everything, name):
    data, size = OVERSIZED[name]
    detail = refused(uploaded(client, data, *everything))
    assert detail.startswith(f"Could not process image: the image has {size} pixels; at most ")


@pytest.mark.parametrize("name", WHOLE)
def test_half_an_image_is_refused(client, everything, name):
    data = WHOLE[name]
    detail = refused(uploaded(client, data[: len(data) // 2], *everything))
    assert detail.startswith("Could not process image: ")


# --- JSON ----------------------------------------------------------------------------------------------

# What is no JSON, with the sound body's bytes where the document has to go on.
SOUND = json.dumps({"tasks": [TASK]}).encode()
MALFORMED = {
    "nothing": b"",
    "spaces": b" \n\t ",
    "half a document": SOUND[:-3],
    "two documents": SOUND + SOUND,
    "a comma too many": b'{"tasks": [],}',
    "single quotes": b"{'tasks': []}",
    "a comment": b'{"tasks": [] /* none */}',
    "no quotes": b"{tasks: []}",
    "NaN": b'{"tasks": NaN}',
    "Infinity": b'{"tasks": Infinity}',
    "-Infinity": b'{"tasks": -Infinity}',
    "1e400": b'{"tasks": 1e400}',
    "a number of a million digits": b'{"tasks": ' + b"9" * 900_000 + b"}",
    "a leading zero": b'{"tasks": 01}',
    "hexadecimal": b'{"tasks": 0x10}',
    "a lone high surrogate": b'{"tasks": "\\ud800"}',
    "a lone low surrogate": b'{"tasks": "\\udc00"}',
    "surrogates in the wrong order": b'{"tasks": "\\udc00\\ud800"}',
    "a surrogate in UTF-8": b'{"tasks": "\xed\xa0\x80"}',
    "invalid UTF-8": b'{"tasks": "\xff\xfe"}',
    "overlong UTF-8": b'{"tasks": "\xc0\xaf"}',
    "Latin-1": '{"tasks": "é"}'.encode("latin-1"),
    "UTF-16": SOUND.decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + SOUND,
    "a control character": b'{"tasks": "\x01"}',
    "a line break in a string": b'{"tasks": "a\nb"}',
    "a bad escape": b'{"tasks": "\\x41"}',
    "zero bytes": b"\0" * 100,
    "gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + SOUND,
    "100,000 arrays": b"[" * 100_000,
    "100,000 arrays that are closed": b"[" * 100_000 + b"]" * 100_000,
    "100,000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "100,000 arrays as tasks": b'{"tasks":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_json_is_refused(client, path, name):
    assert refused(posted(client, path, MALFORMED[name])).startswith("body: is not valid JSON: ")


@unclosed_by_litestar
@pytest.mark.parametrize("name", MALFORMED)
def test_tasks_that_are_no_json_are_refused(client, name):
    parts = [IMAGE_PART, part("tasks_json", MALFORMED[name])]
    detail = refused(sent(client, form(*parts)))
    assert detail.startswith(("tasks_json: ", "body: a part of the form cannot be read as text"))


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("value", ["null", "true", "0", "1.5", "-1e308", '"text"', "[]", '[{"tasks": []}]'])
def test_a_body_that_is_no_object_is_refused(client, path, value):
    assert refused(posted(client, path, value.encode())).startswith("body: ")


@pytest.mark.parametrize("depth", [100, 300, 1000])
@pytest.mark.parametrize("nesting", NESTINGS)
@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("body", ["@"]),
        ("tasks", {"tasks": {"a": "@"}}),
        ("tasks[0]", {"tasks": [["@"]]}),
        ("tasks[0].operation_id", {"tasks": [{**TASK, "operation_id": "@"}]}),
        ("tasks[0].params", {"tasks": [{**TASK, "params": ["@"]}]}),
    ],
    ids=["body", "tasks", "task", "operation_id", "params"],
)
def test_deep_json_in_the_wrong_place_is_refused(client, depth, nesting, field, body):
    content = deep(body, depth, nesting).encode()
    detail = refused(posted(client, "/plan/", content))
    assert detail.startswith(f"{field}: ")
    assert len(detail) < 300


@pytest.mark.parametrize("depth", [100, 300, 1000])
@pytest.mark.parametrize("nesting", NESTINGS)
@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"colour": "@"}, id="an unknown field"),
        pytest.param({"target": "@"}, id="the target"),
        pytest.param({"target": {"bbox": "@"}}, id="the box"),
        pytest.param({"crop_format": "@"}, id="a choice"),
    ],
)
def test_deep_params_cost_their_task_alone(client, depth, nesting, params):
    tasks = deep([{**TASK, "params": params}, SIBLING], depth, nesting).encode()
    results = judged(sent(client, form(IMAGE_PART, part("tasks_json", tasks))), 200)["results"]
    assert results["t"]["status"] == "skipped"
    assert results["t"]["error_code"] in ("invalid_params", "unsupported_target")
    assert len(results["t"]["error_message"]) < 1000
    assert results["sibling"]["status"] == "success"


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    "tasks", [None, True, 1, "crop", TASK, {}, [], [TASK] * 65, [None], [[]], ["crop"], [1]]
)
def test_tasks_of_another_form_are_refused(client, path, tasks):
    assert refused(posted(client, path, request_of(path, tasks=tasks))).startswith("tasks")


WRONG_TASKS = [
    ("operation_id", MISSING, "is required"),
    ("operation_id", None, "got null"),
    ("operation_id", "", 'got ""'),
    ("operation_id", "x" * 129, "at most 128 characters"),
    ("operation_id", "\N{PILE OF POO}" * 129, "at most 128 characters"),
    ("operation_id", 1, "got 1"),
    ("operation_id", 10**40, "got 1e+40"),
    ("operation_id", 1.5, "got 1.5"),
    ("operation_id", True, "got true"),
    ("operation_id", ["t"], 'got ["t"]'),
    ("operation_id", {"t": "t"}, "got {"),
    ("type", MISSING, "is required"),
    ("type", None, "got null"),
    ("type", "", 'got ""'),
    ("type", "x" * 129, "at most 128 characters"),
    ("type", 1, "got 1"),
    ("type", False, "got false"),
    ("type", ["crop"], 'got ["crop"]'),
    ("params", [], "got []"),
    ("params", "{}", 'got "{}"'),
    ("params", 0, "got 0"),
    ("params", False, "got false"),
    ("colour", "red", "is not a known field"),
    ("Type", "crop", "is not a known field"),
    ("__class__", {}, "is not a known field"),
    ("", 1, "is not a known field"),
    ("a\0b", 1, "is not a known field"),
]


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(("field", "value", "reason"), WRONG_TASKS)
def test_a_task_of_another_form_is_refused_with_its_field(client, path, field, value, reason):
    task = {name: given for name, given in {**TASK, field: value}.items() if given is not MISSING}
    detail = refused(posted(client, path, request_of(path, tasks=[SIBLING, task])))
    assert f"tasks[1].{field}: " in detail
    assert reason in detail


@pytest.mark.parametrize(("field", "value", "reason"), WRONG_TASKS)
def test_an_uploaded_task_of_another_form_is_refused_with_its_field(client, field, value, reason):
    task = {name: given for name, given in {**TASK, field: value}.items() if given is not MISSING}
    detail = refused(uploaded(client, IMAGE, SIBLING, task))
    assert f"tasks_json[1].{field}: " in detail
    assert reason in detail


@pytest.mark.parametrize(
    ("path", "field", "value", "reason"),
    [
        ("/analyze_image/", "tasks", MISSING, "is required"),
        ("/analyze_image/", "image_url", MISSING, "is required"),
        ("/analyze_image/", "image_url", None, "got null"),
        ("/analyze_image/", "image_url", "", 'got ""'),
        ("/analyze_image/", "image_url", 1, "got 1"),
        ("/analyze_image/", "image_url", [URL], "got ["),
        ("/analyze_image/", "image_url", {"url": URL}, "got {"),
        ("/analyze_image/", "image_url", "http://a.test/" + "x" * 8192, "at most 8192 characters"),
        ("/analyze_image/", "image_file", "x", "is not a known field"),
        ("/analyze_image/", "a" * 500, "x", "is not a known field"),
        ("/plan/", "tasks", MISSING, "is required"),
        ("/plan/", "image_url", 1, "got 1"),
        ("/plan/", "image_sha256", 1, "got 1"),
        ("/plan/", "image_sha256", "", 'got ""'),
        ("/plan/", "image_sha256", "A" * 64, "should match pattern"),
        ("/plan/", "image_sha256", "a" * 64 + "\n", "should match pattern"),
        ("/plan/", "image_sha256", "../../etc/passwd", "should match pattern"),
    ],
)
def test_a_field_of_another_form_is_refused_by_its_name(client, path, field, value, reason):
    detail = refused(posted(client, path, request_of(path, **{field: value})))
    assert f"{field[:64]}" in detail
    assert reason in detail


@pytest.mark.parametrize("path", ENDPOINTS)
def test_many_wrong_fields_give_a_short_answer(client, path):
    body = request_of(path) | {f"field{number}": number for number in range(10_000)}
    assert "; and 9995 more" in refused(posted(client, path, body))


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("operation_id", ["t", "x" * 128, "\0", "\N{PILE OF POO}", '"', "../../etc/passwd"])
def test_a_doubled_operation_id_is_refused(client, path, operation_id):
    tasks = [{**TASK, "operation_id": name} for name in (operation_id, "other", operation_id)]
    detail = refused(posted(client, path, request_of(path, tasks=tasks)))
    assert f"duplicate operation_id '{operation_id}'" in detail


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_body_over_the_limit_is_refused(client, path):
    refused(posted(client, path, b" " * 1_000_001), 413)


# --- names that clients give ---------------------------------------------------------------------------

NAMES = {
    "spaces": "   ",
    "quotes": "'\"`",
    "a zero byte": "a\0b",
    "control characters": "\x01\x1b[31m\r\n\t\x7f",
    "Unicode": "日本語 \N{PILE OF POO} e\u0301",
    "right to left": "\u202eabc\u202c",
    "128 characters": "\N{PILE OF POO}" * 128,
    "a mermaid": 'a"] --> b["c',
    "a mermaid's end": "end",
    "a mermaid's script": 'click a "javascript:alert(1)"',
    "mermaid's brackets": "]) --> x(((y))) %% z",
    "a line break and a node": 'x\n    evil["evil"]',
    "HTML": "<script>alert(1)</script>",
    "an entity": "&lt;#60;&amp;",
    "a path": "../../../etc/passwd",
    "a format": "%s%n{0}{t.__class__}",
    "JSON": '{"a": 1}',
    "Python": "__proto__",
    "a number": "1",
    "the image": "image",
    "a node": "crop#1",
}


@pytest.mark.parametrize("name", NAMES)
def test_results_come_under_any_name(client, name):
    task = {**TASK, "operation_id": NAMES[name]}
    results = judged(uploaded(client, IMAGE, task, SIBLING), 200)["results"]
    assert list(results) == [NAMES[name], "sibling"]
    assert results[NAMES[name]]["status"] == "success"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_part_of_the_drawing(client, name):
    def drawn(operation_id: str) -> list[str]:
        tasks = [
            {"operation_id": operation_id, "type": "crop", "params": {"target": {"bbox": [0, 0, 9, 9]}}},
            {"operation_id": "other", "type": "crop", "params": {"target": {"task": operation_id}}},
            {"operation_id": "unknown", "type": operation_id},
        ]
        response = client.post("/plan/?format=mermaid", json={"tasks": tasks})
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/vnd.mermaid; charset=utf-8"
        lines: list[str] = response.text.split("\n")
        return lines

    lines, usual = drawn(NAMES[name]), drawn("usual")
    assert len(lines) == len(usual)
    labelled = re.compile(r'    t0\(\["([^"<>&`\[\]{}|%\x00-\x1f]*)"\]\)')
    assert [line for line in lines if labelled.fullmatch(line)] == [lines[usual.index('    t0(["usual"])')]]
    # Nothing but the labels differs.
    assert [re.sub('".*"', "", line) for line in lines] == [re.sub('".*"', "", line) for line in usual]


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_type_is_skipped(client, name):
    wrong = {"operation_id": "t", "type": NAMES[name]}
    results = judged(uploaded(client, IMAGE, wrong, SIBLING), 200)["results"]
    assert results["t"]["error_code"] == "unsupported_operation"
    assert results["sibling"]["status"] == "success"


@pytest.mark.parametrize(
    "type_", ["encode_crop", "regions", "detect_faces", "detect_persons", "face_context"]
)
def test_a_stage_is_no_operation(client, type_):
    results = judged(uploaded(client, IMAGE, {"operation_id": "t", "type": type_}), 200)["results"]
    assert results["t"]["error_code"] == "unsupported_operation"


# --- params --------------------------------------------------------------------------------------------

WRONG_TARGETS = [
    *[
        (value, "unsupported_target", "Unsupported target")
        for value in (
            None,
            True,
            0,
            1.5,
            "",
            "nose",
            "WHOLE_IMAGE",
            "whole_image ",
            "x" * 9999,
            [],
            {},
            {"x": 1},
        )
    ],
    (["whole_image"], "unsupported_target", "Unsupported target"),
    ({"bbox": None}, "invalid_params", "target.bbox"),
    ({"bbox": "0,0,1,1"}, "invalid_params", "target.bbox"),
    ({"bbox": {"xmin": 0}}, "invalid_params", "target.bbox"),
    ({"bbox": []}, "invalid_params", "target.bbox[0]: is required"),
    ({"bbox": [0, 0, 1]}, "invalid_params", "target.bbox[3]: is required"),
    ({"bbox": [0, 0, 1, 1, 1]}, "invalid_params", "target.bbox"),
    ({"bbox": [0, 0, 1, 1] * 9999}, "invalid_params", "target.bbox"),
    ({"bbox": [0, 0, 1.5, 2]}, "invalid_params", "target.bbox[2]"),
    ({"bbox": [0, 0, 1.0, 2]}, "invalid_params", "target.bbox[2]"),
    ({"bbox": [False, 0, True, 1]}, "invalid_params", "target.bbox[0]"),
    ({"bbox": ["0", 0, 1, 1]}, "invalid_params", "target.bbox[0]"),
    ({"bbox": [None, 0, 1, 1]}, "invalid_params", "target.bbox[0]"),
    ({"bbox": [[0], 0, 1, 1]}, "invalid_params", "target.bbox[0]"),
    ({"bbox": [0, 0, 2**31, 1]}, "invalid_params", "target.bbox[2]"),
    ({"bbox": [0, 0, 2**63, 1]}, "invalid_params", "target.bbox[2]"),
    ({"bbox": [0, 0, 2**64, 1]}, "invalid_params", "target.bbox[2]"),
    ({"bbox": [0, 0, 10**300, 1]}, "invalid_params", "target.bbox[2]"),
    ({"bbox": [-(2**31), 0, 1, 1]}, "invalid_params", "target.bbox[0]"),
    ({"bbox": [9, 9, 1, 1]}, "invalid_params", "target.bbox"),
    ({"bbox": [5, 5, 5, 9]}, "invalid_params", "target.bbox"),
    ({"bbox": [24, 0, 30, 9]}, "invalid_params", "24x16"),
    ({"bbox": [-9, -9, 0, 0]}, "invalid_params", "24x16"),
    ({"bbox": [0, 0, 1, 1], "colour": "red"}, "invalid_params", "colour: is not a known field"),
    ({"bbox": [0, 0, 1, 1], "task": "t"}, "invalid_params", "task: is not a known field"),
    ({"task": None}, "invalid_params", "target.task"),
    ({"task": 1}, "invalid_params", "target.task"),
    ({"task": ""}, "invalid_params", "target.task"),
    ({"task": "x" * 129}, "invalid_params", "target.task"),
    ({"task": ["t"]}, "invalid_params", "target.task"),
    ({"task": {"task": "t"}}, "invalid_params", "target.task"),
    ({"task": "nobody"}, "invalid_reference", "has no task 'nobody'"),
    ({"task": "\0"}, "invalid_reference", "has no task"),
    ({"task": "t"}, "invalid_reference", "t -> t"),
    ({"task": "sibling"}, "invalid_reference", "gives no boxes"),
]


@pytest.mark.parametrize(
    ("target", "code", "message"), WRONG_TARGETS, ids=lambda value: ascii(value)[:40].replace("\\", "")
)
@pytest.mark.parametrize("type_", ["crop", "read_text"])
def test_a_wrong_target_costs_its_task_alone(client, type_, target, code, message):
    task = {"operation_id": "t", "type": type_, "params": {"target": target}}
    results = judged(uploaded(client, IMAGE, task, SIBLING), 200)["results"]
    assert results["t"]["status"] == "skipped"
    assert results["t"]["error_code"] == code
    assert message in results["t"]["error_message"]
    assert len(results["t"]["error_message"]) < 1000
    assert results["sibling"]["status"] == "success"


@pytest.mark.parametrize("bbox", [[0, 0, 2**31 - 1, 2**31 - 1], [-(2**31) + 1, -(2**31) + 1, 1, 1]])
def test_a_box_far_over_the_edge_is_cut(client, everything, bbox):
    tasks = [
        {**task, "params": {**task["params"], "target": {"bbox": bbox}}}
        for task in everything
        if task["params"].get("target")
    ]
    results = judged(uploaded(client, IMAGE, *tasks), 200)["results"]
    assert {result["status"] for result in results.values()} == {"success"}


@pytest.mark.parametrize(
    ("type_", "params", "message"),
    [
        ("read_text", {"min_confidence": "0.5"}, "min_confidence: "),
        ("read_text", {"min_confidence": True}, "min_confidence: "),
        ("read_text", {"min_confidence": None}, "min_confidence: "),
        ("read_text", {"min_confidence": []}, "min_confidence: "),
        ("read_text", {"min_confidence": 1.0001}, "min_confidence: "),
        ("read_text", {"min_confidence": -1e308}, "min_confidence: "),
        ("read_text", {"min_confidence": 10**40}, "min_confidence: "),
        ("image_properties", {"include_gps": "yes"}, "include_gps: "),
        ("image_properties", {"include_gps": 1}, "include_gps: "),
        ("crop", {"crop_format": "gif"}, "crop_format: "),
        ("crop", {"crop_format": ["png"]}, "crop_format: "),
        ("crop", {"crop_format": None}, "crop_format: "),
        ("crop", {"on_missing": 5}, "on_missing: "),
        ("crop", {"face_context": "nose"}, "face_context: "),
        ("crop", {"colour": "red"}, "colour: is not a known field"),
        ("crop", {"Target": "whole_image"}, "Target: is not a known field"),
        ("crop", {"target\n": "whole_image"}, "is not a known field"),
        ("crop", {"": 1}, "is not a known field"),
        ("crop", {"a" * 9999: 1}, "is not a known field"),
        ("crop", {"__class__": 1}, "__class__: is not a known field"),
        ("crop", {f"field{number}": number for number in range(5000)}, "and 4995 more"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_wrong_params_cost_their_task_alone(client, type_, params, message):
    task = {"operation_id": "t", "type": type_, "params": params}
    results = judged(uploaded(client, IMAGE, task, SIBLING), 200)["results"]
    assert results["t"]["status"] == "skipped"
    assert results["t"]["error_code"] == "invalid_params"
    assert message in results["t"]["error_message"]
    assert len(results["t"]["error_message"]) < 1000
    assert results["sibling"]["status"] == "success"


# --- references ----------------------------------------------------------------------------------------


def reference(operation_id: str, to: str, type_: str = "crop") -> dict[str, Any]:
    return {"operation_id": operation_id, "type": type_, "params": {"target": {"task": to}}}


@pytest.mark.parametrize("length", [1, 2, 3, 64])
@pytest.mark.parametrize("name", ["{}", "{:\N{PILE OF POO}>128}"], ids=["short names", "long names"])
def test_tasks_in_a_circle_are_skipped(client, length, name):
    names = [name.format(number) for number in range(length)]
    tasks = [reference(names[number], names[(number + 1) % length]) for number in range(length)]
    results = judged(uploaded(client, IMAGE, *tasks), 200)["results"]
    assert len(results) == length
    assert {result["error_code"] for result in results.values()} == {"invalid_reference"}
    assert all(" -> " in result["error_message"] for result in results.values())
    plan = judged(posted(client, "/plan/", {"tasks": tasks}), 200)
    assert plan["nodes"] == []
    assert {task["error_code"] for task in plan["tasks"]} == {"invalid_reference"}


def test_those_who_refer_to_a_circle_are_skipped_and_others_are_not(client):
    circle = [reference("a", "b"), reference("b", "a"), reference("c", "a"), reference("d", "c")]
    results = judged(uploaded(client, IMAGE, *circle, SIBLING), 200)["results"]
    assert {results[name]["error_code"] for name in "abcd"} == {"invalid_reference"}
    assert results["sibling"]["status"] == "success"


@pytest.mark.parametrize("order", [1, -1], ids=["forwards", "backwards"])
def test_a_chain_of_64_references_is_followed(client, order):
    first = {"operation_id": "0", "type": "crop", "params": {"target": {"bbox": [1, 2, 9, 8]}}}
    tasks = [first, *(reference(str(number), str(number - 1)) for number in range(1, 64))][::order]
    results = judged(uploaded(client, IMAGE, *tasks), 200)["results"]
    assert {result["status"] for result in results.values()} == {"success"}
    assert [item["bbox"] for item in results["63"]["items"]] == [[1, 2, 9, 8]]
    assert len(judged(posted(client, "/plan/", {"tasks": tasks}), 200)["tasks"]) == 64


@pytest.mark.parametrize("order", [1, -1], ids=["forwards", "backwards"])
@pytest.mark.parametrize(
    "first",
    [
        pytest.param({"type": "crop", "params": {"target": "nose"}}, id="a wrong target"),
        pytest.param({"type": "nothing"}, id="an unknown type"),
        pytest.param({"type": "crop", "params": {"target": {"task": "nobody"}}}, id="an unknown task"),
        pytest.param({"type": "crop", "params": {"target": {"bbox": [99, 99, 100, 100]}}}, id="no pixels"),
        pytest.param({"type": "crop", "params": {"target": "prominent_face"}}, id="no face"),
    ],
)
def test_a_chain_of_64_references_to_nothing_is_skipped(client, first, order):
    tasks = [{"operation_id": "0", **first}]
    tasks += [reference(str(number), str(number - 1)) for number in range(1, 64)]
    response = uploaded(client, IMAGE, *tasks[::order])
    results = judged(response, 200)["results"]
    assert {result["status"] for result in results.values()} == {"skipped"}
    assert results["63"]["caused_by"]["code"] == results["0"]["error_code"]
    assert len(response.content) < 1_000_000


@pytest.mark.parametrize("width", [2, 63])
def test_many_references_to_one_task_share_its_work(client, width):
    first = {"operation_id": "first", "type": "crop"}
    tasks = [first, *(reference(str(number), "first") for number in range(width))]
    plan = judged(posted(client, "/plan/", {"tasks": tasks}), 200)
    assert len(plan["nodes"]) < 10


# --- multipart -----------------------------------------------------------------------------------------

FORM = "multipart/form-data; boundary=edge"


def part(name: str, content: bytes, *headers: bytes, filename: bytes | None = None) -> bytes:
    disposition = b'Content-Disposition: form-data; name="' + name.encode() + b'"'
    if filename is not None:
        disposition += b'; filename="' + filename + b'"'
    return b"\r\n".join([disposition, *headers, b"", content])


def form(*parts: bytes, edge: bytes = b"edge", end: bytes = b"--\r\n") -> bytes:
    return b"".join(b"--" + edge + b"\r\n" + each + b"\r\n" for each in parts) + b"--" + edge + end


def sent(client: Any, body: Any) -> Any:
    """Send a form as it is, at once or in pieces."""
    return client.post("/analyze_image_upload/", content=body, headers={"Content-Type": FORM})


IMAGE_PART = part("image_file", IMAGE, filename=b"image.png")
TASKS = json.dumps([TASK]).encode()
TASKS_PART = part("tasks_json", TASKS)
GOOD_FORM = form(IMAGE_PART, TASKS_PART)


READABLE_FORMS = {
    "as it should be": GOOD_FORM,
    "tasks first": form(TASKS_PART, IMAGE_PART),
    "with a preamble and an epilogue": b"a preamble\r\n" + GOOD_FORM + b"an epilogue",
    "tasks as a file": form(IMAGE_PART, part("tasks_json", TASKS, filename=b"t.json")),
    "an image that says it is HTML": form(
        part("image_file", IMAGE, b"Content-Type: text/html", filename=b"x.html"), TASKS_PART
    ),
}


@pytest.mark.parametrize("name", READABLE_FORMS)
def test_forms_that_can_be_read_are_answered(client, name):
    assert judged(sent(client, READABLE_FORMS[name]), 200)["results"]["t"]["status"] == "success"


def with_tasks(content: bytes, *headers: bytes, **how: Any) -> bytes:
    return form(IMAGE_PART, part("tasks_json", content, *headers, **how))


def with_also(name: str) -> bytes:
    return form(IMAGE_PART, TASKS_PART, part(name, b"red"))


WRONG_FORMS = {
    "nothing": (b"", "image_file: is required"),
    "no parts": (form(), "image_file: is required"),
    "no image": (form(TASKS_PART), "image_file: is required"),
    "no tasks": (form(IMAGE_PART), "tasks_json: is required"),
    "two images": (form(IMAGE_PART, IMAGE_PART, TASKS_PART), "image_file: was sent 2 times"),
    "two lists of tasks": (form(IMAGE_PART, TASKS_PART, TASKS_PART), "tasks_json: was sent 2 times"),
    "a field more": (with_also("colour"), "colour: is not a known field"),
    "a URL too": (with_also("image_url"), "image_url: is not a known field"),
    "a field of a long name": (with_also("x" * 500), "is not a known field"),
    "a field of no name": (with_also(""), "is not a known field"),
    "an image that is no file": (form(part("image_file", b"text"), TASKS_PART), "image_file: must be a file"),
    "an empty file": (form(part("image_file", b"", filename=b"a.png"), TASKS_PART), "the file is empty"),
    "empty tasks": (with_tasks(b""), "tasks_json: "),
    "no list of tasks": (with_tasks(b"{}"), "tasks_json: "),
    "null for tasks": (with_tasks(b"null"), "tasks_json: "),
    "a list of no tasks": (with_tasks(b"[]"), "tasks_json: "),
    "tasks that are no UTF-8": (with_tasks(b"\xff\xfe[]"), "cannot be read as text"),
    "tasks in an unknown charset": (
        with_tasks(b"[]", b"Content-Type: text/plain; charset=none"),
        "cannot be read as text",
    ),
    "long tasks": (with_tasks(b" " * 1_000_001), "tasks_json: is over 1,000,000 bytes"),
    "long tasks as a file": (
        with_tasks(b" " * 2_000_000, filename=b"a"),
        "tasks_json: is over 1,000,000 bytes",
    ),
}


@unclosed_by_litestar
@pytest.mark.parametrize("name", WRONG_FORMS)
def test_forms_that_are_not_as_they_should_be_are_refused(client, name):
    body, message = WRONG_FORMS[name]
    assert message in refused(sent(client, body))


BROKEN_FORMS = {
    "another boundary": form(IMAGE_PART, TASKS_PART, edge=b"other"),
    "half a form": GOOD_FORM[: len(GOOD_FORM) // 2],
    "cut in the tasks": GOOD_FORM[:-40],
    "cut in a header": GOOD_FORM[:30],
    "an image without a file name": form(part("image_file", IMAGE), TASKS_PART),
    "only a boundary": b"--edge",
    "only the end": b"--edge--",
    "zeros": bytes(1000),
    "only boundaries": b"--edge\r\n" * 1000,
    "a long header": b"--edge\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n\r\n--edge--",
    "many headers": b"--edge\r\n" + b"X: y\r\n" * 10_000 + b"\r\n\r\n--edge--",
    "a long name": with_also("x" * 100_000),
    "a part without headers": form(b"\r\nno header"),
    "a part without a name": form(b"Content-Disposition: form-data\r\n\r\nx"),
    "an attachment": form(b"Content-Disposition: attachment; name=x\r\n\r\nx"),
    "a header that is no text": form(b"\xff\xfe: \xff\r\n\r\nx"),
    "a name that is no text": form(b'Content-Disposition: form-data; name="\xff\xfe"\r\n\r\nx'),
    "a name in an unknown charset": form(b"Content-Disposition: form-data; name*=x''%ff\r\n\r\nx"),
    "5,000 parts": form(*[part(f"part{number}", b"x") for number in range(5000)]),
    "5,000 equal parts": form(*[part("image_file", b"x")] * 5000),
}


@unclosed_by_litestar
@pytest.mark.parametrize("name", BROKEN_FORMS)
def test_broken_forms_are_refused(client, name):
    refused(sent(client, BROKEN_FORMS[name]))


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "application/x-www-form-urlencoded",
        "text/plain",
        "image/png",
        "multipart/mixed; boundary=edge",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary",
        'multipart/form-data; boundary="',
        "multipart/form-data; boundary=other",
        "multipart/form-data; boundary=" + "x" * 5000,
        "multipart/form-data; charset=none; boundary=edge2",
        "multipart/form-data; boundary*=nothing''edge",
        ";;;",
        "/",
        "multipart",
        "\xff\xfe",
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_a_form_under_another_content_type_is_refused(client, content_type):
    response = client.post(
        "/analyze_image_upload/",
        content=GOOD_FORM,
        headers={} if content_type is None else [(b"Content-Type", content_type.encode("latin-1"))],
    )
    refused(response)


@pytest.mark.parametrize(
    "filename",
    [
        b"",
        b"..",
        b"../../etc/passwd",
        b"C:\\\\windows\\\\system32\\\\config",
        b"a b'c",
        b'a\\"b',
        b"a%22%0d%0ab",
        b"<script>alert(1)</script>",
        "日本語 \N{PILE OF POO}.png".encode(),
        "\u202egnp.exe".encode(),
        b"a;b=c",
        b"x" * 3000,
        b"a\0b",
        b"a\tb\x1b\n",
        b"CON",
        b".",
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_file_name_is_only_repeated(client, filename):
    body = form(part("image_file", IMAGE, filename=filename), TASKS_PART)
    answer = judged(sent(client, body), 200 if filename else 400)
    if filename:
        assert answer["image_url"].startswith("uploaded:")
        assert len(answer["image_url"]) <= len("uploaded:") + 255


@unclosed_by_litestar
@pytest.mark.parametrize("filename", [b"\xff\xfe", b"a\r\nX-Header: b"], ids=ascii)
def test_a_file_name_that_is_no_line_of_text_is_refused(client, filename):
    response = sent(client, form(part("image_file", IMAGE, filename=filename), TASKS_PART))
    refused(response)
    assert "X-Header" not in response.headers


def test_a_form_over_the_limit_is_refused(client, room):
    limit = room.limits.max_image_bytes
    refused(
        sent(client, form(part("image_file", bytes(limit + 3_000_000), filename=b"a.png"), TASKS_PART)), 413
    )


def test_a_form_over_the_limit_without_a_length_is_refused(client, room):
    def pieces():
        yield b'--edge\r\nContent-Disposition: form-data; name="image_file"; filename="a.png"\r\n\r\n'
        for _ in range(room.limits.max_image_bytes // 1_000_000 + 5):
            yield bytes(1_000_000)

    refused(sent(client, pieces()), 413)


def test_an_image_over_the_limit_in_a_form_within_it_is_refused(client, room):
    image = part("image_file", bytes(room.limits.max_image_bytes + 1), filename=b"a.png")
    detail = refused(sent(client, form(image, TASKS_PART)), 413)
    assert detail == f"image_file: is over {room.limits.max_image_bytes:,} bytes"


# --- URLs of images ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        " ",
        "x",
        "a.png",
        "/etc/passwd",
        "//pictures.test/a.png",
        "http:",
        "http://",
        "http:///a.png",
        "http://?",
        "http://@",
        "http://:80",
        "file:///etc/passwd",
        "ftp://pictures.test/a.png",
        "gopher://127.0.0.1:6379/_x",
        "data:image/png;base64,iVBORw0KGgo=",
        "javascript:alert(1)",
        "unix:///var/run/docker.sock",
        "http://127.0.0.1/",
        "http://localhost:22/",
        "http://[::1]/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://user:secret@127.0.0.1/",
        "http://[",
        "http://[]",
        "http://[::1",
        "http://[zz]/",
        "http://a:x/",
        "http://a:99999/",
        "http://a:" + "9" * 5000 + "/",
        "http://a b/",
        "http://a\n/",
        "http://a/\r\nHost: b",
        "http://a/\0",
        "http://\0/",
        "http://" + "a" * 4000 + "/",
        "http://" + "a." * 2000 + "/",
        "http://a/" + "%" * 4000,
        "http://xn--/",
        "http://日本語.test/",
        "http://\N{PILE OF POO}.test/",
        "http://\u202e.test/",
        "http://a/" + "?" * 1000 + "#" * 1000,
        "http://" + "@" * 1000 + "/",
        "uploaded:a.png",
        "<script>alert(1)</script>",
    ],
    ids=lambda value: ascii(value[:40]),
)
def test_a_hostile_image_url_is_refused(client, url):
    response = posted(client, "/analyze_image/", {"image_url": url, "tasks": [TASK]})
    detail = refused(response)
    assert detail.startswith("Could not download image from URL: ")
    assert "secret" not in detail


# --- HTTP ----------------------------------------------------------------------------------------------

KNOWN_PATHS = {
    "/analyze_image/": "POST",
    "/analyze_image_upload/": "POST",
    "/plan/": "POST",
    "/available_operations/": "GET",
    "/health/live": "GET",
    "/health/ready": "GET",
}


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "BREW", "get", "post"]


@pytest.mark.parametrize(
    ("method", "path"),
    [(method, path) for path, taken in KNOWN_PATHS.items() for method in METHODS if method != taken],
)
def test_a_method_that_a_path_does_not_take_is_refused(client, method, path):
    request = client.build_request(method, path)
    # As it is: the client writes it in capitals.
    request.method = method
    refused(client.send(request), 405)


@pytest.mark.parametrize("path", [path for path, method in KNOWN_PATHS.items() if method == "POST"])
def test_a_head_is_refused_without_a_body(client, path):
    response = client.head(path)
    assert response.status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/analyze_imag",
        "/analyze_image/x",
        "/ANALYZE_IMAGE/",
        "/analyze_image/../plan/x",
        "/..%2f..%2fetc/passwd",
        "/%00",
        "/%ff%fe",
        "/%F0%9F%92%A9",
        "/" + "a" * 10_000,
        "/a" * 2_000,
        "/<script>alert(1)</script>",
        "/{path}",
        "/.git/config",
        "/health",
        "/health/live/x",
    ],
    ids=lambda value: ascii(value[:40]),
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_refused(client, method, path):
    refused(client.request(method, path), 404)


@pytest.mark.parametrize("query", ["format=svg", "format=", "format=JSON", "format=json%00", "format=%ff"])
def test_an_unknown_form_of_the_plan_is_refused(client, query):
    refused(client.post(f"/plan/?{query}", json={"tasks": [TASK]}))


@pytest.mark.parametrize(
    "query", ["format[]=svg", "a=b", "&&&===", "%ff=%00", "a=" + "b" * 50_000, "a&" * 5000]
)
def test_an_unknown_query_is_left_alone(client, query):
    judged(client.post(f"/plan/?{query}", json={"tasks": [TASK]}), 200)


@pytest.mark.parametrize(
    "sent_id",
    [
        "",
        " ",
        "a b",
        "x" * 129,
        "x" * 50_000,
        "a/b",
        "a:b",
        "é",
        "\xff",
        '"quoted"',
        "<script>",
        "a\tb",
        "{}",
        "a,b",
        "../../etc/passwd",
        "%0d%0aX-Header:1",
    ],
    ids=lambda value: ascii(value[:40]),
)
def test_a_hostile_request_id_is_replaced(client, sent_id):
    headers = [(b"X-Request-ID", sent_id.encode("latin-1")), (b"Content-Type", FORM.encode())]
    response = client.post("/analyze_image_upload/", content=GOOD_FORM, headers=headers)
    answered = judged(response, 200)["request_id"]
    assert re.fullmatch("[0-9a-f]{32}", answered)
    assert response.headers["X-Request-ID"] == answered


@pytest.mark.parametrize("sent_id", ["a", "x" * 128, "A-b_c.9", "..."])
def test_a_plain_request_id_is_kept(client, sent_id):
    response = client.get("/nothing", headers={"X-Request-ID": sent_id})
    refused(response, 404)
    assert response.headers["X-Request-ID"] == sent_id


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html",
        "application/xml;q=1, */*;q=0",
        "application/json;q=0",
        "text",
        "/",
        "*",
        "a/b/c",
        ";;;,,,",
        "text/html;q=x",
        "application/json;q=-1",
        "application/json;q=1e400",
        "application/json;q=nan",
        "application/json;q=",
        "application/json; =; ;=a",
        'application/json; a="b',
        "application/json, " * 3000,
        "x" * 60_000,
        "a/b;" + "c=d;" * 10_000,
        "\xff\xfe",
    ],
    ids=lambda value: ascii(value[:40]),
)
@pytest.mark.parametrize("path", ["/plan/", "/available_operations/", "/nothing"])
def test_a_hostile_accept_header_gives_json(client, path, accept):
    headers = [(b"Accept", accept.encode("latin-1"))]
    if path == "/plan/":
        response = client.post(path, json={"tasks": [TASK]}, headers=headers)
    else:
        response = client.get(path, headers=headers)
    judged(response, 404 if path == "/nothing" else 200)
    assert response.headers["Content-Type"].startswith("application/json")


def test_a_refusal_is_json_also_where_a_drawing_was_asked_for(client):
    headers = {"Accept": "text/vnd.mermaid"}
    assert client.post("/plan/", json={"tasks": [TASK]}, headers=headers).text.startswith("flowchart")
    refused(client.post("/plan/", json={"tasks": []}, headers=headers))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Type", "application/json; charset=none"),
        ("Content-Type", "text/plain"),
        ("Content-Type", "\xff"),
        ("Content-Type", "multipart/form-data"),
        ("Content-Encoding", "gzip"),
        ("Cookie", "a=b; " * 5000),
        ("Cookie", "\xff=\xff; ;;= ;\t"),
        ("Authorization", "Basic \xff\xff"),
        ("Authorization", "Negotiate " + "x" * 50_000),
        ("Host", "evil.test"),
        ("Host", ""),
        ("X-Forwarded-For", "127.0.0.1, " * 1000),
        ("X-Forwarded-Host", "evil.test"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("Range", "bytes=0-18446744073709551615"),
        ("If-None-Match", "*"),
        ("Expect", "100-continue"),
        ("Origin", "http://testserver.local"),
        ("Referer", "javascript:alert(1)"),
        ("User-Agent", "() { :; }; /bin/true"),
        ("Accept-Encoding", "gzip;q=x, br;q=nan, " * 1000),
        ("Accept-Language", "x" * 50_000),
        ("X" * 5000, "y"),
    ],
    ids=lambda value: ascii(value[:40]),
)
def test_odd_headers_change_nothing(client, name, value):
    headers = [(name.encode(), value.encode("latin-1"))]
    content = json.dumps({"tasks": [TASK]}).encode()
    plan = judged(client.post("/plan/", content=content, headers=headers), 200)
    assert [task["operation_id"] for task in plan["tasks"]] == ["t"]


@pytest.mark.parametrize("origin", ["null", "http://evil.test", "x" * 5000])
def test_pages_of_other_sites_are_refused_where_no_key_is_asked_for(room, origin):
    content = json.dumps({"tasks": [TASK]}).encode()
    with TestClient(build_app(room, "0", nothing_to_load)) as unguarded:
        refused = judged(unguarded.post("/plan/", content=content, headers={"Origin": origin}), 403)
    assert "may not use this server" in refused["detail"]


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param({"X-API-Key": ""}, id="none"),
        pytest.param({"X-API-Key": "x" * 50_000}, id="a long one"),
        pytest.param({"X-API-Key": "\xff"}, id="bytes"),
        pytest.param({"X-API-Key": "sightgraph_'; DROP TABLE keys"}, id="a wrong one"),
        pytest.param({"X-API-Key": "", "Authorization": "Bearer"}, id="a scheme alone"),
        pytest.param({"X-API-Key": "", "Authorization": "Bearer a b"}, id="two words"),
    ],
)
def test_nothing_is_read_without_a_key(client, shown):
    headers = [(name.encode(), value.encode("latin-1")) for name, value in shown.items()]
    for body in (b"{", b"[" * 100_000, b"\xff"):
        detail = refused(client.post("/plan/", content=body, headers=headers), 401)
        assert "API key" in detail


def test_no_answer_names_other_sites_as_trusted(client):
    response = client.get("/available_operations/", headers={"Origin": "http://evil.test"})
    assert "Access-Control-Allow-Origin" not in response.headers


# --- the server afterwards -----------------------------------------------------------------------------


def hostile_mix(client: Any) -> int:
    """A round of hostile requests; how many of them there were."""
    images = [*REFUSED.values(), *(data for data, _ in OVERSIZED.values())][::3]
    bodies = [MALFORMED[name] for name in list(MALFORMED)[::3]]
    nested = deep({"tasks": [{**TASK, "params": {"colour": "@"}}]}, 150, "arrays").encode()
    responses = [
        *(uploaded(client, image, TASK) for image in images),
        *(posted(client, "/plan/", body) for body in bodies),
        posted(client, "/plan/", nested),
        posted(client, "/plan/", {f"field{number}": number for number in range(10_000)}),
        sent(client, form(part("image_file", bytes(10_000_000), filename=b"a.png"), TASKS_PART)),
        sent(client, form(*[part("x", b"x")] * 500)),
        uploaded(client, encoded(noise(700, 700)), TASK),
    ]
    assert max(response.status_code for response in responses) < 500
    return len(responses)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="only Linux tells a process's memory this way"
)
def test_hostile_requests_leave_no_memory_behind(client):
    sizes = []
    for _ in range(4):
        assert hostile_mix(client) >= 30
        sizes.append(resident_bytes())
    # The first round fills caches and the allocator.
    assert sizes[-1] - sizes[1] < 60_000_000


def test_a_slow_request_does_not_hold_up_the_others(client):
    slow: list[Any] = []
    arrived = threading.Event()
    image = part("image_file", encoded(noise(1800, 1800), compress_level=0), filename=b"image.png")
    types = ("read_codes", "hash_perceptual", "crop")
    tasks = part(
        "tasks_json", json.dumps([{"operation_id": type_, "type": type_} for type_ in types]).encode()
    )

    def pieces():
        yield form(image, tasks)
        arrived.set()

    thread = threading.Thread(target=lambda: slow.append(sent(client, pieces())))
    thread.start()
    assert arrived.wait(60)
    answered_meanwhile = 0
    while thread.is_alive():
        assert judged(client.get("/health/live"), 200) == {"status": "ok"}
        answered_meanwhile += thread.is_alive()
    assert {result["status"] for result in judged(slow[0], 200)["results"].values()} == {"success"}
    # Of a loop that is held up, one answer comes at the end.
    assert answered_meanwhile >= 5


def test_the_server_still_works_after_all_of_it(client, everything):
    hostile_mix(client)
    results = judged(uploaded(client, encoded(noise(32, 32, seed=1)), *everything), 200)["results"]
    assert {result["status"] for result in results.values()} == {"success"}
