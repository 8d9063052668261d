"""The page of the models, in a browser: states, downloads, loading, and who may do what."""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.api.doors import Doors
from app.core.access import made_key
from app.core.errors import ModelUnavailable
from app.core.registry import Registry
from app.core.weights import Placement
from app.main import build_room
from app.settings import Settings
from tests.conftest import served
from tests.toys import ToyEngine, ToyStore, seeing, toy_engine
from tests.web.accessibility import barriers, is_wider_than_its_window
from tests.web.conftest import PHONE

PATH = "/playground/models"
READER, READER_ENTRY = made_key("reader", ["analyze"])
OWNER, OWNER_ENTRY = made_key("owner", ["analyze", "admin"])


@dataclass
class Toys:
    """A server whose models come, load and fail as a test says."""

    url: str = ""
    may_arrive: threading.Event = field(default_factory=threading.Event)
    refuses: bool = False
    loads: list[BaseException] = field(default_factory=list)

    def pull(self, spec: Any, progress: Any) -> None:
        progress(400, 1000)
        assert self.may_arrive.wait(30)
        if self.refuses:
            raise ModelUnavailable(f"'toys/{spec.name}' cannot be downloaded. The server answered 403.")

    def load(self, placement: Placement) -> ToyEngine:
        if self.loads:
            raise self.loads.pop()
        return ToyEngine(placement)


@pytest.fixture
def toys(request, tmp_path) -> Iterator[Toys]:
    toys = Toys()
    spec = toy_engine("large", toys.load, 1000, limits="Sees the middle only.", cost_ms=2200)
    small = toy_engine("small", toys.load, 5_000_000)
    operations = [seeing("describe", spec, small), seeing("detect", small)]
    store = ToyStore("large", pull=toys.pull)
    room = build_room(Settings(lanes=1, data=tmp_path), Registry(operations), store)
    with served(room, Doors(keys=getattr(request, "param", ()))) as toys.url:
        yield toys
    toys.may_arrive.set()
    room.pool.close()
    room.index.close()
    room.classifiers.close()


keyed = pytest.mark.parametrize("toys", [(READER_ENTRY, OWNER_ENTRY)], indirect=True, ids=["keys"])


def card(page: Page, name: str) -> Any:
    return page.get_by_role("article", name=name)


def test_a_model_is_downloaded_loaded_and_unloaded(visit, toys):
    page = visit(PATH, server=toys.url)
    expect(page.locator("#summary")).to_contain_text("1 of 2 are on the server")
    large = card(page, "large")
    expect(large).to_contain_text("not downloaded")
    large.get_by_role("button", name="Download 1 KB").click()
    dialog = page.get_by_role("dialog", name="Download large?")
    # What it leads to is told before it happens.
    for told in ("1 KB on the server's disk", "MIT", "made in a test", "Sees the middle only."):
        expect(dialog).to_contain_text(told)
    dialog.get_by_role("button", name="Cancel").click()
    expect(large).to_contain_text("not downloaded")
    large.get_by_role("button", name="Download 1 KB").click()
    dialog.get_by_role("button", name="Download").click()
    expect(large).to_contain_text("downloading 40 %")
    expect(large.get_by_role("progressbar")).to_have_attribute("value", "40")
    expect(large).to_contain_text("400 B of 1 KB")
    toys.may_arrive.set()
    expect(page.locator("#messages")).to_contain_text("large is downloaded.")
    expect(large).to_contain_text("loads at first use")
    large.get_by_role("button", name="Load now").click()
    expect(large.locator(".state")).to_have_text("ready")
    expect(page.get_by_role("region", name="In memory")).to_contain_text("large")
    large.get_by_role("button", name="Unload").click()
    expect(page.locator("#messages")).to_contain_text("about 1 KB of memory are free")
    expect(large).to_contain_text("loads at first use")


def test_what_fails_is_told_with_its_remedy(visit, toys):
    toys.refuses = True
    toys.may_arrive.set()
    page = visit(PATH, server=toys.url)
    large = card(page, "large")
    large.get_by_role("button", name="Download 1 KB").click()
    page.get_by_role("dialog").get_by_role("button", name="Download").click()
    expect(large).to_contain_text("cannot be downloaded. The server answered 403.")
    toys.loads.append(RuntimeError("no luck"))
    small = card(page, "small")
    small.get_by_role("button", name="Load now").click()
    expect(page.get_by_role("region", name="Failed")).to_contain_text("cannot be loaded: RuntimeError")
    small.get_by_role("button", name="Load now").click()
    expect(small.locator(".state")).to_have_text("ready")


@pytest.mark.parametrize("refuses", [False, True])
def test_a_repair_is_told_of_at_its_end(visit, toys, refuses):
    toys.loads.append(RuntimeError("no luck"))
    page = visit(PATH, server=toys.url)
    small = card(page, "small")
    small.get_by_role("button", name="Load now").click()
    expect(small).to_contain_text("cannot be loaded: RuntimeError")
    small.get_by_role("button", name="Download anew").click()
    page.get_by_role("dialog").get_by_role("button", name="Download").click()
    expect(small).to_contain_text("downloading")
    toys.refuses = refuses
    toys.may_arrive.set()
    told = "The server answered 403." if refuses else "small is downloaded."
    expect(page.locator("#messages")).to_contain_text(told)


def test_a_server_that_fails_is_told_of_once_until_it_answers(visit, toys):
    page = visit(PATH, server=toys.url)
    expect(card(page, "small")).to_be_visible()
    page.route("**/models/", lambda route: route.fulfill(status=503, json={"detail": "Out of order."}))
    for _ in range(3):
        with page.expect_response("**/models/"):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("alert")).to_contain_text("Out of order.")
    # What is looked for meanwhile hides nothing.
    page.get_by_label("Find").fill("small")
    expect(page.get_by_role("article")).to_have_count(1)
    expect(page.get_by_role("alert")).to_have_count(1)
    expect(page.locator("#messages .message")).to_have_count(0)
    page.unroute("**/models/")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(card(page, "small")).to_be_visible()


def test_models_are_found_by_name_operation_and_state(visit, toys):
    page = visit(PATH, server=toys.url)
    expect(page.get_by_role("article")).to_have_count(2)
    page.get_by_label("Operation").select_option("detect")
    expect(page.get_by_role("article")).to_have_count(1)
    page.get_by_label("State").select_option("Not downloaded")
    expect(page.locator(".empty")).to_contain_text("No model fits")
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("Find").fill("LARGE")
    expect(page.get_by_role("article")).to_have_count(1)
    expect(card(page, "large")).to_be_visible()


def test_it_works_by_keyboard_alone(visit, toys):
    page = visit(PATH, server=toys.url)
    expect(card(page, "small")).to_be_visible()
    load = card(page, "small").get_by_role("button", name="Load now")
    for _ in range(40):
        page.keyboard.press("Tab")
        if load.evaluate("each => each === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(card(page, "small").locator(".state")).to_have_text("ready")
    # The list was drawn anew, and the focus is where it was: in the card.
    assert page.evaluate("document.activeElement.closest('article')?.dataset.engine") == "small"


@keyed
def test_a_key_that_may_only_look_is_told_so(visit, toys):
    page = visit(PATH, server=toys.url, key=READER)
    expect(card(page, "large")).to_be_visible()
    expect(page.get_by_text("wants one with the scope admin")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Download|Load|Unload"))).to_have_count(0)
    page.get_by_role("button", name="Use another key").click()
    page.get_by_label("Key", exact=True).fill(OWNER)
    page.get_by_role("button", name="Use this key").click()
    expect(card(page, "large").get_by_role("button", name="Download 1 KB")).to_be_visible()


@keyed
def test_a_server_with_keys_asks_for_one(visit, toys):
    page = visit(PATH, server=toys.url)
    page.get_by_label("Key", exact=True).fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("not one of this server's")
    page.get_by_label("Key", exact=True).fill(OWNER)
    page.keyboard.press("Enter")
    expect(card(page, "large")).to_be_visible()


def test_a_server_that_keeps_off_the_network_says_which_command_helps(visit):
    page = visit(PATH)
    expect(page.get_by_text("was told to keep off the network")).to_be_visible()
    blip = card(page, "blip-base")
    expect(blip.locator("code").first).to_have_text(
        "sightgraph models pull Salesforce/blip-image-captioning-base"
    )
    blip.get_by_role("button", name="Copy the command").click()
    copied = "sightgraph models pull Salesforce/blip-image-captioning-base"
    page.wait_for_function(
        "wanted => navigator.clipboard.readText().then(text => text === wanted)", arg=copied
    )
    expect(blip.get_by_role("button", name=re.compile("Download"))).to_have_count(0)
    expect(card(page, "mtcnn")).to_contain_text("in its package")


@pytest.mark.parametrize("dark", [False, True])
def test_everybody_can_read_it(visit, dark):
    page = visit(PATH, dark=dark)
    expect(card(page, "mtcnn")).to_be_visible()
    card(page, "mtcnn").get_by_text("More about it").click()
    assert barriers(page) == []


def test_a_phone_shows_all_of_it(visit, toys):
    page = visit(PATH, size=PHONE)
    expect(card(page, "mtcnn")).to_be_visible()
    assert not is_wider_than_its_window(page)
    page = visit(PATH, server=toys.url, size=PHONE)
    card(page, "large").get_by_role("button", name="Download 1 KB").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert not is_wider_than_its_window(page)
    assert barriers(page) == []
