"""The reader of many scripts, on networks with random values, beside EasyOCR's own documented call."""

import hashlib
import sys
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core.artifacts import Pixels, Region
from app.core.geometry import Box, Point
from app.core.weights import Placement
from app.engines.easy_text import (
    DETECTOR,
    EASYOCR_READERS,
    GROUPS,
    LANGUAGES,
    SEARCHED_SIDE,
    EasyTextReader,
    Group,
    engine_for_languages,
    from_right_to_left,
)
from app.engines.random_weights.easy_text import write_easyocr
from app.engines.text import Line
from app.engines.weights import Download
from tests.images import crop_of, image_of, noise, plain

ENGLISH = GROUPS[0]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("easyocr")
    write_easyocr(folder, ENGLISH)
    return folder


@pytest.fixture(scope="module")
def ours(files: Path) -> EasyTextReader:
    reader: EasyTextReader = EASYOCR_READERS[0].load(Placement(files))
    return reader


def photo(name: str) -> Pixels:
    from skimage import data

    match name:
        case "page":
            return np.repeat(data.page()[20:120, 20:220, None], 3, axis=2)
        case "grey":
            return np.repeat(data.camera()[60:180, 160:320, None], 3, axis=2)
        case "chelsea":
            return np.asarray(data.chelsea()[80:180, 100:260])
    return np.asarray(data.coffee()[100:220, 160:320])


def as_answered(answer: Sequence[Line]) -> list[tuple[Any, ...]]:
    return sorted((line.polygon, line.text, line.confidence) for line in answer)


def as_read(result: Sequence[tuple[Any, str, float]], pixels: Pixels) -> list[tuple[Any, ...]]:
    """EasyOCR's answer, with its corners inside the image and without lines of no letter."""
    height, width = pixels.shape[:2]
    lines = []
    for corners, text, confidence in result:
        inside = np.clip(np.asarray(corners, float), 0, [width, height])
        polygon = tuple(Point(round(x, 1), round(y, 1)) for x, y in inside.tolist())
        if text.strip() and Box.around(polygon, Box(0, 0, width, height)) is not None:
            lines.append((polygon, text, round(float(confidence), 4)))
    return sorted(lines)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning")
class TestBesideEasyOcr:
    @pytest.fixture
    def documented(self, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """EasyOCR's reader of the same files, made as its documentation makes it."""
        import easyocr
        from easyocr.config import detection_models, recognition_models

        for model, file in (
            (detection_models["craft"], DETECTOR),
            (recognition_models["gen2"][ENGLISH.model], ENGLISH.file),
        ):
            digest = hashlib.md5((files / file).read_bytes()).hexdigest()
            monkeypatch.setitem(model, "md5sum", digest)
        monkeypatch.setattr(sys, "path", sys.path.copy())
        return easyocr.Reader(
            ["en"],
            gpu=False,
            model_storage_directory=str(files),
            user_network_directory=str(tmp_path),
            download_enabled=False,
            quantize=False,
        )

    def test_it_reads_the_same(self, documented: Any, ours: EasyTextReader, tmp_path: Path) -> None:
        import PIL.Image

        for name in ("page", "grey"):
            pixels = photo(name)
            (answer,) = ours([crop_of(pixels)])
            assert as_answered(answer) == as_read(documented.readtext(pixels), pixels)
            assert len(answer) > 3
        # Of a file EasyOCR makes grey another way, one level up or down: enough for a random reader.
        pixels = photo("coffee")
        PIL.Image.fromarray(pixels).save(tmp_path / "coffee.png")
        (answer,) = ours([crop_of(pixels)])
        result = as_read(documented.readtext(str(tmp_path / "coffee.png")), pixels)
        assert [polygon for polygon, *_ in as_answered(answer)] == [polygon for polygon, *_ in result]
        assert len(answer) > 3


def test_a_batch_equals_its_items(ours: EasyTextReader) -> None:
    crops = [crop_of(photo(name)) for name in ("chelsea", "coffee")]
    together = ours(crops)
    assert together == [*ours(crops[:1]), *ours(crops[1:])]
    assert together[0] != together[1]


def test_no_items(ours: EasyTextReader) -> None:
    assert ours([]) == []


@pytest.mark.parametrize(
    "pixels",
    [
        noise(1, 1),
        noise(2, 3),
        noise(3000, 2),
        noise(2, 3000),
        noise(200_000, 1),
        noise(1, 200_000),
        plain(150, 100, (0, 0, 0)),
        plain(150, 100, (255, 255, 255)),
        noise(150, 100),
    ],
    ids=lambda pixels: "x".join(map(str, pixels.shape[1::-1])),
)
def test_odd_images(pixels: Pixels, ours: EasyTextReader) -> None:
    (answer,) = ours([crop_of(pixels)])
    height, width = pixels.shape[:2]
    for line in answer:
        assert len(line.polygon) == 4
        assert all(0 <= x <= width and 0 <= y <= height for x, y in line.polygon)
        assert line.text.strip()
        assert 0 <= line.confidence <= 1


def test_lines_of_a_crop_are_in_the_whole_image(ours: EasyTextReader) -> None:
    whole = image_of(np.pad(photo("coffee"), ((30, 10), (50, 20), (0, 0))))
    (inside,) = ours([Region(Box(50, 30, 210, 150), "bbox").crop(whole)])
    (alone,) = ours([crop_of(photo("coffee"))])
    assert [line.text for line in inside] == [line.text for line in alone]
    for line, other in zip(inside, alone, strict=True):
        assert line.polygon == tuple(Point(round(x + 50, 1), round(y + 30, 1)) for x, y in other.polygon)


def test_lines_are_read_in_full_size(ours: EasyTextReader, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    class Finder:
        def detect(self, pixels: Pixels, **options: Any) -> tuple[list[Any], list[Any]]:
            seen.update(options, found_in=pixels.shape)
            return [[[100, 500, 40, 90], [0, 9, 3000, 3010]]], [[]]

        def recognize(self, grey: Pixels, horizontal: Any, slanted: Any, **_: Any) -> list[Any]:
            seen.update(read_in=grey.shape, boxes=horizontal)
            return [([[100, 40], [500, 40], [500, 90], [100, 90]], "text", 0.9)]

    monkeypatch.setattr(ours, "_reader", Finder())
    (answer,) = ours([crop_of(plain(3000, 2000))])
    assert seen == {
        "canvas_size": SEARCHED_SIDE,
        "reformat": False,
        "found_in": (2000, 3000, 3),
        "read_in": (2000, 3000),
        # Without the line in the padding.
        "boxes": [[100, 500, 40, 90]],
    }
    assert [line.bbox for line in answer] == [Box(100, 40, 500, 90)]


def test_threads_share_a_reader(ours: EasyTextReader) -> None:
    crops = [crop_of(photo(name)) for name in ("chelsea", "coffee")]
    one_by_one = [ours([crop]) for crop in crops]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda crop: ours([crop]), crops)) == one_by_one


def test_networks_compute_in_half_precision_and_answer_in_full(files: Path) -> None:
    import torch

    half: Any = EASYOCR_READERS[0].load(Placement(files, precision="bfloat16"))
    networks = half._reader.detector, half._reader.recognizer
    assert {values.dtype for network in networks for values in network.parameters()} == {torch.bfloat16}
    scores, _ = networks[0](torch.zeros(1, 3, 32, 32))
    letters = networks[1](torch.zeros(1, 1, 64, 64), torch.zeros(1, 7, dtype=torch.int64))
    assert (scores.dtype, letters.dtype) == (torch.float32, torch.float32)
    half.warmup()


def test_it_leaves_no_folder_where_python_looks_for_code(files: Path, ours: EasyTextReader) -> None:
    assert str(files) not in sys.path


def test_a_weight_that_is_missing_is_named(files: Path, tmp_path: Path) -> None:
    import torch

    (tmp_path / DETECTOR).write_bytes((files / DETECTOR).read_bytes())
    state = torch.load(files / ENGLISH.file, weights_only=True)
    del state["module.Prediction.bias"]
    torch.save(state, tmp_path / ENGLISH.file)
    with pytest.raises(RuntimeError, match=r"Prediction\.bias"):
        EASYOCR_READERS[0].load(Placement(tmp_path))


def test_a_file_cut_short_is_refused(files: Path, tmp_path: Path) -> None:
    (tmp_path / DETECTOR).write_bytes((files / DETECTOR).read_bytes()[:-1000])
    with pytest.raises(RuntimeError, match="zip archive"):
        EASYOCR_READERS[0].load(Placement(tmp_path))


def lines_read(folder: Path) -> Any:
    return EASYOCR_READERS[0].load(Placement(folder))([crop_of(photo("chelsea"))])


def test_another_process_gives_the_same_bits(elsewhere: Executor, files: Path, ours: EasyTextReader) -> None:
    theirs = elsewhere.submit(lines_read, files)
    assert theirs.result() == ours([crop_of(photo("chelsea"))])


class TestGroups:
    @pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
    def test_files_are_those_that_easyocr_names(self, group: Group) -> None:
        from easyocr.config import detection_models, recognition_models

        (spec,) = (spec for spec in EASYOCR_READERS if spec.name == f"easyocr-{group.name}")
        assert isinstance(spec.weights, Download)
        theirs = (
            detection_models["craft"],
            recognition_models[f"gen{group.generation}"][group.model],
        )
        for file, model in zip(spec.weights.files, theirs, strict=True):
            assert (file.name, file.url, file.md5) == (model["filename"], model["url"], model["md5sum"])
            assert file.archived

    @pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
    def test_easyocr_reads_the_languages_with_that_network(self, group: Group, tmp_path: Path) -> None:
        import easyocr
        from easyocr.config import recognition_models

        reader = easyocr.Reader(
            list(group.languages),
            gpu=False,
            model_storage_directory=str(tmp_path),
            user_network_directory=str(tmp_path),
            detector=False,
            recognizer=False,
            verbose=False,
        )
        sys.path.remove(str(tmp_path))
        assert reader.character == recognition_models[f"gen{group.generation}"][group.model]["characters"]
        assert set(reader.lang_char) & set(reader.character)
        size = sum(
            values.numel() * values.element_size()
            for values in group.network(reader.character).state_dict().values()
        )
        assert group.size_bytes == pytest.approx(size, rel=0.01)

    def test_every_network_of_the_second_generation_has_a_group(self) -> None:
        from easyocr.config import recognition_models

        assert {group.model for group in GROUPS if group.generation == 2} == set(recognition_models["gen2"])

    def test_languages_are_all_those_of_the_groups_that_easyocr_has_letters_of(self) -> None:
        import easyocr
        from easyocr import config

        letters = Path(easyocr.__file__).parent / "character"
        whole = {
            "latin": config.latin_lang_list,
            "cyrillic": [*config.cyrillic_lang_list, "en"],
            "arabic": [*config.arabic_lang_list, "en"],
            "devanagari": [*config.devanagari_lang_list, "en"],
        }
        for group in GROUPS:
            if group.name in whole:
                known = {code for code in whole[group.name] if (letters / f"{code}_char.txt").is_file()}
                assert set(group.languages) == known
        assert set(LANGUAGES) <= set(config.all_lang_list)

    @pytest.mark.parametrize(
        ("languages", "name"),
        [
            (["en"], "easyocr-english"),
            (["de", "en"], "easyocr-latin"),
            (["fr"], "easyocr-latin"),
            (["ru", "en"], "easyocr-cyrillic"),
            (["ch_sim"], "easyocr-chinese-simplified"),
            (["en", "ja"], "easyocr-japanese"),
            (["ar", "fa"], "easyocr-arabic"),
            (["ru", "de"], None),
            (["ja", "ko"], None),
            (["xx"], None),
        ],
    )
    def test_engine_for_languages(self, languages: list[str], name: str | None) -> None:
        assert engine_for_languages(languages) == name

    def test_every_language_has_an_engine(self) -> None:
        names = {spec.name for spec in EASYOCR_READERS}
        assert {engine_for_languages([language]) for language in LANGUAGES} <= names
        assert len(names) == len(EASYOCR_READERS) == 10


def test_rows_from_right_to_left() -> None:
    def line(text: str, x: int, y: int) -> Line:
        box = Box(x, y, x + 40, y + 20)
        corners = (box.xmin, box.ymin), (box.xmax, box.ymin), (box.xmax, box.ymax), (box.xmin, box.ymax)
        return Line(text, 1.0, tuple(Point(*corner) for corner in corners), box)

    left, right, below = line("second", 0, 2), line("first", 100, 0), line("third", 60, 50)
    assert from_right_to_left([below, left, right]) == [right, left, below]
