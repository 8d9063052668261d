"""What the handlers work with: the parts that main joins, handed to every handler by name."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.core.artifacts import Image, ImageInfo
from app.core.errors import Overloaded, TaskError
from app.core.operation import Resource, Resources
from app.core.registry import Registry
from app.core.resolver import Task, named_resources
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
    _decoding: Flights[Image] = field(default_factory=Flights, init=False)
    starting: bool = field(default=False, init=False)
    """Whether the engines of the start are still being loaded."""
    working: int = field(default=0, init=False)
    """How many requests are worked on now."""
    pixels: int = field(default=0, init=False)
    """How many pixels their images have together."""

    async def resources(self, tasks: Sequence[Task]) -> Resources:
        """The resources that tasks name, looked up off the event loop."""
        named = named_resources(tasks, self.registry)
        return await self.index.call(self._found, named) if named else {}

    def _found(self, named: Iterable[tuple[str, str]]) -> Resources:
        find: dict[str, Callable[[str], Resource]] = {"collection": self.index.find}
        found: dict[tuple[str, str], Resource | TaskError] = {}
        for kind, name in named:
            try:
                found[kind, name] = find[kind](name)
            except TaskError as error:
                found[kind, name] = error
        return found

    def source(self, data: bytes) -> ImageSource:
        return ImageSource(data, self.pool, self.cache, self.decode_limits, self._decoding)

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
