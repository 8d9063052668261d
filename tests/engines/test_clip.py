"""CLIP and SigLIP against open_clip's own documented calls, on tiny checkpoints in the hub's format."""

import json
import shutil
import socket
import sys
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import PIL.Image
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from app.core.artifacts import Crop
from app.core.weights import Placement
from app.engines.clip import CLIP_MODELS, WEIGHTS, ClipEmbedder
from app.engines.random_weights.clip import write_clip
from app.engines.strips import LONGEST, middle_of_strip
from tests.engines.vectors import cosines, digest, loaded_digest, odd_images, photos, rows
from tests.images import astronaut, crop_of, noise

OPENAI = ("ViT-B-32", "openai")
LAION = ("ViT-B-32", "laion2b_s34b_b79k")
SIGLIP = ("ViT-B-16-SigLIP2", "webli")
MODELS = (OPENAI, LAION, SIGLIP)

TEXTS = ["a diagram", "a photo of a dog", "Ein Café, 3 Katzen & <b>Rot</b>", "", "word " * 200]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    made = {model: tmp_path_factory.mktemp(model[1]) for model in MODELS}
    for (architecture, tag), folder in made.items():
        write_clip(folder, architecture=architecture, tag=tag, tiny=True)
    return made


@pytest.fixture(scope="module")
def engines(folders: dict[tuple[str, str], Path]) -> dict[tuple[str, str], ClipEmbedder]:
    return {model: ClipEmbedder(Placement(folder)) for model, folder in folders.items()}


@pytest.fixture
def by_name(monkeypatch: pytest.MonkeyPatch, folders: dict[tuple[str, str], Path]) -> Any:
    """Makes open_clip find a tiny checkpoint under a name and tag of its own registry."""

    def register(name: str, tag: str, folder: Path) -> tuple[str, str]:
        config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
        config.pop("quick_gelu", None)
        if name.endswith("-quickgelu"):
            config["quick_gelu"] = True
        if "hf_tokenizer_name" in config["text_cfg"]:
            config["text_cfg"]["hf_tokenizer_name"] = str(folder)
        file = {"file": str(folder / "open_clip_model.safetensors")}
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
        tags = open_clip.pretrained._PRETRAINED[name]
        monkeypatch.setitem(tags, tag, tags[tag] | file)
        return name, tag

    return register


def pil(crop: Crop) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.ascontiguousarray(crop.pixels))


def documented(name: str, tag: str) -> tuple[Any, Any, torch.Tensor, torch.Tensor]:
    """open_clip's README: the model, its tokenizer, and the features of photos and texts."""
    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=tag)
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)
    with torch.no_grad():
        images = model.encode_image(torch.stack([preprocess(pil(crop)) for crop in photos()]))
        texts = model.encode_text(tokenizer(TEXTS))
    return model, tokenizer, images, texts


@pytest.mark.parametrize(
    ("model", "name"),
    [(OPENAI, "ViT-B-32-quickgelu"), (LAION, "ViT-B-32"), (SIGLIP, "ViT-B-16-SigLIP2")],
)
def test_vectors_are_those_of_the_documented_call(
    model: tuple[str, str], name: str, folders: Any, engines: Any, by_name: Any
) -> None:
    _, _, images, texts = documented(*by_name(name, model[1], folders[model]))
    answers = engines[model]([*photos(), *TEXTS])
    assert cosines(rows(answers), torch.cat([images, texts])).min() > 1 - 1e-9
    assert not np.allclose(np.linalg.norm(rows(answers), axis=1), 1, atol=0.01)


def test_openais_weights_by_the_plain_name_are_not_openais_model(
    folders: Any, engines: Any, by_name: Any
) -> None:
    """open_clip 3 warns that the activation is not the one of the training; the folder says which it is."""
    with pytest.warns(UserWarning, match="QuickGELU mismatch"):
        _, _, images, _ = documented(*by_name("ViT-B-32", "openai", folders[OPENAI]))
    assert cosines(rows(engines[OPENAI](photos())), images).max() < 0.99999


@pytest.mark.parametrize("model", [OPENAI, LAION])
def test_zero_shot_probabilities_of_clip_are_those_of_the_readme(
    model: tuple[str, str], folders: Any, engines: Any, by_name: Any
) -> None:
    name = "ViT-B-32-quickgelu" if model is OPENAI else "ViT-B-32"
    reference, _, image_features, text_features = documented(*by_name(name, model[1], folders[model]))
    image_features /= image_features.norm(dim=-1, keepdim=True)
    text_features /= text_features.norm(dim=-1, keepdim=True)
    with torch.no_grad():
        scale = reference.logit_scale.exp()
        expected = (scale * image_features @ text_features.T).softmax(dim=-1)

    engine = engines[model]
    similarities = normalised(engine(photos())) @ normalised(engine(TEXTS)).T
    logits = torch.tensor(engine.logit_scale * similarities + engine.logit_bias)
    assert not engine.is_sigmoid
    assert engine.logit_bias == 0
    np.testing.assert_allclose(logits.softmax(dim=-1), expected, atol=1e-5)


def test_zero_shot_probabilities_of_siglip_are_those_of_its_model_card(
    folders: Any, engines: Any, by_name: Any
) -> None:
    reference, _, image_features, text_features = documented(*by_name(*SIGLIP, folders[SIGLIP]))
    image_features = torch.nn.functional.normalize(image_features, dim=-1)
    text_features = torch.nn.functional.normalize(text_features, dim=-1)
    with torch.no_grad():
        logits = image_features @ text_features.T * reference.logit_scale.exp() + reference.logit_bias
        expected = torch.sigmoid(logits)

    engine = engines[SIGLIP]
    similarities = normalised(engine(photos())) @ normalised(engine(TEXTS)).T
    ours = torch.tensor(engine.logit_scale * similarities + engine.logit_bias)
    assert engine.is_sigmoid
    assert engine.logit_bias == -10
    np.testing.assert_allclose(ours.sigmoid(), expected, atol=1e-5)


def normalised(vectors: Any) -> Any:
    values = rows(vectors)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.mark.parametrize("model", [LAION, SIGLIP])
def test_prompts_averaged_are_open_clips_zero_shot_classifier(
    model: tuple[str, str], folders: Any, engines: Any, by_name: Any
) -> None:
    classes, templates = ["cat", "dog", "cup of coffee"], ["a photo of a {}.", "a drawing of a {}."]
    reference, tokenizer, _, _ = documented(*by_name(*model, folders[model]))
    expected = open_clip.build_zero_shot_classifier(reference, tokenizer, classes, templates)

    prompts = [template.format(name) for name in classes for template in templates]
    means = normalised(engines[model](prompts)).reshape(len(classes), len(templates), -1).mean(axis=1)
    ours = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(ours.T, expected, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_items_come_back_in_order_and_a_batch_is_its_singles(model: tuple[str, str], engines: Any) -> None:
    engine = engines[model]
    items: list[Any] = [TEXTS[0], *photos()[:2], *TEXTS[1:3], photos()[4], TEXTS[4]]
    together = rows(engine(items))
    alone = np.concatenate([rows(engine([item])) for item in items])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert len(np.unique(together.round(4), axis=0)) == len(items)


@pytest.mark.parametrize("model", MODELS)
def test_nothing_gives_nothing(model: tuple[str, str], engines: Any) -> None:
    assert engines[model]([]) == []


def test_texts_are_cut_to_the_context_length(engines: Any) -> None:
    for model, length in ((OPENAI, 77), (SIGLIP, 64)):
        assert engines[model].pre("word " * 500).shape == (length,)
    long, longer = rows(engines[OPENAI](["word " * 100, "word " * 1000]))
    np.testing.assert_array_equal(long, longer)


@pytest.mark.parametrize("model", [OPENAI, SIGLIP])
def test_odd_images_have_vectors(model: tuple[str, str], engines: Any) -> None:
    answers = rows(engines[model]([crop_of(pixels) for pixels in odd_images().values()]))
    assert np.isfinite(answers).all()
    assert len(np.unique(answers.round(4), axis=0)) == len(answers)


@pytest.mark.parametrize("size", [(3000, 100), (100, 3000), (1601, 100), (100, 1699), (1600, 100)])
def test_strips_are_seen_as_open_clip_sees_them(size: tuple[int, int], engines: Any) -> None:
    width, height = size
    crop = crop_of(np.tile(astronaut(), (6, 6, 1))[:height, :width])
    engine = engines[LAION]
    transform = open_clip.image_transform(224, is_train=False, interpolation="bicubic")
    with torch.no_grad():
        expected = engine._model.encode_image(transform(pil(crop))[None])
    # Its rounding of the longer side moves the square by up to half a pixel.
    assert cosines(rows(engine([crop])), expected).min() > 0.999


def test_only_strips_are_cut_and_their_middle_stays_the_middle() -> None:
    photo = noise(LONGEST * 10, 10)
    assert middle_of_strip(photo).shape == photo.shape
    for width in (10 * LONGEST + 1, 10 * LONGEST + 2, 1001, 1002):
        strip = np.arange(width, dtype=np.uint8)[None, :, None].repeat(10, axis=0).repeat(3, axis=2)
        middle = middle_of_strip(strip)
        left = (width - middle.shape[1]) // 2
        assert middle.shape[1] in (10 * LONGEST, 10 * LONGEST + 1)
        assert width - middle.shape[1] == 2 * left
        np.testing.assert_array_equal(middle, strip[:, left : width - left])
        np.testing.assert_array_equal(middle_of_strip(strip.transpose(1, 0, 2)), middle.transpose(1, 0, 2))


def test_loading_and_answering_use_no_network(folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *names, **_: asked.append(names))
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: asked.append(address))
    for folder in folders.values():
        engine = ClipEmbedder(Placement(folder))
        engine.warmup()
    assert asked == []


def test_threads_share_an_engine(engines: Any) -> None:
    engine = engines[SIGLIP]
    items = [*photos(), *TEXTS]
    expected = digest(engine(items))
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: digest(engine(items)), range(8)))
    assert set(answers) == {expected}


def test_another_process_gives_the_same_bits(elsewhere: Executor, folders: Any, engines: Any) -> None:
    theirs = elsewhere.submit(loaded_digest, ClipEmbedder, folders[OPENAI])
    assert theirs.result() == digest(engines[OPENAI](photos()))


@pytest.mark.parametrize("model", [OPENAI, SIGLIP])
def test_half_precision_is_close_and_answers_float32(
    model: tuple[str, str], folders: Any, engines: Any
) -> None:
    items = [*photos(), *TEXTS]
    half = ClipEmbedder(Placement(folders[model], precision="bfloat16"))
    answers = rows(half(items))
    assert answers.dtype == np.float32
    assert cosines(answers, rows(engines[model](items))).min() > 0.999
    # The scale is read before the weights are rounded.
    assert half.logit_scale == engines[model].logit_scale


def test_truncated_weights_are_refused(folders: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(folders[OPENAI], tmp_path / "truncated")
    file = folder / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(SafetensorError):
        ClipEmbedder(Placement(folder))


def test_missing_weights_are_refused(folders: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(folders[OPENAI], tmp_path / "missing")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(RuntimeError, match="could not be loaded"):
        ClipEmbedder(Placement(folder))


@pytest.mark.parametrize(
    ("model", "key"),
    [
        (OPENAI, "visual.transformer.resblocks.1.mlp.c_fc.weight"),
        (OPENAI, "logit_scale"),
        (SIGLIP, "text.transformer.resblocks.0.attn.out_proj.bias"),
        (SIGLIP, "logit_bias"),
    ],
)
def test_a_missing_tensor_is_named(model: tuple[str, str], key: str, folders: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(folders[model], tmp_path / "without")
    state = load_file(folder / "open_clip_model.safetensors")
    del state[key]
    save_file(state, folder / "open_clip_model.safetensors")
    with pytest.raises((RuntimeError, ValueError), match=key):
        ClipEmbedder(Placement(folder))


def test_an_unknown_tensor_is_named(folders: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(folders[OPENAI], tmp_path / "more")
    state = load_file(folder / "open_clip_model.safetensors")
    save_file(state | {"visual.stranger": torch.zeros(2)}, folder / "open_clip_model.safetensors")
    with pytest.raises(RuntimeError, match=r"visual\.stranger"):
        ClipEmbedder(Placement(folder))


def test_every_model_is_in_open_clips_registry() -> None:
    """The repository that a specification names is the one from which open_clip itself fetches."""
    assert CLIP_MODELS[0].name == "ViT-B-32"
    for spec in CLIP_MODELS:
        write: Any = spec.write_random
        tag = open_clip.get_pretrained_cfg(write.keywords["architecture"], write.keywords["tag"])
        assert tag["hf_hub"] == spec.weights.id + "/"


@pytest.mark.skipif(sys.platform != "linux", reason="what is mapped is looked up in /proc")
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model[1])
def test_weights_stay_in_their_file(engines, folders, model):
    """Processes share the memory of what is mapped."""
    file = folders[model] / WEIGHTS
    mapped = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(file)):
            start, end = (int(each, 16) for each in line.split()[0].split("-"))
            mapped.append(range(start, end))
    kept = load_file(file)
    parameters = dict(engines[model]._model.named_parameters())
    assert set(parameters) <= set(kept)
    for name, parameter in parameters.items():
        assert torch.equal(parameter, kept[name])
        assert any(parameter.data_ptr() in each for each in mapped), name
