"""DINOv2 and DINOv3 against the calls of their model cards, on tiny checkpoints in the hub's format."""

import shutil
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel

from app.core.artifacts import Crop
from app.core.weights import Placement
from app.engines.dino import DINO_V2_MODELS, DINO_V3, DinoTokens, DinoV2, DinoV3
from app.engines.random_weights.dino import write_dino_v2, write_dino_v3
from tests.engines.vectors import cosines, digest, loaded_digest, odd_images, photos, rows
from tests.images import astronaut, crop_of

KINDS: dict[str, Any] = {"v2": DinoV2, "v3": DinoV3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    write_dino_v2(made["v2"], tiny=True)
    write_dino_v3(made["v3"], tiny=True)
    return made


@pytest.fixture(scope="module")
def engines(folders: dict[str, Path]) -> dict[str, Any]:
    return {kind: load(Placement(folders[kind])) for kind, load in KINDS.items()}


def pil(crop: Crop) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.ascontiguousarray(crop.pixels))


def documented(folder: Path, crop: Crop, **changed: Any) -> Any:
    """The model cards' call."""
    processor = AutoImageProcessor.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder)
    inputs = processor(images=pil(crop), return_tensors="pt", **changed)
    with torch.no_grad():
        return model(**inputs)


def vectors_of(answers: Any) -> Any:
    """[n, dimensions]; of DINOv3 both vectors side by side."""
    if answers and isinstance(answers[0], DinoTokens):
        images, patches = ([getattr(each, name) for each in answers] for name in ("image", "patches"))
        return np.concatenate([rows(images), rows(patches)], axis=1)
    return rows(answers)


def test_v2_is_the_class_token_of_the_documented_call(folders: Any, engines: Any) -> None:
    expected = [documented(folders["v2"], crop) for crop in photos()]
    answers = rows(engines["v2"](photos()))
    for tokens in (
        [each.last_hidden_state[0, 0] for each in expected],
        [each.pooler_output[0] for each in expected],
    ):
        assert cosines(answers, torch.stack(tokens)).min() > 1 - 1e-9


def test_v2_at_518_scales_to_592_first(folders: Any, engines: Any) -> None:
    changed = {"size": {"shortest_edge": 592}, "crop_size": {"height": 518, "width": 518}}
    expected = [documented(folders["v2"], crop, **changed).pooler_output[0] for crop in photos()]
    answers = rows(engines["v2"].embed(photos(), resolution=518))
    assert cosines(answers, torch.stack(expected)).min() > 1 - 1e-9
    assert cosines(answers, rows(engines["v2"](photos()))).max() < 0.9999
    np.testing.assert_array_equal(
        rows(engines["v2"].embed(photos()[:2], resolution=224)), rows(engines["v2"](photos()[:2]))
    )


def test_v3_is_the_class_token_and_the_mean_patch_of_the_documented_call(folders: Any, engines: Any) -> None:
    expected = [documented(folders["v3"], crop) for crop in photos()]
    answers = engines["v3"](photos())
    images = torch.stack([each.pooler_output[0] for each in expected])
    assert cosines(rows([each.image for each in answers]), images).min() > 1 - 1e-9
    # 14x14 patches of 16 pixels, behind the class token and four registers.
    assert expected[0].last_hidden_state.shape[1] == 1 + 4 + 196
    patches = torch.stack([each.last_hidden_state[0, -196:].mean(dim=0) for each in expected])
    assert cosines(rows([each.patches for each in answers]), patches).min() > 1 - 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_its_singles(kind: str, engines: Any) -> None:
    together = vectors_of(engines[kind](photos()))
    alone = np.concatenate([vectors_of(engines[kind]([crop])) for crop in photos()])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert len(np.unique(together.round(3), axis=0)) == len(photos())


def test_nothing_gives_nothing(engines: Any) -> None:
    assert engines["v2"]([]) == engines["v2"].embed([], resolution=518) == engines["v3"]([]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_odd_images_have_vectors(kind: str, engines: Any) -> None:
    answers = vectors_of(engines[kind]([crop_of(pixels) for pixels in odd_images().values()]))
    assert np.isfinite(answers).all()
    assert len(np.unique(answers.round(4), axis=0)) == len(answers)


@pytest.mark.parametrize("size", [(3000, 100), (100, 3000), (1699, 100), (1600, 100)])
def test_strips_are_seen_as_the_library_sees_them(size: tuple[int, int], folders: Any, engines: Any) -> None:
    width, height = size
    crop = crop_of(np.tile(astronaut(), (6, 6, 1))[:height, :width])
    expected = documented(folders["v2"], crop).pooler_output
    # Its rounding of the longer side moves the square by up to half a pixel.
    assert cosines(rows(engines["v2"]([crop])), expected).min() > 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_an_engine(kind: str, engines: Any) -> None:
    expected = digest(engines[kind](photos()))
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: digest(engines[kind](photos())), range(8)))
    assert set(answers) == {expected}


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_close_and_answers_float32(kind: str, folders: Any, engines: Any) -> None:
    half = vectors_of(KINDS[kind](Placement(folders[kind], precision="bfloat16"))(photos()))
    assert half.dtype == np.float32
    assert cosines(half, vectors_of(engines[kind](photos()))).min() > 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_weights_are_refused(kind: str, folders: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(folders[kind], tmp_path / "truncated")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(SafetensorError):
        KINDS[kind](Placement(folder))


@pytest.mark.parametrize("kind", KINDS)
def test_missing_weights_are_refused(kind: str, folders: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(folders[kind], tmp_path / "missing")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        KINDS[kind](Placement(folder))


@pytest.mark.parametrize(
    ("kind", "stored", "named"),
    [
        ("v2", "encoder.layer.1.attention.attention.query.weight", "encoder.layer.1.attention.q_proj.weight"),
        ("v2", "layernorm.bias", "layernorm.bias"),
        ("v3", "embeddings.register_tokens", "embeddings.register_tokens"),
    ],
)
def test_a_missing_tensor_is_named(kind: str, stored: str, named: str, folders: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(folders[kind], tmp_path / "without")
    state = load_file(folder / "model.safetensors")
    del state[stored]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=f"missing keys in the weights: {named}"):
        KINDS[kind](Placement(folder))


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_tensor_is_named(kind: str, folders: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(folders[kind], tmp_path / "more")
    state = load_file(folder / "model.safetensors") | {"stranger": torch.zeros(2)}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="unexpected keys in the weights: stranger"):
        KINDS[kind](Placement(folder))


@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_of_another_shape_is_named(kind: str, folders: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(folders[kind], tmp_path / "other")
    state = load_file(folder / "model.safetensors")
    state["embeddings.cls_token"] = torch.zeros(1, 1, 47)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"mismatched keys in the weights: embeddings\.cls_token"):
        KINDS[kind](Placement(folder))


@pytest.mark.parametrize("kind", KINDS)
def test_another_process_gives_the_same_bits(
    kind: str, elsewhere: Executor, folders: dict[str, Path], engines: Any
) -> None:
    theirs = elsewhere.submit(loaded_digest, KINDS[kind], folders[kind])
    assert theirs.result() == digest(engines[kind](photos()))


def test_specifications() -> None:
    assert [spec.name for spec in DINO_V2_MODELS] == ["dinov2-base", "dinov2-small", "dinov2-large"]
    assert "HF_TOKEN" in DINO_V3.limits
