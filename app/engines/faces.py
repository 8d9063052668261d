"""Faces by MTCNN of facenet-pytorch, whose weights are in the wheel.

Zhang et al., "Joint face detection and alignment using multi-task cascaded convolutional networks", 2016
(arXiv:1604.02878).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.artifacts import Crop, Detections, Region
from app.core.geometry import Box, Point
from app.core.operation import EngineSpec
from app.core.weights import Placement
from app.engines.base import Engine, grey_crop
from app.engines.device import compute_on
from app.engines.scaling import Scaled, scaled_to_fit
from app.engines.weights import Bundled

# The cost grows with the image: 1920x1080 takes 433 ms, 640x360 takes 83 ms and finds the same face
# within a few pixels.
SEARCHED_SIDE = 640
SMALLEST_FACE = 20
# False faces reach 0.82.
THRESHOLD = 0.9

Faces = list[tuple[NDArray[np.float32], float, NDArray[np.float32]]]


class MtcnnFaceDetector(Engine[Crop, Scaled, Faces, Detections]):
    """Crops to faces with five landmarks, in coordinates of the whole image."""

    def __init__(self, placement: Placement) -> None:
        from facenet_pytorch import MTCNN

        compute_on(placement.threads)
        self._mtcnn = MTCNN(keep_all=True, min_face_size=SMALLEST_FACE).eval()

    def pre(self, item: Crop) -> Scaled:
        return scaled_to_fit(item.pixels, SEARCHED_SIDE)

    def core(self, ready: Sequence[Scaled]) -> list[Faces]:
        # A batch needs images of one size and gains nothing on a CPU: one by one.
        return [self._search(each) for each in ready]

    def post(self, raw: Faces, ready: Scaled, item: Crop) -> Detections:
        offset = np.array([item.box.xmin, item.box.ymin], np.float32)
        regions = []
        for corners, confidence, landmarks in raw:
            xmin, ymin, xmax, ymax = (corners.reshape(2, 2) / ready.scale + offset).ravel().tolist()
            box = Box.rounded(xmin, ymin, xmax, ymax, within=item.box)
            if box is None:
                continue
            points = tuple(
                Point(round(x, 1), round(y, 1)) for x, y in (landmarks / ready.scale + offset).tolist()
            )
            regions.append(Region(box, "face", round(confidence, 4), label="face", landmarks=points))
        return Detections(tuple(regions))

    def warmup(self, items: int = 1) -> None:
        self([grey_crop(160, 160)] * items)

    def _search(self, ready: Scaled) -> Faces:
        if min(ready.pixels.shape[:2]) < SMALLEST_FACE:
            # No level of the pyramid is left, which MTCNN answers with an exception.
            return []
        boxes, probabilities, landmarks = self._mtcnn.detect(ready.pixels, landmarks=True)
        if boxes is None:
            return []
        return [
            (
                np.asarray(box, np.float32),
                float(probability),
                np.asarray(points, np.float32),
            )
            for box, probability, points in zip(boxes, probabilities, landmarks, strict=True)
            if probability >= THRESHOLD
        ]


MTCNN_FACES = EngineSpec(
    name="mtcnn",
    weights=Bundled(
        "facenet-pytorch",
        "facenet_pytorch",
        ("data/pnet.pt", "data/rnet.pt", "data/onet.pt"),
        size_bytes=1_990_986,
    ),
    licence="MIT",
    load=MtcnnFaceDetector,
    limits=f"Searches the region scaled to at most {SEARCHED_SIDE} px and finds faces of at least "
    f"{SMALLEST_FACE} px there; misses profiles and faces turned upside down.",
)
