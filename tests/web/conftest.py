"""A real browser before a real server. What a page complains of fails the test that visited it."""

import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from app.api.room import Room
from app.core.registry import Registry
from app.main import build_room
from app.runtime.fetch import Fetcher, FetchLimits
from app.settings import Settings
from tests.conftest import no_name_resolves, served

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Only a failing test waits as long as this; a model that loads when it is needed takes some seconds.
PATIENCE_MS = 60_000
DESKTOP, PHONE = (1280, 900), (360, 740)

Visit = Callable[..., Page]


@pytest.fixture(scope="session")
def room(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """With a data folder and engines of its own: a page shows what any other test left."""
    room = build_room(Settings(lanes=2, offline=True, data=tmp_path_factory.mktemp("web")), registry)
    room.fetcher = Fetcher(FetchLimits(), resolve=no_name_resolves)
    yield room
    room.pool.close()
    room.index.close()
    room.classifiers.close()


@pytest.fixture(scope="module")
def web_url(room: Room) -> Iterator[str]:
    """The real operations behind a real server; a model loads when it is needed first."""
    with served(room) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Gone before the tests of other files: it runs an event loop on the thread that they run theirs on."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"needs a browser: none of {', '.join(_NAMES)} is installed")
    with sync_playwright() as playwright:
        # Root, which containers run as, has no sandbox.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, web_url: str) -> Iterator[Visit]:
    """Opens a page of a server, in a tab of its own.

    Errors in its console, violations of the content security policy among them, and exceptions that nobody
    caught fail the test at its end. That the server refuses something is often what is tested; that it fails
    never is.
    """
    expect.set_options(timeout=PATIENCE_MS)
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        is_refusal = re.search(r"the server responded with a status of (4\d\d|503)", message.text)
        if message.type in ("error", "warning") and not is_refusal:
            complaints.append(message.text)

    def visited(
        path: str,
        *,
        server: str = web_url,
        size: tuple[int, int] = DESKTOP,
        dark: bool = False,
        key: str | None = None,
        **options: Any,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            **options,
        )
        context.set_default_timeout(PATIENCE_MS)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        if key is not None:
            # As given before: one that the page is given stays.
            context.add_init_script(f"sessionStorage['sightgraph-key'] ??= '{key}'")
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{server}{path}")
        return page

    yield visited
    for context in browser.contexts:
        context.close()
    assert complaints == []
