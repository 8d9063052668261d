"""QR codes and barcodes by ZXing-C++, which needs no weights."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.core.artifacts import Crop
from app.core.geometry import Point
from app.core.operation import EngineSpec
from app.core.weights import Placement
from app.engines.base import Engine, grey_crop
from app.engines.scaling import Scaled, scaled_to_fit
from app.engines.weights import Bundled

# Noise of 12 megapixels takes 1.9 s; larger images are scaled down to this side.
SEARCHED_SIDE = 4000


@dataclass(frozen=True, slots=True)
class Code:
    """`polygon` is the four corners in the whole image, from the code's own top left on, clockwise."""

    kind: str
    text: str
    polygon: tuple[Point, ...]


class ZxingCodeReader(Engine[Crop, Scaled, list[Any], list[Code]]):
    """Crops to the codes in them, from top to bottom."""

    def __init__(self, _: Placement) -> None:
        import zxingcpp

        self._read = zxingcpp.read_barcodes

    def pre(self, item: Crop) -> Scaled:
        return scaled_to_fit(item.pixels, SEARCHED_SIDE)

    def core(self, ready: Sequence[Scaled]) -> list[list[Any]]:
        return [list(self._read(np.ascontiguousarray(each.pixels))) for each in ready]

    def post(self, raw: list[Any], ready: Scaled, item: Crop) -> list[Code]:
        def in_image(point: Any) -> Point:
            return Point(
                round(item.box.xmin + point.x / ready.scale, 1),
                round(item.box.ymin + point.y / ready.scale, 1),
            )

        codes = [
            Code(
                kind_of(read.format.name),
                read.text,
                tuple(map(in_image, corners(read.position))),
            )
            for read in raw
            if read.valid
        ]
        return sorted(codes, key=lambda code: (code.polygon[0].y, code.polygon[0].x))

    def warmup(self, items: int = 1) -> None:
        self([grey_crop(32, 32)] * items)


def corners(position: Any) -> tuple[Any, Any, Any, Any]:
    return (
        position.top_left,
        position.top_right,
        position.bottom_right,
        position.bottom_left,
    )


def kind_of(name: str) -> str:
    """`QRCode` as `qr_code`, `EAN13` as `ean_13`, `Code128` as `code_128`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z\d])|(?<=[A-Z])(?=[A-Z][a-z]|\d)", "_", name).lower()


ZXING_CODES = EngineSpec(
    name="zxing-cpp",
    weights=Bundled("zxing-cpp", "zxingcpp"),
    licence="Apache-2.0",
    load=ZxingCodeReader,
    limits="Codes smaller than about two pixels a module are missed.",
)
