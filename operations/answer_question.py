"""Questions about an image."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from app.core.artifacts import Crop
from app.core.operation import Needs, operation
from app.engines.captioner import BLIP_VQA
from app.engines.text_generation import Answerer
from app.engines.vision_language import SMOLVLM_256M
from operations import encode_crop, regions
from operations.describe_image import TextParams


class Params(TextParams):
    question: Annotated[str, Field(min_length=1, max_length=500)]
    """What to answer, in English."""


def needs(params: Params) -> Needs:
    return {"crop": regions.ref(params)}


@operation(
    params=Params,
    needs=needs,
    engine=[BLIP_VQA, SMOLVLM_256M],
    crop=encode_crop.crop_of,
    example=Params(question="What is in the picture?"),
)
def answer_question(crop: Sequence[Crop], params: Params, engine: Answerer) -> list[str]:
    """Answer a question about a region.

    BLIP answers in a word or two, a vision-language model in a sentence. Both are often wrong about counts,
    text and what is not there.
    """
    return engine.answer(
        crop, question=params.question, max_length=params.max_length, num_beams=params.num_beams
    )
