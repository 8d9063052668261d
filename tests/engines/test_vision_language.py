"""SmolVLM against the documented call, on a tiny checkpoint in the real format."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from skimage import data

from app.core.artifacts import Crop
from app.core.errors import InvalidParams
from app.core.geometry import Box
from app.core.weights import Placement
from app.engines.random_weights.vision_language import write_smolvlm
from app.engines.vision_language import DESCRIBE, SMOLVLM_256M, VisionLanguageModel
from app.engines.weights import Hub
from tests.images import ASTRONAUT_FACE, astronaut, crop_of, image_of, noise, plain

QUESTION = "What is in the picture?"


def photos() -> list[Crop]:
    """Of different shapes, so that they have different numbers of tiles."""
    return [
        crop_of(astronaut()),
        crop_of(np.asarray(data.coffee())),
        crop_of(np.asarray(data.chelsea())[:100]),
        Crop(image_of(astronaut()), Box(*ASTRONAUT_FACE)),
        crop_of(plain(80, 100)),
    ]


def odd_images() -> list[Crop]:
    sizes = [(1, 1), (3, 2), (2, 3000), (3000, 2), (1, 200_000)]
    images = [noise(width, height) for width, height in sizes]
    return [crop_of(pixels) for pixels in [*images, plain(64, 64, (0, 0, 0)), plain(64, 64, (255, 255, 255))]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smolvlm")
    write_smolvlm(folder, tiny=True)
    return folder


@pytest.fixture(scope="module")
def model(files: Path) -> VisionLanguageModel:
    return VisionLanguageModel(Placement(files))


def documented_replies(
    files: Path,
    crops: Sequence[Crop],
    text: str,
    max_new_tokens: int,
    num_beams: int = 1,
    **processor_options: Any,
) -> list[str]:
    """As on the model card of HuggingFaceTB/SmolVLM-256M-Instruct, in float32; the new text only."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(files, **processor_options)
    model = AutoModelForImageTextToText.from_pretrained(files, dtype=torch.float32)
    replies = []
    for crop in crops:
        image = PIL.Image.fromarray(np.array(crop.pixels))
        messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
        prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
        inputs = processor(text=prompt, images=[image], return_tensors="pt")
        generated_ids = model.generate(**inputs, max_new_tokens=max_new_tokens, num_beams=num_beams)
        new_ids = generated_ids[:, inputs["input_ids"].shape[1] :]
        replies += processor.batch_decode(new_ids, skip_special_tokens=True)
    return [reply.strip() for reply in replies]


@pytest.mark.parametrize(("max_length", "num_beams"), [(50, 1), (20, 3), (1, 1), (512, 1)])
def test_replies_are_those_of_the_documented_call(
    model: VisionLanguageModel, files: Path, max_length: int, num_beams: int
) -> None:
    crops = photos()[: 2 if max_length == 512 else None]

    descriptions = model.describe(crops, max_length=max_length, num_beams=num_beams)
    answers = model.answer(crops, question=QUESTION, max_length=max_length, num_beams=num_beams)

    assert descriptions == documented_replies(files, crops, DESCRIBE, max_length, num_beams)
    assert answers == documented_replies(files, crops, QUESTION, max_length, num_beams)
    assert len(set(descriptions)) > 1


def test_the_declared_engine_looks_at_one_tile_as_the_model_card_says(files: Path) -> None:
    crops = [*photos(), *odd_images()]

    descriptions = SMOLVLM_256M.load(Placement(files)).describe(crops)

    # "Adjust the image resolution by setting size={"longest_edge": N*512} when initializing the processor".
    assert descriptions == documented_replies(files, crops, DESCRIBE, 50, size={"longest_edge": 64})
    assert len(set(descriptions)) > len(photos())


def test_a_prompt_stands_in_for_the_usual_request(model: VisionLanguageModel) -> None:
    prompted = model.describe(photos(), prompt=QUESTION)

    assert prompted == model.answer(photos(), question=QUESTION)
    assert prompted != model.describe(photos())


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_batch_gives_what_its_crops_give_alone(model: VisionLanguageModel, num_beams: int) -> None:
    descriptions = model.describe(photos(), num_beams=num_beams)

    assert len({len(description) for description in descriptions}) > 2
    assert descriptions == [model.describe([crop], num_beams=num_beams)[0] for crop in photos()]


def test_a_batch_holds_images_of_different_lengths(model: VisionLanguageModel) -> None:
    mask = model._inputs(photos(), DESCRIBE)["attention_mask"]

    assert len(set(mask.sum(1).tolist())) > 1
    # The shorter ones are padded before they begin.
    assert mask[:, -1].tolist() == [1] * len(photos())


def test_nothing_gives_nothing(model: VisionLanguageModel) -> None:
    assert model.describe([]) == []
    assert model.answer([], question=QUESTION) == []


def test_odd_images_give_text(model: VisionLanguageModel, files: Path) -> None:
    assert model.describe(odd_images(), max_length=5) == documented_replies(files, odd_images(), DESCRIBE, 5)


@pytest.mark.parametrize("token", ["<image>", "<end_of_utterance>", "<fake_token_around_image>"])
def test_a_text_cannot_pass_for_an_image(model: VisionLanguageModel, token: str) -> None:
    with pytest.raises(InvalidParams, match=f"question: holds {token}, which this model reserves"):
        model.answer(photos()[:1], question=f"What is {token}?")
    with pytest.raises(InvalidParams, match=f"prompt: holds {token}"):
        model.describe(photos()[:1], prompt=token)


def test_a_question_must_fit_the_model(model: VisionLanguageModel) -> None:
    with pytest.raises(InvalidParams, match=r"question: is \d+ tokens long, and this model reads 8192"):
        model.answer(photos()[:1], question="a" * 8192)


def test_threads_do_not_disturb_each_other(model: VisionLanguageModel) -> None:
    questions = ["What?", QUESTION, "Is there a cat in this picture, or a dog?"]
    expected = {question: model.answer(photos(), question=question, max_length=10) for question in questions}

    with ThreadPoolExecutor(4) as pool:
        asked = questions * 4
        got = list(pool.map(lambda question: model.answer(photos(), question=question, max_length=10), asked))

    assert got == [expected[question] for question in asked]


def test_half_precision_writes_too(files: Path) -> None:
    model = VisionLanguageModel(Placement(files, precision="bfloat16"))

    assert len(model.describe(photos(), max_length=5)) == len(photos())


def copied(files: Path, folder: Path, *, without: str = "") -> Path:
    for file in files.iterdir():
        if file.name != without:
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_truncated_file_is_not_loaded(files: Path, tmp_path: Path) -> None:
    weights = copied(files, tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])

    with pytest.raises(Exception, match="incomplete metadata"):
        VisionLanguageModel(Placement(tmp_path))


def test_half_a_model_is_not_loaded(files: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = copied(files, tmp_path) / "model.safetensors"
    state = load_file(weights)
    del state["model.connector.modality_projection.proj.weight"]
    save_file(state, weights, metadata={"format": "pt"})

    with pytest.raises(ValueError, match=r"missing keys in the weights: model\.connector"):
        VisionLanguageModel(Placement(tmp_path))


def test_a_chat_template_is_needed(files: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no chat template"):
        VisionLanguageModel(Placement(copied(files, tmp_path, without="chat_template.json")))


def test_the_declared_files_are_all_that_is_needed(files: Path, tmp_path: Path) -> None:
    assert isinstance(SMOLVLM_256M.weights, Hub)
    for pattern in SMOLVLM_256M.weights.files:
        (file,) = files.glob(pattern)
        (tmp_path / file.name).write_bytes(file.read_bytes())

    VisionLanguageModel(Placement(tmp_path)).warmup()
