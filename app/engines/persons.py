"""Persons by OpenCV's HOG people detector, whose weights are part of OpenCV 4.

Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005. It finds standing
people seen whole, from about a quarter of the image's height, and misses half figures and close-ups.
"""

from collections.abc import Sequence
from math import exp

import numpy as np

from app.core.artifacts import Crop, Detections, Pixels, Region
from app.core.geometry import Box
from app.core.operation import EngineSpec
from app.core.weights import Placement
from app.engines.base import Engine, grey_crop
from app.engines.device import compute_on
from app.engines.scaling import Scaled, scaled_to_fit
from app.engines.weights import Bundled

# The longer side that is searched; a person seen whole is still tall enough for the 64x128 window.
SEARCHED_SIDE = 640
# The SVM's margin under which most hits are false.
THRESHOLD = 0.8
# The window is larger than the person in it. OpenCV's own sample (samples/cpp/peopledetect.cpp) keeps this
# part of a hit: left, top, right, bottom.
KEPT = (0.1, 0.07, 0.9, 0.87)


Hits = list[tuple[float, float, float, float, float]]


class HogPeopleDetector(Engine[Crop, Scaled, Hits, Detections]):
    """Crops to persons, in coordinates of the whole image."""

    def __init__(self, placement: Placement) -> None:
        import cv2

        compute_on(placement.threads)
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector()))

    def pre(self, item: Crop) -> Scaled:
        return scaled_to_fit(item.pixels, SEARCHED_SIDE)

    def core(self, ready: Sequence[Scaled]) -> list[Hits]:
        return [self._search(each.pixels) for each in ready]

    def post(self, raw: Hits, ready: Scaled, item: Crop) -> Detections:
        regions = []
        for x, y, width, height, margin in raw:
            left, top, right, bottom = KEPT
            box = Box.rounded(
                item.box.xmin + (x + left * width) / ready.scale,
                item.box.ymin + (y + top * height) / ready.scale,
                item.box.xmin + (x + right * width) / ready.scale,
                item.box.ymin + (y + bottom * height) / ready.scale,
                within=item.box,
            )
            if box is not None:
                # The margin is no probability; the logistic function only maps it into 0 to 1.
                confidence = 1 / (1 + exp(-margin))
                regions.append(Region(box, "person", round(confidence, 4), label="person"))
        return Detections(tuple(regions))

    def warmup(self, items: int = 1) -> None:
        self([grey_crop(128, 256)] * items)

    def _search(self, pixels: Pixels) -> Hits:
        window_width, window_height = self._hog.winSize
        height, width = pixels.shape[:2]
        if width < window_width or height < window_height:
            return []
        rects, margins = self._hog.detectMultiScale(
            np.ascontiguousarray(pixels[:, :, ::-1]),
            winStride=(8, 8),
            padding=(16, 16),
            scale=1.05,
        )
        return [
            (float(x), float(y), float(box_width), float(box_height), float(margin))
            for (x, y, box_width, box_height), margin in zip(rects, np.ravel(margins), strict=True)
            if margin >= THRESHOLD
        ]


HOG_PEOPLE = EngineSpec(
    name="opencv-hog-people",
    weights=Bundled("opencv-python-headless", "cv2"),
    licence="Apache-2.0",
    load=HogPeopleDetector,
    limits="Finds standing people seen whole; misses half figures, close-ups and people who sit. "
    "Its confidence is a squashed SVM margin, not a probability.",
)
