"""A real server for the client, and the two clients as one, so that every test is of both."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from app.client import AsyncSightgraph, Sightgraph, retrying
from app.core.registry import Registry
from app.main import build_room
from app.settings import Settings
from tests.conftest import served

Ask = Callable[..., Any]


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.0)


@pytest.fixture(scope="module")
def url(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the models that ship in packages, which fetches images of this machine."""
    settings = Settings(lanes=2, offline=True, allow_private_urls=True, data=tmp_path_factory.mktemp("data"))
    room = build_room(settings, registry)
    with served(room) as url:
        yield url
    room.pool.close()
    room.index.close()
    room.classifiers.close()


def blocking(name: str, *given: Any, url: str, options: dict[str, Any], **named: Any) -> Any:
    with Sightgraph(url, **options) as server:
        got = getattr(server, name)(*given, **named)
        return list(got) if isinstance(got, Iterator) else got


def on_asyncio(name: str, *given: Any, url: str, options: dict[str, Any], **named: Any) -> Any:
    async def asked() -> Any:
        async with AsyncSightgraph(url, **options) as server:
            got = getattr(server, name)(*given, **named)
            return [each async for each in got] if isinstance(got, AsyncIterator) else await got

    return asyncio.run(asked())


@pytest.fixture(params=[blocking, on_asyncio])
def ask_at(request: pytest.FixtureRequest) -> Ask:
    """Asks a server by either client: `ask_at(name of the method, ..., url=..., options={...})`."""
    ask: Ask = request.param
    return ask


@pytest.fixture
def ask(ask_at: Ask, url: str) -> Ask:
    """Asks the real server by either client: `ask(name of the method, ...)`; what comes part by part as a
    list."""

    def asked(name: str, *given: Any, **named: Any) -> Any:
        return ask_at(name, *given, url=url, options={}, **named)

    return asked
