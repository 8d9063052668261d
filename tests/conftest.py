"""The real server's parts, built once: engines load once a test run.

No model is taken from this machine's own caches, so that a test gives the same answer everywhere: the
libraries are told of empty folders before any of them is imported.
"""

import asyncio
import atexit
import gc
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import uvicorn
from hypothesis import settings as hypothesis_settings
from litestar.testing import TestClient

from app.api.app import build_app
from app.api.doors import UNGUARDED, Doors
from app.api.room import Room
from app.core.registry import Registry, discover
from app.index.storage import ItemRegion, NewItem
from app.main import build_room, build_store, load_engines
from app.runtime.fetch import Fetcher, FetchLimits
from app.settings import Settings, available_cores
from classifiers.shelf import Shelf
from tests.heads import put_head
from tests.images import astronaut, encoded
from tests.tiny import TinyStore

CACHES = Path(tempfile.mkdtemp(prefix="sightgraph-tests-"))
atexit.register(shutil.rmtree, CACHES, ignore_errors=True)
os.environ |= {
    "HF_HOME": str(CACHES / "huggingface"),
    "TORCH_HOME": str(CACHES / "torch"),
    "EASYOCR_MODULE_PATH": str(CACHES / "easyocr"),
    "SIGHTGRAPH_DATA": str(CACHES / "sightgraph"),
}
# No test speaks TLS with another machine, and reading the certificates of this one takes each of their
# hundreds of clients 40 ms.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(CACHES)

# How long an example takes says more of the machine than of us; and a test that passed passes again.
hypothesis_settings.register_profile("tests", deadline=None, derandomize=True)
hypothesis_settings.load_profile("tests")

# A shell starts what it puts into the background with Ctrl-C ignored, and so would be all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Files that take long, and the longest of their tests longer: they are first, so that at the end no worker
# is left alone with one.
LONG = (
    "api/test_openapi.py",
    "index/test_crash.py",
    "test_benchmark.py",
    "test_new_operation_cli.py",
    "test_cli.py",
    "web/",
    "test_workers.py",
    "test_classifiers_end_to_end.py",
)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: where a test waits, for a browser say, another one computes."""
    return available_cores() + 1


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """What is imported and collected stays to the end: Python need not look through it for garbage, again and
    again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        path = item.nodeid.removeprefix("tests/")
        return next((place for place, each in enumerate(LONG) if path.startswith(each)), len(LONG))

    items.sort(key=place)


@pytest.fixture(scope="session")
def registry() -> Registry:
    return discover("operations")


async def no_name_resolves(host: str, port: int) -> Sequence[str]:
    """Stands in for the system's resolver, so that no test leaves this machine."""
    raise OSError(f"no address for {host}")


@pytest.fixture(scope="session")
def room(registry: Registry) -> Iterator[Room]:
    """With the models that ship in packages; all others are absent."""
    room = build_room(Settings(lanes=2, offline=True), registry)
    room.fetcher = Fetcher(FetchLimits(), resolve=no_name_resolves)
    yield room
    room.pool.close()
    room.index.close()
    room.classifiers.close()


@pytest.fixture(scope="session")
def tiny_room(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """With every model: those that would be downloaded are tiny ones, made here in the real formats.

    The index has the collection that the examples of operations name, and a classifier serves it.
    """
    settings = Settings(lanes=2, offline=True, data=tmp_path_factory.mktemp("data"))
    put_head(Shelf(settings.data / "classifiers"), "photos")
    store = TinyStore(build_store(settings), tmp_path_factory.mktemp("checkpoints"))
    room = build_room(settings, registry, store)
    room.fetcher = Fetcher(FetchLimits(), resolve=no_name_resolves)
    record = room.index.create("photos", "embed_hog_hsv", {})
    item = NewItem("first", (ItemRegion(np.ones(2020, np.float32), phash=0),), {"kind": "test"})
    room.index.storage.add("photos", [item], record.space or "")
    yield room
    room.pool.close()
    room.index.close()
    room.classifiers.close()


@asynccontextmanager
async def nothing_to_load(_: Any) -> AsyncIterator[None]:
    """The lifespan of a test's application: engines load when a request needs them."""
    yield


@pytest.fixture(scope="session")
def client(room: Room) -> Iterator[TestClient[Any]]:
    """The whole application over real engines, in this process."""
    app = build_app(room, "0", nothing_to_load)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@contextmanager
def served(room: Room, doors: Doors = UNGUARDED) -> Iterator[str]:
    """The application behind a real server on a free loopback port; gives its URL."""
    config = uvicorn.Config(build_app(room, "0", nothing_to_load, doors), port=0, log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(30)


@pytest.fixture(scope="session")
def server_url(room: Room) -> Iterator[str]:
    """The real operations behind a real server, every engine loaded."""
    asyncio.run(load_engines(room))
    with served(room) as url:
        yield url


@pytest.fixture(scope="session")
def astronaut_png() -> bytes:
    return encoded(astronaut())


@pytest.fixture(scope="session")
def tiny_client(tiny_room: Room) -> Iterator[TestClient[Any]]:
    """The whole application over every model, downloaded ones in tiny."""
    with TestClient(build_app(tiny_room, "0", nothing_to_load), raise_server_exceptions=False) as client:
        yield client


def ask(client: TestClient[Any], image: bytes, *tasks: dict[str, Any]) -> dict[str, Any]:
    """Upload an image with tasks; the answer's body, which must be a 200."""
    response = client.post(
        "/analyze_image_upload/",
        files={"image_file": ("image.png", image, "image/png")},
        data={"tasks_json": orjson.dumps(tasks).decode()},
    )
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


@pytest.fixture
def analyze(client: TestClient[Any]) -> Callable[..., dict[str, Any]]:
    """`ask` of a server with the models that ship in packages."""
    return partial(ask, client)
