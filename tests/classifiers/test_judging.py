"""Figures and their intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from classifiers.bootstrap import interval, round_weights
from classifiers.judging import Outcome, decide, difference, judge, measure, measure_rounds, reliability


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
@settings(max_examples=30, deadline=None)
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


def test_draws_are_of_whole_groups_and_the_same_each_time():
    groups = np.array([7, 7, 7, 1, 1, 3])
    weights = round_weights(groups, 200, 0)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 3] == weights[:, 4]).all()
    assert (weights[:, [0, 3, 5]].sum(axis=1) == 3).all()
    assert (weights == round_weights(groups, 200, 0)).all()
    assert (weights != round_weights(groups, 200, 1)).any()


def test_very_many_rows_have_fewer_rounds(monkeypatch):
    monkeypatch.setattr("classifiers.bootstrap._MAX_CELLS", 3000)
    assert round_weights(np.arange(10), 1000, 0).shape == (300, 10)
    assert round_weights(np.arange(1000), 1000, 0).shape == (100, 1000)


def test_rounds_that_found_nothing_do_not_count():
    assert interval(1.0, np.array([np.nan, 2.0, 2.0]), 0.9).low == 2.0
    assert interval(1.0, np.array([np.nan]), 0.9).high == 1.0


@pytest.mark.parametrize("copies", [1, 4])
def test_intervals_cover_what_is_true(copies):
    """Of 95 % intervals about 95 % do; rows in groups would make those of rows far too narrow."""
    covered, narrow = 0, 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        hits = np.repeat(rng.random(80) < 0.8, copies)
        groups = np.repeat(np.arange(80), copies)
        decided = np.where(hits, 1, 0)
        tested = Outcome(np.ones(len(hits), np.int64), np.full((len(hits), 2), 0.5), decided, None)
        for by_row in (False, True):
            weights = round_weights(np.arange(len(hits)) if by_row else groups, 200, seed)
            found = interval(hits.mean(), measure_rounds(tested, weights)["accuracy"], 0.95)
            covered += not by_row and found.low <= 0.8 <= found.high
            narrow += by_row and found.low <= 0.8 <= found.high
    assert covered >= 71
    assert (narrow < 64) == (copies > 1)


def test_a_difference_is_of_the_same_rows():
    one, other = outcome(300, 2, skill=3.0), outcome(300, 2, skill=0.5)
    weights = round_weights(np.arange(300), 300, 0)
    better = difference(one, other, weights, "macro_precision", 0.95)
    assert better.low > 0
    assert better.value == pytest.approx(measure(one)["macro_precision"] - measure(other)["macro_precision"])
    assert difference(one, one, weights, "macro_precision", 0.95).high == 0


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
