"""The composition root: settings -> registry -> pool -> executor -> HTTP application."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from litestar import Litestar

from app.api.app import build_app
from app.api.health import state_of
from app.api.room import RequestLimits, Room
from app.core.errors import ModelUnavailable
from app.core.registry import Registry, discover
from app.runtime.cache import ResultCache
from app.runtime.decode import DecodeLimits
from app.runtime.executor import Executor
from app.runtime.fetch import Fetcher, FetchLimits
from app.runtime.pool import Pool
from app.settings import Settings

log = logging.getLogger(__name__)


def build_room(settings: Settings, registry: Registry | None = None) -> Room:
    """The server's parts, joined."""
    pool = Pool(settings.lanes)
    cache = ResultCache(settings.cache_bytes)
    return Room(
        registry=registry if registry is not None else discover("operations"),
        pool=pool,
        cache=cache,
        executor=Executor(pool, cache),
        fetcher=Fetcher(
            FetchLimits(
                max_bytes=settings.max_image_bytes,
                seconds=settings.fetch_timeout,
                allow_private=settings.allow_private_urls,
                allowed_hosts=settings.allowed_hosts,
            )
        ),
        decode_limits=DecodeLimits(settings.max_pixels),
        limits=RequestLimits(
            max_image_bytes=settings.max_image_bytes,
            max_requests=settings.max_requests,
            max_pixels_at_once=settings.max_pixels_at_once,
            seconds=settings.request_timeout,
        ),
    )


def create_app(settings: Settings | None = None) -> Litestar:
    """The application, for `sightgraph serve` and for any other ASGI server."""
    settings = settings or Settings()
    if settings.offline:
        # Libraries that load from a hub read this when they are imported.
        os.environ["HF_HUB_OFFLINE"] = "1"
    room = build_room(settings)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        loading = asyncio.create_task(load_engines(room))
        try:
            yield
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            await room.fetcher.close()
            room.pool.close()

    return build_app(room, version("sightgraph"), lifespan)


async def load_engines(room: Room) -> None:
    """Load every engine, while requests are already answered, and tell which operations are ready."""
    for operation in room.registry.values():
        for spec in operation.engines:
            try:
                await room.pool.load(spec)
            except ModelUnavailable as error:
                log.error("%s", error)
    states = {name: state_of(op, room) for name, op in room.registry.public.items()}
    for state in sorted(set(states.values())):
        log.info("%s: %s", state, ", ".join(name for name in states if states[name] == state))
