"""DINOv2 embeddings."""

from collections.abc import Sequence
from typing import Literal

from app.core.artifacts import Crop, Vector
from app.core.operation import Needs, operation
from app.core.target import RegionParams
from app.engines.dino import DINO_V2_MODELS, DinoV2
from operations import encode_crop, regions


class Params(RegionParams):
    resolution: Literal[224, 518] = 224
    """The side of the square that the model sees; 518 sees smaller things and takes five times as long."""


def needs(params: Params) -> Needs:
    return {"crop": regions.ref(params)}


def space(params: Params) -> str:
    """What is seen at another resolution is embedded elsewhere."""
    return f"embed_dino_v2-{params.resolution}"


@operation(params=Params, needs=needs, engine=DINO_V2_MODELS, space_family=space, crop=encode_crop.crop_of)
def embed_dino_v2(crop: Sequence[Crop], params: Params, engine: DinoV2) -> list[Vector]:
    """Embed what a region looks like by DINOv2: for instances, textures and near copies rather than words.

    The layer-normed CLS token: 768 floats of the base model, 384 of small, 1024 of large. Oquab et al.,
    "DINOv2: learning robust visual features without supervision", 2023 (arXiv:2304.07193).
    """
    return engine.embed(crop, resolution=params.resolution)
