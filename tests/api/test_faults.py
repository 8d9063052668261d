"""Hostile clients and failing stages, all at once: every good request is answered, and right."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from app.api.doors import Doors
from app.api.room import Room
from app.core.access import made_key
from app.core.artifacts import Crop
from app.core.operation import IMAGE, EngineSpec, Needs, NoParams, operation
from app.core.registry import Registry
from app.main import build_room
from app.settings import Settings
from tests.conftest import served
from tests.images import encoded, plain
from tests.toys import ToyStore, ToyWeights

GOOD, DROPPED, DRIPPING, BAD_KEYS = 60, 200, 20, 120
KEY, ENTRY = made_key("good", ["analyze", "admin"])
LANE_SECONDS = 1.0

ended = threading.Event()


class Toy:
    def warmup(self, items: int = 1) -> None:
        """Nothing to warm."""


def toy(name: str, batch: int = 1) -> EngineSpec:
    return EngineSpec(name, ToyWeights(id=name), "MIT", load=lambda placement: Toy(), batch=batch)


def of_the_image(params: NoParams) -> Needs:
    return {"crop": IMAGE}


def shade(crop: Crop) -> int:
    """What tells a test's images apart: all pixels have one value."""
    return int(crop.pixels[0, 0, 0])


@operation(needs=of_the_image, engine=toy("measuring", batch=8))
def measure(crop: Sequence[Crop], params: NoParams, engine: Any) -> list[int]:
    """Tell the shade."""
    time.sleep(0.002)
    return [shade(each) for each in crop]


@operation(needs=of_the_image, engine=toy("choosy", batch=8))
def choose(crop: Sequence[Crop], params: NoParams, engine: Any) -> list[int]:
    """Tell the shade, and fail with the whole batch where one of it is odd."""
    if any(shade(each) % 2 for each in crop):
        raise ValueError("odd")
    return [shade(each) for each in crop]


@operation(needs=of_the_image, engine=toy("hungry", batch=8))
def devour(crop: Sequence[Crop], params: NoParams, engine: Any) -> list[int]:
    """Tell the shade, with memory for two."""
    if len(crop) > 2:
        raise MemoryError
    return [shade(each) for each in crop]


@operation(needs=of_the_image, engine=toy("hanging"))
def hang(crop: Sequence[Crop], params: NoParams, engine: Any) -> list[int]:
    """Never end."""
    ended.wait(60)
    return [0 for _ in crop]


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    settings = Settings(lanes=2, offline=True, lane_timeout=LANE_SECONDS, max_requests=GOOD // 2)
    room = build_room(settings, Registry([measure, choose, devour, hang]), ToyStore())
    yield room
    ended.set()
    room.pool.close()
    room.index.close()
    room.classifiers.close()


@pytest.fixture(scope="module")
def url(room: Room) -> Iterator[str]:
    with served(room, Doors(keys=(ENTRY,))) as url:
        yield url


def picture(value: int) -> bytes:
    return encoded(plain(40, 30, (value, value, value)))


def tasks(*types: str) -> dict[str, str]:
    return {"tasks_json": json.dumps([{"operation_id": type_, "type": type_} for type_ in types])}


@asynccontextmanager
async def client_of(url: str, key: str = KEY) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=GOOD * 2)
    headers = {"X-API-Key": key}
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits, headers=headers) as client:
        yield client


async def analyzed(client: httpx.AsyncClient, value: int, *types: str) -> dict[str, Any]:
    """The results of a request that comes back as often as it is told to."""
    for _ in range(200):
        response = await client.post(
            "/analyze_image_upload/", files={"image_file": picture(value)}, data=tasks(*types)
        )
        if response.status_code != 503:
            assert response.status_code == 200, response.text
            results: dict[str, Any] = response.json()["results"]
            return results
        assert int(response.headers["retry-after"]) >= 1
        await asyncio.sleep(0.05)
    raise AssertionError("it was never taken")


async def good(client: httpx.AsyncClient, value: int) -> None:
    results = await analyzed(client, value, "measure", "choose", "devour")
    assert results["measure"]["data"] == results["devour"]["data"] == value
    if value % 2:
        assert (results["choose"]["status"], results["choose"]["error_code"]) == ("error", "internal")
    else:
        assert results["choose"]["data"] == value


def request_of(url: str, value: int) -> bytes:
    request = httpx.Request(
        "POST",
        f"{url}/analyze_image_upload/",
        files={"image_file": picture(value)},
        data=tasks("measure"),
        headers={"X-API-Key": KEY},
    )
    head = [f"{request.method} /analyze_image_upload/ HTTP/1.1"]
    head += [f"{name}: {content}" for name, content in request.headers.items()]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + request.read()


async def drop(url: str, number: int) -> None:
    """Leave in the middle of the request, or right after it."""
    address = httpx.URL(url)
    whole = request_of(url, number % 256)
    _, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(whole[: len(whole) * (1 + number % 4) // 4])
    await writer.drain()
    await asyncio.sleep(0.001 * (number % 7))
    writer.transport.abort()


async def drip(url: str, until: asyncio.Event) -> None:
    """Send one byte after the other, as long as it is let."""
    address = httpx.URL(url)
    _, writer = await asyncio.open_connection(address.host, address.port)
    try:
        for byte in request_of(url, 1):
            if until.is_set():
                return
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)
    finally:
        writer.transport.abort()


async def flood(url: str) -> set[int]:
    """Try one key after the other."""
    seen = set()
    async with client_of(url, "wrong") as client:
        for number in range(BAD_KEYS):
            key = {"X-API-Key": f"wrong-{number}"}
            seen.add((await client.post("/plan/", json={}, headers=key)).status_code)
    return seen


async def hanging(client: httpx.AsyncClient) -> None:
    results = await analyzed(client, 7, "hang", "measure")
    assert (results["hang"]["status"], results["hang"]["error_code"]) == ("error", "internal")
    assert results["measure"]["data"] == 7


async def storm(url: str) -> set[int]:
    over = asyncio.Event()
    async with client_of(url) as client:
        # It is known at this address before others guess.
        await good(client, 0)
        dripping = [asyncio.create_task(drip(url, over)) for _ in range(DRIPPING)]
        flooding = asyncio.create_task(flood(url))
        await asyncio.gather(
            hanging(client),
            *(good(client, 100 + number) for number in range(GOOD)),
            *(drop(url, number) for number in range(DROPPED)),
        )
        over.set()
        await asyncio.gather(*dripping)
        return await flooding


def test_every_good_request_is_answered_right_whatever_goes_on(url, room):
    refused = asyncio.run(storm(url))
    assert refused == {401, 429}

    health = httpx.get(f"{url}/health/ready").json()
    assert health["lanes"] == {"count": 2, "threads": 1, "lost": 1}
    assert health["status"] == "degraded"
    # Nothing is held by those who left.
    deadline = time.monotonic() + 20
    while (room.working or room.pixels or room.pool.waiting) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (room.working, room.pixels, room.pool.waiting) == (0, 0, 0)
    assert room.executor.seconds_under_way == 0
    with httpx.Client(base_url=url, headers={"X-API-Key": KEY}) as client:
        answer = client.post(
            "/analyze_image_upload/", files={"image_file": picture(201)}, data=tasks("measure", "devour")
        )
    assert {name: each["data"] for name, each in answer.json()["results"].items()} == {
        "measure": 201,
        "devour": 201,
    }
