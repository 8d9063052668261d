"""Figures and their intervals."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from classifiers.bootstrap import Weights, drawn
from classifiers.card import Interval
from classifiers.estimates import difference, estimate, resampled
from classifiers.figures import Outcome, decide, measure, measure_rounds
from classifiers.intervals import evidence, gain, limits, mean, middle_part, unseen
from classifiers.judging import judge, reliability


def outcome(
    count: int = 60, labels: int = 3, seed: int = 0, skill: float = 1.0, positive: int | None = None
) -> Outcome:
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(labels), rng.integers(0, labels, count - labels)])
    scores = rng.normal(size=(count, labels)) + skill * (truth[:, None] == np.arange(labels))
    # Rounded, so that some are equal.
    chances = np.round(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), 2) + 0.001
    chances /= chances.sum(axis=1, keepdims=True)
    return Outcome(truth, chances, decide(chances, positive, 0.4), positive)


@pytest.mark.parametrize(("labels", "positive"), [(2, None), (2, 0), (2, 1), (5, None)])
def test_rounds_agree_with_scikit_learn(labels, positive):
    tested = outcome(80, labels, positive=positive)
    once = measure_rounds(tested, np.ones((1, 80), np.float32))
    assert {name: found[0] for name, found in once.items()} == pytest.approx(measure(tested), abs=1e-6)


@given(st.integers(0, 1000))
@settings(max_examples=30)
def test_weighted_rounds_are_repeated_rows(seed):
    tested = outcome(40, 3, seed)
    weights = np.random.default_rng(seed).integers(0, 3, 40)
    weights[:3] = 1
    rows = np.repeat(np.arange(40), weights)
    repeated = Outcome(tested.truth[rows], tested.probabilities[rows], tested.decided[rows], None)
    once = measure_rounds(tested, weights[None].astype(np.float32))
    assert {name: found[0] for name, found in once.items()} == pytest.approx(measure(repeated), abs=1e-6)


def test_a_label_that_is_never_decided_for_has_no_precision():
    chances = np.tile([0.9, 0.1], (4, 1))
    tested = Outcome(np.array([0, 0, 1, 1]), chances, np.zeros(4, np.int64), None)
    assert measure(tested)["macro_precision"] == 0.25


def all_drawn(groups: np.ndarray, rounds: int, seed: int) -> Weights:
    return np.concatenate(list(drawn(groups, rounds, seed)))


def test_draws_are_of_whole_groups_and_the_same_each_time():
    groups = np.array([7, 7, 7, 1, 1, 3])
    weights = all_drawn(groups, 200, 0)
    assert weights.shape == (200, 6)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 3] == weights[:, 4]).all()
    assert (weights[:, [0, 3, 5]].sum(axis=1) == 3).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(6), abs=0.25)
    assert (weights == all_drawn(groups, 200, 0)).all()
    assert (weights != all_drawn(groups, 200, 1)).any()


def test_very_many_rows_have_fewer_rounds_in_blocks_that_fit_in_memory():
    # At most 20 million cells, 2 million at once, and at least 100 rounds.
    shapes = [weights.shape for weights in drawn(np.arange(60_000), 1000, 0)]
    assert shapes == [(33, 60_000)] * 10 + [(3, 60_000)]
    shapes = [weights.shape for weights in drawn(np.arange(300_000), 1000, 0)]
    assert shapes == [(6, 300_000)] * 16 + [(4, 300_000)]
    assert [weights.shape for weights in drawn(np.arange(3_000_000), 3, 0)] == [(1, 3_000_000)] * 3
    assert all_drawn(np.arange(10), 1000, 0).shape == (1000, 10)


def test_forty_thousand_rows_are_judged_in_little_memory():
    """All rounds at once took 2.1 GB."""
    rng = np.random.default_rng(0)
    chances = rng.random((40_000, 1)) * 0.9 + 0.05
    truth = rng.integers(0, 2, 40_000)
    both = np.hstack([1 - chances, chances])
    tested = Outcome(truth, both, decide(both, 1, 0.5), 1)
    tracemalloc.start()
    try:
        judge(tested, np.arange(40_000), [{}] * 40_000, rounds=100, confidence=0.95, seed=0)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()


def test_rounds_that_found_nothing_do_not_count():
    assert middle_part(np.array([np.nan, 2.0, 2.0]), 1.0, 0.9) == (2.0, 2.0)
    assert middle_part(np.array([np.nan]), 1.0, 0.9) == (1.0, 1.0)


def of_hits(hits: np.ndarray) -> Outcome:
    """Of one label, whose accuracy is all that counts."""
    decided = np.where(hits, 1, 0)
    return Outcome(np.ones(len(hits), np.int64), np.full((len(hits), 2), 0.5), decided, None)


def estimated(tested: Outcome, groups: np.ndarray, rounds: int = 200, seed: int = 0) -> dict[str, Interval]:
    return estimate(tested, groups, resampled(tested, groups, rounds, seed), 0.95)


@pytest.mark.parametrize(("share", "count"), [(0.97, 33), (0.8, 80), (1.0, 22), (0.5, 6), (0.9, 6)])
def test_intervals_cover_what_is_true(share, count):
    """Over all numbers of hits that there may be, each by how probable it is."""
    covered = 0.0
    for right in range(count + 1):
        found = estimated(of_hits(np.arange(count) < right), np.arange(count), 100)["accuracy"]
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.high - found.low > 2 / (count + 3)
        chance = math.comb(count, right) * share**right * (1 - share) ** (count - right)
        covered += chance * (found.low <= share <= found.high)
    assert covered >= 0.95


@pytest.mark.parametrize("copies", [1, 4])
def test_copies_of_photos_are_no_evidence(copies):
    """By rows intervals would be far too narrow."""
    covered, narrow = 0, 0
    for seed in range(80):
        hits = np.repeat(np.random.default_rng(seed).random(80) < 0.8, copies)
        groups = np.repeat(np.arange(80), copies)
        for by_row in (False, True):
            found = estimated(of_hits(hits), np.arange(len(hits)) if by_row else groups, 100, seed)
            covers = found["accuracy"].low <= 0.8 <= found["accuracy"].high
            covered += not by_row and covers
            narrow += by_row and covers
    assert covered >= 74
    assert (narrow < 64) == (copies > 1)


def made_up(rng: np.random.Generator, count: int) -> Outcome:
    """A quarter is positive; probabilities are as they should be."""
    truth = (rng.random(count) < 0.25).astype(np.int64)
    odds = 3 * (rng.normal(size=count) + 3 * truth - 1.5) + np.log(1 / 3)
    chances = np.clip(1 / (1 + np.exp(-odds)), 1e-6, 1 - 1e-6)
    both = np.stack([1 - chances, chances], axis=1)
    return Outcome(truth, both, decide(both, 1, 0.5), 1)


def test_every_figure_lies_in_its_interval_on_few_rows():
    """A bootstrap alone held macro precision 60 times in 100."""
    rng = np.random.default_rng(0)
    true = measure(made_up(rng, 100_000))
    held = dict.fromkeys(true, 0)
    for seed in range(100):
        tested = made_up(rng, 33)
        for name, found in estimated(tested, np.arange(33), 100, seed).items():
            assert found.low <= found.value <= found.high
            held[name] += found.low <= true[name] <= found.high
    assert min(held.values()) >= 92, held


def test_no_mistake_is_no_certainty():
    truth = np.array([0, 1] * 11)
    both = np.stack([1 - truth * 0.8 - 0.1, truth * 0.8 + 0.1], axis=1)
    for positive in (1, None):
        found = estimated(Outcome(truth, both, truth, positive), np.arange(22))
        for name in ("log_loss", "brier"):
            assert found[name].high > found[name].value
            found.pop(name)
        assert {one.value for one in found.values()} == {1.0}
        assert all(0.6 < one.low < 0.9 for one in found.values())


def test_many_rows_have_narrow_intervals():
    for name, found in estimated(made_up(np.random.default_rng(0), 20_000), np.arange(20_000)).items():
        assert found.high - found.low < 0.06, name


def test_a_label_without_rows_counts_in_no_figure():
    truth = np.array([0, 1, 0, 1, 1])
    chances = np.tile([0.3, 0.4, 0.3], (5, 1))
    found = estimated(Outcome(truth, chances, np.ones(5, np.int64), None), np.arange(5))
    assert (found["macro_recall"].value, found["macro_precision"].value) == (0.5, 0.3)
    lost = estimated(Outcome(np.zeros(5, np.int64), chances[:, :2] / 0.7, np.zeros(5, np.int64), 1), truth)
    assert (lost["average_precision"].value, lost["recall"].value) == (0, 0)


def test_the_precision_of_a_threshold_is_among_the_figures():
    tested = outcome(200, 2, positive=1)
    found = measure(tested)
    assert found["precision"] == metrics.precision_score(tested.truth, tested.decided)
    assert found["recall"] == metrics.recall_score(tested.truth, tested.decided)
    assert "precision" not in measure(outcome(200, 2))
    none = Outcome(tested.truth, tested.probabilities, np.zeros(200, np.int64), 1)
    assert measure(none)["precision"] == 0
    assert estimated(none, np.arange(200))["precision"].high == 1


@pytest.mark.parametrize(("right", "count"), [(0, 10), (3, 10), (10, 10), (599, 600)])
def test_exact_limits_are_those_of_the_binomial_distribution(right, count):
    low, high = limits(right / count, count, 0.95)

    def below(share: float, most: int) -> float:
        return sum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(most + 1))

    assert low == 0 if right == 0 else 1 - below(float(low), right - 1) == pytest.approx(0.025)
    assert high == 1 if right == count else below(float(high), right) == pytest.approx(0.025)


def test_without_rows_nothing_is_known():
    assert [float(end) for end in limits(0.0, 0, 0.95)] == [0, 1]
    assert unseen(0, 0.95) == 1
    assert unseen(300, 0.95) == pytest.approx(0.01, rel=0.01)


def test_evidence_is_of_groups():
    assert evidence(np.arange(30)) == 30
    assert evidence(np.repeat(np.arange(10), 3)) == 10
    assert 1 < evidence(np.array([0] * 20 + [1, 2, 3])) < 2
    assert evidence(np.array([], np.int64)) == 0


def test_a_mean_is_surer_than_its_parts():
    found = mean(np.full(4, 0.5), np.full(4, 0.3), np.full(4, 0.9))
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.4, 0.7))


def test_a_gain_on_the_same_rows_is_surer():
    one, other = Interval(value=0.8, low=0.7, high=0.9), Interval(value=0.7, low=0.6, high=0.8)
    apart, together = gain(one, other, 0.0), gain(one, other, 0.8)
    assert apart.value == together.value == pytest.approx(0.1)
    assert apart.low < 0 < together.low


def test_a_difference_is_of_the_same_rows():
    one, other = outcome(300, 2, skill=3.0), outcome(300, 2, skill=0.5)

    def found(first: Outcome, second: Outcome) -> Interval:
        return difference(
            first, second, np.arange(300), "macro_precision", rounds=300, confidence=0.95, seed=0
        )

    better = found(one, other)
    assert better.low > 0
    assert better.value == pytest.approx(measure(one)["macro_precision"] - measure(other)["macro_precision"])
    # Equal on these rows, and perhaps not on others.
    same = found(one, one)
    assert same.value == 0
    assert -0.02 < same.low <= 0 <= same.high < 0.02


def test_four_rows_decide_nothing():
    """One is right on all of 38 rows, and the other wrong on four: by chance in one of eight cases."""
    truth = np.array([0, 1] * 19)
    wrong = truth.copy()
    wrong[:4] = 1 - wrong[:4]
    both = np.full((38, 2), 0.5)
    one, other = Outcome(truth, both, truth, 1), Outcome(truth, both, wrong, 1)
    told = difference(one, other, np.arange(38), "macro_precision", rounds=1000, confidence=0.95, seed=0)
    assert told.value > 0.1
    assert told.low < 0


def test_reliability_of_honest_probabilities():
    rng = np.random.default_rng(0)
    chances = rng.random(8_000)
    truth = (rng.random(8_000) < chances).astype(np.int64)
    honest = np.stack([1 - chances, chances], axis=1)
    slices = [{"half": str(number % 2), "rare": "x"} if number % 2 else {} for number in range(8_000)]
    tested = Outcome(truth, honest, decide(honest, 1, 0.5), 1)
    found = judge(tested, np.arange(8_000), slices, rounds=100, confidence=0.95, seed=0)
    assert found.calibration_error < 0.03
    assert len(found.bins) == 10
    assert sum(one.rows for one in found.bins) == 8_000
    assert all(abs(one.predicted - one.observed) < 0.07 for one in found.bins)
    assert [(one.key, one.value, one.rows) for one in found.slices] == [
        ("half", "1", 4_000),
        ("rare", "x", 4_000),
    ]
    assert found.slices[0].accuracy.low < 0.75 < found.slices[0].accuracy.high
    sure = Outcome(truth, honest**4 / (honest**4).sum(axis=1, keepdims=True), tested.decided, 1)
    assert sum(abs(one.predicted - one.observed) * one.rows for one in reliability(sure)) / 8_000 > 0.1


def test_only_the_commonest_values_of_a_slice_are_told():
    tested = outcome(300, 2)
    slices = [{"id": str(max(number, 5))} for number in range(300)]
    found = judge(tested, np.arange(300), slices, rounds=100, confidence=0.9, seed=0).slices
    assert len(found) == 20
    assert (found[0].value, found[0].rows) == ("5", 6)


def test_confusion_is_of_truth_by_decision():
    tested = outcome(60, 4)
    found = judge(tested, np.arange(60), [{}] * 60, rounds=100, confidence=0.9, seed=0)
    assert (
        np.array(found.confusion).tolist() == metrics.confusion_matrix(tested.truth, tested.decided).tolist()
    )
    assert found.slices == ()


def test_a_threshold_decides_for_its_label():
    chances = np.array([[0.7, 0.3], [0.71, 0.29], [0.1, 0.9]])
    assert decide(chances, 1, 0.3).tolist() == [1, 0, 1]
    assert decide(chances, 0, 0.71).tolist() == [1, 0, 1]
    assert decide(chances, None, None).tolist() == [0, 0, 1]
