"""Figures of a benchmark, from what was seen: percentiles, arrivals, and ratios of one run.

A run's `scenarios` are plain values, as they are written to JSON: by scenario `servers` (by name, each with
`load` by concurrency, `probe` and `overload`), `bound` and `memory`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from app.cli.bench.figures import rounded

OURS = "ours"
PLAIN = "plain"


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """The seconds at which requests arrive by a Poisson process, `rate` of them a second."""
    rng = np.random.default_rng(seed)
    times: list[float] = []
    at = float(rng.exponential(1 / rate))
    while at < seconds:
        times.append(at)
        at += float(rng.exponential(1 / rate))
    return times


def ratio(part: float | None, whole: float | None) -> float | None:
    """None where one is missing, or nothing was there to compare with."""
    return None if part is None or not whole else rounded(part / whole)


def growth_percent(before: float, after: float) -> float | None:
    share = ratio(after - before, before)
    return None if share is None else rounded(100 * share)


def ratios(scenarios: Mapping[str, Any]) -> dict[str, Any]:
    """What a run comes down to.

    Returns:
        throughput_vs_plain: ours by the plain server's, by scenario and concurrency.
        wall_vs_bound: by scenario, the p50 of ours for one client by that of the bare forwards on one thread.
        light_p99_ms, plain_light_p99_ms: of the light endpoints under load, by scenario and concurrency.
        cached_overhead_ms: the p50 of an upload that is answered from the cache, as a probe sees it.
        memory_growth: in percent, of the mixed load.
        goodput_at_4x: by scenario, the answers in time at four times the peak throughput, by the latter.
    """
    loads = {name: _loads(scenario) for name, scenario in scenarios.items()}
    found: dict[str, Any] = {
        "throughput_vs_plain": {},
        "wall_vs_bound": {},
        "light_p99_ms": {},
        "plain_light_p99_ms": {},
        "cached_overhead_ms": _server(scenarios.get("cached", {}), OURS).get("probe", {}).get("p50_ms"),
        "memory_growth": scenarios.get("mixed", {}).get("memory", {}).get("growth_percent"),
        "goodput_at_4x": {},
    }
    for name, scenario in scenarios.items():
        ours, plain = loads[name].get(OURS, {}), loads[name].get(PLAIN, {})
        if ours and plain:
            found["throughput_vs_plain"][name] = {
                concurrency: ratio(each["throughput"], plain[concurrency]["throughput"])
                for concurrency, each in ours.items()
            }
        for key, by_concurrency in (("light_p99_ms", ours), ("plain_light_p99_ms", plain)):
            if by_concurrency:
                found[key][name] = {
                    concurrency: each["light"]["p99_ms"] for concurrency, each in by_concurrency.items()
                }
        if scenario.get("bound") and "1" in ours:
            found["wall_vs_bound"][name] = ratio(
                ours["1"]["p50_ms"], scenario["bound"]["one_thread"]["p50_ms"]
            )
        overload = _server(scenario, OURS).get("overload")
        if overload:
            found["goodput_at_4x"][name] = overload["goodput_share"]
    return found


def _loads(scenario: Mapping[str, Any]) -> dict[str, Any]:
    return {name: server["load"] for name, server in scenario.get("servers", {}).items()}


def _server(scenario: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    server: Mapping[str, Any] = scenario.get("servers", {}).get(name, {})
    return server
