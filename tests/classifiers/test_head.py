"""Heads as plain arrays: each row by itself, and no trust in files."""

import io
import subprocess
import sys
import zipfile
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from classifiers.arrays import ArraysDamaged, pack, unpack
from classifiers.card import CalibrationCard, Card, DataCard, EmbeddingCard, ModelCard, ThresholdCard
from classifiers.head import Calibration, Head, HeadDamaged, Network, arrays_of, log_odds, restored


@pytest.fixture(autouse=True)
def one_thread():
    """As a run does; on a busy machine several are far slower."""
    with threadpool_limits(1):
        yield


def card(
    labels: tuple[str, ...] = ("no", "yes"),
    dimensions: tuple[int, ...] = (3, 2),
    method: str = "none",
    **more: object,
) -> Card:
    return Card.model_validate(
        {
            "collection": "test",
            "version": "20260101T000000000000Z-0123456789ab",
            "created": datetime(2026, 1, 1, tzinfo=UTC),
            "target": "whole_image",
            "embeddings": [EmbeddingCard(operation="embed_hog_hsv") for _ in dimensions],
            "spaces": [None for _ in dimensions],
            "dimensions": dimensions,
            "labels": labels,
            "model": ModelCard(kind="logistic", parameters={}, reason=""),
            "calibration": CalibrationCard.model_validate({"method": method, "losses": {}}),
            "data": DataCard(digest="", rows=0, photos=0, groups=0, moved=0, sides={}),
            "seed": 0,
            **more,
        }
    )


def head(labels: int = 2, method: str = "none", seed: int = 0, hidden: int = 0) -> Head:
    rng = np.random.default_rng(seed)
    scores = 1 if labels == 2 else labels
    widths = [5, *([hidden] if hidden else []), scores]
    layers = tuple((rng.normal(size=(one, other)), rng.normal(size=other)) for one, other in pairwise(widths))
    calibration = {
        "none": Calibration(),
        "platt": Calibration(platt=rng.normal(size=(scores, 2))),
        "isotonic": Calibration(
            isotonic=tuple((np.array([-1.0, 0.0, 2.0]), np.array([0.1, 0.4, 0.9])) for _ in range(scores))
        ),
    }[method]
    network = Network(rng.normal(size=5), rng.uniform(1, 2, 5), layers)
    return Head(card(tuple(map(str, range(labels))), method=method), network, calibration)


def batch(count: int, seed: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(count, 3)).astype(np.float32), rng.normal(size=(count, 2)).astype(np.float32)]


@pytest.mark.parametrize("labels", [2, 3, 10])
@pytest.mark.parametrize("method", ["none", "platt", "isotonic"])
@pytest.mark.parametrize("hidden", [0, 7])
def test_rows_one_at_a_time_equal_the_batch(labels, method, hidden):
    tested, vectors = head(labels, method, hidden=hidden), batch(50)
    found = tested.probabilities(vectors)
    assert found.shape == (50, labels)
    assert np.allclose(found.sum(axis=1), 1)
    assert (found > 0).all()
    for number in range(50):
        one = tested.probabilities([matrix[number : number + 1] for matrix in vectors])
        assert (one[0] == found[number]).all()


@pytest.mark.parametrize("method", ["none", "platt", "isotonic"])
def test_a_head_comes_back_as_it_was_stored(method):
    tested = head(3, method, hidden=4)
    again = restored(tested.card, unpack(pack(tested.arrays)))
    assert (again.probabilities(batch(20)) == tested.probabilities(batch(20))).all()
    assert pack(again.arrays) == pack(tested.arrays)


@pytest.mark.parametrize("labels", [2, 10])
@pytest.mark.parametrize("kind", ["logistic", "mlp"])
def test_probabilities_are_those_of_scikit_learn(labels, kind):
    vectors, truth = load_digits(n_class=labels, return_X_y=True)
    if kind == "logistic":
        model = LogisticRegression(max_iter=3000, C=0.01).fit(vectors, truth)
        layers = ((model.coef_.T, model.intercept_),)
    else:
        model = MLPClassifier((8,), max_iter=2000, tol=1e-2, random_state=0).fit(vectors, truth)
        layers = tuple(zip(model.coefs_, model.intercepts_, strict=True))
    tested = Head(
        card(tuple(map(str, range(labels))), (64,)),
        Network(np.zeros(64), np.ones(64), layers),
        Calibration(),
    )
    assert np.allclose(tested.probabilities([vectors]), model.predict_proba(vectors), atol=2e-5)


def test_an_empty_batch_has_no_rows():
    assert head(3).probabilities(batch(0)).shape == (0, 3)


def test_a_head_cannot_be_changed():
    tested: Any = restored(head().card, unpack(pack(head().arrays)))
    with pytest.raises(FrozenInstanceError):
        tested.card = card()
    with pytest.raises(ValidationError, match="frozen"):
        tested.card.target = "other"
    with pytest.raises(ValueError, match="read-only"):
        tested.network.mean[0] = 1


@pytest.mark.parametrize(
    ("vectors", "told"),
    [
        (batch(2)[:1], "1 embeddings were given, and the head reads 2"),
        ([batch(2)[0], batch(3)[1]], r"embedding 1 has the shape \[3, 2\], and the head reads \[2, 2\]"),
        ([batch(2)[1], batch(2)[0]], r"embedding 0 has the shape \[2, 2\]"),
        ([matrix[0] for matrix in batch(2)], "embedding 0 has the shape"),
        ([batch(2)[0], np.full((2, 2), np.nan)], "not finite"),
    ],
)
def test_vectors_of_another_shape_are_refused(vectors, told):
    with pytest.raises(ValueError, match=told):
        head().probabilities(vectors)


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=6))
@settings(max_examples=100)
def test_log_odds_are_finite_and_keep_the_order(scores):
    found = log_odds(np.array(scores))
    assert np.isfinite(found).all()
    assert (np.diff(found[np.argsort(scores, kind="stable")]) >= 0).all()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=5, max_size=5))
@settings(max_examples=100)
def test_no_finite_vector_gives_anything_but_probabilities(values):
    for labels in (2, 4):
        found = head(labels, "platt").probabilities([np.array([values[:3]]), np.array([values[3:]])])
        assert np.isfinite(found).all()
        assert found.sum() == pytest.approx(1)


# Files


def npz(*entries: tuple[str, bytes], compress: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array)
    return buffer.getvalue()


def claimed(shape: tuple[int, ...], body: bytes = b"") -> bytes:
    """An array that says more of itself than there is."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + body


HOSTILE = {
    "empty": b"",
    "no zip": b"hello",
    "a zip of text": npz(("mean.npy", b"hello")),
    "objects": npz(("mean.npy", npy(np.array([{"a": 1}], object)))),
    "text": npz(("mean.npy", npy(np.array(["a"])))),
    "float32": npz(("mean.npy", npy(np.zeros(5, np.float32)))),
    "Fortran order": npz(("mean.npy", npy(np.asfortranarray(np.ones((2, 3)))))),
    "a bomb": npz(("mean.npy", npy(np.zeros(1_000_000))), compress=zipfile.ZIP_DEFLATED),
    "a claim of terabytes": npz(("mean.npy", claimed((2**50,)))),
    "a claim beyond numbers": npz(("mean.npy", claimed((2**62, 2**62)))),
    "a negative length": npz(("mean.npy", claimed((-1, -8), b"\0" * 64))),
    "too short": npz(("mean.npy", claimed((5,), b"\0" * 39))),
    "too long": npz(("mean.npy", claimed((5,), b"\0" * 41))),
    "deep header": npz(("mean.npy", b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535)),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused(data):
    with pytest.raises(ArraysDamaged):
        unpack(data)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused():
    with pytest.raises(ArraysDamaged, match="one name"):
        unpack(npz(("mean.npy", npy(np.zeros(5))), ("mean.npy", npy(np.ones(5)))))


def test_no_cut_or_flipped_byte_raises_anything_else():
    data = pack(head().arrays)
    for place in range(0, len(data), 7):
        for broken in (data[:place], data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]):
            try:
                restored(head().card, unpack(broken))
            except (ArraysDamaged, HeadDamaged):
                continue


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"mean": None}, "'mean' is missing"),
        ({"bias_0": None}, "'bias_0' is missing"),
        ({"weights_0": None}, "'weights_0' is missing"),
        ({"scale": np.zeros(5)}, "not above 0"),
        ({"mean": np.full(5, np.inf)}, "not finite"),
        ({"mean": np.zeros(4)}, "of the shape"),
        ({"weights_0": np.zeros((5, 2))}, "of the shape"),
        ({"weights_0": np.zeros((5, 0)), "bias_0": np.zeros(0)}, "of the shape"),
        ({"mean": np.zeros(5, np.uint64)}, "uint64"),
        ({"platt": np.zeros((1, 2))}, "belong to no head"),
        ({"other": np.zeros(1)}, "belong to no head"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, told):
    arrays = {name: array for name, array in {**head().arrays, **change}.items() if array is not None}
    with pytest.raises(HeadDamaged, match=told):
        restored(head().card, arrays)


@pytest.mark.parametrize(
    ("xs", "ys"), [([0, 0], [0.1, 0.2]), ([0, 1], [0.2, 0.1]), ([0, 1], [0, 2]), ([0, 1], [-1, 0])]
)
def test_a_calibration_that_does_not_rise_is_refused(xs, ys):
    calibration = Calibration(isotonic=((np.array(xs, float), np.array(ys, float)),))
    with pytest.raises(HeadDamaged, match="does not rise"):
        restored(card(method="isotonic"), arrays_of(head().network, calibration))


THRESHOLD = ThresholdCard(value=0.5, aim="", met=True, precision=1, recall=1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": ("a", "a")}, "named twice"),
        ({"labels": ("a",)}, "at least 2"),
        ({"spaces": ()}, "differ in number"),
        ({"positive": "yes"}, "come together"),
        ({"threshold": THRESHOLD}, "come together"),
        ({"positive": "other", "threshold": THRESHOLD}, "not one of two"),
        ({"unknown": 1}, "unknown"),
        ({"format": 2}, "format"),
    ],
)
def test_a_card_agrees_with_itself(change, told):
    with pytest.raises(ValidationError, match=told):
        card(**change)


def test_serving_needs_no_scikit_learn():
    code = (
        "import sys, classifiers.shelf; print([m for m in ('sklearn', 'scipy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
