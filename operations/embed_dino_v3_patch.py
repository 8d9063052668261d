"""DINOv3 embeddings of what a region is made of."""

from collections.abc import Sequence

from app.core.artifacts import Vector
from app.core.operation import Needs, operation
from app.core.target import RegionParams
from app.engines.dino import DinoTokens
from operations import encode_crop, encode_dino_v3


class Params(RegionParams):
    """Nothing beyond the choice of regions."""


def needs(params: Params) -> Needs:
    return {"tokens": encode_dino_v3.of(params)}


@operation(params=Params, needs=needs, inline=True, model_of="tokens", crop=encode_crop.crop_of)
def embed_dino_v3_patch(tokens: Sequence[DinoTokens], params: Params) -> list[Vector]:
    """Embed the surface of a region by DINOv3 ViT-L/16: the mean of its patch tokens.

    1024 floats; neither the CLS token nor the registers count. Siméoni et al., "DINOv3", 2025
    (arXiv:2508.10104). The weights are behind a licence that their page asks you to accept.
    """
    return [each.patches for each in tokens]
