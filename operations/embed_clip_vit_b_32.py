"""The CLIP embedding that most indexes hold."""

from collections.abc import Sequence

from app.core.artifacts import Vector
from app.core.operation import Needs, Ref, operation
from app.core.target import RegionParams
from operations import encode_clip, encode_crop


class Params(RegionParams):
    normalize: bool = False
    """Whether the vector is scaled to length 1."""


def needs(params: Params) -> Needs:
    return {"vector": encode_clip.of_image(params, "ViT-B-32")}


def of_text(params: Params, text: str) -> Ref:
    return encode_clip.of_texts([text], "ViT-B-32")


@operation(
    params=Params,
    needs=needs,
    inline=True,
    model_of="vector",
    space_family="clip",
    of_text=of_text,
    crop=encode_crop.crop_of,
)
def embed_clip_vit_b_32(vector: Sequence[Vector], params: Params) -> list[Vector]:
    """Embed a region by CLIP ViT-B/32 with OpenAI's weights.

    512 floats as `encode_image` gives them. `embed_clip` with the model ViT-B-32 has the same space, and
    embeds texts too.
    """
    return [each.normalized() if params.normalize else each for each in vector]
