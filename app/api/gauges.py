"""`GET /metrics`: what was counted, and how things stand now."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from litestar import MediaType, Request, Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.api.room import Room
from app.core.classifier import Classifiers
from app.core.drift import DriftState, Health
from app.core.errors import TaskError
from app.runtime.engines import EngineState
from app.runtime.pool import Pool

# Whose drift is told; of a shelf with more the first ones by name. Each is ten series.
MAX_CLASSIFIERS = 100

_ENGINE_STATES = tuple(EngineState)
_DRIFT_STATES: tuple[DriftState, ...] = ("steady", "drifting", "collecting", "unknown")


@get(
    "/metrics",
    summary="What is counted and measured, for Prometheus",
    description="The text format of Prometheus, or OpenMetrics where `Accept` asks for it.",
    tags=["health"],
    opt={"scope": "admin", "rate_limit": False},
    media_type=MediaType.TEXT,
    responses={
        200: ResponseSpec(str, generate_examples=False, media_type=MediaType.TEXT, description="The metrics")
    },
)
async def metrics(request: Request[Any, Any, Any], room: NamedDependency[Room]) -> Response[bytes]:
    drift = await asyncio.to_thread(read_drift, room.classifiers)
    now = list(standing(room))
    encode, content_type = encoder(request.headers.get("accept", ""))
    written = await asyncio.to_thread(lambda: encode(Scrape(counted(room, now), drifting(drift))))
    return Response(written, headers={"Content-Type": content_type})


def counted(room: Room, now: Sequence[Metric]) -> Sequence[Metric]:
    """What is read now and what is counted; of several workers, of all."""
    families = [*now, *room.metrics.registry.collect()]
    return families if room.workers is None else room.workers.joined(families)


def encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """What writes the format that a client asks for, and its content type."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        # A version that is no version.
        return choose_encoder("")


class Scrape(Collector):
    """Families one after another."""

    def __init__(self, *families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for each in self._families:
            yield from each


@dataclass(frozen=True, slots=True)
class Drift:
    """How many classifiers there are, and the health of those that are watched."""

    classifiers: int = 0
    health: Mapping[str, Health] = field(default_factory=dict)


def read_drift(classifiers: Classifiers, most: int = MAX_CLASSIFIERS) -> Drift:
    """Reads files. A classifier that cannot be read is left out: who asks for it is told."""
    try:
        names = classifiers.collections()
    except TaskError:
        return Drift()
    health = {}
    for name in sorted(names)[:most]:
        try:
            found = classifiers.health(name)
        except TaskError:
            continue
        if found is not None:
            health[name] = found
    return Drift(len(names), health)


def standing(room: Room) -> Iterator[Metric]:
    """How things stand in the room; called on the event loop's thread."""
    pool, cache = room.pool, room.cache
    for name, words, value in (
        ("requests_in_flight", "Requests that are not answered yet.", room.requests),
        ("requests_working", "Requests that hold a place among those that are worked on.", room.working),
        ("requests_working_max", "Places for requests.", room.limits.max_requests),
        ("pixels_working", "Pixels of the images that are worked on.", room.pixels),
        ("pixels_working_max", "Pixels for images.", room.limits.max_pixels_at_once),
        ("waiting_items", "Items that no lane has taken yet.", pool.waiting),
        ("waiting_seconds", "What is under way will take about so long.", room.executor.seconds_under_way),
        ("lanes", "Computations that run at once.", pool.lanes.count),
        ("lanes_lost", "Lanes that hung and were given up.", pool.lanes_lost),
        ("cache_bytes", "Bytes in the result cache.", cache.bytes_used),
        ("cache_max_bytes", "Bytes that the result cache may take.", cache.max_bytes),
        ("cache_entries", "Results in the cache.", len(cache)),
        ("models_bytes", "Bytes that loaded models take, as they are declared.", pool.models_bytes),
    ):
        yield GaugeMetricFamily(f"sightgraph_{name}", words, value)
    yield CounterMetricFamily("sightgraph_cache_hits", "Results that the cache had.", cache.hits)
    yield CounterMetricFamily("sightgraph_cache_misses", "Results that the cache had not.", cache.misses)
    yield from _calls(pool)
    states = GaugeMetricFamily(
        "sightgraph_model_state", "1 for the state that a model is in.", labels=("engine", "state")
    )
    for engine, spec in room.registry.engines.items():
        current = pool.state(spec)
        for state in _ENGINE_STATES:
            states.add_metric((engine, state), float(state is current))
    yield states


def _calls(pool: Pool) -> Iterator[Metric]:
    """What batches are made by: a call takes its own seconds and some for each item."""
    labels = ("operation", "engine")
    fixed = GaugeMetricFamily("sightgraph_call_seconds", "Of a call, whatever it has.", labels=labels)
    each = GaugeMetricFamily("sightgraph_call_item_seconds", "Of a call for each item.", labels=labels)
    most = GaugeMetricFamily("sightgraph_call_items_max", "More gain nothing.", labels=labels)
    for operation, spec, cost, items in pool.calls():
        per_call, per_item = cost.line
        fixed.add_metric((operation, spec.name), per_call)
        each.add_metric((operation, spec.name), per_item)
        most.add_metric((operation, spec.name), items)
    yield from (fixed, each, most)


def drifting(drift: Drift) -> Iterator[Metric]:
    """How far what classifiers are asked is from what they were trained on."""
    yield GaugeMetricFamily("sightgraph_classifiers", "Classifiers that serve.", drift.classifiers)
    states = GaugeMetricFamily(
        "sightgraph_classifier_drift_state",
        "1 for the drift of what a classifier is asked.",
        labels=("collection", "state"),
    )
    indices = GaugeMetricFamily(
        "sightgraph_classifier_drift_psi",
        "The population stability index between training and now.",
        labels=("collection", "measure"),
    )
    distances = GaugeMetricFamily(
        "sightgraph_classifier_drift_ks",
        "The Kolmogorov-Smirnov statistic between training and now.",
        labels=("collection", "measure"),
    )
    for collection, health in drift.health.items():
        for state in _DRIFT_STATES:
            states.add_metric((collection, state), float(state == health.state))
        for measure, found in health.measures.items():
            if found.psi is not None:
                indices.add_metric((collection, measure), found.psi)
            if found.ks is not None:
                distances.add_metric((collection, measure), found.ks)
    yield from (states, indices, distances)
