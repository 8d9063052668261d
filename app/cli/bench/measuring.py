"""One load measured: a first request, then one at a time, then several at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from itertools import count, cycle
from typing import TYPE_CHECKING, Any

from app.cli.bench.figures import percentiles, rounded
from app.cli.bench.load import Failed, Prepared, Seen, clock, keep_asking, light_beside, light_probed
from app.client.connection import PATIENCE, options
from app.client.errors import SightgraphError

if TYPE_CHECKING:
    from app.client.answers import Answer
    from app.client.asynchronous import AsyncSightgraph

Tasks = Sequence[Mapping[str, Any]]

LightBeside = Callable[[Seen], AbstractAsyncContextManager[None]]
"""Asks something light meanwhile."""


@dataclass(slots=True)
class Measured:
    """What was seen of a load.

    `first_ms` is the first request, which may load the models. `alone` and `together` are one request at a
    time and several at once; neither was tried where the first was not answered. `engines` served.
    """

    name: str
    first_ms: float = 0.0
    alone: Seen = field(default_factory=Seen)
    together: Seen = field(default_factory=Seen)
    engines: list[str] = field(default_factory=list)
    refused: str = ""

    @property
    def problem(self) -> str:
        """What went wrong first; empty where nothing did."""
        failed = self.alone.failed + self.together.failed
        told = self.refused or self.alone.problem or self.together.problem
        return f"{told} ({failed} requests failed)" if failed else told

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "engines": self.engines,
            "first_ms": rounded(self.first_ms),
            "alone": figures(self.alone),
            "together": figures(self.together),
            "problem": self.problem or None,
        }


def figures(seen: Seen) -> dict[str, Any]:
    return {
        **percentiles(seen.ms),
        "per_second": rounded(len(seen.ms) / seen.seconds) if seen.seconds else None,
        "failed": seen.failed,
        "light": {**percentiles(seen.light_ms), "failed": seen.light_failed},
    }


class Load:
    """Requests of the same tasks, each on an image that was not asked about before.

    Args:
        server: answers.
        tasks: of each request.
        photos: files of images, taken in turns.
    """

    # For all loads, so that none meets what another one left in the cache.
    _numbers = count()

    def __init__(self, server: "AsyncSightgraph", tasks: Tasks, photos: Sequence[bytes]) -> None:
        self._server = server
        self._tasks = tasks
        self._photos: Iterator[bytes] = cycle(photos)

    async def ask(self) -> None:
        """One request.

        Raises:
            Failed: it was not answered, or a task failed.
        """
        await self.answer()

    async def answer(self) -> "Answer":
        """The same, with what was answered."""
        # What follows the end of an image changes no pixel, and makes another file of it.
        photo = next(self._photos) + next(self._numbers).to_bytes(8)
        try:
            answer = await self._server.analyze(photo, list(self._tasks))
        except SightgraphError as error:
            raise Failed(str(error)) from None
        for name, result in answer.items():
            # Skipped for want of a face, say, is an answer too.
            if result.status == "error" or result.error_code in ("invalid_params", "unsupported_operation"):
                raise Failed(f"{name}: {result.error_message}")
        return answer


def light_of(server: "AsyncSightgraph", url: str | None) -> LightBeside:
    """What takes no model, asked of a server at an address, or without one of that in this process."""
    if url is not None:
        live = Prepared("/health/live", options(url, None, PATIENCE)["headers"])
        return lambda seen: light_probed(url, [live], seen)

    async def ask() -> None:
        try:
            await server.ready()
        except SightgraphError as error:
            raise Failed(str(error)) from None

    return lambda seen: light_beside(ask, seen)


async def measured(
    server: "AsyncSightgraph",
    name: str,
    tasks: Tasks,
    photos: Sequence[bytes],
    concurrency: int,
    seconds: float,
    light: LightBeside,
) -> Measured:
    found = Measured(name)
    load = Load(server, tasks, photos)
    started = clock()
    try:
        answer = await load.answer()
    except Failed as error:
        found.refused = str(error)
        return found
    found.first_ms = (clock() - started) * 1000
    models = [result.model for result in answer.values()]
    found.engines = list(dict.fromkeys(model.engine for model in models if model and model.engine))
    for at_once, seen in ((1, found.alone), (concurrency, found.together)):
        async with light(seen):
            await keep_asking(load.ask, at_once, seconds, seen)
    return found
