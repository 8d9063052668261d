"""The real server's parts, built once: engines load once a test run."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from litestar.testing import TestClient

from app.api.app import build_app
from app.api.room import Room
from app.core.registry import Registry, discover
from app.main import build_room
from app.runtime.fetch import Fetcher, FetchLimits
from app.settings import Settings
from tests.images import astronaut, encoded

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="session")
def registry() -> Registry:
    return discover("operations")


async def no_name_resolves(host: str, port: int) -> Sequence[str]:
    """Stands in for the system's resolver, so that no test leaves this machine."""
    raise OSError(f"no address for {host}")


@pytest.fixture(scope="session")
def room(registry: Registry) -> Iterator[Room]:
    room = build_room(Settings(lanes=2), registry)
    room.fetcher = Fetcher(FetchLimits(), resolve=no_name_resolves)
    yield room
    room.pool.close()


@pytest.fixture(scope="session")
def client(room: Room) -> Iterator[TestClient[Any]]:
    """The whole application over real engines."""

    @asynccontextmanager
    async def lifespan(_: Any):
        yield

    with TestClient(build_app(room, "0", lifespan), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def astronaut_png() -> bytes:
    return encoded(astronaut())


@pytest.fixture
def run() -> Run:
    """Run a coroutine to its end."""
    return asyncio.run


@pytest.fixture
def analyze(client: TestClient[Any]) -> Callable[..., dict[str, Any]]:
    """Upload an image with tasks; the answer's body, which must be a 200."""
    import orjson

    def upload(image: bytes, *tasks: dict[str, Any]) -> dict[str, Any]:
        response = client.post(
            "/analyze_image_upload/",
            files={"image_file": ("image.png", image, "image/png")},
            data={"tasks_json": orjson.dumps(tasks).decode()},
        )
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    return upload
