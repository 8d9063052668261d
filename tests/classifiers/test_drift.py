"""Telling a window from the training: what fires, what stays quiet, and what is not told yet."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from classifiers.drift import (
    LEAST_VALUES,
    P_DRIFT,
    PSI_DRIFT,
    compared,
    deserves_a_look,
    of_all,
    stability_index,
)
from classifiers.measures import rounded
from classifiers.reference import MOST_VALUES, sample

Draw = Callable[[np.random.Generator, int], np.ndarray]

DRAWS: dict[str, Draw] = {
    "normal": lambda rng, count: rng.normal(128, 40, count),
    "sure scores": lambda rng, count: np.clip(rng.beta(0.1, 0.1, count), 1e-6, 1 - 1e-6),
    "few sizes": lambda rng, count: rng.choice([640.0, 800.0, 1024.0], count, p=[0.6, 0.3, 0.1]),
    "one size": lambda rng, count: np.full(count, 640.0),
}


def kept(values: np.ndarray) -> tuple[float, ...]:
    found = sample(values.tolist())
    assert found is not None
    return found.values


def seen(values: np.ndarray) -> list[float]:
    """As a watch notes them."""
    return [rounded(value) for value in values.tolist()]


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_fresh_sample_stays_quiet(draw):
    """The smallest window and a small reference, where chance has the most room."""
    rng = np.random.default_rng(0)
    states = [compared(kept(draw(rng, 100)), seen(draw(rng, 100))).state for _ in range(500)]
    assert set(states) <= {"steady", "drifting"}
    assert states.count("drifting") <= 2


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("count", [100, 500])
def test_what_has_moved_fires(draw, count):
    rng = np.random.default_rng(1)
    reference = draw(rng, 300)
    moved = draw(rng, count) * 0.5
    found = compared(kept(reference), seen(moved))
    assert found.state == "drifting"
    assert found.psi is not None
    assert found.p_value is not None
    assert found.psi >= found.psi_threshold == PSI_DRIFT
    assert found.p_value < found.p_threshold == P_DRIFT
    assert found.window_median == pytest.approx(np.median(moved), abs=1e-3)
    assert found.reference_median == pytest.approx(np.median(reference), abs=1e-3)


def test_both_tests_must_fire():
    rng = np.random.default_rng(2)
    # So many values that a small shift is no chance; it is still small.
    small = compared(rng.normal(0, 1, 512).tolist(), rng.normal(0.35, 1, 500).tolist())
    assert small.state == "steady"
    assert small.p_value is not None
    assert small.p_value < P_DRIFT
    assert deserves_a_look(small)
    # So few that the index is high by chance.
    few = compared(rng.normal(0, 1, 10).tolist(), rng.normal(0, 1, 100).tolist())
    assert few.psi is not None
    assert few.psi > PSI_DRIFT
    assert few.state == "steady"
    assert not deserves_a_look(few)


def test_what_cannot_be_told_yet():
    values = [float(number) for number in range(LEAST_VALUES)]
    assert compared(values, values[1:]).state == "collecting"
    assert compared(values, values).state == "steady"
    assert compared([1.0], values).state in ("steady", "drifting")
    empty = compared(values, [])
    assert (empty.state, empty.psi, empty.window_median) == ("collecting", None, None)
    for reference in (None, []):
        unknown = compared(reference, values)
        assert (unknown.state, unknown.psi, unknown.ks, unknown.p_value) == ("unknown", None, None, None)
        assert (unknown.reference_median, unknown.window_median) == (None, 49.5)


def test_the_index_is_the_textbooks():
    reference = np.repeat(np.arange(10.0), 1000)
    window = np.repeat(np.arange(10.0), [2000, *[1000] * 8, 0])
    # Only two of ten bins differ: a tenth becomes two, and another nothing but the smoothing.
    low = 0.5 / 10005
    by_hand = 0.1 * math.log(2) + (low - 0.1) * math.log(low / 0.1)
    assert stability_index(reference, window) == pytest.approx(by_hand, abs=0.001)
    assert stability_index(reference, reference) == 0


@pytest.mark.parametrize(
    ("reference", "window"),
    [
        ([640.0] * 200, [639.0] * 200),
        ([640.0] * 200, [641.0] * 200),
        ([640.0] * 190 + [800.0] * 10, [640.0] * 100 + [700.0] * 100),
        ([0.0] * 100 + [1.0] * 100, [0.5] * 200),
        ([0.0] * 100 + [1.0] * 100, [1.0] * 200),
        ([0.0, 1.0, 2.0], [9.0] * 200),
    ],
)
def test_values_beside_those_of_a_discrete_measure_are_told_from_them(reference, window):
    index = stability_index(np.array(reference), np.array(window))
    assert math.isfinite(index)
    assert index > PSI_DRIFT


def test_the_worst_counts():
    assert of_all(["steady", "unknown", "drifting"]) == "drifting"
    assert of_all(["unknown", "collecting", "steady"]) == "steady"
    assert of_all(["unknown", "collecting"]) == "collecting"
    assert of_all(["unknown"]) == of_all([]) == "unknown"


@pytest.mark.parametrize("count", [1, MOST_VALUES, MOST_VALUES + 1, 100_000])
def test_a_sample_is_small_and_true(count):
    values = np.random.default_rng(3).normal(100, 20, count)
    found = sample(values.tolist())
    assert found is not None
    assert (found.of, len(found.values)) == (count, min(count, MOST_VALUES))
    assert list(found.values) == sorted(found.values)
    for share in (0.05, 0.25, 0.5, 0.95):
        assert np.quantile(found.values, share) == pytest.approx(np.quantile(values, share), abs=0.7)


def test_a_sample_of_nothing():
    assert sample([]) is None
    assert sample([math.nan, math.inf]) is None
    some = sample([2.0, math.nan, 1.0])
    assert some is not None
    assert some.values == (1.0, 2.0)
