"""Captions."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from app.core.artifacts import Crop
from app.core.operation import Needs, operation
from app.core.target import RegionParams
from app.engines.captioner import BLIP_BASE, BLIP_LARGE
from app.engines.text_generation import LONGEST_TEXT, Captioner
from app.engines.vision_language import SMOLVLM_256M
from operations import encode_crop, regions

# A token takes about 50 ms on two cores, and a caption that has begun is not stopped.
MOST_TOKENS = 1024


class TextParams(RegionParams):
    """Base of the params of an operation that writes text about a region."""

    max_length: Annotated[int, Field(ge=1, le=LONGEST_TEXT)] = 50
    """No more than this many tokens, about three quarters as many words."""

    num_beams: Annotated[int, Field(ge=1, le=8)] = 1
    """How many beginnings are followed at once; more take longer and read a little better."""

    @model_validator(mode="after")
    def _ends_in_time(self) -> Self:
        if self.max_length * self.num_beams > MOST_TOKENS:
            raise ValueError(f"max_length times num_beams is at most {MOST_TOKENS}: take fewer of one")
        return self


class Params(TextParams):
    prompt: Annotated[str, Field(max_length=500)] = ""
    """How the caption begins, for BLIP; what is asked for, for a vision-language model."""


def needs(params: Params) -> Needs:
    return {"crop": regions.ref(params)}


@operation(
    params=Params,
    needs=needs,
    engine=[BLIP_BASE, BLIP_LARGE, SMOLVLM_256M],
    crop=encode_crop.crop_of,
)
def describe_image(crop: Sequence[Crop], params: Params, engine: Captioner) -> list[str]:
    """Describe a region in a sentence.

    The caption is generic: kinds of things and what they do, not names, counts or text.
    """
    return engine.describe(
        crop, max_length=params.max_length, prompt=params.prompt, num_beams=params.num_beams
    )
