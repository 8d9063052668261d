"""Object detectors, on checkpoints with random values, beside the calls that their libraries document."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core.artifacts import Crop, Detections, Image, Pixels, Region
from app.core.geometry import Box
from app.core.operation import EngineSpec
from app.core.weights import Placement
from app.engines.coco import COCO_LABELS
from app.engines.objects import LOWEST_CONFIDENCE, MOST_DETECTIONS, OBJECT_DETECTORS
from app.engines.random_weights.detectors import TINY_LABELS, write_detr
from app.engines.torchvision_detectors import Architecture, TorchvisionDetector, no_thinner
from app.engines.weights import Download, Hub
from tests.images import astronaut, crop_of, image_of, noise, plain

SPECS = {spec.name: spec for spec in OBJECT_DETECTORS}
DETRS = ["d-fine-nano", "rt-detr-v2-r18"]
QUICK_TORCHVISION = ["faster-rcnn-mobilenet-320", "ssdlite"]
QUICK = DETRS + QUICK_TORCHVISION

Engine = Callable[[list[Crop]], list[Detections]]


def photos() -> dict[str, Pixels]:
    from skimage import data

    grey = np.repeat(data.camera()[:, :, None], 3, axis=2)
    return {
        "astronaut": astronaut(),
        "chelsea": data.chelsea(),
        "coffee": data.coffee(),
        "part": astronaut()[30:333, 80:301],
        "grey": grey,
    }


PHOTOS = ["astronaut", "chelsea", "coffee", "part", "grey"]


def architecture_of(name: str) -> Architecture:
    load: Any = SPECS[name].load
    architecture: Architecture = load.keywords["architecture"]
    return architecture


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an engine's random weights: tiny ones, or where there are none, full ones.

    Those of torchvision lie as in its own cache.
    """
    home = tmp_path_factory.mktemp("detectors")

    @cache
    def written(name: str) -> Path:
        if name in DETRS:
            folder = home / name
            write_detr(folder, name, tiny=True)
            return folder
        folder = home / name / "checkpoints"
        write_random = SPECS[name].write_random
        assert write_random is not None
        write_random(folder)
        return folder

    return written


@pytest.fixture(scope="module")
def engine(files: Callable[[str], Path]) -> Callable[[str], Any]:
    @cache
    def loaded(name: str) -> Any:
        return SPECS[name].load(Placement(files(name)))

    return loaded


def expected(found: list[tuple[str, float, list[float]]], pixels: Pixels) -> list[Region]:
    """What a library found in a whole image, as regions."""
    whole = Box(0, 0, pixels.shape[1], pixels.shape[0])
    regions = []
    for label, confidence, (xmin, ymin, xmax, ymax) in found:
        box = Box.rounded(xmin, ymin, xmax, ymax, within=whole)
        if confidence >= LOWEST_CONFIDENCE and box is not None:
            regions.append(Region(box, "object", round(confidence, 4), label))
    return regions


class TestTransformers:
    @pytest.fixture(scope="class")
    @classmethod
    def documented(cls, files: Callable[[str], Path]) -> Callable[[str], tuple[Any, Any]]:
        """By name: the image processor and the model of its card."""
        from transformers import (
            AutoImageProcessor,
            DFineForObjectDetection,
            RTDetrV2ForObjectDetection,
        )

        @cache
        def loaded(name: str) -> tuple[Any, Any]:
            model_class = DFineForObjectDetection if name == "d-fine-nano" else RTDetrV2ForObjectDetection
            return AutoImageProcessor.from_pretrained(files(name)), model_class.from_pretrained(files(name))

        return loaded

    @pytest.mark.parametrize("photo", PHOTOS)
    @pytest.mark.parametrize("name", DETRS)
    def test_it_answers_as_the_model_card_does(
        self, name: str, photo: str, documented: Callable[[str], Any], engine: Callable[[str], Any]
    ) -> None:
        import PIL.Image
        import torch

        ours = engine(name)
        image_processor, model = documented(name)
        pixels = photos()[photo]
        image = PIL.Image.fromarray(pixels)
        inputs = image_processor(images=image, return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        results = image_processor.post_process_object_detection(
            outputs, target_sizes=torch.tensor([(image.height, image.width)]), threshold=LOWEST_CONFIDENCE
        )
        found = [
            (model.config.id2label[label.item()], score.item(), box.tolist())
            for score, label, box in zip(
                results[0]["scores"], results[0]["labels"], results[0]["boxes"], strict=True
            )
        ]
        (answer,) = ours([crop_of(pixels)])
        assert list(answer.regions) == expected(found, pixels)
        assert len(answer.regions) > 5

    @pytest.mark.parametrize("name", DETRS)
    def test_a_weight_that_is_missing_or_unknown_is_named(
        self, name: str, files: Callable[[str], Path], tmp_path: Path
    ) -> None:
        from safetensors.torch import load_file, save_file

        for path in files(name).iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        weights = load_file(files(name) / "model.safetensors")
        key = next(key for key in weights if "enc_output" in key)
        lacking = {other: values for other, values in weights.items() if other != key}
        save_file(lacking, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=f"missing keys in the weights: {key}"):
            SPECS[name].load(Placement(tmp_path))
        save_file(
            {**weights, "model.zebra.weight": weights[key].clone()},
            tmp_path / "model.safetensors",
            metadata={"format": "pt"},
        )
        with pytest.raises(ValueError, match=r"unexpected keys in the weights: model\.zebra\.weight"):
            SPECS[name].load(Placement(tmp_path))

    def test_a_file_cut_short_is_refused(self, files: Callable[[str], Path], tmp_path: Path) -> None:
        from safetensors import SafetensorError

        for path in files("d-fine-nano").iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        weights = tmp_path / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
        with pytest.raises(SafetensorError):
            SPECS["d-fine-nano"].load(Placement(tmp_path))

    def test_in_half_precision_only_the_backbone_computes_in_it(self, files: Callable[[str], Path]) -> None:
        import torch

        half: Any = SPECS["d-fine-nano"].load(Placement(files("d-fine-nano"), precision="bfloat16"))
        precisions = {name: values.dtype for name, values in half._model.named_parameters()}
        backbone = {kind for name, kind in precisions.items() if "backbone" in name}
        heads = {kind for name, kind in precisions.items() if "backbone" not in name}
        assert (backbone, heads) == ({torch.bfloat16}, {torch.float32})
        (answer,) = half([crop_of(astronaut())])
        assert len(answer.regions) > 5


class TestTorchvision:
    @pytest.fixture(scope="class")
    @classmethod
    def documented(cls, files: Callable[[str], Path]) -> Iterator[Callable[[str], tuple[Any, Any]]]:
        """By name: torchvision's weights, and the model that it makes with them."""
        import torch
        from torchvision.models import detection

        @cache
        def made(name: str) -> tuple[Any, Any]:
            # Where torchvision looks for the file before it would download it.
            patch.setattr(torch.hub, "get_dir", lambda: str(files(name).parent))
            weights = getattr(detection, architecture_of(name).weights).DEFAULT
            return weights, getattr(detection, architecture_of(name).builder)(weights=weights).eval()

        with pytest.MonkeyPatch.context() as patch:
            yield made

    def test_the_slowest_is_the_network_that_the_documentation_makes(
        self, documented: Callable[[str], Any], engine: Callable[[str], Any]
    ) -> None:
        _, model = documented("faster-rcnn-v2")
        network = engine("faster-rcnn-v2")._network
        assert repr(network) == repr(model)
        theirs = model.state_dict()
        assert list(network.state_dict()) == list(theirs)
        assert all(values.equal(theirs[key]) for key, values in network.state_dict().items())

    @pytest.mark.parametrize(
        ("name", "photo"),
        [
            *((name, photo) for name in QUICK_TORCHVISION for photo in PHOTOS),
            # A strip costs a third of what a photo does.
            ("faster-rcnn", "strip"),
        ],
    )
    def test_it_answers_as_the_documentation_does(
        self,
        name: str,
        photo: str,
        documented: Callable[[str], Any],
        engine: Callable[[str], Any],
    ) -> None:
        import torch

        ours = engine(name)
        pixels = astronaut()[120:144] if photo == "strip" else photos()[photo]
        weights, model = documented(name)
        preprocess = weights.transforms()
        batch = [preprocess(torch.from_numpy(pixels.copy()).permute(2, 0, 1))]
        with torch.no_grad():
            prediction = model(batch)[0]
        labels = [weights.meta["categories"][number] for number in prediction["labels"]]
        found = [
            each
            for each in zip(labels, prediction["scores"].tolist(), prediction["boxes"].tolist(), strict=True)
            if each[0] != "N/A"
        ]
        (answer,) = ours([crop_of(pixels)])
        assert list(answer.regions) == expected(found, pixels)
        # One of these random networks sees nothing in a cat.
        assert answer.regions or photo == "chelsea"

    @pytest.mark.parametrize("name", QUICK_TORCHVISION)
    def test_a_weight_that_is_missing_is_named(
        self, name: str, files: Callable[[str], Path], tmp_path: Path
    ) -> None:
        import torch

        file = architecture_of(name).file
        state = torch.load(files(name) / file, weights_only=True)
        key = next(reversed(state))
        del state[key]
        torch.save(state, tmp_path / file)
        with pytest.raises(RuntimeError, match=key):
            SPECS[name].load(Placement(tmp_path))

    def test_a_file_cut_short_is_refused(self, files: Callable[[str], Path], tmp_path: Path) -> None:
        file = architecture_of("ssdlite").file
        (tmp_path / file).write_bytes((files("ssdlite") / file).read_bytes()[:-1000])
        with pytest.raises(RuntimeError, match="zip archive"):
            SPECS["ssdlite"].load(Placement(tmp_path))

    def test_a_strip_that_comes_first_changes_nothing_later(
        self, files: Callable[[str], Path], engine: Callable[[str], Any]
    ) -> None:
        name = "faster-rcnn-mobilenet-320"
        fresh: Engine = SPECS[name].load(Placement(files(name)))
        fresh([crop_of(noise(600, 2))])
        assert fresh([crop_of(astronaut())]) == engine(name)([crop_of(astronaut())])

    def test_only_strips_that_would_vanish_are_stretched(self) -> None:
        assert no_thinner(noise(600, 1), 600).shape == (1, 600, 3)
        assert no_thinner(noise(601, 1), 600).shape == (2, 601, 3)
        assert no_thinner(noise(2, 3000), 600).shape == (3000, 5, 3)
        pixels = noise(7, 5)
        assert no_thinner(pixels, 600) is pixels

    def test_in_half_precision_it_still_finds_boxes(self, files: Callable[[str], Path]) -> None:
        half: Engine = SPECS["ssdlite"].load(Placement(files("ssdlite"), precision="bfloat16"))
        assert half([crop_of(astronaut())])[0].regions

    @pytest.mark.parametrize(
        "spec", [spec for spec in OBJECT_DETECTORS if isinstance(spec.weights, Download)]
    )
    def test_files_are_those_that_torchvision_names(self, spec: EngineSpec) -> None:
        weights = spec.weights
        assert isinstance(weights, Download)
        (file,) = weights.files
        theirs = architecture_of(spec.name).metadata()
        assert file.url == theirs.url
        assert file.name == architecture_of(spec.name).file == theirs.url.rpartition("/")[2]
        assert file.name.endswith(f"-{file.sha256_prefix}.pth")
        assert len(file.sha256_prefix) == 8
        assert file.size_bytes == round(theirs.meta["_file_size"] * 2**20)
        (precision,) = theirs.meta["_metrics"]["COCO-val2017"].values()
        assert spec.limits.endswith(f"{precision}.")

    @pytest.mark.parametrize("name", QUICK_TORCHVISION)
    def test_random_weights_are_as_large_as_real_ones(self, name: str, files: Callable[[str], Path]) -> None:
        size = sum(path.stat().st_size for path in files(name).iterdir())
        assert size == pytest.approx(SPECS[name].weights.size_bytes, rel=0.01)


def test_engines_in_order_of_preference() -> None:
    assert list(SPECS) == [
        "d-fine-nano",
        "d-fine-small",
        "d-fine-medium",
        "rt-detr-v2-r18",
        "faster-rcnn",
        "faster-rcnn-v2",
        "faster-rcnn-mobilenet-320",
        "ssdlite",
    ]
    repositories = [spec.weights.repository for spec in OBJECT_DETECTORS if isinstance(spec.weights, Hub)]
    assert repositories == [
        "ustc-community/dfine-nano-coco",
        "ustc-community/dfine-small-coco",
        "ustc-community/dfine-medium-coco",
        "PekingU/rtdetr_v2_r18vd",
    ]


@pytest.mark.parametrize("name", ["d-fine-nano"])
def test_full_random_weights_have_the_size_of_the_repository(name: str, tmp_path: Path) -> None:
    spec = SPECS[name]
    assert spec.write_random is not None
    spec.write_random(tmp_path)
    assert isinstance(spec.weights, Hub)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(spec.weights.files)
    size = (tmp_path / "model.safetensors").stat().st_size
    assert size == pytest.approx(spec.weights.size_bytes, rel=0.01)
    config = json.loads((tmp_path / "config.json").read_text())
    assert tuple(config["id2label"].values()) == COCO_LABELS


@pytest.mark.parametrize("name", QUICK)
def test_labels(name: str, engine: Callable[[str], Any]) -> None:
    labels = engine(name).labels
    assert labels == (TINY_LABELS if name in DETRS else COCO_LABELS)
    assert labels[0] == "person"
    (answer,) = engine(name)([crop_of(astronaut())])
    assert {region.label for region in answer.regions} <= set(labels)


@pytest.mark.parametrize("name", QUICK)
def test_a_batch_equals_its_items(name: str, engine: Callable[[str], Any]) -> None:
    ours = engine(name)
    crops = [crop_of(pixels) for pixels in photos().values()]
    batch = ours(crops)
    for crop, together in zip(crops, batch, strict=True):
        (alone,) = ours([crop])
        assert_alike(together, alone)
        assert_alike(alone, together)
    assert len({answer.regions for answer in batch}) == len(batch)


def assert_alike(one: Detections, other: Detections) -> None:
    """Sums of another order move a score in its last digits, and a corner over the middle of a pixel."""
    for region in one.regions:
        assert region.confidence is not None
        assert region.confidence < LOWEST_CONFIDENCE + 0.001 or any(
            region.label == twin.label
            and region.confidence == pytest.approx(twin.confidence, abs=0.001)
            and max(abs(a - b) for a, b in zip(region.box, twin.box, strict=True)) <= 1
            for twin in other.regions
        ), region


@pytest.mark.parametrize("name", QUICK)
def test_no_items(name: str, engine: Callable[[str], Any]) -> None:
    assert engine(name)([]) == []


@pytest.mark.parametrize("name", QUICK)
def test_odd_images(name: str, engine: Callable[[str], Any]) -> None:
    images = [
        noise(1, 1),
        noise(2, 3),
        noise(3000, 2),
        noise(2, 3000),
        noise(200_000, 1),
        noise(1, 200_000),
        plain(300, 200, (0, 0, 0)),
        plain(300, 200, (255, 255, 255)),
        noise(300, 200),
    ]
    for pixels in images:
        (answer,) = engine(name)([crop_of(pixels)])
        height, width = pixels.shape[:2]
        assert len(answer.regions) <= MOST_DETECTIONS
        for region in answer.regions:
            assert region.confidence is not None
            assert LOWEST_CONFIDENCE <= region.confidence <= 1
            assert region.box == region.box.clip(Box(0, 0, width, height))


@pytest.mark.parametrize("name", QUICK)
def test_boxes_of_a_crop_are_those_of_its_pixels_moved(name: str, engine: Callable[[str], Any]) -> None:
    image: Image = image_of(astronaut())
    box = Box(80, 30, 301, 333)
    (inside,) = engine(name)([Region(box, "bbox").crop(image)])
    (alone,) = engine(name)([crop_of(astronaut()[30:333, 80:301])])
    moved = [
        Box(
            region.box.xmin + box.xmin,
            region.box.ymin + box.ymin,
            region.box.xmax + box.xmin,
            region.box.ymax + box.ymin,
        )
        for region in alone.regions
    ]
    assert moved
    # Halves are rounded to even numbers, which the offset may change.
    for region, other in zip(inside.regions, moved, strict=True):
        assert max(abs(a - b) for a, b in zip(region.box, other, strict=True)) <= 1


@pytest.mark.parametrize("name", QUICK)
def test_a_huge_image_is_scaled_down_first(name: str, engine: Callable[[str], Any]) -> None:
    crop = crop_of(np.repeat(np.repeat(astronaut(), 10, axis=0), 10, axis=1))
    ours = engine(name)
    ready = ours.pre(crop)
    if isinstance(ours, TorchvisionDetector):
        assert ready.shape == (4096, 4096, 3)
    (raw,) = ours.core([ready])
    assert any(region.box.xmax > 4096 for region in ours.post(raw, ready, crop).regions)


@pytest.mark.parametrize("name", QUICK)
def test_threads_share_an_engine(name: str, engine: Callable[[str], Any]) -> None:
    ours = engine(name)
    crops = [crop_of(pixels) for pixels in photos().values()]
    one_by_one = [ours([crop]) for crop in crops]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda crop: ours([crop]), crops)) == one_by_one


@pytest.mark.parametrize("name", QUICK)
def test_warmup(name: str, engine: Callable[[str], Any]) -> None:
    engine(name).warmup()


def found_by(name: str, folder: Path) -> Any:
    return SPECS[name].load(Placement(folder))([crop_of(astronaut())])


def test_another_process_gives_the_same_bits(
    elsewhere: Executor, files: Callable[[str], Path], engine: Callable[[str], Any]
) -> None:
    theirs = [elsewhere.submit(found_by, name, files(name)) for name in QUICK]
    ours = [engine(name)([crop_of(astronaut())]) for name in QUICK]
    assert [each.result() for each in theirs] == ours
