"""Embeddings of faces, for telling persons apart."""

from collections.abc import Sequence
from typing import Annotated, Literal

from app.core.artifacts import Crop, Vector
from app.core.operation import OUTSIDE_KEY, Needs, operation
from app.core.target import RegionParams
from app.engines.identities import VGGFACE2, FaceEmbedder
from operations import encode_crop, regions

FaceTarget = Literal["prominent_face", "all_faces"]


class Params(RegionParams):
    target: Annotated[FaceTarget, OUTSIDE_KEY] = "prominent_face"
    """The prominent face, or all of them."""


def needs(params: Params) -> Needs:
    return {"crop": regions.ref(params)}


@operation(params=Params, needs=needs, engine=VGGFACE2, crop=encode_crop.crop_of)
def embed_face(crop: Sequence[Crop], params: Params, engine: FaceEmbedder) -> list[Vector]:
    """Embed a face so that pictures of one person lie close to each other.

    512 floats of length 1, by the InceptionResnetV1 of facenet-pytorch, trained on VGGFace2 (Cao et al.,
    2018, arXiv:1710.08092). `compare` tells how close two faces are. It is not meant for deciding who
    somebody is where that matters to them.
    """
    return engine(crop)
