"""BLIP against the library's own documented calls, on tiny checkpoints in the real formats."""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from skimage import data

from app.core.artifacts import Crop, Pixels
from app.core.errors import InvalidParams
from app.core.geometry import Box
from app.core.weights import Placement
from app.engines.captioner import BLIP_BASE, BLIP_LARGE, BLIP_VQA, BlipAnswerer, BlipCaptioner
from app.engines.random_weights.blip import SEP, Kind, write_blip
from tests.images import ASTRONAUT_FACE, astronaut, crop_of, image_of, noise, plain

QUESTION = "what is in the picture?"


def photos() -> list[Crop]:
    face = Crop(image_of(astronaut()), Box(*ASTRONAUT_FACE))
    return [
        crop_of(astronaut()),
        crop_of(np.asarray(data.chelsea())),
        crop_of(np.asarray(data.coffee())),
        face,
        crop_of(plain(80, 100)),
    ]


def odd_images() -> list[Crop]:
    sizes = [(1, 1), (3, 2), (2, 3000), (3000, 2), (1, 200_000)]
    images = [noise(width, height) for width, height in sizes]
    return [crop_of(pixels) for pixels in [*images, plain(64, 64, (0, 0, 0)), plain(64, 64, (255, 255, 255))]]


def raw_image(crop: Crop) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.array(crop.pixels)).convert("RGB")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    folder = tmp_path_factory.mktemp("blip")
    kinds: tuple[Kind, ...] = ("captioner-base", "captioner-large", "answerer-base")
    for kind in kinds:
        write_blip(folder / kind, kind, tiny=True)
    return {kind: folder / kind for kind in kinds}


@pytest.fixture(scope="module")
def captioner(checkpoints: dict[Kind, Path]) -> BlipCaptioner:
    return BlipCaptioner(Placement(checkpoints["captioner-base"]))


@pytest.fixture(scope="module")
def answerer(checkpoints: dict[Kind, Path]) -> BlipAnswerer:
    return BlipAnswerer(Placement(checkpoints["answerer-base"]))


def documented_captions(files: Path, crops: Sequence[Crop], prompt: str, **options: Any) -> list[str]:
    """As on the model card of Salesforce/blip-image-captioning-base, without and with a prompt."""
    from transformers import BlipForConditionalGeneration, BlipProcessor

    processor = BlipProcessor.from_pretrained(files)
    model = BlipForConditionalGeneration.from_pretrained(files)
    captions = []
    for crop in crops:
        if prompt:
            inputs = processor(raw_image(crop), prompt, return_tensors="pt")
        else:
            inputs = processor(raw_image(crop), return_tensors="pt")
        out = model.generate(**inputs, **options)
        captions.append(processor.decode(out[0], skip_special_tokens=True))
    return captions


def documented_answers(files: Path, crops: Sequence[Crop], question: str, **options: Any) -> list[str]:
    """As on the model card of Salesforce/blip-vqa-base."""
    from transformers import BlipForQuestionAnswering, BlipProcessor

    processor = BlipProcessor.from_pretrained(files)
    model = BlipForQuestionAnswering.from_pretrained(files)
    answers = []
    for crop in crops:
        inputs = processor(raw_image(crop), question, return_tensors="pt")
        out = model.generate(**inputs, **options)
        answers.append(processor.decode(out[0], skip_special_tokens=True))
    return answers


@pytest.mark.parametrize(
    ("prompt", "max_length", "num_beams"),
    [("", 50, 1), ("a photo of", 50, 1), ("", 20, 3), ("a photo of", 20, 3), ("", 1, 1), ("", 512, 1)],
)
def test_captions_are_those_of_the_documented_call(
    captioner: BlipCaptioner, checkpoints: dict[Kind, Path], prompt: str, max_length: int, num_beams: int
) -> None:
    crops = photos()[: 2 if max_length == 512 else None]

    captions = captioner.describe(crops, prompt=prompt, max_length=max_length, num_beams=num_beams)

    assert captions == documented_captions(
        checkpoints["captioner-base"], crops, prompt, max_new_tokens=max_length, num_beams=num_beams
    )
    assert len(set(captions)) == len(captions)
    assert all(caption.startswith(prompt) for caption in captions)


def test_the_large_one_is_loaded_from_its_own_files(checkpoints: dict[Kind, Path]) -> None:
    files = checkpoints["captioner-large"]

    captions = BlipCaptioner(Placement(files)).describe(photos(), max_length=20)

    assert captions == documented_captions(files, photos(), "", max_new_tokens=20)
    assert len(set(captions)) > 1


@pytest.mark.parametrize(("max_length", "num_beams"), [(50, 1), (20, 3), (1, 1), (512, 1)])
def test_answers_are_those_of_the_documented_call(
    answerer: BlipAnswerer, checkpoints: dict[Kind, Path], max_length: int, num_beams: int
) -> None:
    crops = photos()[: 2 if max_length == 512 else None]

    answers = answerer.answer(crops, question=QUESTION, max_length=max_length, num_beams=num_beams)

    assert answers == documented_answers(
        checkpoints["answerer-base"], crops, QUESTION, max_new_tokens=max_length, num_beams=num_beams
    )
    assert len(set(answers)) > 1


def test_an_answer_depends_on_the_question(answerer: BlipAnswerer) -> None:
    assert answerer.answer(photos(), question=QUESTION) != answerer.answer(photos(), question="who is it?")


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_batch_gives_what_its_crops_give_alone(
    captioner: BlipCaptioner, answerer: BlipAnswerer, num_beams: int
) -> None:
    captions = captioner.describe(photos(), num_beams=num_beams)
    answers = answerer.answer(photos(), question=QUESTION, num_beams=num_beams)

    assert len({len(caption.split()) for caption in captions}) > 2
    assert len({len(answer.split()) for answer in answers}) > 1
    assert captions == [captioner.describe([crop], num_beams=num_beams)[0] for crop in photos()]
    assert answers == [
        answerer.answer([crop], question=QUESTION, num_beams=num_beams)[0] for crop in photos()
    ]


def test_nothing_gives_nothing(captioner: BlipCaptioner, answerer: BlipAnswerer) -> None:
    assert captioner.describe([]) == []
    assert answerer.answer([], question=QUESTION) == []


def test_odd_images_give_text(
    captioner: BlipCaptioner, answerer: BlipAnswerer, checkpoints: dict[Kind, Path]
) -> None:
    captions = captioner.describe(odd_images(), max_length=5)

    assert captions == documented_captions(checkpoints["captioner-base"], odd_images(), "", max_new_tokens=5)
    assert len(answerer.answer(odd_images(), question=QUESTION, max_length=5)) == len(odd_images())


def test_a_region_gives_what_its_pixels_give(captioner: BlipCaptioner) -> None:
    region = Crop(image_of(astronaut()), Box(*ASTRONAUT_FACE))
    copied: Pixels = np.array(region.pixels)

    assert captioner.describe([region]) == captioner.describe([crop_of(copied)])


def copied(checkpoint: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a checkpoint with other weights."""
    import torch

    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    file = folder / "pytorch_model.bin"
    state = torch.load(file, weights_only=True)
    change(state)
    torch.save(state, file)
    return folder


def never_end(state: dict[str, Any]) -> None:
    state["text_decoder.cls.predictions.bias"][SEP] = -1e4
    state["text_decoder.cls.predictions.decoder.bias"][SEP] = -1e4


def test_captions_end_where_the_model_has_no_more_places(
    checkpoints: dict[Kind, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = BlipCaptioner(Placement(copied(checkpoints["captioner-base"], tmp_path, never_end)))
    lengths: list[int] = []
    written = captioner._texts

    def counted(tokens: Any) -> list[str]:
        lengths.append(tokens.shape[1])
        return written(tokens)

    monkeypatch.setattr(captioner, "_texts", counted)

    captioner.describe(photos()[:1], max_length=512)
    captioner.describe(photos()[:1], max_length=100, prompt="a " * 300)
    captioner.describe(photos()[:1], max_length=512, prompt="a " * 300, num_beams=2)
    captioner.describe(photos()[:1], max_length=512, prompt="a " * 511)

    # 512 places: one for the start, the prompt's, and the last token needs none.
    assert lengths == [513, 401, 513, 513]
    with pytest.raises(InvalidParams, match="prompt: is 513 tokens long, and this model reads 512"):
        captioner.describe(photos()[:1], prompt="a " * 512)


def test_a_question_must_fit_the_model(answerer: BlipAnswerer) -> None:
    assert answerer.answer(photos()[:1], question="a " * 510, max_length=2)
    with pytest.raises(InvalidParams, match="question: is 513 tokens long, and this model reads 512"):
        answerer.answer(photos()[:1], question="a " * 511)


def test_threads_do_not_disturb_each_other(captioner: BlipCaptioner) -> None:
    crops = photos()[:2]
    expected = {prompt: captioner.describe(crops, prompt=prompt) for prompt in ("", "a", "a photo of")}

    with ThreadPoolExecutor(4) as pool:
        asked = list(expected) * 4
        got = list(pool.map(lambda prompt: captioner.describe(crops, prompt=prompt), asked))

    assert got == [expected[prompt] for prompt in asked]


def test_half_precision_writes_too(checkpoints: dict[Kind, Path]) -> None:
    captioner = BlipCaptioner(Placement(checkpoints["captioner-base"], precision="bfloat16"))

    assert len(captioner.describe(photos(), max_length=5)) == len(photos())


@pytest.mark.parametrize("kind", ["captioner-base", "captioner-large"])
def test_a_truncated_file_is_not_loaded(checkpoints: dict[Kind, Path], kind: Kind, tmp_path: Path) -> None:
    for file in checkpoints[kind].iterdir():
        content = file.read_bytes()
        weights = file.suffix in (".bin", ".safetensors")
        (tmp_path / file.name).write_bytes(content[: len(content) // 2] if weights else content)

    with pytest.raises(Exception, match=r"incomplete metadata|failed finding central directory"):
        BlipCaptioner(Placement(tmp_path))


NORM = "vision_model.post_layernorm.weight"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda state: state.pop(NORM), f"missing keys in the weights: {NORM}"),
        (lambda state: state.update(another=state[NORM]), "unexpected keys in the weights: another"),
        (lambda state: state.update({NORM: state[NORM][:8]}), f"mismatched keys in the weights: {NORM}"),
    ],
)
def test_weights_that_do_not_fit_the_model_are_not_loaded(
    checkpoints: dict[Kind, Path], tmp_path: Path, change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        BlipCaptioner(Placement(copied(checkpoints["captioner-base"], tmp_path, change)))


@pytest.mark.parametrize(
    ("spec", "kind"),
    [(BLIP_BASE, "captioner-base"), (BLIP_LARGE, "captioner-large"), (BLIP_VQA, "answerer-base")],
)
def test_the_declared_files_are_all_that_is_needed(
    spec: Any, kind: Kind, checkpoints: dict[Kind, Path], tmp_path: Path
) -> None:
    for name in spec.weights.files:
        (tmp_path / name).write_bytes((checkpoints[kind] / name).read_bytes())

    spec.load(Placement(tmp_path)).warmup()
