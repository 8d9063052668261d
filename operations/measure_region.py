"""The stage that measures a region for those who watch whether what comes in changes over time."""

from collections.abc import Sequence

from app.core.artifacts import Crop, Data
from app.core.operation import Needs, operation
from app.core.target import RegionParams
from classifiers.measures import size_of
from operations import regions
from operations.image_properties import brightness_of


class MeasureParams(RegionParams):
    """Nothing beyond the choice of regions."""


class RegionMeasures(Data):
    brightness: float
    """Mean luma, 0 to 255, as `image_properties` tells it."""
    size: float
    """The square root of the area in pixels."""


def needs(params: MeasureParams) -> Needs:
    return {"crop": regions.ref(params)}


@operation(params=MeasureParams, needs=needs, public=False)
def measure_region(crop: Sequence[Crop], params: MeasureParams) -> list[RegionMeasures]:
    """Brightness and size: what tells most when a camera, or what it looks at, has changed."""
    return [
        RegionMeasures(
            brightness=brightness_of(each),
            size=size_of(each.box.width, each.box.height),
        )
        for each in crop
    ]
