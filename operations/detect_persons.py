"""The stage that finds persons."""

from collections.abc import Sequence

from app.core.artifacts import Crop, Detections, Region
from app.core.operation import IMAGE, Needs, NoParams, operation
from app.engines.persons import HOG_PEOPLE, HogPeopleDetector


def needs(params: NoParams) -> Needs:
    return {"crop": IMAGE}


def found(region: Region, value: Detections) -> Sequence[Region]:
    return value.regions


@operation(needs=needs, engine=HOG_PEOPLE, public=False, finds=found)
def detect_persons(crop: Sequence[Crop], params: NoParams, engine: HogPeopleDetector) -> list[Detections]:
    """Persons in the whole image."""
    return engine(crop)
