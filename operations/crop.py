"""The crop of any target."""

from collections.abc import Sequence

from app.core.artifacts import Crop, Region
from app.core.geometry import Box
from app.core.operation import Needs, operation
from app.core.target import RegionParams
from operations import encode_crop, regions


class Params(RegionParams):
    """Nothing beyond the choice of regions."""


def needs(params: Params) -> Needs:
    return {"crop": regions.ref(params)}


def found(region: Region, value: Box) -> Sequence[Region]:
    return (region,)


@operation(params=Params, needs=needs, inline=True, finds=found, crop=encode_crop.any_crop_of)
def crop(crop: Sequence[Crop], params: Params) -> list[Box]:
    """Cut a region out of the image.

    `data` is the box `[xmin, ymin, xmax, ymax]`; `cropped_image_base64` is its pixels, also for the whole
    image.
    """
    return [each.box for each in crop]
