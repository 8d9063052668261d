"""DINOv3 embeddings of a region as a whole."""

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
def embed_dino_v3(tokens: Sequence[DinoTokens], params: Params) -> list[Vector]:
    """Embed what a region looks like by DINOv3 ViT-L/16: its CLS token.

    1024 floats, layer-normed. Siméoni et al., "DINOv3", 2025 (arXiv:2508.10104). The weights are behind a
    licence that their page asks you to accept.
    """
    return [each.image for each in tokens]
