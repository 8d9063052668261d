"""The stage behind the DINOv3 embeddings: one pass of the model gives both."""

from collections.abc import Sequence

from app.core.artifacts import Crop
from app.core.operation import Needs, Ref, operation
from app.core.target import RegionParams
from app.engines.dino import DINO_V3, DinoTokens, DinoV3
from operations import regions


def needs(params: RegionParams) -> Needs:
    return {"crop": regions.ref(params)}


def of(params: RegionParams) -> Ref:
    """The tokens of the regions that a task's params name."""
    chosen = {name: getattr(params, name) for name in ("target", "face_context", "on_missing")}
    return Ref(encode_dino_v3, RegionParams(**chosen))


@operation(params=RegionParams, needs=needs, engine=DINO_V3, public=False)
def encode_dino_v3(crop: Sequence[Crop], params: RegionParams, engine: DinoV3) -> list[DinoTokens]:
    """The CLS token and the mean of the patch tokens of DINOv3."""
    return engine(crop)
