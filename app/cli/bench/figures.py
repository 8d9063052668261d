"""Figures of what was seen."""

import math
from collections.abc import Sequence
from typing import Any


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The least value that so many percent do not exceed (the nearest rank); None of nothing."""
    if not values:
        return None
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


def percentiles(ms: Sequence[float]) -> dict[str, Any]:
    """`p50_ms`, `p95_ms` and `p99_ms`, and of how many."""
    shown = {f"p{percent}_ms": rounded(percentile(ms, percent)) for percent in (50, 95, 99)}
    return {"count": len(ms), **shown}


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
