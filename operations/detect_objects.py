"""Objects of everyday kinds."""

import difflib
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from app.core.artifacts import Data, Detections, Region
from app.core.geometry import Box
from app.core.operation import Needs, Ref, operation
from app.core.target import RegionParams
from app.engines.coco import COCO_LABELS
from app.engines.objects import LOWEST_CONFIDENCE
from operations import encode_crop
from operations.find_objects import ObjectParams, find_objects

MOST_ITEMS = 300


def _known(labels: list[str]) -> list[str]:
    wrong = next((label for label in labels if label not in COCO_LABELS), None)
    if wrong is not None:
        near = difflib.get_close_matches(wrong, COCO_LABELS, n=1, cutoff=0.6)
        hint = f"did you mean '{near[0]}'?" if near else f"the labels are {', '.join(COCO_LABELS)}"
        raise ValueError(f"'{wrong}' is none of the {len(COCO_LABELS)} labels of COCO: {hint}")
    return labels


Label = Annotated[str, Field(max_length=50), WithJsonSchema({"type": "string", "enum": list(COCO_LABELS)})]


class Params(RegionParams):
    labels: Annotated[list[Label], Field(min_length=1, max_length=80), AfterValidator(_known)] | None = None
    """Only objects of these kinds, by the names of COCO; all kinds by default."""

    min_confidence: Annotated[float, Field(ge=LOWEST_CONFIDENCE, le=1)] = 0.5
    """Objects that the detector is less sure of are left out."""

    max_items: Annotated[int, Field(ge=1, le=MOST_ITEMS)] = 100
    """No more than this many, those that the detector is surest of."""


class FoundObject(Data):
    label: str
    """One of the 80 names of COCO."""
    confidence: float
    """How sure the detector is, 0 to 1."""
    bbox: Box
    """[xmin, ymin, xmax, ymax] in pixels of the upright whole image."""


class Objects(Data):
    items: list[FoundObject]
    """The surest first."""


def needs(params: Params) -> Needs:
    chosen = {name: getattr(params, name) for name in ("target", "face_context")}
    return {"objects": Ref(find_objects, ObjectParams(**chosen, on_missing=params.on_missing))}


def found(region: Region, value: Objects) -> Sequence[Region]:
    return tuple(Region(item.bbox, "object", item.confidence, label=item.label) for item in value.items)


@operation(params=Params, needs=needs, inline=True, model_of="objects", finds=found, crop=encode_crop.crop_of)
def detect_objects(objects: Sequence[Detections], params: Params) -> list[Objects]:
    """Find objects of 80 everyday kinds: persons, vehicles, animals, furniture, food and so on.

    `data.items` has a label, a confidence and a box for each, the surest first. Boxes are in pixels of the
    upright whole image, whatever the target. The kinds are those of COCO (Lin et al., "Microsoft COCO: common
    objects in context", 2014).
    """
    return [_chosen(each, params) for each in objects]


def _chosen(detections: Detections, params: Params) -> Objects:
    items = [
        FoundObject(label=region.label or "", confidence=region.confidence or 0.0, bbox=region.box)
        for region in detections.regions
        if (region.confidence or 0.0) >= params.min_confidence
        and (params.labels is None or region.label in params.labels)
    ]
    items.sort(key=lambda item: (-item.confidence, item.bbox.ymin, item.bbox.xmin))
    return Objects(items=items[: params.max_items])
