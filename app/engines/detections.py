"""What all object detectors answer alike."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.core.artifacts import Crop, Detections, Region
from app.core.geometry import Box
from app.engines.coco import coco_name

# Below it a detection is noise. Whoever asks for fewer chooses a higher threshold over this answer.
LOWEST_CONFIDENCE = 0.05
MOST_DETECTIONS = 300
# Larger images are scaled down to this side first. The detectors scale to 1333 px and less, but some do it
# in float32 at the full size, which for 100 megapixels is 1.2 GB.
LARGEST_SIDE = 4096


@dataclass(frozen=True, slots=True)
class Found:
    """One detection: `corners` are xmin, ymin, xmax, ymax in pixels of the crop."""

    label: str
    confidence: float
    corners: tuple[float, float, float, float]


def in_whole_image(found: Iterable[Found], item: Crop) -> Detections:
    """The most confident ones as regions of the whole image; boxes without a whole pixel are left out."""
    kept = sorted(
        (each for each in found if each.confidence >= LOWEST_CONFIDENCE),
        key=lambda each: -each.confidence,
    )
    regions = []
    for each in kept[:MOST_DETECTIONS]:
        xmin, ymin, xmax, ymax = each.corners
        left, top = item.box.xmin, item.box.ymin
        box = Box.rounded(xmin + left, ymin + top, xmax + left, ymax + top, within=item.box)
        if box is not None:
            regions.append(Region(box, "object", round(each.confidence, 4), label=coco_name(each.label)))
    return Detections(tuple(regions))


def coco_limits(precision: float) -> str:
    """What an engine trained on COCO cannot do; `precision` is its average precision there, in percent."""
    return f"Knows the 80 classes of COCO, where its average precision is {precision}."
