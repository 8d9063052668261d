"""The image of a request: its facts at once, its pixels when a computation needs them."""

import asyncio
import time
from typing import Protocol

from app.core.artifacts import Image, ImageInfo
from app.core.errors import Internal
from app.core.key import digest
from app.runtime.cache import ResultCache
from app.runtime.decode import DecodeLimits, decode, sha256_of
from app.runtime.flights import Flights
from app.runtime.observation import SILENT, Observer, Work
from app.runtime.pool import Pool

# A digest of so much is made faster, in some tenths of a millisecond, than a thread is woken.
_AT_ONCE_BYTES = 300_000


class Source(Protocol):
    """What a plan is run over."""

    async def info(self) -> ImageInfo: ...

    async def image(self) -> Image: ...


class ImageSource:
    """Decodes a file at most once, on a lane.

    The facts of an image that decoded before come from the cache, so that a request whose results are all
    kept decodes nothing. Sources of one image that share `decoding` decode it once when they need it at the
    same time.
    """

    def __init__(
        self,
        data: bytes,
        pool: Pool,
        cache: ResultCache,
        limits: DecodeLimits,
        decoding: Flights[Image] | None = None,
        observer: Observer = SILENT,
    ) -> None:
        self._data = data
        self._pool = pool
        self._cache = cache
        self._limits = limits
        self._digest: str | None = None
        self._image: Image | None = None
        self._decoding: Flights[Image] = Flights() if decoding is None else decoding
        self._observer = observer
        self.decode_ms = 0.0

    async def info(self) -> ImageInfo:
        """The facts of the image.

        Raises:
            ImageUnreadable: it cannot be decoded.
        """
        return await self.known_info() or (await self.image()).info

    async def known_info(self) -> ImageInfo | None:
        """The facts of the image, where it decoded before and the cache keeps them."""
        return known_facts(self._cache, await self._sha256())

    async def image(self) -> Image:
        """The decoded image.

        Raises:
            ImageUnreadable: it cannot be decoded.
        """
        if self._image is None:
            self._image = await self._decoding.join(await self._sha256(), self._decode)
        return self._image

    async def _sha256(self) -> str:
        if self._digest is None:
            if len(self._data) <= _AT_ONCE_BYTES:
                self._digest = sha256_of(self._data)
            else:
                self._digest = await asyncio.to_thread(sha256_of, self._data)
        return self._digest

    async def _decode(self) -> Image:
        sha256 = await self._sha256()

        def timed() -> tuple[Image, float]:
            started = time.perf_counter()
            return decode(self._data, sha256, self._limits), (time.perf_counter() - started) * 1000

        with self._observer.span(Work("decode")):
            image, self.decode_ms = await self._pool.call(timed)
        self._observer.decoded(self.decode_ms / 1000)
        self._cache.put(_facts_key(sha256), image.info)
        return image


class NoImage:
    """Stands in where a plan looks at no image, texts that are embedded say."""

    async def info(self) -> ImageInfo:
        return ImageInfo(sha256="", width=1, height=1, format="", mode="", file_bytes=0)

    async def image(self) -> Image:
        raise Internal("The plan looks at an image, and there is none.")


def known_facts(cache: ResultCache, sha256: str) -> ImageInfo | None:
    """The facts of an image that decoded before, while the cache keeps them."""
    facts: ImageInfo | None = cache.get(_facts_key(sha256))
    return facts


def _facts_key(sha256: str) -> str:
    return digest("image facts", sha256)
