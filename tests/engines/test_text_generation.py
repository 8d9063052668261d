"""What holds for all engines that write text about an image."""

from concurrent.futures import Executor
from pathlib import Path

import pytest

from app.core.errors import InvalidParams
from app.core.weights import Placement
from app.engines.captioner import BlipAnswerer, BlipCaptioner
from app.engines.random_weights.blip import write_blip
from app.engines.random_weights.vision_language import write_smolvlm
from app.engines.text_generation import Answerer, Captioner, tokens_to_add
from app.engines.vision_language import VisionLanguageModel
from tests.images import astronaut, crop_of


def written(folder: Path) -> list[str]:
    """What every engine writes about a photo, on the tiny checkpoints in `folder`."""
    smolvlm = VisionLanguageModel(Placement(folder / "smolvlm"))
    captioners: list[Captioner] = [BlipCaptioner(Placement(folder / "captioner")), smolvlm]
    answerers: list[Answerer] = [BlipAnswerer(Placement(folder / "answerer")), smolvlm]
    crops = [crop_of(astronaut()), crop_of(astronaut()[100:200])]
    texts = [text for captioner in captioners for text in captioner.describe(crops, num_beams=2)]
    return texts + [text for answerer in answerers for text in answerer.answer(crops, question="who?")]


def test_another_process_writes_the_same(elsewhere: Executor, tmp_path: Path) -> None:
    write_blip(tmp_path / "captioner", "captioner-base", tiny=True)
    write_blip(tmp_path / "answerer", "answerer-base", tiny=True)
    write_smolvlm(tmp_path / "smolvlm", tiny=True)

    theirs = elsewhere.submit(written, tmp_path)
    texts = written(tmp_path)
    assert theirs.result() == texts
    assert len(set(texts)) > 4


@pytest.mark.parametrize(
    ("wanted", "taken", "added"), [(50, 1, 50), (512, 1, 512), (512, 2, 511), (512, 512, 1), (1, 512, 1)]
)
def test_a_text_ends_where_the_model_has_no_more_places(wanted: int, taken: int, added: int) -> None:
    assert tokens_to_add(wanted, taken=taken, positions=512, field="prompt") == added


def test_a_prompt_must_leave_a_place() -> None:
    with pytest.raises(InvalidParams, match="prompt: is 513 tokens long, and this model reads 512"):
        tokens_to_add(1, taken=513, positions=512, field="prompt")
