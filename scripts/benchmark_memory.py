"""Whether memory grows: small requests of every kind at full speed, also wrong and cancelled ones."""

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import IO, Any

import click
import httpx
import numpy as np
from benchmark_figures import OURS, growth_percent
from benchmark_images import Photos
from benchmark_load import UPLOAD, Server, clock, connected
from benchmark_process import resident_bytes
from benchmark_report import print_memory
from rich.console import Console
from serving import serving, told_log

CONCURRENCY = 16
WARM_UP = 2000
OVERSIZED_BYTES = 300_000
# Some before they were read, some while they are worked on, some after they were answered.
CANCELLED_WITHIN_SECONDS = 0.05

# A kind's share, and how it may be answered; `closed` is a connection that the server ended.
KINDS = {
    "upload": (0.50, {"200"}),
    "url": (0.20, {"200"}),
    "not_json": (0.04, {"400"}),
    "no_image": (0.04, {"400"}),
    "unknown_type": (0.04, {"200"}),
    "missing_url": (0.04, {"400"}),
    "oversized": (0.04, {"413", "closed"}),
    "cancelled": (0.10, {"200", "cancelled"}),
}
TASKS: list[dict[str, Any]] = [
    {"operation_id": "vector", "type": "embed_hog_hsv"},
    {"operation_id": "hash", "type": "hash_perceptual"},
    {"operation_id": "crop", "type": "crop"},
]
UNKNOWN: list[dict[str, Any]] = [{"operation_id": "unknown", "type": "read_minds"}]


def environment_of_mixed() -> dict[str, str]:
    return {
        "SIGHTGRAPH_ALLOWED_HOSTS": "127.0.0.1",
        "SIGHTGRAPH_MAX_IMAGE_BYTES": str(OVERSIZED_BYTES - 1),
        # Full after the warm-up, so that what grows later is not the cache.
        "SIGHTGRAPH_CACHE_BYTES": "8000000",
    }


@click.command()
@click.option(
    "--requests",
    "total",
    default=20_000,
    show_default=True,
    type=click.IntRange(10),
    help="How many; memory is compared with that after the first 2,000, or the first half of fewer.",
)
@click.option("--seed", default=1, show_default=True, help="Of images and kinds.")
@click.option("--json", "json_file", type=click.File("w", lazy=True), help="Write all figures to a file.")
def memory(total: int, seed: int, json_file: IO[str] | None) -> None:
    """How much more memory the server holds after many small requests of every kind."""
    with tempfile.TemporaryDirectory() as data:
        environment = {"SIGHTGRAPH_DATA": data, **environment_of_mixed()}
        with (
            told_log() as log,
            serving(log=log, environment=environment, timeout=10, patience=300) as (http, process),
        ):
            server = Server(OURS, str(http.base_url), process.pid)
            found = asyncio.run(mixed(server, seed, total=total))
    print_memory(Console(width=150), found)
    if json_file is not None:
        json.dump(found, json_file, indent=1)
    require_right(found)


async def mixed(
    server: Server, seed: int, *, total: int | None = None, seconds: float = 0.0
) -> dict[str, Any]:
    """Send so many requests, or for so many seconds, of which the first third warms the server up."""
    photos, started = Photos(seed), clock()

    def until(count: int, share: float) -> Callable[[int], bool]:
        if total is not None:
            return lambda sent: sent < count
        return lambda _: clock() < started + share * seconds

    async with file_server(photos) as files, connected(server.url) as http:
        load = Mixed(http, files, photos, seed)
        await load.send(until(min(WARM_UP, (total or 0) // 2), 1 / 3))
        warm_up, warm = load.sent, resident_bytes(server.pid)
        await load.send(until(total or 0, 1.0))
        end = resident_bytes(server.pid)
    return {
        "about": "small requests of every kind",
        "per_second": round(load.sent / (clock() - started), 1),
        "statuses": {kind: dict(seen) for kind, seen in load.statuses.items()},
        "memory": {
            "requests": load.sent,
            "warm_up": warm_up,
            "warm_bytes": warm,
            "end_bytes": end,
            "growth_percent": None if warm is None or end is None else growth_percent(warm, end),
        },
    }


def require_right(found: dict[str, Any]) -> None:
    """
    Raises:
        ClickException: something was answered as it must not be.
    """
    wrong = [
        f"{kind}: {status}"
        for kind, seen in found["statuses"].items()
        for status in seen
        if status not in KINDS[kind][1]
    ]
    if wrong:
        raise click.ClickException(f"answers that are not right: {', '.join(wrong)}")


class Mixed:
    """The load.

    Attributes:
        sent: how many requests.
        statuses: how often each kind was answered how.
    """

    def __init__(self, http: httpx.AsyncClient, files: str, photos: Photos, seed: int) -> None:
        self.sent = 0
        self.statuses: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
        self._http = http
        self._files = files
        self._photos = photos
        self._rng = np.random.default_rng(seed)

    async def send(self, goes_on: Callable[[int], bool]) -> None:
        """Send requests while `goes_on`, asked with the number of those that were sent, and wait for all."""

        async def send_again() -> None:
            while goes_on(self.sent):
                number, self.sent = self.sent, self.sent + 1
                kind = str(self._rng.choice(list(KINDS), p=[share for share, _ in KINDS.values()]))
                self.statuses[kind][await self._asked(kind, number)] += 1

        await asyncio.gather(*(send_again() for _ in range(CONCURRENCY)))

    async def _asked(self, kind: str, number: int) -> str:
        patience = self._rng.uniform(0, CANCELLED_WITHIN_SECONDS) if kind == "cancelled" else None
        try:
            async with asyncio.timeout(patience):
                return str((await self._response(kind, number)).status_code)
        except TimeoutError:
            return "cancelled"
        except httpx.TransportError:
            return "closed"

    async def _response(self, kind: str, number: int) -> httpx.Response:
        match kind:
            case "url":
                return await self._behind(f"{self._files}/{number}.png")
            case "missing_url":
                return await self._behind(f"{self._files}/missing")
            case "not_json":
                return await self._http.post("/analyze_image/", content=b'{"image_url": ')
            case "no_image":
                return await self._upload(b"no image", TASKS)
            case "oversized":
                return await self._upload(bytes(OVERSIZED_BYTES), TASKS)
            case "unknown_type":
                return await self._upload(self._photos.small(number), UNKNOWN)
        return await self._upload(self._photos.small(number), TASKS)

    async def _behind(self, url: str) -> httpx.Response:
        return await self._http.post("/analyze_image/", json={"image_url": url, "tasks": TASKS})

    async def _upload(self, data: bytes, tasks: list[dict[str, Any]]) -> httpx.Response:
        files = {"image_file": ("image.png", data)}
        return await self._http.post(UPLOAD, files=files, data={"tasks_json": json.dumps(tasks)})


@asynccontextmanager
async def file_server(photos: Photos) -> AsyncIterator[str]:
    """A web server of small images on loopback, `/NUMBER.png`; gives its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The server that asks may go away.
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            name, _, form = head.split()[1].decode().strip("/").partition(".")
            status, body = ("200 OK", photos.small(int(name))) if form else ("404 Not Found", b"")
            lines = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(lines.encode() + body)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"
