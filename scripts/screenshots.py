"""Take the pictures of the pages that the README shows, from a server with the models that ship in packages.

Needs Chromium or Chrome.
"""

import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import httpx
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
from playwright.sync_api import Browser, Page, sync_playwright
from serving import ROOT, serving

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP, PHONE = (1360, 780), (390, 844)
TASKS = [
    {"operation_id": "faces", "type": "detect_bounding_box", "params": {"target": "all_faces"}},
    {"operation_id": "vectors", "type": "embed_hog_hsv", "params": {"target": {"task": "faces"}}},
    {
        "operation_id": "alike",
        "type": "compare",
        "params": {"a": "vectors", "b": "vectors", "a_item": 0, "b_item": 1},
    },
    {"operation_id": "colours", "type": "image_properties"},
]


@click.command()
@click.option(
    "--out",
    default=ROOT / "docs" / "images",
    show_default="docs/images",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the pictures go.",
)
def main(out: Path) -> None:
    """Take the pictures of the pages that the README shows."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise click.ClickException(f"no browser is installed: none of {', '.join(BROWSERS)} is there")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, (Path(data) / "server.log").open("wb") as log:
        environment = {"SIGHTGRAPH_DATA": data}
        with serving(log=log, environment=environment, timeout=120, patience=300) as (client, _):
            fill_collection(client)
            with sync_playwright() as playwright:
                # Root, which containers run as, has no sandbox.
                browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
                take_all(browser, str(client.base_url).rstrip("/"), out)
                browser.close()


def take_all(browser: Browser, url: str, out: Path) -> None:
    setup = f"{url}/#sample=pair&tasks={json.dumps(TASKS)}"
    for scheme in ("light", "dark"):
        with opened(browser, setup, DESKTOP, color_scheme=scheme) as page:
            analyse(page)
            save(page.screenshot(), out / f"analyze-{scheme}.webp")
            if scheme == "light":
                graph = page.locator("section", has=page.locator("#graph"))
                save(graph.screenshot(), out / "graph.webp")
    with opened(browser, setup, PHONE, is_mobile=True, has_touch=True) as page:
        analyse(page)
        page.get_by_role("heading", name="Results").scroll_into_view_if_needed()
        page.evaluate("window.scrollTo(0, 0)")
        save(page.screenshot(), out / "phone.webp")
    for place in ("search#collection=photos&view=search&like=portrait", "models"):
        with opened(browser, f"{url}/playground/{place}", DESKTOP) as page:
            save(page.screenshot(), out / f"{place.partition('#')[0]}.webp")


def fill_collection(client: httpx.Client) -> None:
    """Photos that scikit-image ships, all in the public domain or CC0, and variants of one of them."""
    from skimage import data

    portrait = PIL.Image.fromarray(data.astronaut())
    images = {
        "portrait": portrait,
        "portrait, mirrored": PIL.ImageOps.mirror(portrait),
        "portrait, darker": PIL.ImageEnhance.Brightness(portrait).enhance(0.6),
        "portrait, closer": portrait.crop((90, 20, 410, 340)),
        **{
            name: PIL.Image.fromarray(getattr(data, name)())
            for name in ("chelsea", "coffee", "rocket", "hubble_deep_field", "camera")
        },
    }
    client.post("/index/", json={"name": "photos", "operation": "embed_hog_hsv"}).raise_for_status()
    client.post(
        "/index/photos/items/",
        files=[("image_file", (f"{name}.png", encoded(image))) for name, image in images.items()],
        data={"id": list(images), "thumbnails": "true"},
    ).raise_for_status()


def encoded(image: PIL.Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@contextmanager
def opened(browser: Browser, url: str, size: tuple[int, int], **options: Any) -> Iterator[Page]:
    """A page at rest, in twice its pixels."""
    viewport: Any = {"width": size[0], "height": size[1]}
    context = browser.new_context(
        viewport=viewport, device_scale_factor=2, reduced_motion="reduce", **options
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_load_state("networkidle")
    yield page
    context.close()


def analyse(page: Page) -> None:
    page.get_by_role("button", name="Run").click()
    page.locator("#run-status", has_text="done").wait_for(timeout=120_000)
    # The pointer lights what it is over.
    page.mouse.move(0, 0)


def save(shot: bytes, path: Path) -> None:
    with PIL.Image.open(io.BytesIO(shot)) as image:
        image.save(path, "WEBP", quality=82, method=6)
    click.echo(f"{path.name}: {path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()
