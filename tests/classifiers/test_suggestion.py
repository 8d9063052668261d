"""What a person is to label next."""

import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.card import Card
from classifiers.head import Calibration, Head, Network
from classifiers.rows import Row
from classifiers.split import Seen
from classifiers.suggestion import Candidate, Shortlist, diverse, uncertainties, uncertainties_of


def binary(*positive: float) -> np.ndarray:
    values = np.array(positive)
    return np.stack([1 - values, values], axis=1)


class TestUncertainties:
    def test_of_two_labels_it_is_the_distance_from_the_threshold(self):
        found = uncertainties(binary(0, 0.1, 0.2, 0.6, 1), 0.2, 1)
        np.testing.assert_allclose(found, [0, 0.5, 1, 0.5, 0])
        # The other label as the positive one.
        np.testing.assert_allclose(uncertainties(binary(1, 0.9, 0.8, 0.4, 0), 0.2, 0), found, atol=1e-12)

    @pytest.mark.parametrize("threshold", [0.0, 1.0])
    def test_a_threshold_at_the_end_has_one_side(self, threshold):
        found = uncertainties(binary(0, 0.25, 0.5, 1), threshold, 1)
        np.testing.assert_allclose(found, np.abs(np.array([1, 0.75, 0.5, 0]) - threshold))

    def test_of_more_labels_it_is_how_close_the_best_two_are(self):
        rows = np.array([[0.5, 0.5, 0, 0], [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 0], [0.6, 0.1, 0.1, 0.2]])
        np.testing.assert_allclose(uncertainties(rows), [1, 0.9, 0, 0.6])
        # Of two labels without a positive one it is the distance from one half.
        np.testing.assert_allclose(uncertainties(binary(0.3)), uncertainties(binary(0.3), 0.5, 1))

    def test_what_is_spread_over_the_rest_does_not_count(self):
        sure = np.array([0.7, *[0.3 / 50] * 50])
        wavering = np.array([0.5, 0.5, *[0.0] * 49])
        found = uncertainties(np.stack([sure, wavering]))
        assert found[0] < 0.4 < found[1]

    def test_nothing_has_none(self):
        assert uncertainties(np.zeros((0, 3))).tolist() == []
        assert uncertainties(np.zeros((0, 2)), 0.5, 1).tolist() == []

    @settings(max_examples=100)
    @given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0, 1))
    def test_it_is_a_share(self, values, threshold):
        found = uncertainties(binary(*values), threshold, 1)
        assert ((found >= 0) & (found <= 1)).all()


def head_of(
    calibration: Calibration,
    labels: Sequence[str] = ("no", "yes"),
    positive: str | None = "yes",
    threshold=0.5,
) -> Head:
    """Whose scores are the numbers of its vectors."""
    scores = 1 if len(labels) == 2 else len(labels)
    aim = {"value": threshold, "aim": "", "met": True}
    method = "isotonic" if calibration.isotonic else "none" if calibration.platt is None else "platt"
    card = Card.model_validate(
        {
            "collection": "c",
            "version": "v",
            "created": "2026-01-01T00:00:00Z",
            "target": "whole_image",
            "embeddings": [{"operation": "embed_hog_hsv"}],
            "spaces": [None],
            "dimensions": [scores],
            "labels": labels,
            "positive": positive,
            "threshold": aim if positive else None,
            "model": {"kind": "logistic_regression", "parameters": {}, "reason": ""},
            "calibration": {"method": method, "losses": {}},
            "data": {"digest": "", "rows": 0, "photos": 0, "groups": 0, "moved": 0, "sides": {}},
            "seed": 0,
        }
    )
    layer = (np.eye(scores), np.zeros(scores))
    return Head(card, Network(np.zeros(scores), np.ones(scores), (layer,)), calibration)


def steps(*knots: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([x for x, _ in knots]), np.array([y for _, y in knots])


class TestUncertaintiesOfAHead:
    SCORES = np.array([[-4.0], [-2.0], [-1.5], [-0.9], [0.5], [1.0], [2.5], [6.0]])

    @pytest.mark.parametrize("calibration", [Calibration(), Calibration(platt=np.array([[2.0, -1.0]]))])
    def test_probabilities_that_rise_with_the_scores_count(self, calibration):
        head = head_of(calibration, threshold=0.3)
        found = uncertainties_of(head, [self.SCORES])
        assert found.tolist() == uncertainties(head.probabilities([self.SCORES]), 0.3, 1).tolist()

    def test_what_one_step_makes_equal_is_ranked(self):
        # As of two levels, with nothing between: that was chosen on few rows.
        stepped = Calibration(isotonic=(steps((-1.0, 0.025), (1.0, 0.975)),))
        head = head_of(stepped)
        equal = uncertainties(head.probabilities([self.SCORES]), 0.5, 1)
        assert len({round(each, 9) for each in equal.tolist()}) < 4
        found = uncertainties_of(head, [self.SCORES])
        assert len(set(found.tolist())) == len(found)
        # The threshold is at the score 0.
        assert np.argsort(-found).tolist() == np.argsort(np.abs(self.SCORES[:, 0])).tolist()

    @pytest.mark.parametrize(
        ("positive", "threshold"), [("yes", 0.5), ("yes", 0.15), ("yes", 0.2), ("no", 0.5), ("no", 0.85)]
    )
    def test_the_threshold_is_where_the_decision_changes(self, positive, threshold):
        line = steps((-1.0, 0.1), (0.0, 0.2), (1.0, 0.2), (3.0, 0.8))
        head = head_of(Calibration(isotonic=(line,)), positive=positive, threshold=threshold)
        grid = np.linspace(-4, 4, 801)[:, None]
        is_in = head.probabilities([grid])[:, head.card.labels.index(positive)] >= threshold
        (change,) = np.flatnonzero(np.diff(is_in))
        found = uncertainties_of(head, [grid])
        assert int(np.argmax(found)) in (change, change + 1)
        assert (np.diff(found[: change + 1]) > 0).all()
        assert (np.diff(found[change + 1 :]) < 0).all()

    @pytest.mark.parametrize(("threshold", "nearest"), [(0.05, 0), (0.95, -1)])
    def test_where_no_decision_changes_the_end_of_the_line_is_nearest(self, threshold, nearest):
        head = head_of(Calibration(isotonic=(steps((-1.0, 0.1), (1.0, 0.9)),)), threshold=threshold)
        found = uncertainties_of(head, [np.array([[-1.0], [0.0], [1.0]])])
        assert found[nearest] == max(found) == pytest.approx(1.0)
        assert len(set(found.tolist())) == 3

    def test_of_two_classes_it_is_where_the_better_one_changes(self):
        head = head_of(Calibration(isotonic=(steps((-1.0, 0.2), (3.0, 0.6)),)), positive=None)
        assert uncertainties_of(head, [np.array([[2.0]])]) == pytest.approx(1.0)

    def test_of_more_classes_too_what_is_equal_is_ranked(self):
        line = steps((-2.0, 0.1), (2.0, 0.9))
        head = head_of(Calibration(isotonic=(line,) * 3), ("a", "b", "c"), None)
        scores = np.array([[9.0, 4.0, 0.0], [9.0, 5.0, 0.0], [9.0, 6.0, 0.0]])
        equal = uncertainties(head.probabilities([scores]))
        assert np.ptp(equal) == pytest.approx(0.0)
        assert np.argsort(-uncertainties_of(head, [scores])).tolist() == [2, 1, 0]

    def test_nothing_has_none(self):
        head = head_of(Calibration(isotonic=(steps((-1.0, 0.2), (3.0, 0.6)),)))
        assert uncertainties_of(head, [np.zeros((0, 1))]).tolist() == []


def turned(*degrees: float) -> list[np.ndarray]:
    angles = np.radians(np.array(degrees))
    return [np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)]


def clusters(sizes: Sequence[int], dimensions: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around some centres, and the number of the centre of each."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(sizes), dimensions))
    of = np.repeat(np.arange(len(sizes)), sizes)
    vectors = centres[of] + 0.3 * rng.normal(size=(len(of), dimensions))
    return vectors.astype(np.float32), of


class TestDiverse:
    def test_the_most_uncertain_comes_first_and_then_what_is_far_from_it(self):
        chosen = diverse(np.array([0.9, 1.0, 0.95, 0.9]), turned(0, 90, 70, 120), 4)
        assert chosen[:2] == [1, 0]
        assert sorted(chosen) == [0, 1, 2, 3]

    def test_what_is_sure_is_not_chosen_for_being_far(self):
        unsure = np.array([1.0, 0.9, 0.0001])
        assert diverse(unsure, turned(0, 60, 180), 2) == [0, 1]

    def test_no_cluster_takes_all_places(self):
        vectors, of = clusters([60, 20, 10, 5])
        # The large one is the least sure.
        unsure = np.where(of == 0, 0.95, 0.9) + np.linspace(0, 0.01, len(of))
        chosen = diverse(unsure, [vectors], 10)
        assert set(of[chosen]) == {0, 1, 2, 3}
        assert {of[row] for row in np.argsort(-unsure)[:10]} == {0}

    def test_only_the_most_uncertain_are_looked_at(self):
        unsure = np.array([1.0, *[0.9] * 19, 0.89])
        vectors = turned(0, *np.linspace(20, 60, 19), 180)
        assert 20 not in diverse(unsure, vectors, 2)

    def test_near_copies_are_never_chosen_twice(self):
        vectors = turned(0, 1, 90, 91, 180)
        assert diverse(np.array([1, 0.99, 0.5, 0.51, 0.1]), vectors, 5) == [0, 3, 4]
        # So much of the length does not matter.
        longer = [vectors[0] * np.array([[1], [1e30], [1e-30], [7], [1]], np.float32)]
        assert diverse(np.array([1, 0.99, 0.5, 0.51, 0.1]), longer, 5) == [0, 3, 4]

    def test_copies_are_told_by_their_hashes_too(self):
        vectors, unsure = turned(0, 60, 120, 180), np.array([1, 0.9, 0.8, 0.7])
        phashes = [0, 0b111, None, 0xFFFF_FFFF_FFFF_FFFF]
        assert sorted(diverse(unsure, vectors, 4, phashes=phashes, max_distance=3)) == [0, 2, 3]
        assert sorted(diverse(unsure, vectors, 4, phashes=phashes, max_distance=2)) == [0, 1, 2, 3]
        # Without a hash it is no copy of the hash 0.
        assert len(diverse(unsure, vectors, 4, phashes=[0, None, None, None], max_distance=16)) == 4

    def test_many_copies_leave_room_for_the_next_ones(self):
        # More copies than are looked at at a time, all of them less sure than the rest.
        vectors = [np.concatenate([np.tile(turned(0)[0], (500, 1)), *(turned(a)[0] for a in (60, 120, 180))])]
        unsure = np.array([*[0.9] * 500, 0.3, 0.2, 0.1])
        chosen = diverse(unsure, vectors, 3)
        assert chosen[0] == 0
        assert len(set(chosen)) == 3
        assert set(chosen[1:]) < {500, 501, 502}

    def test_several_embeddings_count_alike(self):
        ones, others = turned(0, 0, 90), [turned(0, 90, 0)[0] * 1000]
        # Alike in one of two embeddings is no copy.
        assert sorted(diverse(np.array([1, 0.9, 0.8]), [*ones, *others], 3)) == [0, 1, 2]
        assert diverse(np.array([1, 0.9, 0.8]), [*ones, *ones], 3) == [0, 2]

    @pytest.mark.parametrize(
        ("count", "rows", "expected"), [(3, 0, []), (0, 3, []), (3, 1, [0]), (10, 2, [1, 0])]
    )
    def test_few_are_enough(self, count, rows, expected):
        vectors = np.eye(4, dtype=np.float32)[:rows]
        assert diverse(np.arange(rows, dtype=np.float64), [vectors], count) == expected

    def test_zero_vectors_and_certainty_do_no_harm(self):
        vectors = np.zeros((3, 4), np.float32)
        assert diverse(np.zeros(3), [vectors], 2) == [0, 1]
        assert diverse(np.array([0, 0, 0.5]), [np.eye(3, dtype=np.float32)], 3) == [2, 0, 1]

    @settings(max_examples=60)
    @given(st.integers(0, 60), st.integers(1, 12), st.integers(0, 10_000))
    def test_what_is_chosen_is_distinct_and_as_much_as_there_is(self, rows, count, seed):
        rng = np.random.default_rng(seed)
        vectors = rng.normal(size=(rows, 64)).astype(np.float32)
        unsure = rng.random(rows)
        before = vectors.copy()
        chosen = diverse(unsure, [vectors], count)
        assert chosen == diverse(unsure, [vectors], count)
        assert len(chosen) == len(set(chosen)) == min(rows, count)
        assert (vectors == before).all()
        if chosen:
            assert chosen[0] == int(np.argmax(unsure))

    def test_a_hundred_thousand_vectors_take_no_copy_of_them(self):
        vectors = np.random.default_rng(0).random(size=(100_000, 512), dtype=np.float32)
        vectors -= 0.5
        unsure = np.random.default_rng(1).random(100_000)
        tracemalloc.start()
        try:
            chosen = diverse(unsure, [vectors], 50)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(chosen) == 50
        assert peak < vectors.nbytes / 10


def candidates(count: int, seed: int = 0, **fields: Any) -> list[Candidate]:
    rng = np.random.default_rng(seed)
    return [
        Candidate(
            f"{number:06}",
            np.array([0.5, 0.5]),
            float(rng.random()),
            [rng.normal(size=16).astype(np.float32)],
            **fields,
        )
        for number in range(count)
    ]


class TestShortlist:
    def test_it_does_not_matter_in_which_portions_candidates_come(self):
        every = candidates(20_000)
        found = []
        for step in (20_000, 977):
            shortlist = Shortlist(5, 6)
            for start in range(0, len(every), step):
                shortlist.offer(every[start : start + step])
            found.append([each.id for each in shortlist.suggested()])
        backwards = Shortlist(5, 6)
        backwards.offer(reversed(every))
        assert found[0] == found[1] == [each.id for each in backwards.suggested()]
        assert found[0][0] == max(every, key=lambda each: each.uncertainty).id
        vectors = [np.stack([each.vectors[0] for each in every])]
        rows = diverse(np.array([each.uncertainty for each in every]), vectors, 5)
        assert found[0] == [every[row].id for row in rows]

    def test_most_of_them_are_not_kept(self):
        tracemalloc.start()
        try:
            shortlist = Shortlist(5, 6)
            for start in range(30):
                rng = np.random.default_rng(start)
                vectors = rng.normal(size=(1000, 64)).astype(np.float32)
                shortlist.offer(
                    Candidate(f"{start}-{number}", np.array([0.5, 0.5]), float(rng.random()), [vector.copy()])
                    for number, vector in enumerate(vectors)
                )
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(shortlist.suggested()) == 5
        # All together take over 20 MB.
        assert kept < 9_000_000

    def test_hashes_and_several_embeddings_go_with_them(self):
        vectors = [np.ones(3, np.float32), np.ones(2, np.float32)]
        other = [np.array([1, 0, 0], np.float32), np.array([1, 0], np.float32)]
        shortlist = Shortlist(5, 6)
        shortlist.offer(
            [
                Candidate("a", np.array([0.4, 0.6]), 0.8, vectors, 0),
                Candidate("b", np.array([0.5, 0.5]), 1.0, other, 0b11),
            ]
        )
        assert [each.id for each in shortlist.suggested()] == ["b"]

    def test_nothing_is_suggested_of_nothing(self):
        assert Shortlist(5, 6).suggested() == []


def test_a_photo_is_known_by_its_id_and_by_its_hash():
    seen = Seen.of([Row("cat/1.jpg", "cat", (), phash=0b1111), Row("cat/2.jpg", "cat", ())])
    assert seen.holds_photo("cat/2.jpg", None, 6)
    assert seen.holds_photo("elsewhere/1.jpg", 0b1, 3)
    assert not seen.holds_photo("elsewhere/1.jpg", 0b1, 2)
    assert not seen.holds_photo("elsewhere/1.jpg", None, 6)
