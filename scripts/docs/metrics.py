"""The table of the metrics, from what a server says of itself once everything was counted."""

import tempfile
from pathlib import Path

from prometheus_client.metrics_core import Metric

from app.api.gauges import Drift, Scrape, counted, drifting, standing
from app.api.metrics import Metrics
from app.core.drift import Health, MeasureDrift
from app.core.plan import PlannedTask
from app.runtime.outcomes import Outcome
from app.settings import Settings
from scripts.docs.words import one_line, table

# Their labels are seen only where something was counted.
_DRIFT = MeasureDrift(
    state="steady",
    psi=0.0,
    psi_threshold=0.0,
    ks=0.0,
    p_value=1.0,
    p_threshold=0.0,
    reference_median=0.0,
    window_median=0.0,
)
_HEALTH = Health(
    state="steady", version="", spaces=(), since=None, seen=0, window=0, measures={"score": _DRIFT}
)
_OF_BUCKETS = "le"


def metrics() -> str:
    return table(
        ("metric", "type", "labels", "meaning"),
        (
            (f"`{_exposed(family)}`", family.type, _labels(family), one_line(family.documentation))
            for family in families()
            if family.name.startswith("sightgraph_")
        ),
    )


def families() -> list[Metric]:
    """What a server exposes that has counted one of everything."""
    from app.main import build_room

    with tempfile.TemporaryDirectory() as data:
        room = build_room(Settings(lanes=1, offline=True, data=Path(data)))
        try:
            _count(room.metrics)
            health = drifting(Drift(1, {"a": _HEALTH}))
            return list(Scrape(counted(room, list(standing(room))), health).collect())
        finally:
            room.pool.close()


def _count(counters: Metrics) -> None:
    counters.answered("POST", "/", 503, 1.0, "overloaded")
    counters.computed("a", None, 1, 1.0)
    counters.ran([Outcome(PlannedTask("a", "a"))])


def _labels(family: Metric) -> str:
    names = dict.fromkeys(name for sample in family.samples for name in sample.labels)
    return ", ".join(f"`{name}`" for name in names if name != _OF_BUCKETS) or "none"


def _exposed(family: Metric) -> str:
    """As Prometheus names it: a counter ends in `_total`."""
    return f"{family.name}_total" if family.type == "counter" else family.name
