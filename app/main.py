"""The composition root: settings -> registry -> pool -> executor -> HTTP application."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from litestar import Litestar

from app.api.app import build_app
from app.api.application import Application
from app.api.doors import Doors
from app.api.gauges import standing
from app.api.metrics import Metrics
from app.api.readiness import readiness
from app.api.room import RequestLimits, Room
from app.api.workers import Workers
from app.core.catalog import makers, stages_behind
from app.core.errors import IndexUnavailable, ModelUnavailable, RegistryError
from app.core.operation import EngineSpec, Operation
from app.core.registry import Registry, discover
from app.core.seat import Seat
from app.core.weights import Store
from app.engines.device import compute_from_now_on
from app.engines.random_store import RandomStore
from app.engines.store import LocalStore, read_pins
from app.engines.weights import Bundled
from app.index.collections import Collections
from app.index.storage import Storage
from app.rebuilding import RebuildProgress
from app.runtime.batcher import CallThreads
from app.runtime.cache import ResultCache
from app.runtime.decode import DecodeLimits
from app.runtime.engines import MemoryPolicy
from app.runtime.executor import Executor
from app.runtime.fetch import Fetcher, FetchLimits
from app.runtime.observation import Observers
from app.runtime.pool import Pool
from app.settings import Settings
from classifiers.served import ServedClassifiers
from classifiers.shelf import Shelf
from classifiers.watch import Watch

if TYPE_CHECKING:
    from app.tracing import Tracing

log = logging.getLogger(__name__)

# Any of them turns traces on.
_ASK_FOR_TRACES = (
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)

# The folder of the trained heads in the data folder.
CLASSIFIERS = "classifiers"


def build_room(
    settings: Settings,
    registry: Registry | None = None,
    store: Store | None = None,
    tracing: "Tracing | None" = None,
    seat: Seat | None = None,
) -> Room:
    """The server's parts, joined; of one worker where it has a seat among several.

    Raises:
        RegistryError: an operation is declared wrongly, or a setting names one that is not there.
    """
    registry = registry if registry is not None else discover("operations")
    metrics = Metrics(registry.public)
    observer = metrics if tracing is None else Observers(metrics, tracing)
    pool = Pool(
        settings.lanes,
        store if store is not None else build_store(settings),
        preferences=preferences(settings, registry),
        memory=MemoryPolicy(settings.memory_budget, settings.idle_unload),
        lane_timeout=settings.lane_timeout,
        observer=observer,
        threads=CallThreads(settings.threads, settings.threads_alone, compute_from_now_on),
    )
    cache = ResultCache(settings.cache_bytes)
    index = Collections(build_index_storage(settings, seat), registry, pool.choose, settings.request_timeout)
    return Room(
        registry=registry,
        pool=pool,
        cache=cache,
        executor=Executor(pool, cache, observer),
        fetcher=Fetcher(
            FetchLimits(
                max_bytes=settings.max_image_bytes,
                seconds=settings.fetch_timeout,
                allow_private=settings.allow_private_urls,
                allowed_hosts=settings.allowed_hosts,
            ),
            observer=observer,
        ),
        index=index,
        classifiers=build_classifiers(settings, registry),
        metrics=metrics,
        tracing=tracing,
        workers=None if seat is None else Workers(seat.number, seat.folder),
        decode_limits=DecodeLimits(settings.max_pixels),
        limits=RequestLimits(
            max_image_bytes=settings.max_image_bytes,
            max_requests=settings.max_requests,
            max_pixels_at_once=settings.max_pixels_at_once,
            seconds=settings.request_timeout,
        ),
    )


def build_tracing(environ: Mapping[str, str]) -> "Tracing | None":
    """Traces, where the variables of OpenTelemetry ask for them and the extra is installed."""
    asked = [name for name in _ASK_FOR_TRACES if environ.get(name, "none") not in ("", "none")]
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not asked or off or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    try:
        from app.tracing import TracingUnavailable, tracing_to
    except ModuleNotFoundError as error:
        log.warning(
            "%s asks for traces, and %s is not installed: pip install 'sightgraph[tracing]'",
            asked[0],
            error.name,
        )
        return None
    try:
        return tracing_to(environ, version("sightgraph"))
    except TracingUnavailable as error:
        log.warning("%s asks for traces, and %s", asked[0], error)
        return None


def build_classifiers(settings: Settings, registry: Registry) -> ServedClassifiers:
    """The heads that people trained."""
    folder = settings.data / CLASSIFIERS
    return ServedClassifiers(Shelf(folder), registry, Watch(folder) if settings.watch_drift else None)


def build_index_storage(settings: Settings, seat: Seat | None = None) -> Storage:
    """Where the index is kept. It is opened when it is used first."""
    if settings.index_url is None:
        from app.index.local import LocalStorage

        local = LocalStorage(settings.data / "index", RebuildProgress())
        if seat is None:
            return local
        from app.index.shared import SharedStorage

        return SharedStorage(local, seat.folder)
    from app.index.postgres import PostgresStorage

    return PostgresStorage(settings.index_url.get_secret_value())


def build_store(settings: Settings) -> Store:
    """The weights on this machine, or random ones in their place."""
    local = local_store(settings)
    return RandomStore(local, settings.data / "random") if settings.weights == "random" else local


def local_store(settings: Settings) -> LocalStore:
    """The weights on this machine."""
    return LocalStore(
        settings.data,
        offline=settings.offline,
        pins=read_pins(settings.pinned_weights),
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
    )


def preferences(settings: Settings, registry: Registry) -> dict[str, tuple[str, ...]]:
    """`SIGHTGRAPH_ENGINES` by the stages that the engines serve.

    Raises:
        RegistryError: it names an operation or an engine that is not there.
    """
    by_stage: dict[str, tuple[str, ...]] = {}
    for name, engines in settings.engines.items():
        operation = registry.get(name)
        stages = [] if operation is None else [stage for stage, _ in makers(operation)]
        if not stages:
            with_engines = [name for name, op in registry.items() if makers(op)]
            raise RegistryError(f"SIGHTGRAPH_ENGINES: '{name}' is none of {', '.join(with_engines)}")
        # Of an operation that persons and faces are found for, each has engines of its own.
        stage = next((stage for stage in stages if engines[0] in _names(stage)), stages[0])
        for engine in engines:
            if engine not in _names(stage):
                raise RegistryError(
                    f"SIGHTGRAPH_ENGINES: {name} has no engine '{engine}', but {', '.join(_names(stage))}"
                )
        if by_stage.setdefault(stage.type, engines) != engines:
            raise RegistryError(
                f"SIGHTGRAPH_ENGINES: {name} has its engines in common with another operation that is named, "
                f"by the stage {stage.type}: name one of them"
            )
    return by_stage


def _names(operation: Operation) -> list[str]:
    return sorted(spec.name for spec in operation.engines)


def build_doors(settings: Settings, *, loopback: bool = False) -> Doors:
    """Who may come in.

    Args:
        settings: those of the server.
        loopback: whether the server is known to listen on loopback only.
    """
    # Who listens for others is asked by names that only its owner knows.
    is_asked_by_localhost = loopback and not settings.api_keys
    return Doors(
        keys=settings.api_keys,
        rate_limit=settings.rate_limit,
        cors_origins=settings.cors_origins,
        names=settings.server_names if settings.server_names or is_asked_by_localhost else None,
    )


def create_app(
    settings: Settings | None = None,
    *,
    load_ahead: bool = True,
    doors: Doors | None = None,
    seat: Seat | None = None,
) -> Application:
    """The application, for `sightgraph serve` and for any other ASGI server.

    Args:
        settings: those of the environment by default.
        load_ahead: whether models are loaded before a request needs them.
        doors: who may come in; as the settings say by default. The address that another server listens on is
            not known here: without API keys, whoever reaches it may use it.
        seat: of one worker among several.
    """
    settings = settings or Settings()
    if settings.offline:
        # Libraries that load from a hub read this when they are imported.
        os.environ["HF_HUB_OFFLINE"] = "1"
    tracing = build_tracing(os.environ)
    room = build_room(settings, tracing=tracing, seat=seat)

    wanted = wanted_engines(settings.pull, room)
    preloaded = wanted_engines(settings.preload, room)
    room.starting = load_ahead

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        if not settings.offline:
            room.pool.downloads.start(wanted)
        if room.workers is not None:
            room.workers.open(lambda: list(standing(room)), room.metrics.registry)
        starting = [asyncio.create_task(asyncio.to_thread(open_index, room))]
        if load_ahead:
            starting.append(asyncio.create_task(load_engines(room, preloaded)))
        try:
            yield
        finally:
            for each in starting:
                each.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
            if room.workers is not None:
                await asyncio.to_thread(room.workers.close)
            await room.fetcher.close()
            room.pool.close()
            await asyncio.to_thread(room.index.close)
            await asyncio.to_thread(room.classifiers.close)
            if tracing is not None:
                await asyncio.to_thread(tracing.close)

    return build_app(
        room,
        version("sightgraph"),
        lifespan,
        doors or build_doors(settings),
        playground=settings.playground,
    )


def wanted_engines(names: Sequence[str], room: Room) -> list[EngineSpec]:
    """The most preferred engine of every stage behind the named operations; `all` names every one.

    Raises:
        RegistryError: there is no such operation.
    """
    registry = room.registry
    unknown = [name for name in names if name not in registry and name != "all"]
    if unknown:
        raise RegistryError(
            f"SIGHTGRAPH_PULL and SIGHTGRAPH_PRELOAD: '{unknown[0]}' is no operation of this server; "
            f"these are: {', '.join(registry.public)}"
        )
    operations = registry.values() if "all" in names else [registry[name] for name in names]
    stages = [pair for operation in operations for pair in stages_behind(operation)]
    candidates = [room.pool.candidates(stage, params) for stage, params in stages]
    return list(dict.fromkeys(specs[0] for specs in candidates if specs))


def open_index(room: Room) -> None:
    """Open the index before its first use. Where it cannot be, the server does without and tells who asks."""
    try:
        room.index.storage.open()
    except IndexUnavailable as error:
        log.warning("%s", error)


async def load_engines(room: Room, preloaded: Sequence[EngineSpec] = ()) -> None:
    """Load what ships in packages and what is asked for, while requests are already answered, and tell which
    operations are ready."""
    bundled = [spec for spec in room.registry.engines.values() if isinstance(spec.weights, Bundled)]
    for spec in dict.fromkeys([*bundled, *(spec for spec in preloaded if room.pool.store.present(spec))]):
        # Why it cannot be loaded is in the log and in its state.
        with contextlib.suppress(ModelUnavailable):
            await room.pool.load(spec)
    room.starting = False
    states = {name: readiness(op, room.pool).state for name, op in room.registry.public.items()}
    for state in sorted(set(states.values())):
        log.info("%s: %s", state, ", ".join(name for name in states if states[name] == state))
