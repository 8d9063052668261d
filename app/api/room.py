"""What the handlers work with: the parts that main joins, handed to every handler by name."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.api.auth import permits
from app.api.exchange import RequestTracing
from app.api.metrics import Metrics
from app.api.turns import Turns
from app.api.workers import Workers
from app.core.artifacts import Image, ImageInfo
from app.core.classifier import Classifiers
from app.core.errors import NotPermitted, Overloaded, TaskError
from app.core.registry import Registry
from app.core.resolver import Task, named_resources
from app.core.resource import Resource, Resources
from app.index.collections import Collections
from app.runtime.cache import ResultCache
from app.runtime.decode import DecodeLimits
from app.runtime.executor import Executor
from app.runtime.fetch import Fetcher
from app.runtime.flights import Flights
from app.runtime.pool import Pool
from app.runtime.source import ImageSource, known_facts

_RETRY_AFTER_SECONDS = 1


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may send and take, and how many are worked on at once."""

    max_image_bytes: int = 25_000_000
    max_requests: int = 64
    max_pixels_at_once: int = 800_000_000
    seconds: float = 60.0


@dataclass(slots=True)
class Room:
    """The server's parts. Used from the event loop's thread only."""

    registry: Registry
    pool: Pool
    cache: ResultCache
    executor: Executor
    fetcher: Fetcher
    decode_limits: DecodeLimits
    limits: RequestLimits
    index: Collections
    classifiers: Classifiers
    metrics: Metrics = field(default_factory=Metrics)
    tracing: RequestTracing | None = None
    workers: Workers | None = None
    """Where the server has several processes."""
    _decoding: Flights[Image] = field(default_factory=Flights, init=False)
    starting: bool = field(default=False, init=False)
    """Whether the engines of the start are still being loaded."""
    stopping: bool = field(default=False, init=False)
    """Whether the server was told to stop."""
    refusing: bool = field(default=False, init=False)
    """Whether it only finishes what it has taken."""
    requests: int = field(default=0, init=False)
    """How many requests have no whole answer yet."""
    working: int = field(default=0, init=False)
    """How many requests are worked on now."""
    pixels: int = field(default=0, init=False)
    """How many pixels their images have together."""
    turns: Turns = field(init=False)
    """Whose turn it is among the images of batches."""

    def __post_init__(self) -> None:
        self.turns = Turns(self)

    async def resources(self, tasks: Sequence[Task]) -> Resources:
        """The resources that tasks name, looked up off the event loop."""
        named = sorted(named_resources(tasks, self.registry))
        found = await asyncio.gather(*(self._found(kind, name) for kind, name in named))
        return dict(zip(named, found, strict=True))

    async def _found(self, kind: str, name: str) -> Resource | TaskError:
        if kind == "collection" and not permits("index"):
            return NotPermitted(f"The collection '{name}' needs an API key with the scope 'index'.")
        try:
            return await self._finders[kind](name)
        except TaskError as error:
            return error

    @property
    def _finders(self) -> Mapping[str, Callable[[str], Awaitable[Resource]]]:
        return {
            "collection": lambda name: self.index.call(self.index.find, name),
            "classifier": lambda name: asyncio.to_thread(self.classifiers.find, name),
        }

    def source(self, data: bytes) -> ImageSource:
        observer = self.executor.observer
        return ImageSource(data, self.pool, self.cache, self.decode_limits, self._decoding, observer)

    def known_image(self, sha256: str) -> ImageInfo | None:
        """The facts of an image that decoded before, while the cache keeps them."""
        return known_facts(self.cache, sha256)

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among the requests that are worked on at once.

        Raises:
            Overloaded: all are taken.
        """
        if self.working >= self.limits.max_requests:
            raise Overloaded(
                f"The server is working on {self.working} requests, as many as it takes; try again.",
                retry_after=_RETRY_AFTER_SECONDS,
            )
        self.working += 1
        try:
            yield
        finally:
            self.working -= 1

    @contextmanager
    def memory_for(self, pixels: int) -> Iterator[None]:
        """Memory for an image among those that are worked on at once. One alone always has it.

        Raises:
            Overloaded: the others fill it.
        """
        if self.pixels and self.pixels + pixels > self.limits.max_pixels_at_once:
            raise Overloaded(
                f"The images that the server is working on have {self.pixels:,} pixels; "
                f"{pixels:,} more are too many at once; try again.",
                retry_after=_RETRY_AFTER_SECONDS,
            )
        self.pixels += pixels
        try:
            yield
        finally:
            self.pixels -= pixels
            self.turns.memory_freed()
