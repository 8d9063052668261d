"""Fitting, calibration and thresholds, with scikit-learn itself."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import beta, norm
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from classifiers.calibration import calibrate, folds, probabilities
from classifiers.card import Interval, ThresholdCard
from classifiers.head import Calibration, sigmoid
from classifiers.preparation import TrainingRefused, prepare
from classifiers.rows import Embedding, Row
from classifiers.scoring import outcome
from classifiers.split import Seen
from classifiers.threshold import LeastCost, LeastPrecision, choose, curve, told
from classifiers.training import train
from classifiers.training_settings import TrainingSettings
from tests.classifiers.sets import of_rows, two_labels

NOTHING = Seen.of([])
PLAIN = TrainingSettings(challengers=(), rounds=100)


@pytest.fixture(autouse=True)
def one_thread():
    """As a run does; on a busy machine several are far slower."""
    with threadpool_limits(1):
        yield


# Calibration


def miscalibrated(count: int, seed: int, labels: int = 2):
    """Scores that are three times as sure as they should be, and what is true."""
    rng = np.random.default_rng(seed)
    if labels == 2:
        odds = rng.normal(0, 1.5, (count, 1))
        return 3 * odds, (rng.random(count) < sigmoid(odds[:, 0])).astype(np.int64)
    odds = rng.normal(0, 1.5, (count, labels))
    chances = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    truth = (rng.random((count, 1)) > np.cumsum(chances, axis=1)[:, :-1]).sum(axis=1)
    return 3 * odds, truth.astype(np.int64)


@pytest.mark.parametrize("labels", [2, 4])
def test_calibration_helps_where_scores_are_too_sure(labels):
    scores, truth = miscalibrated(600, 0, labels)
    found, card = calibrate(scores, truth, np.arange(600), seed=0)
    assert card.method in ("platt", "isotonic")
    assert card.losses[card.method] < 1.02 * min(card.losses.values())
    fresh, its_truth = miscalibrated(2000, 1, labels)
    before = log_loss(its_truth, probabilities(Calibration(), fresh))
    after = log_loss(its_truth, probabilities(found, fresh))
    assert after < 0.9 * before


def test_good_scores_are_left_alone():
    scores, truth = miscalibrated(600, 0)
    _, card = calibrate(scores / 3, truth, np.arange(600), seed=0)
    assert card.losses["none"] <= card.losses["isotonic"]
    assert card.losses["none"] == pytest.approx(card.losses["platt"], rel=0.02)


def test_isotonic_wins_where_no_sigmoid_fits():
    rng = np.random.default_rng(0)
    scores = rng.uniform(-4, 4, (3000, 1))
    truth = rng.random(3000) < np.where(abs(scores[:, 0]) < 2, 0.5, np.where(scores[:, 0] > 0, 0.98, 0.02))
    assert calibrate(scores, truth.astype(np.int64), np.arange(3000), seed=0)[1].method == "isotonic"


def test_few_rows_are_not_calibrated_by_steps():
    """Of about 40 validation rows isotonic regression was chosen in a fifth of all runs, and did harm."""
    for seed in range(20):
        scores, truth = miscalibrated(60, seed)
        _, card = calibrate(scores, truth, np.arange(60), seed=0)
        assert set(card.losses) == {"none", "platt"}
    scores, truth = miscalibrated(1000, 0)
    assert "isotonic" in calibrate(scores, truth, np.arange(1000), seed=0)[1].losses
    assert "isotonic" not in calibrate(scores, truth, np.arange(1000) // 5, seed=0)[1].losses


def test_without_folds_nothing_is_calibrated():
    found, card = calibrate(np.array([[1.0], [-1.0]]), np.array([1, 0]), np.array([0, 1]), seed=0)
    assert (card.method, card.losses) == ("none", {})
    assert found.platt is None


def test_folds_share_no_group():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 3, 200), rng.integers(0, 40, 200)
    parts = list(folds(labels, groups, seed=0))
    assert len(parts) == 5
    for fitted, held in parts:
        assert not set(groups[fitted]) & set(groups[held])
        assert sorted([*fitted, *held]) == list(range(200))


# Thresholds

SHARES = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40)


@given(SHARES, st.floats(0.01, 100), st.floats(0.01, 100))
@settings(max_examples=150)
def test_no_threshold_costs_less(rows, false_positive, false_negative):
    given_, truth = np.array([p for p, _ in rows]), np.array([t for _, t in rows])
    aim = LeastCost(false_positive=false_positive, false_negative=false_negative)

    def cost(threshold):
        said = given_ >= threshold
        return false_positive * (said & ~truth).sum() + false_negative * (~said & truth).sum()

    best = min(cost(threshold) for threshold in [*given_, 0.0, *np.nextafter(given_, 2)])
    found = choose(curve(given_, truth, np.arange(len(truth))), aim)
    # A probability of exactly 1 cannot be refused by a threshold of 1 at most; heads give none.
    if given_.max() < 1:
        assert cost(found.value) == pytest.approx(best)
    assert found.met


@given(SHARES, st.floats(0.05, 1))
@settings(max_examples=150)
def test_a_precision_is_surely_met_with_the_most_recall_or_told_to_be_missed(rows, wanted):
    given_, truth = np.array([p for p, _ in rows]), np.array([t for _, t in rows])

    def quality(threshold):
        said = given_ >= threshold
        right = (said & truth).sum()
        return right / max(said.sum(), 1), surely(right, said.sum()), right / max(truth.sum(), 1)

    possible = [quality(threshold) for threshold in given_]
    fitting = [recall for _, sure, recall in possible if sure >= wanted]
    found = choose(curve(given_, truth, np.arange(len(truth))), LeastPrecision(precision=wanted))
    assert found.met == bool(fitting)
    precision, sure, recall = quality(found.value)
    assert precision == pytest.approx(found.precision) or not truth.any()
    assert sure == pytest.approx(found.least_precision)
    if fitting:
        assert found.least_precision >= wanted
        assert found.recall == recall == pytest.approx(max(fitting))
    elif truth.any():
        had = [sure for precision, sure, recall in possible if precision >= wanted and recall > 0]
        assert found.least_precision == pytest.approx(max(had or [sure for _, sure, _ in possible]))


def surely(right: int, said: int) -> float:
    """The share of which one would find so many among so many only once in ten times."""
    return float(beta.ppf(0.1, right, said - right + 1)) if right else 0.0


def test_copies_make_no_precision_sure():
    given_, truth = np.linspace(0.1, 0.9, 60), np.arange(60) >= 30
    aim = LeastPrecision(precision=0.9)
    assert choose(curve(given_, truth, np.arange(60)), aim).met
    found = choose(curve(given_, truth, np.arange(60) // 3), aim)
    assert not found.met
    assert (found.precision, found.recall) == (1, 1)


def test_what_is_met_is_met_on_other_rows():
    """The best threshold on the validation rows had the precision on others in half of all runs."""
    rng = np.random.default_rng(0)
    told = kept = 0
    for _ in range(300):
        truth = rng.random(160) < 0.25
        found = choose(
            curve(sigmoid(rng.normal(size=160) + 2.8 * truth), truth, np.arange(160)),
            LeastPrecision(precision=0.9),
        )
        cut = np.log(found.value / (1 - found.value))
        right, wrong = 0.25 * norm.sf(cut - 2.8), 0.75 * norm.sf(cut)
        told += found.met
        kept += found.met and right / (right + wrong) >= 0.9
    assert told > 150
    assert kept / told > 0.85


def test_costs_move_the_threshold():
    scores, truth = miscalibrated(2000, 0)
    found = curve(sigmoid(scores[:, 0] / 3), truth == 1, np.arange(2000))
    values = [
        choose(found, LeastCost(false_positive=cost, false_negative=1)).value for cost in (0.1, 0.5, 1, 3, 10)
    ]
    assert values == sorted(values)
    assert values[0] < 0.2 < 0.8 < values[-1]


@pytest.mark.parametrize(
    "aim", [{"kind": "least_cost", "false_positive": 0}, {"kind": "least_precision", "precision": 2}]
)
def test_senseless_aims_are_refused(aim):
    with pytest.raises(ValidationError):
        TrainingSettings(aim=aim)


def test_a_threshold_tells_of_rows_that_did_not_choose_it():
    kept = ThresholdCard(value=0.5, aim="an aim", met=False, precision=0.95, least_precision=0.81, recall=0.5)
    figures = {
        "precision": Interval(value=0.75, low=0.4, high=0.9),
        "recall": Interval(value=0.6, low=0.3, high=0.8),
    }
    text = told(kept, "cat", figures)
    for part in (
        "From a probability of 0.500 on an image is 'cat', for an aim.",
        "The validation rows make no threshold 90% sure of that",
        "precision is 0.950 (90% sure: 0.810) and the recall 0.500",
        "On the test rows the precision is 0.750 (0.400 to 0.900) and the recall 0.600 (0.300 to 0.800).",
    ):
        assert part in text
    plain = told(ThresholdCard(value=0.5, aim="image_embed's", met=True), "cat", {})
    assert plain == "From a probability of 0.500 on an image is 'cat', for image_embed's."


# The choice


def test_a_challenger_must_surely_win():
    """Rings: a straight line learns nothing of them, a hidden layer does."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(800, 2)).astype(np.float32)
    far = (vectors**2).sum(axis=1) > 1.4
    rings = of_rows(
        Row(f"p{number}", "positive" if label else "negative", (vector,))
        for number, (vector, label) in enumerate(zip(vectors, far, strict=True))
    )
    options = TrainingSettings(rounds=200)
    prepared = prepare(rings, NOTHING, options)
    trained = train(prepared, rings, options)
    assert trained.model_card.kind == "mlp"
    assert trained.model_card.reason.startswith("It replaces the baseline")
    found = outcome(trained.chosen.network, trained.chosen.calibration, prepared.test, 1, 0.5)
    assert found.hits.mean() > 0.9


def test_the_baseline_stays_where_nothing_is_surely_better():
    plain = two_labels()
    options = TrainingSettings(rounds=200, challengers=("tuned_logistic",))
    trained = train(prepare(plain, NOTHING, options), plain, options)
    assert trained.model_card.kind == "logistic"
    assert "does not surely beat it" in trained.model_card.reason
    assert trained.chosen is trained.baseline


@pytest.mark.parametrize("aim", [LeastCost(false_positive=4), LeastPrecision(precision=0.95)])
def test_the_threshold_meets_its_aim_on_the_validation_rows(aim):
    rows = two_labels(2000, gap=3.0)
    options = PLAIN.model_copy(update={"aim": aim})
    prepared = prepare(rows, NOTHING, options)
    chosen = train(prepared, rows, options).chosen
    assert chosen.threshold is not None
    said = outcome(chosen.network, chosen.calibration, prepared.validation, 1, chosen.threshold.value).decided
    truth = prepared.validation.labels
    assert (said & truth).sum() / said.sum() == pytest.approx(chosen.threshold.precision)
    assert chosen.threshold.met
    if isinstance(aim, LeastPrecision):
        assert chosen.threshold.least_precision >= 0.95


def test_neither_the_order_of_rows_nor_the_time_changes_a_bit():
    rows = two_labels()
    again = replace(rows, rows=tuple(reversed(rows.rows)))
    options = TrainingSettings(rounds=100, challengers=("tuned_logistic",))
    one, other = (train(prepare(each, NOTHING, options), each, options).chosen for each in (rows, again))
    assert (one.network.layers[0][0] == other.network.layers[0][0]).all()
    assert one.threshold == other.threshold
    assert prepare(rows, NOTHING, options).data == prepare(again, NOTHING, options).data


def test_many_labels_are_counted_in_one_pass():
    """Of each label once over all rows, 2,000 labels took minutes."""
    labels = tuple(f"l{number}" for number in range(400))
    many = of_rows(
        Row(f"p{number}", labels[number % 400], (np.zeros(1, np.float32),)) for number in range(20_000)
    )
    many = replace(many, labels=labels, positive=None)
    looked = 0

    class Counted(str):
        """A label that tells how often it is compared."""

        __hash__ = str.__hash__

        def __eq__(self, other):
            nonlocal looked
            looked += 1
            return str.__eq__(self, other)

    rows = tuple(replace(row, label=Counted(row.label)) for row in many.rows)
    data = prepare(replace(many, rows=rows), NOTHING, PLAIN).data
    assert sum(data.sides[side]["l7"] for side in data.sides) == 50
    assert looked < 20 * len(rows)


# Refusals


def changed(**change):
    rows = two_labels()
    bad = replace(rows.rows[7], **change)
    return replace(rows, rows=(*rows.rows[:7], bad, *rows.rows[8:]))


REFUSED = {
    "no rows": (of_rows([]), "has no rows; about 22 photos of each label are needed"),
    "one label": (
        replace(two_labels(), labels=("negative",), positive=None),
        "two different ones are needed",
    ),
    "twice the same label": (replace(two_labels(), labels=("a", "a")), "two different ones"),
    "positive of three": (replace(two_labels(), labels=("a", "b", "positive")), "must be one of two"),
    "positive unknown": (replace(two_labels(), positive="x"), "names 'x' as the positive one"),
    "half a character": (replace(two_labels(), name="\ud800"), "is no text"),
    "half a label": (replace(two_labels(), labels=("negative", "\udfff")), "is no text"),
    "half a slice": (changed(slices={"a": "\ud800"}), "is no text"),
    "no embeddings": (replace(two_labels(), embeddings=(), spaces=()), "0 embeddings"),
    "spaces": (replace(two_labels(), spaces=()), "0 spaces"),
    "label": (changed(label="other"), r"Row 8 .*'two-0-7'.* label 'other', which is not among 'negative'"),
    "phash": (changed(phash=2**64), "must have 64 bits"),
    "negative phash": (changed(phash=-1), "must have 64 bits"),
    "NaN": (changed(vectors=(np.full(8, np.nan, np.float32),)), "not finite"),
    "length": (changed(vectors=(np.zeros(7, np.float32),)), r"vectors of \[7\] values, .* have \[8\]"),
    "empty vector": (changed(vectors=(np.zeros(0, np.float32),)), "no list of numbers"),
    "matrix": (changed(vectors=(np.zeros((2, 4), np.float32),)), "no list of numbers"),
    "number of vectors": (changed(vectors=()), "for 1 embeddings"),
    "embeddings": (
        replace(two_labels(), embeddings=(Embedding("a"), Embedding("b")), spaces=(None, None)),
        "for 2",
    ),
    "all positive": (
        of_rows(r for r in two_labels().rows if r.label == "positive"),
        "'negative' has 0 for train",
    ),
    "few": (two_labels(20), r"'positive' has .* for validation \(of 2\).*: add about \d+"),
    "copies": (two_labels(400, photos=5), "too few photos that differ"),
}


@pytest.mark.parametrize(("rows", "told"), REFUSED.values(), ids=REFUSED)
def test_rows_that_cannot_be_learned_from_are_refused(rows, told):
    with pytest.raises(TrainingRefused, match=told):
        prepare(rows, NOTHING, PLAIN)


def test_a_refusal_tells_of_photos_that_were_seen():
    rows = two_labels()
    with pytest.raises(TrainingRefused, match=r"\d+ photos are not for test"):
        prepare(rows, Seen.of(rows.rows), PLAIN)


def test_shares_must_leave_rows_to_train():
    with pytest.raises(ValidationError, match=r"more than 0\.8"):
        TrainingSettings(validation=0.5, test=0.5)
