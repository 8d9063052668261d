"""Classifiers that image_embed trained: read without running anything, and converted to versions."""

import io
import os
import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge

from classifiers.head import FLOOR, stacked
from classifiers.legacy.compression import MAX_BYTES
from classifiers.legacy.conversion import convert
from classifiers.legacy.folder import ConversionRefused, Found, listed, opened
from classifiers.legacy.pickles import PickleRefused, read
from classifiers.rows import Embedding
from classifiers.run import TrainingSettings, run_training
from classifiers.shelf import Shelf, ShelfBusy
from tests.classifiers.image_embed import CLIP, FILE, drawn, entry, fitted, put
from tests.classifiers.sets import two_labels

ROOT = Path(__file__).resolve().parents[2]
FILE_7 = FILE.format(7)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "classifiers")


def dumped(model: object, **options: Any) -> bytes:
    stream = io.BytesIO()
    joblib.dump(model, stream, **options)
    return stream.getvalue()


def only(folder: Path, **stated: Any) -> Found:
    (each,) = listed(folder)
    return opened(each, **stated)


class TestConversion:
    @pytest.mark.parametrize(
        ("embedding", "lengths"),
        [
            (CLIP, (512,)),
            ("embed_dino_v2", (768,)),
            (f"{CLIP}+embed_dino_v3", (512, 1024)),
            (f"embed_dino_v3_patch+{CLIP}+embed_dino_v2", (1024, 512, 768)),
            ("embed_hog_hsv", (3,)),
        ],
    )
    def test_probabilities_are_those_of_the_original(self, tmp_path, shelf, embedding, lengths):
        width = sum(lengths)
        model = fitted(width)
        folder = put(tmp_path / "old", {"7": entry(7, embedding, width)}, {FILE_7: model})
        # Whose vectors here are other ones than image_embed's is refused without a space.
        spaces = {name: f"{name}/1" for name in embedding.split("+") if name != CLIP}
        convert(only(folder, spaces=spaces), shelf)
        head = shelf.current("7")
        assert head is not None
        assert head.card.dimensions == lengths
        assert head.card.spaces == tuple(spaces.get(name) for name in embedding.split("+"))
        assert [one.operation for one in head.card.embeddings] == embedding.split("+")
        vectors, _ = drawn(width, seed=1, rows=200)
        # Some that are far from all that it was trained on, too.
        vectors[:20] *= 30
        parts = np.split(vectors, np.cumsum(lengths)[:-1], axis=1)
        said = head.probabilities(stacked(list(zip(*parts, strict=True)), lengths))
        # A head says of nothing that it is quite certain.
        wanted = np.clip(model.predict_proba(vectors.tolist()), FLOOR, 1 - FLOOR)
        assert np.abs(said - wanted).max() < 1e-9
        assert ((said[:, 1] >= head.card.threshold.value) == model.predict(vectors.tolist())).all()

    def test_the_card_tells_what_is_known_and_no_more(self, tmp_path, shelf):
        model = fitted()
        found = only(put(tmp_path / "old", {"7": entry()}, {FILE_7: model}))
        at = datetime(2026, 1, 2, tzinfo=UTC)
        converted = convert(found, shelf, clock=lambda: at)
        card = shelf.load("7", converted.version).card
        assert converted.serves == converted.version
        assert (card.created, card.target, card.spaces) == (at, "prominent_face", (None,))
        assert (card.labels, card.positive) == (("negative", "positive"), "positive")
        assert card.threshold.model_dump() == {
            "value": 0.5,
            "aim": "as image_embed",
            "met": True,
            "precision": None,
            "recall": None,
            "least_precision": None,
        }
        assert card.model.kind == "logistic_regression"
        assert card.model.reason == f"converted from {FILE_7} of image_embed"
        assert card.model.parameters == {
            "C": 0.1,
            "class_weight": "balanced",
            "solver": "liblinear",
            "fit_intercept": True,
            "max_iter": 100,
            "random_state": 42,
        }
        assert (card.calibration.method, card.metrics, card.data.rows, card.seed) == ("none", {}, 0, 42)
        assert card.settings["sha256"] == found.sha256
        assert not len(shelf.seen("7", converted.version).digests)
        page = (shelf.folder / "7" / converted.version / "report.html").read_text()
        assert found.sha256 in page

    @pytest.mark.parametrize("operation", ["embed_dino_v2", "embed_dino_v3_patch"])
    def test_what_image_embed_makes_otherwise_is_refused(self, tmp_path, operation):
        for embedding in (operation, f"{CLIP}+{operation}"):
            folder = put(tmp_path / "old", {"7": entry(7, embedding, None)}, {FILE_7: fitted()})
            with pytest.raises(ConversionRefused) as caught:
                only(folder, spaces={CLIP: "clip"})
            assert f"{operation} of image_embed makes other vectors than here" in str(caught.value)
            assert f"--space {operation}=SPACE" in str(caught.value)

    def test_a_space_that_is_told_later_makes_another_version(self, tmp_path, shelf):
        folder = put(tmp_path / "old", {"7": entry()}, {FILE_7: fitted()})
        first = convert(only(folder), shelf)
        page = shelf.folder / "7" / first.version / "report.html"
        assert "not known: nothing tells whether" in page.read_text()
        second = convert(only(folder, spaces={CLIP: "clip/1"}), shelf)
        assert second.is_new
        assert second.serves == first.version
        assert shelf.load("7", second.version).card.spaces == ("clip/1",)
        page = shelf.folder / "7" / second.version / "report.html"
        assert "<dd>clip/1</dd>" in page.read_text()

    def test_a_file_is_converted_once(self, tmp_path, shelf):
        found = only(put(tmp_path / "old", {"7": entry()}, {FILE_7: fitted()}))
        first, second = convert(found, shelf), convert(found, shelf)
        assert (first.is_new, second.is_new) == (True, False)
        assert shelf.versions("7") == [first.version]
        assert second.version == first.version

    def test_what_serves_goes_on_serving(self, tmp_path, shelf):
        folder = put(tmp_path / "old", {"7": entry()}, {FILE_7: fitted()})
        first = convert(only(folder), shelf)
        put(folder, {"7": entry()}, {FILE_7: fitted(seed=1)})
        second = convert(only(folder), shelf)
        assert second.is_new
        assert second.serves == shelf.best("7") == first.version

    def test_while_somebody_trains_nothing_is_stored(self, tmp_path, shelf):
        found = only(put(tmp_path / "old", {"7": entry()}, {FILE_7: fitted()}))
        with shelf.training("7"), pytest.raises(ShelfBusy):
            convert(found, shelf)
        assert shelf.versions("7") == []

    def test_it_never_competes_as_it_may_know_the_test_rows(self, tmp_path, shelf):
        """A classifier that was trained on all rows would win by heart."""
        rows = replace(two_labels(), name="7", spaces=(None,))
        model = LogisticRegression(C=1e6, solver="liblinear")
        model.fit([row.vectors[0] for row in rows.rows], [row.label == "positive" for row in rows.rows])
        told = entry(7, "embed_hog_hsv", 8, derivative_type="whole_image")
        found = only(put(tmp_path / "old", {"7": told}, {FILE_7: model}))
        old = convert(found, shelf).version
        summary = run_training(rows, shelf, TrainingSettings(challengers=(), rounds=100))
        assert summary.promoted
        assert f"{old} cannot be compared (it was trained elsewhere" in summary.reason
        assert shelf.rollback("7") == old
        # A person chose it over what was trained: only a person decides otherwise.
        for more in (rows, replace(two_labels(500, gap=3.0), name="7", spaces=(None,))):
            again = run_training(more, shelf, TrainingSettings(challengers=(), rounds=100))
            assert again.current == old
            assert f"{old} goes on serving, as it cannot be compared (it was trained" in again.reason


class TestFiles:
    """What joblib writes, in all its forms."""

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    @pytest.mark.parametrize("compress", [0, 1, 9, ("gzip", 3), ("bz2", 9), ("lzma", 9), ("xz", 9)])
    def test_every_form_is_read(self, tmp_path, compress, protocol):
        model = fitted(16)
        joblib.dump(model, tmp_path / "model.pkl", compress=compress, protocol=protocol)
        found = read((tmp_path / "model.pkl").read_bytes())
        assert (found.attributes["coef_"] == model.coef_).all()
        assert (found.attributes["intercept_"] == model.intercept_).all()
        assert found.attributes["C"] == 0.1
        assert found.names == (
            "sklearn.linear_model._logistic.LogisticRegression",
            "joblib.numpy_pickle.NumpyArrayWrapper",
            "numpy.ndarray",
            "numpy.dtype",
        )

    def test_arrays_that_are_not_aligned(self):
        """As joblib before 1.2 wrote them."""

        class Unaligned(io.BytesIO):
            def tell(self) -> int:
                raise io.UnsupportedOperation

        model, stream = fitted(16), Unaligned()
        joblib.dump(model, stream)
        assert (read(stream.getvalue()).attributes["coef_"] == model.coef_).all()

    def test_names_of_old_versions(self):
        """scikit-learn before 0.22 and NumPy before 2."""
        model = fitted(16)
        model.C = np.float64(0.25)
        data = dumped(model, protocol=3)
        assert data.count(b"csklearn.linear_model._logistic\n") == 1
        data = data.replace(b"csklearn.linear_model._logistic\n", b"csklearn.linear_model.logistic\n")
        data = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
        found = read(data)
        assert (found.attributes["coef_"] == model.coef_).all()
        assert found.attributes["C"] == 0.25
        assert found.names[0] == "sklearn.linear_model.logistic.LogisticRegression"

    @pytest.mark.parametrize("kind", [">f8", "<f4", ">i4", "?", "<u2"])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_arrays_of_all_numbers(self, kind, order):
        model = fitted(16)
        model.more = np.asarray(np.arange(12).reshape(3, 4), kind, order=order)
        assert (read(dumped(model)).attributes["more"] == model.more).all()

    def test_a_file_that_ends_early(self):
        data = dumped(fitted(4))
        for length in range(len(data)):
            with pytest.raises(PickleRefused):
                read(data[:length])

    @pytest.mark.parametrize("compress", [3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
    def test_a_compressed_file_that_ends_early_or_late(self, tmp_path, compress):
        joblib.dump(fitted(4), tmp_path / "model.pkl", compress=compress)
        data = (tmp_path / "model.pkl").read_bytes()
        read(data)
        for cut in (data[: len(data) // 2], data[:8], data + b"\0" * 8):
            with pytest.raises(PickleRefused):
                read(cut)

    def test_a_file_that_goes_on(self):
        with pytest.raises(PickleRefused, match="goes on"):
            read(dumped(fitted(4)) + b"\0")

    @pytest.mark.parametrize("data", [b"", b"\x80", b"{}", b"ZF0x1", b"\x04\x22\x4d\x18 lz4", b"\0" * 100])
    def test_no_pickle_at_all(self, data):
        with pytest.raises(PickleRefused):
            read(data)

    @settings(max_examples=500)
    @given(st.data())
    def test_damage_is_told_and_raises_nothing_else(self, data):
        damaged = bytearray(_SOUND)
        for _ in range(data.draw(st.integers(1, 5))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        try:
            found = read(bytes(damaged))
        except PickleRefused:
            return
        assert isinstance(found.attributes, dict)


_SOUND = dumped(fitted(4))


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call = (call, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _state_of(model: LogisticRegression, **attributes: Any) -> LogisticRegression:
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


def _by_path(marker: str) -> bytes:
    """A name that leads out of a module that is trusted."""
    name, module = b"os.system", b"joblib.numpy_pickle"
    text = f"touch {marker}".encode()
    return (
        b"\x80\x04"
        + b"".join(b"\x8c" + bytes([len(each)]) + each for each in (module, name))
        + b"\x93\x8c"
        + bytes([len(text)])
        + text
        + b"\x85R."
    )


def _hostile(marker: str) -> dict[str, bytes]:
    shell = Evil(os.system, f"touch {marker}")
    python = Evil(eval, f"open({marker!r}, 'w').close()")
    objects = np.array([shell, None], dtype=object)
    model = fitted(4)
    return {
        "a shell": dumped(shell),
        "an expression": dumped(python),
        "in a tuple": dumped((fitted(4), python)),
        "among the attributes": dumped(_state_of(fitted(4), coef_=shell)),
        "in an attribute of no use": dumped(_state_of(fitted(4), verbose=python)),
        "in a call of a call": dumped(
            Evil(getattr, Evil(__import__, "os"), Evil(eval, f"open({marker!r}, 'w').close()"))
        ),
        "in an array of objects": dumped(_state_of(fitted(4), classes_=objects)),
        "in a pickle of its own": pickle.dumps(_state_of(fitted(4), classes_=objects)),
        "by its path": _by_path(marker),
        "compressed": zlib.compress(dumped(shell)),
        "after the model": dumped(_state_of(model, z=Evil(exec, f"open({marker!r}, 'w').close()"))),
    }


HOSTILE = list(_hostile("marker"))


class TestHostile:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_nothing_is_run(self, tmp_path, name):
        marker = tmp_path / "marker"
        data = _hostile(str(marker))[name]
        with pytest.raises(PickleRefused):
            read(data)
        assert not marker.exists()

    @pytest.mark.parametrize("name", HOSTILE)
    def test_and_it_would_run(self, tmp_path, name):
        """What is refused is not harmless: whoever loads such a file runs it."""
        marker = tmp_path / "marker"
        # Some make something that is no model, and fail at that; by then they have run.
        with suppress(TypeError, AttributeError):
            joblib.load(io.BytesIO(_hostile(str(marker))[name]))
        assert marker.exists()

    def test_reading_imports_compiles_and_starts_nothing(self, tmp_path):
        """As the interpreter itself tells it."""
        marker = tmp_path / "marker"
        for number, data in enumerate([_SOUND, *_hostile(str(marker)).values()]):
            (tmp_path / f"{number}.pkl").write_bytes(data)
        program = (
            "import pathlib, sys\n"
            "from classifiers.legacy.pickles import PickleRefused, read\n"
            "files = [p.read_bytes() for p in sorted(pathlib.Path(sys.argv[1]).glob('*.pkl'))]\n"
            "read(files[0])\n"
            "seen = []\n"
            "sys.addaudithook(lambda event, arguments: seen.append(event))\n"
            "refused = 0\n"
            "for data in files:\n"
            "    try:\n"
            "        read(data)\n"
            "    except PickleRefused:\n"
            "        refused += 1\n"
            "events = sorted(set(seen))\n"
            "print(len(files), refused, events)\n"
        )
        told = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        )
        assert told.stdout.strip() == f"{len(HOSTILE) + 1} {len(HOSTILE)} []"
        assert not marker.exists()

    @pytest.mark.parametrize("compress", [3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
    def test_a_bomb_is_not_unpacked(self, tmp_path, compress):
        joblib.dump(b"\0" * (MAX_BYTES * 4), tmp_path / "bomb.pkl", compress=compress)
        data = (tmp_path / "bomb.pkl").read_bytes()
        assert len(data) < MAX_BYTES / 10
        with pytest.raises(PickleRefused, match="decompressed"):
            read(data)

    def test_a_large_file(self):
        with pytest.raises(PickleRefused, match="larger"):
            read(b"\x80\x04" + b"\0" * MAX_BYTES)

    @pytest.mark.parametrize(
        "shape", [(2**40,), (2**62, 2**62), (-1,), (1, 1, 1), (True,), ("3",), ((3,),), (3.0,), None]
    )
    def test_headers_of_arrays_that_are_not_there(self, shape):
        read(_with_shape((0,)))
        with pytest.raises(PickleRefused):
            read(_with_shape(shape))

    @pytest.mark.parametrize(
        "instructions",
        [
            b"B" + struct.pack("<I", 2**32 - 1),
            b"\x8e" + struct.pack("<Q", 2**62),
            b"\x96" + struct.pack("<Q", 2**40),
            b"\x8d" + struct.pack("<Q", 2**64 - 1),
            b"\x95" + struct.pack("<Q", 2**63),
            b"\x8b" + struct.pack("<i", 2**31 - 1),
            b"\x8b" + struct.pack("<i", -1),
            b"r" + struct.pack("<I", 2**32 - 1),
            b"}" * 1_000_000,
            b"(" * 1_000_000,
        ],
    )
    def test_claims_of_more_than_there_is(self, instructions):
        with pytest.raises(PickleRefused):
            read(b"\x80\x04" + instructions + b".")

    def test_a_key_that_takes_for_ever_to_hash(self):
        doubled = b")q\x00" + b"h\x00\x86q\x00" * 60
        with pytest.raises(PickleRefused, match="no text"):
            read(b"\x80\x04}" + doubled + b"Ns.")

    def test_many_tuples_in_one_another(self):
        with pytest.raises(PickleRefused):
            read(b"\x80\x04)" + b"\x85" * 9000 + b".")


class _Wrapper:
    """Has the attributes of joblib's wrapper of an array."""

    def __init__(self, shape: object) -> None:
        self.subclass = np.ndarray
        self.shape = shape
        self.order = "C"
        self.dtype = np.dtype("f8")
        self.numpy_array_alignment_bytes = None


def _with_shape(shape: object) -> bytes:
    """A model with an array that says to have this shape."""
    data = pickle.dumps(_state_of(LogisticRegression(), coef_=_Wrapper(shape)), protocol=2)
    name = f"c{__name__}\n_Wrapper\n".encode()
    assert data.count(name) == 1
    return data.replace(name, b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n")


class TestRefused:
    """What image_embed does not make."""

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"classes_": np.array([0, 2])}, "not false from true"),
            ({"classes_": np.array([True])}, "not false from true"),
            ({"classes_": np.array(["no", "yes"])}, "objects, or of no numbers"),
            ({"coef_": np.zeros((2, 512))}, "not those of one line"),
            ({"coef_": np.zeros((1, 0))}, "not those of one line"),
            ({"coef_": np.full((1, 512), np.nan)}, "not all finite"),
            ({"coef_": np.zeros((1, 512), int)}, "not all finite numbers"),
            ({"coef_": [[0.0] * 512]}, "with which no such model is written"),
            ({"coef_": None}, "was not trained"),
            ({"intercept_": np.array([np.inf])}, "not all finite"),
            ({"intercept_": np.zeros(2)}, "not those of one line"),
            ({"multi_class": "multinomial"}, "multinomial"),
            ({"coef_": np.zeros((1, 511))}, "511 values, and best_models.json says 512"),
        ],
    )
    def test_other_models(self, tmp_path, changes, told):
        folder = put(tmp_path / "old", {"7": entry()}, {FILE_7: _state_of(fitted(), **changes)})
        with pytest.raises(ConversionRefused, match=told):
            only(folder)

    @pytest.mark.parametrize("other", [Ridge().fit([[0.0], [1.0]], [0, 1]), {"a": 1}, 3, np.zeros(3)])
    def test_what_is_no_logistic_regression(self, tmp_path, other):
        with pytest.raises(ConversionRefused, match="nothing of it was run"):
            only(put(tmp_path / "old", {"7": entry()}, {FILE_7: other}))

    def test_one_that_was_not_trained(self, tmp_path):
        with pytest.raises(ConversionRefused, match="not trained"):
            only(put(tmp_path / "old", {"7": entry()}, {FILE_7: LogisticRegression()}))

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"model_file": "../secret.pkl"}, "not beside it"),
            ({"model_file": ""}, "no such file"),
            ({"model_file": "gone.pkl"}, "no such file"),
            ({"derivative_type": "feet"}, "must be one of"),
            ({"derivative_type": None}, "--target"),
            ({"embedding_type": "clip/../x"}, "no names of operations"),
            ({"embedding_type": f"{CLIP}+"}, "no names of operations"),
            ({"embedding_type": None}, "--embedding"),
            ({"embedding_type": f"{CLIP}+embed_dino_v3"}, "make 1536"),
            ({"embedding_type": "embed_dino_v3"}, "make 1024"),
            ({"embedding_type": f"{CLIP}+embed_mine"}, "nothing tells how"),
            ({"dimensionality": 513}, "says 513"),
        ],
    )
    def test_what_the_folder_tells(self, tmp_path, changes, told):
        folder = put(tmp_path / "old", {"7": entry(**changes)}, {FILE_7: fitted()})
        with pytest.raises(ConversionRefused, match=told):
            only(folder)


class TestFolder:
    def test_the_oldest_form_tells_the_file_alone(self, tmp_path):
        folder = put(tmp_path, {"7": FILE_7, "12": FILE.format(12)}, {FILE_7: fitted()})
        first, _ = listed(folder)
        found = opened(first, embeddings=[Embedding(CLIP)], target="whole_image")
        assert (found.collection, found.target, found.dimensions) == ("7", "whole_image", (512,))

    def test_what_the_folder_tells_goes_before_what_is_given(self, tmp_path):
        (each,) = listed(put(tmp_path, {"7": entry()}, {FILE_7: fitted()}))
        found = opened(each, embeddings=[Embedding("embed_dino_v2")], target="whole_image")
        assert (found.target, found.embeddings) == ("prominent_face", (Embedding(CLIP),))

    def test_a_file_that_the_folder_names(self, tmp_path):
        put(tmp_path, {"12": entry(12), "9": entry(7)}, {FILE_7: fitted()})
        (each,) = listed(tmp_path / FILE_7)
        assert opened(each).collection == "9"

    def test_a_file_of_another_version_tells_its_collection_alone(self, tmp_path):
        put(tmp_path, {"7": entry()}, {"collection_7_classifier_2024-01-01.pkl": fitted()})
        (each,) = listed(tmp_path / "collection_7_classifier_2024-01-01.pkl")
        assert each.collection == "7"
        with pytest.raises(ConversionRefused, match="--embedding"):
            opened(each)

    def test_a_file_with_a_name_of_its_own(self, tmp_path):
        joblib.dump(fitted(), tmp_path / "mine.pkl")
        (each,) = listed(tmp_path / "mine.pkl")
        with pytest.raises(ConversionRefused, match="--collection"):
            opened(each, embeddings=[Embedding(CLIP)], target="whole_image")

    def test_no_folder_of_image_embed(self, tmp_path):
        with pytest.raises(ConversionRefused, match=r"no best_models\.json"):
            listed(tmp_path)

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"7": 3}', '{"7": {}}', "[" * 100_000])
    def test_a_listing_that_is_none(self, tmp_path, text):
        (tmp_path / "best_models.json").write_text(text)
        with pytest.raises(ConversionRefused, match=r"best_models\.json is none of image_embed's"):
            listed(tmp_path)

    def test_an_empty_one(self, tmp_path):
        assert listed(put(tmp_path, {}, {})) == []

    def test_a_pipe_is_not_waited_for(self, tmp_path):
        put(tmp_path, {"7": entry()}, {})
        os.mkfifo(tmp_path / FILE_7)
        with pytest.raises(ConversionRefused, match="no such file"):
            only(tmp_path)
