"""CLIP embeddings of images and texts, by a choice of models."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from app.core.artifacts import Vector
from app.core.operation import Needs, Ref, operation
from app.core.target import RegionParams
from operations import encode_clip, encode_crop
from operations.encode_clip import ClipModel


class Params(RegionParams):
    model: ClipModel = "ViT-B-32"
    """Which model; a server may offer fewer."""

    text: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    """A text to embed instead of the image. Models read the first 77 tokens of it, SigLIP 64."""

    normalize: bool = False
    """Whether the vector is scaled to length 1."""

    @model_validator(mode="after")
    def _text_has_no_region(self) -> Self:
        if self.text is not None and self.target != "whole_image":
            raise ValueError("text and target exclude each other: a text has no region")
        return self


def needs(params: Params) -> Needs:
    if params.text is not None:
        return {"vector": encode_clip.of_texts([params.text], params.model)}
    return {"vector": encode_clip.of_image(params, params.model)}


def shown(params: Params) -> Ref | None:
    return encode_crop.crop_of(params) if params.text is None else None


def of_text(params: Params, text: str) -> Ref:
    return encode_clip.of_texts([text], params.model)


@operation(
    params=Params,
    needs=needs,
    inline=True,
    model_of="vector",
    space_family="clip",
    of_text=of_text,
    crop=shown,
)
def embed_clip(vector: Sequence[Vector], params: Params) -> list[Vector]:
    """Embed an image or a text for search and comparison, by the CLIP or SigLIP model of your choice.

    Vectors of images and texts by one model can be compared with each other: a larger cosine means that they
    fit better. It is a rank, not a probability. Radford et al., "Learning transferable visual models from
    natural language supervision", 2021 (arXiv:2103.00020).
    """
    return [each.normalized() if params.normalize else each for each in vector]
