"""Printed text by PP-OCR in the rapidocr package, whose models are in the wheel.

PP-OCRv6 small detection and recognition models (PaddlePaddle), run by ONNX Runtime.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.core.artifacts import Crop, Pixels
from app.core.geometry import Box, Point
from app.core.operation import EngineSpec
from app.core.weights import Placement
from app.engines.base import Engine, grey_crop
from app.engines.device import compute_on
from app.engines.scaling import scaled_to_fit
from app.engines.weights import Bundled

# The detector scales the shorter side up to this many pixels, and the letters of a strip beyond the size that
# it knows: one line of 480x68 becomes 5195x736, takes sixteen times as long as a photo, and is read badly. So
# the shorter side is padded to as much first, or to a square where the longer one is shorter, too.
SHORTEST_SEARCHED = 736
SMALLEST_SIDE = 32
# The package's own bound on the longer side.
SEARCHED_SIDE = 2000
# The package's own threshold for a recognised line.
LOWEST_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text; `polygon` is its four corners in the whole image, clockwise from the top left, and
    `bbox` the box around them."""

    text: str
    confidence: float
    polygon: tuple[Point, ...]
    bbox: Box

    @classmethod
    def within(cls, box: Box, text: str, confidence: float, polygon: tuple[Point, ...]) -> "Line | None":
        """A line in a region of the image; None where it covers none of the region's pixels."""
        bbox = Box.around(polygon, box)
        return None if bbox is None else cls(text, round(confidence, 4), polygon, bbox)


@dataclass(frozen=True, slots=True)
class Padded:
    """BGR pixels of the item scaled by `scale`, after `left` columns and `top` rows of padding."""

    pixels: Pixels
    scale: float
    left: int
    top: int


class RapidTextReader(Engine[Crop, Padded, Any, list[Line]]):
    """Crops to lines of text, in reading order."""

    def __init__(self, placement: Placement) -> None:
        from rapidocr import RapidOCR

        compute_on(placement.threads)
        self._ocr = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.text_score": LOWEST_CONFIDENCE,
                "Det.limit_type": "min",
                "Det.limit_side_len": SHORTEST_SEARCHED,
                # Both would scale thin strips up without a bound; `pre` pads them instead.
                "Global.min_side_len": 1,
                "Global.width_height_ratio": -1,
                "EngineConfig.onnxruntime.intra_op_num_threads": placement.threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def pre(self, item: Crop) -> Padded:
        import cv2

        # Scaled first: a strip of 80,000x10 would take gigabytes.
        scaled = scaled_to_fit(item.pixels, SEARCHED_SIDE)
        height, width = scaled.pixels.shape[:2]
        side = max(SMALLEST_SIDE, min(SHORTEST_SEARCHED, max(height, width)))
        tall, wide = max(height, side), max(width, side)
        top, left = (tall - height) // 2, (wide - width) // 2
        pixels = cv2.copyMakeBorder(
            scaled.pixels[:, :, ::-1],
            top,
            tall - height - top,
            left,
            wide - width - left,
            cv2.BORDER_REPLICATE,
        )
        return Padded(np.asarray(pixels, np.uint8), scaled.scale, left, top)

    def core(self, ready: Sequence[Padded]) -> list[Any]:
        # The reader batches the lines of one image by itself.
        return [self._ocr(each.pixels) for each in ready]

    def post(self, raw: Any, ready: Padded, item: Crop) -> list[Line]:
        if raw.boxes is None or raw.txts is None:
            return []
        padding = np.array([ready.left, ready.top])
        low = np.array([item.box.xmin, item.box.ymin])
        high = np.array([item.box.xmax, item.box.ymax])
        lines = []
        for corners, text, confidence in zip(raw.boxes, raw.txts, raw.scores, strict=True):
            inside = np.clip((np.asarray(corners) - padding) / ready.scale + low, low, high)
            polygon = tuple(Point(round(x, 1), round(y, 1)) for x, y in inside.tolist())
            lines.append(Line.within(item.box, text, float(confidence), polygon))
        return in_reading_order([line for line in lines if line is not None])

    def warmup(self, items: int = 1) -> None:
        import cv2

        page = np.full((64, 320, 3), 255, np.uint8)
        cv2.putText(page, "Sightgraph", (8, 44), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 2)
        blank = grey_crop(320, 64)
        self([Crop.whole(type(blank.image)(blank.image.info, page))] * items)


def in_reading_order(lines: Sequence[Line]) -> list[Line]:
    """Rows from top to bottom, and inside a row from left to right.

    Lines share a row when the middle of one lies within the height of the row's first line.
    """

    def top(line: Line) -> float:
        return min(point.y for point in line.polygon)

    def bottom(line: Line) -> float:
        return max(point.y for point in line.polygon)

    def left(line: Line) -> float:
        return min(point.x for point in line.polygon)

    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: (top(line), left(line))):
        middle = (top(line) + bottom(line)) / 2
        if rows and top(rows[-1][0]) <= middle <= bottom(rows[-1][0]):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=left)]


RAPIDOCR_TEXT = EngineSpec(
    name="rapidocr",
    weights=Bundled(
        "rapidocr",
        "rapidocr",
        (
            "models/PP-OCRv6_det_small.onnx",
            "models/PP-OCRv6_rec_small.onnx",
            "models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
        ),
        size_bytes=31_749_509,
    ),
    licence="Apache-2.0",
    load=RapidTextReader,
    limits="Printed text in Latin and Chinese scripts; not for handwriting. Columns are read row by row.",
)
