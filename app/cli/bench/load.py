"""A load on a server, and what its client sees of it.

The client is one asyncio process, which shares the cores with what it measures on the same machine. What must
not wait for it is asked by a process of its own, the probe.
"""

import asyncio
import base64
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import httpx

LIGHT_EVERY_SECONDS = 0.1

_PROBE = Path(__file__).with_name("probe.py")

clock = time.perf_counter

Ask = Callable[[], Awaitable[None]]


class Failed(Exception):
    """A request was not answered, or not wholly."""


@dataclass(slots=True)
class Seen:
    """What a client saw, in one turn or several.

    `ms` are those of the requests that were answered wholly, and `light_ms` those of the light endpoints.
    `refused` counts the answers 503, and `problem` is the first of those that count as failed.
    """

    ms: list[float] = field(default_factory=list)
    failed: int = 0
    refused: int = 0
    problem: str = ""
    seconds: float = 0.0
    light_ms: list[float] = field(default_factory=list)
    light_failed: int = 0

    def fail(self, problem: str) -> None:
        self.failed += 1
        self.problem = self.problem or problem


async def keep_asking(ask: Ask, concurrency: int, seconds: float, seen: Seen) -> None:
    """Ask all the time, so many requests at once.

    No request is begun after the time; those that were are waited for.

    Args:
        ask: one request; raises Failed.
        concurrency: how many at once.
        seconds: for how long.
        seen: is added to.
    """

    async def ask_again() -> None:
        while clock() < started + seconds:
            asked = clock()
            try:
                await ask()
            except Failed as error:
                seen.fail(str(error))
            else:
                seen.ms.append((clock() - asked) * 1000)

    started = clock()
    await asyncio.gather(*(ask_again() for _ in range(concurrency)))
    seen.seconds += clock() - started


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request as it is sent."""

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    body: bytes = b""

    def as_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "path": self.path,
            "headers": dict(self.headers),
            "body": base64.b64encode(self.body).decode() or None,
        }


@dataclass(slots=True)
class Probed:
    """What a probe saw, once it has ended."""

    ms: list[float] = field(default_factory=list)
    failed: int = 0


@asynccontextmanager
async def probing(url: str, requests: Sequence[Prepared], every: float | None) -> AsyncIterator[Probed]:
    """Ask a server meanwhile from another process, which has nothing else to do. It goes there directly, and
    trusts whom httpx trusts.

    Args:
        url: of the server.
        requests: asked in turns over one connection.
        every: seconds from one to the next; None for one after another.

    Raises:
        ClickException: the other process ended too soon.
    """
    probe = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", _PROBE), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    given = {
        "url": url,
        "requests": [each.as_json() for each in requests],
        "every": every,
        "certificates": _trusted() if url.startswith("https:") else "",
    }
    seen = Probed()
    try:
        assert probe.stdin is not None
        assert probe.stdout is not None
        probe.stdin.write(json.dumps(given).encode() + b"\n")
        if not await probe.stdout.readline():
            raise click.ClickException("the process that asks beside the load does not start")
        yield seen
        probe.stdin.close()
        told, _ = await probe.communicate()
        if probe.returncode:
            raise click.ClickException(f"the process that asks beside the load ended with {probe.returncode}")
        found = json.loads(told)
        seen.ms, seen.failed = found["ms"], found["failed"]
    finally:
        if probe.returncode is None:
            probe.kill()
            await probe.wait()


def _trusted() -> str:
    """The certificates that httpx trusts, as PEM; none where they lie in a folder (SSL_CERT_DIR), which the
    probe looks into by itself."""
    known = httpx.create_ssl_context().get_ca_certs(binary_form=True)
    return "".join(map(ssl.DER_cert_to_PEM_cert, known))


@asynccontextmanager
async def light_probed(url: str, requests: Sequence[Prepared], seen: Seen) -> AsyncIterator[None]:
    """Ask something light meanwhile, at fixed times, one after another, from another process.

    The time of one counts from when it was due, also where the one before was not answered then.
    """
    async with probing(url, requests, LIGHT_EVERY_SECONDS) as probed:
        yield
    seen.light_ms += probed.ms
    seen.light_failed += probed.failed


@asynccontextmanager
async def light_beside(ask: Ask, seen: Seen) -> AsyncIterator[None]:
    """The same from this process, for a server that is in it."""

    async def keep_on() -> None:
        due = clock()
        while not (ended.done() and due >= ended.result()):
            await asyncio.sleep(max(0.0, due - clock()))
            try:
                await ask()
            except Failed:
                seen.light_failed += 1
            else:
                seen.light_ms.append((clock() - due) * 1000)
            due += LIGHT_EVERY_SECONDS

    ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    light = asyncio.create_task(keep_on())
    try:
        yield
        ended.set_result(clock())
        await light
    finally:
        light.cancel()
