"""The page on which an image is analysed, as people use it."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from playwright.sync_api import Page, Route, expect

from app.api.doors import Doors
from app.core.access import made_key
from app.main import build_room
from app.settings import Settings
from tests.api.test_disconnect import until
from tests.api.test_streaming import holding
from tests.conftest import served
from tests.images import ASTRONAUT_FACE, noise
from tests.site import site
from tests.web.accessibility import barriers, is_wider_than_its_window
from tests.web.conftest import PHONE, Visit

FACES = [
    {"operation_id": "faces", "type": "detect_bounding_box", "params": {"target": "all_faces"}},
    {"operation_id": "vector", "type": "embed_hog_hsv", "params": {"target": {"task": "faces"}}},
]
ROOT = Path(__file__).resolve().parent.parent.parent


def opened(visit: Visit, tasks: list[dict] | None = None, **options: Any) -> Page:
    """The page with the first sample and tasks; with the sample's own where none are given."""
    setup = "" if tasks is None else f"#sample=astronaut&tasks={json.dumps(tasks)}"
    page = visit(f"/{setup}", **options)
    expect(page.locator("#image-facts")).to_contain_text(".png")
    return page


def run(page: Page) -> None:
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#run-status")).to_contain_text(re.compile(r"in [\d.]+ m?s\.$"))


def result(page: Page, task: str):
    return page.get_by_role("article", name=f"Result of {task}")


def field(page: Page, task: str, name: str):
    return page.locator(f"li[data-task='{task}']").get_by_label(re.compile(f"^{name}( required)?$"))


def add(page: Page, type_: str) -> None:
    page.get_by_role("button", name="Add a task").click()
    page.get_by_role("searchbox").fill(type_)
    page.get_by_role("dialog").get_by_role("button", name=re.compile(f"^{type_} ")).click()


def task(operation_id: str, type_: str, **params: object) -> dict:
    return {"operation_id": operation_id, "type": type_, "params": params}


def request_of(page: Page) -> dict:
    page.get_by_role("tab", name="JSON").click()
    return json.loads(page.get_by_role("tabpanel").locator("pre").inner_text())


def copied(page: Page, tab: str) -> str:
    page.get_by_role("tab", name=tab).click()
    page.get_by_role("tabpanel").get_by_role("button", name="Copy").click()
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def test_a_sample_is_analysed_at_once_and_shown(visit):
    page = opened(visit)
    # A sample asks for what this server can answer.
    expect(page.locator("li.task")).to_have_count(4)
    # The reader of texts takes its time to load.
    page.locator("li[data-task='words']").get_by_role("button", name="Remove the task").click()
    add(page, "describe_image")
    run(page)
    expect(page.locator("#run-status")).to_contain_text("3 done, 1 failed")
    # What is found is drawn, with a legend.
    expect(page.locator(".overlay .shape")).to_have_count(2)
    expect(page.locator("#legend button")).to_have_text([re.compile("faces"), re.compile("vector")])
    expect(result(page, "faces")).to_contain_text(", ".join(map(str, ASTRONAUT_FACE)))
    # A crop, a vector and a table each look like one.
    expect(result(page, "vector").get_by_alt_text("Crop of vector, item 1")).to_be_visible()
    expect(result(page, "vector").get_by_role("img", name="A vector of 2020 numbers")).to_be_visible()
    expect(result(page, "colours").get_by_role("row").first).to_contain_text("hex")
    # What cannot be done says why in its place, and what to do.
    expect(result(page, "describe_image")).to_contain_text("sightgraph models pull")
    expect(result(page, "describe_image").get_by_role("link", name="Open the models")).to_be_visible()


def test_tasks_arrive_one_by_one_until_the_run_is_stopped(visit):
    tasks = [task("late", "hold"), task("quick", "measure"), task("broken", "fail")]
    with holding() as (room, url, _):
        page = opened(visit, tasks, server=url)
        page.get_by_role("button", name="Run").click()
        expect(page.locator("#run-status")).to_have_text("2 of 3 answered\u2026")
        expect(result(page, "quick")).to_contain_text("done")
        expect(result(page, "broken").get_by_role("button", name="Change the task")).to_be_visible()
        expect(result(page, "late")).to_contain_text("waiting")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#run-status")).to_have_text("Stopped: 2 of 3 answered.")
        expect(result(page, "late")).to_contain_text("no answer")
        # The server is told, and works for nobody no more.
        assert until(lambda: room.requests == 0)
        page.close()


def test_a_finding_is_lit_in_the_list_and_on_the_image(visit):
    page = opened(visit, [task("faces", "detect_bounding_box", target="all_faces")])
    run(page)
    item = result(page, "faces").get_by_role("listitem")
    item.hover()
    expect(page.locator(".overlay .shape.lit")).to_have_count(1)
    page.locator("h2", has_text="Results").hover()
    expect(page.locator(".lit")).to_have_count(0)
    item.focus()
    expect(page.locator(".overlay .shape.lit")).to_have_count(1)
    page.locator("#legend button").click()
    expect(page.locator(".overlay .shape")).to_have_count(0)
    expect(page.locator("#legend button")).to_have_attribute("aria-pressed", "false")


def test_the_keyboard_alone_is_enough(visit):
    page = opened(visit, [task("face", "detect_bounding_box", target="prominent_face")])
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.get_by_role("button", name="Add a task").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("dominant colours")
    page.keyboard.press("Enter")
    # The new task is where the focus is; its form follows.
    expect(page.locator("summary", has_text="image_properties")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.type("prominent_f")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#run-status")).to_contain_text("2 done")
    assert request_of(page)["tasks"][1]["params"] == {"target": "prominent_face"}
    rows = result(page, "image_properties").locator("tbody tr")
    rows.first.focus()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    tab = page.get_by_role("tab", name="JSON")
    tab.focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Answer")).to_be_focused()
    page.locator("li.task").nth(1).get_by_role("button", name="Remove the task").press("Enter")
    expect(page.locator("li.task > details > summary")).to_be_focused()
    page.get_by_role("button", name="Add a task").press("Enter")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_form_is_what_the_schema_says(visit):
    page = opened(visit, [])
    add(page, "read_text")
    confidence = field(page, "read_text", "min_confidence")
    expect(confidence).to_have_attribute("placeholder", "0.5")
    confidence.fill("7")
    expect(page.get_by_text("7 does not fit: min_confidence takes 0.5 to 1.")).to_be_visible()
    page.get_by_role("button", name="Run").click()
    expect(confidence).to_be_focused()
    confidence.fill("0.9")
    field(page, "read_text", "de").check()
    page.get_by_text("More options").click()
    field(page, "read_text", "crop_format").select_option("webp")
    field(page, "read_text", "on_missing").select_option("skip")
    sent = {"min_confidence": 0.9, "languages": ["de"], "crop_format": "webp", "on_missing": "skip"}
    assert request_of(page)["tasks"] == [task("read_text", "read_text", **sent)]
    # What is as by default is not sent.
    field(page, "read_text", "crop_format").select_option("png")
    confidence.fill("0.5")
    assert set(request_of(page)["tasks"][0]["params"]) == {"languages", "on_missing"}


def test_what_is_required_is_asked_for(visit):
    page = opened(visit, [])
    add(page, "search_similar")
    collection = field(page, "search_similar", "collection")
    collection.fill("")
    page.get_by_role("button", name="Run").click()
    expect(collection).to_be_focused()
    expect(page.get_by_text("A field that is required is empty.")).to_be_visible()


def test_every_schema_has_a_field(visit):
    schemas = [
        ({"type": "integer", "minimum": 1}, "number"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "number"),
        ({"type": "boolean"}, "switch"),
        ({"enum": ["a", "b"]}, "choice"),
        ({"type": "string", "format": "task-id"}, "task"),
        ({"type": "string", "maxLength": 2000}, "long-text"),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "number-or-text"),
        ({"type": "array", "items": {"type": "string"}}, "lines"),
        ({"type": "array", "items": {"enum": ["a"]}}, "choices"),
        ({"type": "array", "prefixItems": [{"type": "integer"}]}, "json"),
        ({"type": "object", "additionalProperties": True}, "json"),
        ({"anyOf": [{"type": "object"}, {"type": "array"}]}, "json"),
        ({}, "json"),
    ]
    kinds = visit("/playground/icon.svg").evaluate(
        """async (schemas) => {
          const { fieldOf } = await import('/playground/analyze/schema.js');
          return schemas.map((schema) => fieldOf(schema, {}).kind);
        }""",
        [schema for schema, _ in schemas],
    )
    assert kinds == [kind for _, kind in schemas]


def test_json_is_the_field_of_what_no_form_knows(visit):
    page = opened(visit, [task("alike", "search_similar", collection="photos", filter={"kind": "cat"})])
    page.locator("summary", has_text="search_similar").click()
    filter_ = field(page, "alike", "filter")
    assert json.loads(filter_.input_value()) == {"kind": "cat"}
    filter_.fill('{"kind": ')
    expect(page.get_by_text("Not JSON")).to_be_visible()
    filter_.fill('{"kind": "dog"}')
    assert request_of(page)["tasks"][0]["params"]["filter"] == {"kind": "dog"}


def test_a_box_is_drawn_on_the_image(visit):
    page = opened(visit, [task("cut", "crop")])
    page.locator("summary", has_text="crop").click()
    field(page, "cut", "target").first.select_option("a box of your own")
    page.get_by_role("button", name="Run").click()
    expect(field(page, "cut", "target").first).to_be_focused()
    draw = page.get_by_role("button", name="Draw it on the image")
    draw.click()
    draw.click()
    expect(page.locator(".drawing")).to_have_count(1)
    place = page.locator(".drawing").bounding_box()
    scale = place["width"] / 512
    page.mouse.move(place["x"] + 100 * scale, place["y"] + 60 * scale)
    page.mouse.down()
    page.mouse.move(place["x"] + 300 * scale, place["y"] + 200 * scale, steps=3)
    page.mouse.up()
    box = request_of(page)["tasks"][0]["params"]["target"]["bbox"]
    assert box == pytest.approx([100, 60, 300, 200], abs=2)
    # It is seen before it is used, and can be typed.
    expect(page.locator(".overlay .region")).to_have_count(1)
    page.get_by_label("xmin").fill("300")
    expect(page.get_by_text("holds no pixel")).to_be_visible()
    page.get_by_label("xmin").fill("120")
    run(page)
    expect(result(page, "cut").get_by_alt_text("Crop of cut")).to_be_visible()


def test_tasks_refer_to_each_other_by_picking(visit):
    tasks = [task("faces", "detect_bounding_box", target="all_faces"), task("vector", "embed_hog_hsv")]
    page = opened(visit, tasks)
    page.locator("summary", has_text="embed_hog_hsv").click()
    field(page, "vector", "target").first.select_option("what another task finds")
    page.get_by_label("Task whose boxes it works on").select_option("faces")
    add(page, "compare")
    for side in ("a", "b"):
        page.locator(f"select[id^='{side}-']").select_option("vector")
    # Who is renamed is still meant, and a copy has a name of its own.
    name = page.get_by_label("Name of the task").first
    name.fill("people")
    name.press("Enter")
    page.get_by_role("button", name="Duplicate the task").nth(1).click()
    sent = request_of(page)["tasks"]
    assert [each["operation_id"] for each in sent] == ["people", "vector", "vector_2", "compare"]
    region = page.locator("li[data-task='vector']").get_by_label("Task whose boxes it works on")
    expect(region).to_have_value("people")
    assert sent[1]["params"] == sent[2]["params"] == {"target": {"task": "people"}}
    assert sent[3]["params"] == {"a": "vector", "b": "vector"}
    other = page.get_by_label("Name of the task").nth(1)
    other.fill("vectors")
    other.press("Enter")
    expect(page.locator("select[id^='a-']")).to_have_value("vectors")
    other.fill("vector")
    other.press("Enter")
    name.fill("vector")
    name.press("Enter")
    expect(page.get_by_text("There is another task 'vector'.")).to_be_visible()
    run(page)
    expect(result(page, "compare")).to_contain_text("cosine")


def test_the_graph_shows_what_is_shared_and_how_long_it_took(visit):
    tasks = [task(name, "hash_perceptual", target="all_faces") for name in ("one", "two")]
    page = opened(visit, [*tasks, task("text", "read_text", target="everything")])
    nodes = page.locator("#graph .node")
    # Two tasks are one computation; a task that would be refused is drawn by itself.
    expect(nodes.filter(has_text="hash_perceptual")).to_have_count(1)
    expect(nodes.filter(has_text="hash_perceptual")).to_contain_text("shared by 2")
    expect(page.locator("#graph .is-refused")).to_have_text(re.compile("target"))
    page.locator("li.task").nth(2).get_by_role("button", name="Remove the task").click()
    run(page)
    expect(nodes.filter(has_text="hash_perceptual")).to_contain_text(" ms")
    run(page)
    expect(nodes.filter(has_text="hash_perceptual")).to_contain_text("cached")
    page.get_by_text("As a table").click()
    expect(page.locator("#graph tbody tr", has_text="hash_perceptual")).to_contain_text("one, two")


def test_layers_follow_what_is_needed(visit):
    page = visit("/playground/icon.svg")
    layers = page.evaluate(
        """async () => {
          const { layered } = await import('/playground/analyze/layering.js');
          const edges = [['image', 'a'], ['a', 'b'], ['image', 'c'], ['b', 't'], ['c', 't']];
          const { layers } = layered(['image', 'a', 'b', 'c', 't'], edges, new Set(['t']));
          return layers.map((layer) => layer.sort());
        }"""
    )
    assert layers == [["image"], ["a", "c"], ["b", "c@2"], ["t"]]


def test_a_setup_is_shared_by_its_address(visit, web_url):
    first = opened(visit)
    add(first, "describe_image")
    field(first, "describe_image", "max_length").fill("20")
    first.get_by_role("button", name="Share setup").click()
    expect(first.get_by_text("The address of this setup is copied.")).to_be_visible()
    server, setup = first.evaluate("navigator.clipboard.readText()").split("/#")
    assert server == web_url
    second = visit(f"/#{setup}")
    expect(second.locator("li.task")).to_have_count(5)
    expect(second.locator("#image-facts")).to_contain_text("astronaut")
    assert request_of(second) == request_of(first)
    # An image of one's own stays at home.
    second.locator("input[type=file]").set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": png()}
    )
    expect(second.locator("#image-facts")).to_contain_text("mine.png")
    expect(second).not_to_have_url(re.compile("astronaut"))
    assert "mine" not in second.url
    damaged = visit("/#tasks=[{")
    expect(damaged.get_by_text("no setup that can be read")).to_be_visible()


def test_a_shared_setup_may_hold_anything(visit, registry):
    odd: list[Any] = ["x", 5, [1], {"bbox": "x"}, {"bbox": ["x"]}, {"task": 5}, {"task": ["x"]}, None, True]
    tasks = [task("a", "constructor", x=1), task("b", "__proto__", x=1)]
    tasks += [task(f"box{number}", "crop", target=value) for number, value in enumerate(odd)]
    for first in (0, 3, 6):
        for number, each in enumerate(registry.public.values(), first):
            params = {name: odd[(number + at) % len(odd)] for at, name in enumerate(each.params.model_fields)}
            tasks.append(task(f"{each.type}{first}", each.type, **params))
    tasks = [{name: value for name, value in each.items() if value != {}} for each in tasks]
    # No setup holds more.
    for at in range(0, len(tasks), 64):
        some = tasks[at : at + 64]
        page = opened(visit, some)
        expect(page.locator("li.task")).to_have_count(len(some))
        assert request_of(page)["tasks"] == some
        page.close()


def held_back(page: Page, address: str) -> Iterator[Route]:
    """Keeps requests of an address from the server; gives each as it comes."""
    held: list[Route] = []
    page.route(address, lambda route: held.append(route))

    def each() -> Iterator[Route]:
        while True:
            while not held:
                page.wait_for_timeout(10)
            yield held.pop(0)

    return each()


def test_the_image_that_is_chosen_last_stays(visit):
    page = opened(visit, [])
    held = held_back(page, "**/analyze_image/")
    page.get_by_label("Address of an image").fill("https://pictures.example.org/slow.jpg")
    page.get_by_role("button", name="Use link").click()
    slow = next(held)
    page.locator("input[type=file]").set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": png()}
    )
    expect(page.locator("#image-facts")).to_contain_text("mine.png")
    crop = {"cropped_image_base64": base64.b64encode(encoded_as("JPEG")).decode()}
    with page.expect_response("**/analyze_image/"):
        slow.fulfill(json={"results": {"picture": crop}, "image": {"width": 90, "height": 60}})
    # What the answer leads to is done once later requests are answered and drawn.
    page.evaluate("fetch('/playground/icon.svg').then((answer) => answer.text())")
    page.evaluate("new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)))")
    expect(page.locator("#image-facts")).to_contain_text("mine.png")


def test_a_sample_that_comes_late_leaves_tasks_that_were_changed(visit):
    page = opened(visit)
    expect(page.locator("li.task")).to_have_count(4)
    held = held_back(page, "**/playground/samples/cat")
    cat = page.get_by_role("button", name="Cat", exact=True)
    cat.click()
    next(held).fulfill(status=503, json={"detail": "Full; try again."})
    # Without its image a sample's tasks mean nothing.
    expect(page.locator("#source").get_by_role("alert")).to_contain_text("Full; try again.")
    expect(page.locator("li.task")).to_have_count(4)
    cat.click()
    late = next(held)
    page.locator("li[data-task='words']").get_by_role("button", name="Remove the task").click()
    late.continue_()
    expect(page.locator("#image-facts")).to_contain_text("cat.png")
    assert [each["operation_id"] for each in request_of(page)["tasks"]] == ["faces", "vector", "colours"]


def test_the_request_is_there_to_copy(visit, tmp_path):
    tasks = [
        task("it's;so", "hash_perceptual"),
        task("box", "crop", target={"bbox": [1, 2, 30, 40]}, crop_format="none"),
    ]
    page = opened(visit, tasks)
    assert request_of(page) == {"tasks": [{"operation_id": "it's;so", "type": "hash_perceptual"}, tasks[1]]}
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(["sh", "-c", copied(page, "curl")], cwd=tmp_path, capture_output=True, check=True)
    answer = json.loads(done.stdout)
    assert [each["status"] for each in answer["results"].values()] == ["success", "success"]
    # Neither needs a file that the other one fetched.
    program = tmp_path / "python" / "program.py"
    program.parent.mkdir()
    program.write_text(copied(page, "Python"))
    ran = subprocess.run(
        [sys.executable, program],
        cwd=program.parent,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert sorted(line.split()[:2] for line in ran.stdout.splitlines()) == [
        ["box", "success"],
        ["it's;so", "success"],
    ]


def test_a_key_is_asked_for_and_kept_in_the_tab(visit, room):
    key, entry = made_key("reader", ["analyze"])
    with served(room, Doors(keys=(entry,))) as url:
        page = visit("/", server=url)
        dialog = page.get_by_role("dialog", name="API key")
        expect(dialog).to_contain_text("needs an API key")
        dialog.get_by_label("Key").fill("wrong")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("not one of this server's")
        # No header can hold it, and no request could be made with it.
        dialog.get_by_label("Key").fill("ключ")
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("alert")).to_contain_text("another character")
        dialog.get_by_role("button", name="Use this key").click()
        expect(dialog).to_be_visible()
        dialog.get_by_label("Key").fill(key)
        page.keyboard.press("Enter")
        expect(page.locator("li.task").first).to_be_visible()
        assert copied(page, "curl").count("$SIGHTGRAPH_API_KEY") == 1
        places = [
            "JSON.stringify(localStorage)",
            "document.cookie",
            "location.href",
            "document.body.outerHTML",
        ]
        assert not any(key in page.evaluate(place) for place in places)
        page.close()


def png(width: int = 90, height: int = 60) -> bytes:
    return encoded_as("PNG", width, height)


def encoded_as(format_: str, width: int = 90, height: int = 60) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(noise(width, height)).save(file, format_)
    return file.getvalue()


def test_an_image_comes_by_drop_and_from_the_clipboard(visit):
    page = opened(visit, [])
    for event, name in (("drop", "dropped.png"), ("paste", "pasted.png")):
        page.evaluate(
            """([event, name, bytes]) => {
              const data = new DataTransfer();
              data.items.add(new File([new Uint8Array(bytes)], name, { type: 'image/png' }));
              const options = { bubbles: true, cancelable: true };
              document.body.dispatchEvent(event === 'drop'
                ? new DragEvent('drop', { ...options, dataTransfer: data })
                : new ClipboardEvent('paste', { ...options, clipboardData: data }));
            }""",
            [event, name, list(png())],
        )
        expect(page.locator("#image-facts")).to_have_text(f"{name}, 90 \u00d7 60")


def test_the_server_shows_what_the_browser_cannot(visit):
    page = opened(visit, [task("size", "image_properties")])
    picker = page.locator("input[type=file]")
    picker.set_input_files(
        {"name": "scan.tiff", "mimeType": "image/tiff", "buffer": encoded_as("TIFF", 400, 300)}
    )
    expect(page.locator("#image-facts")).to_have_text("scan.tiff, 400 \u00d7 300")
    run(page)
    expect(result(page, "size")).to_contain_text("TIFF")
    picker.set_input_files({"name": "no.png", "mimeType": "image/png", "buffer": b"no image"})
    expect(page.get_by_role("alert")).to_contain_text("Could not process image")


def test_an_image_behind_a_link_is_shown_by_the_server(visit, registry):
    room = build_room(Settings(lanes=1, offline=True, allow_private_urls=True), registry)
    with site({"picture.png": png()}) as pictures, served(room) as url:
        page = opened(visit, [task("size", "image_properties")], server=url)
        page.get_by_label("Address of an image").fill(f"{pictures}/picture.png")
        page.get_by_role("button", name="Use link").click()
        expect(page.locator("#image-facts")).to_have_text("picture.png, 90 \u00d7 60")
        run(page)
        expect(result(page, "size")).to_contain_text("90")
        assert f'"image_url": "{pictures}/picture.png"' in copied(page, "curl")
        assert "picture.png" not in page.url
        page.close()
    room.pool.close()
    room.index.close()
    room.classifiers.close()


def test_a_link_that_leads_nowhere_is_told_of_beside_it(visit):
    page = opened(visit, [])
    page.get_by_label("Address of an image").fill("https://pictures.example.org/cat.jpg")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Could not download image from URL")


@pytest.mark.parametrize("dark", [False, True])
def test_everybody_can_read_and_reach_it(visit, dark):
    page = opened(visit, dark=dark)
    assert barriers(page) == []
    run(page)
    for name in ("classify", "compare", "detect_objects"):
        add(page, name)
    for more in page.get_by_text("More options").all():
        if more.is_visible():
            more.click()
    assert barriers(page) == []
    page.get_by_role("button", name="Add a task").click()
    assert barriers(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="API key").click()
    assert barriers(page) == []


def test_the_theme_can_be_chosen_and_stays(visit):
    page = opened(visit, [])
    page.get_by_role("button", name="Switch to the dark theme").click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_role("button", name="Switch to the light theme")).to_be_visible()


def test_a_phone_shows_all_of_it(visit):
    page = opened(visit, FACES, size=PHONE, is_mobile=True, has_touch=True)
    run(page)
    add(page, "classify_zero_shot")
    assert not is_wider_than_its_window(page)
    assert barriers(page) == []
