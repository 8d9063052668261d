"""The stage that embeds parts of the image and texts in one space. All that compares the two shares it."""

from collections.abc import Collection, Sequence
from typing import Annotated, Literal

from app.core.artifacts import Crop, Vector
from app.core.operation import OUTSIDE_KEY, Given, Needs, Ref, operation
from app.core.target import RegionParams
from app.engines.clip import CLIP_MODELS, ClipEmbedder
from operations import regions

ClipModel = Literal["ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-B-32-laion2b", "ViT-B-16-SigLIP2"]


class ClipParams(RegionParams):
    model: ClipModel = "ViT-B-32"
    """The model."""

    texts: Annotated[tuple[str, ...], OUTSIDE_KEY] = ()
    """Texts to embed instead of a part of the image."""


def needs(params: ClipParams) -> Needs:
    return {"item": Given(params.texts) if params.texts else regions.ref(params)}


def able(params: ClipParams) -> Collection[str]:
    return (params.model,)


def of_image(params: RegionParams, model: ClipModel) -> Ref:
    """The vectors of the regions that a task's params name."""
    chosen = {name: getattr(params, name) for name in ("target", "face_context", "on_missing")}
    return Ref(encode_clip, ClipParams(**chosen, model=model))


def of_texts(texts: Sequence[str], model: ClipModel) -> Ref:
    """The vectors of texts, in their order."""
    return Ref(encode_clip, ClipParams(texts=tuple(texts), model=model))


@operation(
    params=ClipParams,
    needs=needs,
    engine=CLIP_MODELS,
    engine_for=able,
    public=False,
    space_family="clip",
)
def encode_clip(item: Sequence[Crop | str], params: ClipParams, engine: ClipEmbedder) -> list[Vector]:
    """Vectors of images and texts that can be compared with each other."""
    return engine(item)
