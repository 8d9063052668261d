"""The stage that finds objects. The search for persons shares it."""

from collections.abc import Collection, Sequence
from typing import Annotated

from app.core.artifacts import Crop, Detections, Region
from app.core.operation import IMAGE, OUTSIDE_KEY, Needs, operation
from app.core.target import RegionParams
from app.engines.base import Engine
from app.engines.objects import OBJECT_DETECTORS
from app.engines.persons import HOG_PEOPLE


class ObjectParams(RegionParams):
    persons_suffice: Annotated[bool, OUTSIDE_KEY] = False
    """Whether a detector that knows persons alone will do."""


def needs(params: ObjectParams) -> Needs:
    if params.target == "whole_image":
        return {"crop": IMAGE}
    # Regions are found by this stage in turn: the modules need each other, the graph has no cycle.
    from operations import regions

    return {"crop": regions.ref(params)}


def able(params: ObjectParams) -> Collection[str] | None:
    return None if params.persons_suffice else [spec.name for spec in OBJECT_DETECTORS]


def found(region: Region, value: Detections) -> Sequence[Region]:
    return value.regions


@operation(
    params=ObjectParams,
    needs=needs,
    engine=[*OBJECT_DETECTORS, HOG_PEOPLE],
    engine_for=able,
    public=False,
    finds=found,
)
def find_objects(
    crop: Sequence[Crop], params: ObjectParams, engine: Engine[Crop, object, object, Detections]
) -> list[Detections]:
    """Objects with their labels."""
    return engine(crop)
