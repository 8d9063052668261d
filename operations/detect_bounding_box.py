"""Persons and faces, as boxes."""

from collections.abc import Sequence
from typing import Annotated

from app.core.artifacts import Crop, Region
from app.core.geometry import Box
from app.core.operation import OUTSIDE_KEY, Needs, operation
from app.core.target import PersonOrFace, TargetParams
from operations import regions


class Params(TargetParams):
    target: Annotated[PersonOrFace, OUTSIDE_KEY] = "prominent_person"
    """What to find: the prominent person or face, or all of them."""


def needs(params: Params) -> Needs:
    return {"crop": regions.ref(params, on_missing="nothing")}


def found(region: Region, value: Box) -> Sequence[Region]:
    return (region,)


@operation(params=Params, needs=needs, inline=True, finds=found, model_of="crop")
def detect_bounding_box(crop: Sequence[Crop], params: Params) -> list[Box]:
    """The box of the prominent person or face, or the boxes of all.

    `data` is `[xmin, ymin, xmax, ymax]` in pixels of the upright image, or null when nothing was found.
    All persons or faces come as `items`, most prominent first, faces with five landmarks.
    """
    return [each.box for each in crop]
