"""QR codes and barcodes."""

from collections.abc import Sequence

from app.core.artifacts import Crop, Data, Region
from app.core.geometry import Box, Point
from app.core.operation import Needs, operation
from app.core.target import RegionParams
from app.engines.codes import ZXING_CODES, Code, ZxingCodeReader
from operations import encode_crop, regions


class Params(RegionParams):
    """Nothing beyond the choice of regions."""


class FoundCode(Data):
    kind: str
    """`qr_code`, `ean_13`, `code_128`, `data_matrix`, `pdf_417`, `aztec` and so on."""
    text: str
    """What the code says."""
    polygon: list[Point]
    """Four corners in pixels of the upright whole image."""
    bbox: Box
    """The box around the polygon."""


class Codes(Data):
    codes: list[FoundCode]
    """From top to bottom."""


def needs(params: Params) -> Needs:
    return {"crop": regions.ref(params)}


def found(region: Region, value: Codes) -> Sequence[Region]:
    return tuple(Region(code.bbox, "code", label=code.kind) for code in value.codes)


@operation(
    params=Params,
    needs=needs,
    engine=ZXING_CODES,
    finds=found,
    crop=encode_crop.crop_of,
)
def read_codes(crop: Sequence[Crop], params: Params, engine: ZxingCodeReader) -> list[Codes]:
    """Read QR codes and barcodes.

    `data` has the `codes` with their kind, text and polygon, in pixels of the upright whole image.
    """
    return [
        Codes(codes=[shown for code in codes if (shown := _shown(code, each.box)) is not None])
        for each, codes in zip(crop, engine(crop), strict=True)
    ]


def _shown(code: Code, within: Box) -> FoundCode | None:
    bbox = Box.around(code.polygon, within)
    if bbox is None:
        return None
    return FoundCode(kind=code.kind, text=code.text, polygon=list(code.polygon), bbox=bbox)
