"""AuraFace embeddings of faces."""

from collections.abc import Sequence
from typing import Annotated

from app.core.artifacts import Crop, Vector
from app.core.errors import TaskError
from app.core.operation import OUTSIDE_KEY, Needs, operation
from app.core.target import RegionParams
from app.engines.identities import AURAFACE, AuraFaceEmbedder
from operations import encode_crop, regions
from operations.embed_face import FaceTarget


class Params(RegionParams):
    target: Annotated[FaceTarget, OUTSIDE_KEY] = "prominent_face"
    """The prominent face, or all of them."""


def needs(params: Params) -> Needs:
    return {"crop": regions.ref(params)}


@operation(params=Params, needs=needs, engine=AURAFACE, crop=encode_crop.crop_of)
def embed_auraface(
    crop: Sequence[Crop], params: Params, engine: AuraFaceEmbedder
) -> list[Vector | TaskError]:
    """Embed a face by AuraFace, which is free for commercial use.

    512 floats of the face aligned by its five landmarks. `compare` tells how close two faces are.
    """
    return engine(crop)
