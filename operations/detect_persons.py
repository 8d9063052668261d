"""The stage that finds persons."""

from collections.abc import Sequence

from app.core.artifacts import Detections, Region
from app.core.operation import Needs, NoParams, Ref, operation
from operations.find_objects import ObjectParams, find_objects

# The label of persons among the 80 of COCO, which is what every detector here was trained on.
PERSON = "person"
LOWEST_CONFIDENCE = 0.5


def needs(params: NoParams) -> Needs:
    return {"objects": Ref(find_objects, ObjectParams(persons_suffice=True))}


def found(region: Region, value: Detections) -> Sequence[Region]:
    return value.regions


@operation(needs=needs, inline=True, model_of="objects", public=False, finds=found)
def detect_persons(objects: Sequence[Detections], params: NoParams) -> list[Detections]:
    """Persons in the whole image."""
    return [Detections(tuple(filter(_is_person, each.regions))) for each in objects]


def _is_person(region: Region) -> bool:
    return region.label == PERSON and (region.confidence or 0.0) >= LOWEST_CONFIDENCE
