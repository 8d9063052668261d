"""The stage that finds faces."""

from collections.abc import Sequence
from typing import Annotated

from app.core.artifacts import Crop, Detections, Region
from app.core.operation import (
    IMAGE,
    OUTSIDE_KEY,
    Needs,
    NoParams,
    Params,
    Ref,
    operation,
)
from app.core.target import FaceContext
from app.engines.faces import MTCNN_FACES, MtcnnFaceDetector
from operations.face_context import face_context


class FaceParams(Params):
    within: Annotated[FaceContext, OUTSIDE_KEY] = "whole_image"
    """The part of the image that is searched."""


def needs(params: FaceParams) -> Needs:
    if params.within == "whole_image":
        return {"crop": IMAGE}
    return {"crop": Ref(face_context, NoParams())}


def found(region: Region, value: Detections) -> Sequence[Region]:
    return value.regions


@operation(params=FaceParams, needs=needs, engine=MTCNN_FACES, public=False, finds=found)
def detect_faces(crop: Sequence[Crop], params: FaceParams, engine: MtcnnFaceDetector) -> list[Detections]:
    """Faces with five landmarks, in the whole image or in the prominent person."""
    return engine(crop)
