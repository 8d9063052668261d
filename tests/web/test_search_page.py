"""The page of the collections, in a browser: making, filling, searching, tidying, and who may do it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import PIL.Image
import pytest
from playwright.sync_api import Page, Route, expect

from app.api.doors import Doors
from app.core.access import made_key
from app.core.artifacts import Crop, Vector
from app.core.errors import CollectionNotFound
from app.core.operation import OUTSIDE_KEY, Given, Ref, operation
from app.core.registry import Registry
from app.core.target import RegionParams
from app.index.storage import ItemRegion, NewItem
from app.main import build_room
from app.settings import Settings
from operations import regions
from tests.conftest import served
from tests.images import astronaut, encoded, noise, plain
from tests.web.accessibility import barriers, is_wider_than_its_window
from tests.web.conftest import PHONE

PATH = "/playground/search"
ANALYST, ANALYST_ENTRY = made_key("analyst", ["analyze"])
LIBRARIAN, LIBRARIAN_ENTRY = made_key("librarian", ["analyze", "index"])
HOSTILE = "<img src=x onerror=alert(1)>/a b?.png"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    """Image files by their names."""
    folder = tmp_path_factory.mktemp("files")
    small = np.asarray(PIL.Image.fromarray(astronaut()).resize((256, 256)))
    made = {
        "astronaut.png": encoded(astronaut()),
        "small.jpg": encoded(small, "JPEG"),
        "noise.png": encoded(noise(200, 150)),
        "green.png": encoded(plain(160, 120, (30, 160, 60))),
        "broken.png": b"no image",
    }
    for name, content in made.items():
        (folder / name).write_bytes(content)
    return {name: str(folder / name) for name in made}


@pytest.fixture
def collection(room, web_url, files) -> Iterator[str]:
    """A collection of three images."""
    name = "album"
    yield from _collection(room, web_url, files, name, "embed_hog_hsv", "whole_image")


@pytest.fixture
def faces(room, web_url, files) -> Iterator[str]:
    yield from _collection(room, web_url, files, "faces", "embed_hog_hsv", "all_faces")


def _collection(room, url, files, name, operation, target) -> Iterator[str]:
    body = {"name": name, "operation": operation, "target": target}
    httpx.post(f"{url}/index/", json=body).raise_for_status()
    names = ["astronaut.png", "small.jpg", "noise.png"]
    form = {
        "id": names,
        "metadata": [json.dumps({"place": place, "year": 2020}) for place in range(3)],
        "thumbnails": "true",
    }
    sent = [("image_file", (each, Path(files[each]).read_bytes())) for each in names]
    answer = httpx.post(f"{url}/index/{name}/items/", data=form, files=sent, timeout=60)
    assert answer.json()["added"] == 3, answer.text
    yield name
    with suppress(CollectionNotFound):
        room.index.storage.drop(name)


def tile(page: Page, name: str) -> Any:
    return page.locator(f".tile[data-id='{name}']")


def names(page: Page, label: str) -> list[str]:
    return page.get_by_role("list", name=label).locator(".tile-name").all_text_contents()


def opened(visit, name: str, view: str = "search", **options: Any) -> Page:
    page: Page = visit(f"{PATH}#collection={name}&view={view}", **options)
    return page


def test_a_collection_is_made_filled_searched_and_deleted(visit, room, files):
    page = visit(PATH)
    expect(page.locator(".empty")).to_contain_text("There is no collection yet.")
    page.get_by_label("Name").fill("holiday")
    page.get_by_label("What embeds the images").select_option("embed_hog_hsv")
    page.get_by_label("Which part of an image").select_option("whole_image")
    page.get_by_role("button", name="Make the collection").click()
    expect(page.get_by_role("heading", name="holiday")).to_be_visible()
    # What to do next is there.
    page.get_by_role("link", name="Items").click()
    page.get_by_role("main").get_by_role("link", name="Add images").last.click()
    page.locator("input[multiple]").set_input_files(
        [files["astronaut.png"], files["noise.png"], files["broken.png"]]
    )
    page.get_by_label("Metadata of all of them").fill('{"kind": "holiday"')
    page.get_by_role("button", name="Add 3 images").click()
    expect(page.locator("main [role=status]")).to_contain_text("Metadata: ")
    page.get_by_label("Metadata of all of them").fill('{"kind": "holiday"}')
    page.get_by_role("button", name="Add 3 images").click()
    expect(page.locator("main [role=status]")).to_have_text("Done: 3 of 3 images, 1 failed")
    expect(page.get_by_role("row", name="broken.png")).to_contain_text("not an image in a known format")
    expect(page.locator(".collection-facts")).to_contain_text("2 items")
    page.get_by_role("link", name="Search them").click()
    page.locator(".query-form input[type=file]").set_input_files(files["astronaut.png"])
    expect(page.locator("main [role=status]")).to_contain_text("2 hits, the most alike first")
    assert names(page, "Hits") == ["astronaut.png", "noise.png"]
    expect(tile(page, "astronaut.png")).to_contain_text("1.000")
    expect(tile(page, "astronaut.png")).to_contain_text("kind: holiday")
    expect(tile(page, "astronaut.png").locator("img")).to_have_js_property("complete", True)
    page.get_by_role("button", name="Delete the collection").click()
    expect(page.get_by_role("dialog")).to_contain_text("2 items with their vectors and pictures go with it")
    page.get_by_role("dialog").get_by_role("button", name="Delete the collection").click()
    expect(page.locator(".empty")).to_contain_text("There is no collection yet.")


def test_a_search_is_narrowed_by_conditions_and_scores(visit, collection, files):
    page = opened(visit, collection)
    page.locator(".query-form input[type=file]").set_input_files(files["small.jpg"])
    expect(page.locator(".tile")).to_have_count(3)
    page.get_by_role("button", name="Add a condition").click()
    page.get_by_label("Metadata field").fill("place")
    page.get_by_label("Relation").select_option("is at least")
    page.get_by_label("Value").fill("1")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".tile")).to_have_count(2)
    page.get_by_label("write it as JSON").check()
    expect(page.get_by_label("Filter as JSON")).to_have_value('{"place":{"gte":1}}')
    page.get_by_label("Filter as JSON").fill('{"or": [{"place": 0}, {"place": 2}]}')
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("main [role=status]")).to_contain_text("2 hits")
    assert set(names(page, "Hits")) == {"astronaut.png", "noise.png"}
    page.get_by_label("Filter as JSON").fill('{"place": {"near": 1}}')
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("place.near: is no condition")
    page.get_by_label("Filter as JSON").fill("")
    page.get_by_label("Least score").fill("0.99")
    page.get_by_role("spinbutton", name="Hits").fill("1")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("main [role=status]")).to_contain_text("1 hit,")
    assert names(page, "Hits") == ["small.jpg"]


def test_more_hits_follow_the_first(visit, collection, files):
    page = opened(visit, collection)
    page.get_by_role("spinbutton", name="Hits").fill("2")
    page.locator(".query-form input[type=file]").set_input_files(files["small.jpg"])
    expect(page.locator(".tile")).to_have_count(2)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    # Pressed twice, it brings the same hits once.
    page.get_by_role("button", name="More hits").evaluate("button => { button.click(); button.click(); }")
    expect(page.locator(".tile")).to_have_count(3)
    page.get_by_role("button", name="More hits").wait_for(state="detached")
    assert sum(url.endswith("/search/") for url in asked) == 1


def test_an_item_finds_its_like_and_is_deleted(visit, collection):
    page = opened(visit, collection, "browse")
    expect(page.locator(".tile")).to_have_count(3)
    page.get_by_role("link", name="More like small.jpg").click()
    expect(page.locator("main [role=status]")).to_contain_text("2 hits")
    # The item itself is left out.
    assert names(page, "Hits") == ["astronaut.png", "noise.png"]
    assert "like=small.jpg" in page.url
    page.get_by_role("button", name="Delete noise.png").click()
    page.get_by_role("dialog", name="Delete 'noise.png'?").get_by_role("button", name="Cancel").click()
    expect(tile(page, "noise.png")).to_be_visible()
    page.get_by_role("button", name="Delete noise.png").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(tile(page, "noise.png")).to_have_count(0)
    expect(page.locator(".collection-facts")).to_contain_text("2 items")


def test_faces_are_shown_where_they_were_found(visit, faces, files):
    page = opened(visit, faces)
    page.locator(".query-form input[type=file]").set_input_files(files["astronaut.png"])
    expect(tile(page, "astronaut.png")).to_contain_text("region 1")
    box = tile(page, "astronaut.png").locator("rect").last
    x, width = float(box.get_attribute("x") or 0), float(box.get_attribute("width") or 0)
    assert 150 < x < 210
    assert 60 < width < 120
    # And in the image that is sought with.
    expect(page.locator(".sought rect").last).to_be_visible()


def test_duplicates_come_in_groups(visit, collection):
    page = opened(visit, collection, "duplicates")
    page.get_by_label("Compare").select_option("perceptual_hash")
    page.get_by_role("button", name="Find duplicates").click()
    group = page.get_by_role("region", name="Group 1")
    expect(group).to_contain_text("2 items alike")
    assert names(page, "Items of group 1") == ["astronaut.png", "small.jpg"]
    group.get_by_role("button", name="Keep the first, delete 1").click()
    expect(page.get_by_role("dialog")).to_contain_text("small.jpg")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".empty")).to_contain_text("No two items are that alike")
    expect(page.locator(".collection-facts")).to_contain_text("2 items")


def test_what_is_deleted_is_in_no_group(visit, web_url, collection, files):
    again = [("image_file", ("again.png", Path(files["astronaut.png"]).read_bytes()))]
    httpx.post(f"{web_url}/index/{collection}/items/", data={"id": "again.png"}, files=again, timeout=60)
    page = opened(visit, collection, "duplicates")
    page.get_by_label("Compare").select_option("perceptual_hash")
    page.get_by_role("button", name="Find duplicates").click()
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Keep the first, delete 2").click()
    expect(dialog).to_contain_text("alike in a chain")
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Delete again.png").click()
    dialog.get_by_role("button", name="Delete").click()
    # The first that is kept is the first of those that are left.
    expect(page.get_by_role("region", name="Group 1")).to_contain_text("2 items alike")
    expect(page.get_by_role("link", name="More like astronaut.png")).to_be_focused()
    page.get_by_role("button", name="Keep the first, delete 1").click()
    expect(dialog).to_have_accessible_name("Delete 'small.jpg'?")
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("link", name="Items", exact=True).click()
    page.get_by_role("button", name="Delete small.jpg").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(tile(page, "small.jpg")).to_have_count(0)
    page.get_by_role("link", name="Duplicates").click()
    expect(page.locator(".empty")).to_contain_text("No two items are that alike")


def test_photos_with_a_face_in_common_are_no_copies(visit, faces):
    page = opened(visit, faces, "duplicates")
    page.get_by_label("Least score").fill("0.5")
    page.get_by_role("button", name="Find duplicates").click()
    expect(page.get_by_role("region", name="Group 1")).to_contain_text("2 items alike")
    expect(page.get_by_role("button", name="Keep the first")).to_have_count(0)


def test_an_unknown_view_is_the_search(visit, collection):
    page = opened(visit, collection, "constructor")
    expect(page.get_by_role("button", name="Search", exact=True)).to_be_visible()


def test_items_come_by_pages(visit, room, collection):
    space = room.index.storage.collection(collection).space
    items = [NewItem(f"v{number:02}", (ItemRegion(np.ones(2020, np.float32)),)) for number in range(30)]
    room.index.storage.add(collection, items, space)
    page = opened(visit, collection, "browse")
    expect(page.locator(".tile")).to_have_count(24)
    expect(page.get_by_role("button", name="Previous page")).to_be_disabled()
    page.get_by_role("button", name="Next page").evaluate("button => { button.click(); button.click(); }")
    expect(page.locator(".tile")).to_have_count(9)
    expect(page.get_by_text("Page 2,")).to_be_visible()
    expect(tile(page, "v29")).to_contain_text("No picture is kept")
    expect(page.get_by_role("button", name="Next page")).to_be_disabled()
    page.get_by_role("button", name="Previous page").click()
    expect(tile(page, "astronaut.png")).to_be_visible()


def test_images_are_dropped_and_a_full_server_is_waited_for(visit, collection):
    page = opened(visit, collection, "add")
    refusals = [503]

    def full_at_first(route: Route) -> None:
        if refusals:
            route.fulfill(
                status=refusals.pop(), headers={"Retry-After": "1"}, json={"detail": "Full; try again."}
            )
        else:
            route.continue_()

    drop = page.get_by_role("group", name="Drop images or folders")
    expect(drop).to_be_visible()
    page.route("**/items/", full_at_first)
    data = page.evaluate_handle(
        """async () => {
          const canvas = Object.assign(document.createElement("canvas"), { width: 80, height: 60 });
          canvas.getContext("2d").fillRect(0, 0, 40, 60);
          const blob = await new Promise((resolve) => canvas.toBlob(resolve));
          const data = new DataTransfer();
          data.items.add(new File([blob], "drawn.png", { type: "image/png" }));
          return data;
        }"""
    )
    drop.dispatch_event("drop", {"dataTransfer": data})
    page.get_by_label("An item is called by").select_option("the file's content (SHA-256)")
    page.get_by_role("button", name="Add 1 image").click()
    expect(page.locator("main [role=status]")).to_have_text("Done: 1 of 1 image")
    expect(page.locator(".collection-facts")).to_contain_text("4 items")
    assert refusals == []


def test_sending_is_stopped_and_goes_on(visit, collection, files):
    page = opened(visit, collection, "add")
    page.route("**/items/", lambda route: None)
    page.locator("input[multiple]").set_input_files(files["green.png"])
    page.get_by_role("button", name="Add 1 image").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("main [role=status]")).to_contain_text("Stopped: 0 of 1 image")
    page.unroute("**/items/")
    page.get_by_role("button", name="Add 1 image").click()
    expect(page.locator("main [role=status]")).to_have_text("Done: 1 of 1 image")


def test_what_people_wrote_stays_text(visit, web_url, collection, files):
    form = {
        "id": HOSTILE,
        "metadata": json.dumps({"<b>bold</b>": "<script>alert(1)</script>"}),
        "thumbnails": "true",
    }
    sent = {"image_file": ("a.png", Path(files["green.png"]).read_bytes())}
    httpx.post(f"{web_url}/index/{collection}/items/", data=form, files=sent).raise_for_status()
    page = opened(visit, collection, "browse")
    expect(page.get_by_text(HOSTILE)).to_be_visible()
    expect(page.get_by_text("<b>bold</b>: <script>alert(1)</script>")).to_be_visible()
    # An id with slashes and spaces leads to its item.
    page.get_by_role("link", name=f"More like {HOSTILE}").click()
    expect(page.locator("main [role=status]")).to_contain_text("3 hits")
    expect(page.get_by_label("Id of the item")).to_have_value(HOSTILE)
    page.get_by_role("link", name="Items").click()
    page.get_by_role("button", name=f"Delete {HOSTILE}").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("main").get_by_text(HOSTILE)).to_have_count(0)


class Parts(RegionParams):
    texts: Annotated[tuple[str, ...], OUTSIDE_KEY] = ()


NAMED = {"green": (0, 1, 0), "red": (1, 0, 0)}


@operation(
    params=Parts,
    needs=lambda params: {"item": Given(params.texts) if params.texts else regions.ref(params)},
    public=False,
    space_family="colour",
)
def encode_colour(item: Sequence[Crop | str], params: Parts) -> list[Vector]:
    """The mean colour of an image, and that of a name."""
    colours = [NAMED[each] if isinstance(each, str) else each.pixels.mean((0, 1)) for each in item]
    return [Vector(np.array(colour, np.float32)) for colour in colours]


@operation(
    params=RegionParams,
    needs=lambda params: {"vector": Ref(encode_colour, Parts(target=params.target))},
    inline=True,
    model_of="vector",
    space_family="colour",
    of_text=lambda params, text: Ref(encode_colour, Parts(texts=(text,))),
)
def embed_colour(vector: Sequence[Vector], params: RegionParams) -> list[Vector]:
    """Embed what colour an image has."""
    return list(vector)


def test_a_text_finds_images_where_the_model_knows_texts(visit, registry, tmp_path, files):
    known = Registry([*registry.values(), encode_colour, embed_colour])
    room = build_room(Settings(lanes=1, offline=True, data=tmp_path), known)
    with served(room) as url:
        httpx.post(f"{url}/index/", json={"name": "told", "operation": "embed_colour"}).raise_for_status()
        page = visit(PATH, server=url)
        expect(page.get_by_role("listitem").filter(has_text="told")).to_contain_text("also by text")
        page.get_by_role("link", name="told").click()
        page.get_by_role("main").get_by_role("link", name="Add images").first.click()
        page.locator("input[multiple]").set_input_files([files["noise.png"], files["green.png"]])
        page.get_by_role("button", name="Add 2 images").click()
        page.get_by_role("link", name="Search them").click()
        page.get_by_role("radio", name="Text").check(force=True)
        page.get_by_label("What the images show").fill("green")
        page.keyboard.press("Enter")
        expect(page.locator("main [role=status]")).to_contain_text("2 hits")
        assert names(page, "Hits") == ["green.png", "noise.png"]
    room.pool.close()
    room.index.close()
    room.classifiers.close()


def test_it_works_by_keyboard_alone(visit, collection):
    page = opened(visit, collection)
    expect(page.get_by_role("button", name="Search", exact=True)).to_be_visible()

    def go_to(target: Any) -> None:
        for _ in range(60):
            if target.evaluate("each => each === document.activeElement"):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"the Tab key does not lead to {target}")

    go_to(page.get_by_role("radio", name="Image"))
    page.keyboard.press("ArrowRight")
    go_to(page.get_by_label("Id of the item"))
    page.keyboard.type("astronaut.png")
    page.keyboard.press("Enter")
    expect(page.locator(".tile")).to_have_count(2)
    go_to(page.get_by_role("button", name="Delete noise.png"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    # Enter without a thought does nothing that cannot be undone.
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(".tile")).to_have_count(2)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Delete noise.png"


def test_a_key_without_the_scope_is_told_which_it_needs(visit, room):
    with served(room, Doors(keys=(ANALYST_ENTRY, LIBRARIAN_ENTRY))) as url:
        page = visit(PATH, server=url, key=ANALYST)
        expect(page.get_by_role("alert")).to_contain_text("needs an API key with the scope 'index'")
        page.get_by_role("button", name="Use another key").click()
        page.get_by_label("Key", exact=True).fill(LIBRARIAN)
        page.keyboard.press("Enter")
        expect(page.locator(".empty")).to_contain_text("There is no collection yet.")


def test_a_collection_that_is_gone_is_told_with_a_way_on(visit):
    page = opened(visit, "gone")
    expect(page.get_by_role("alert")).to_contain_text("gone")
    page.get_by_role("link", name="See the collections that there are").click()
    expect(page.get_by_role("heading", name="New collection")).to_be_visible()


@pytest.mark.parametrize("dark", [False, True])
def test_everybody_can_read_it(visit, collection, files, dark):
    page = visit(PATH, dark=dark)
    page.get_by_text("New collection").click()
    expect(page.get_by_label("Name")).to_be_visible()
    page.get_by_text("More options").click()
    assert barriers(page) == []
    for view in ("browse", "add", "duplicates", "search"):
        page.goto(f"{page.url.partition('#')[0]}#collection={collection}&view={view}")
        expect(page.locator(".views [aria-current]")).to_be_visible()
        if view == "browse":
            expect(tile(page, "noise.png").locator("img")).to_be_visible()
        assert barriers(page) == []
    page.get_by_role("button", name="Add a condition").click()
    page.locator(".query-form input[type=file]").set_input_files(files["small.jpg"])
    expect(page.locator(".tile").first).to_be_visible()
    assert barriers(page) == []


def test_a_phone_shows_all_of_it(visit, collection):
    page = visit(PATH, size=PHONE)
    expect(page.get_by_role("link", name=collection)).to_be_visible()
    assert not is_wider_than_its_window(page)
    for view in ("browse", "add", "duplicates", "search"):
        page.goto(f"{page.url.partition('#')[0]}#collection={collection}&view={view}")
        expect(page.locator(".views [aria-current]")).to_be_visible()
        if view == "browse":
            expect(page.locator(".tile")).to_have_count(3)
        assert not is_wider_than_its_window(page)
