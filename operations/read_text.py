"""Printed text."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from app.core.artifacts import Crop, Data, Region
from app.core.geometry import Box, Point
from app.core.operation import Needs, operation
from app.core.target import RegionParams
from app.engines.text import LOWEST_CONFIDENCE, RAPIDOCR_TEXT, Line, RapidTextReader
from operations import encode_crop, regions


class Params(RegionParams):
    min_confidence: Annotated[float, Field(ge=LOWEST_CONFIDENCE, le=1)] = LOWEST_CONFIDENCE
    """Lines that the reader is less sure of are left out."""


class TextLine(Data):
    text: str
    """What the line says."""
    confidence: float
    """How sure the reader is, 0 to 1."""
    polygon: list[Point]
    """Four corners, clockwise from the top left, in pixels of the upright whole image."""
    bbox: Box
    """The box around the polygon."""


class Text(Data):
    text: str
    """All lines, joined by line breaks."""
    lines: list[TextLine]
    """In reading order."""


def needs(params: Params) -> Needs:
    return {"crop": regions.ref(params)}


def found(region: Region, value: Text) -> Sequence[Region]:
    return tuple(Region(line.bbox, "text_line", line.confidence, label="text") for line in value.lines)


@operation(
    params=Params,
    needs=needs,
    engine=RAPIDOCR_TEXT,
    finds=found,
    crop=encode_crop.crop_of,
)
def read_text(crop: Sequence[Crop], params: Params, engine: RapidTextReader) -> list[Text]:
    """Read printed text.

    `data` has the lines in reading order and `text`, all of them joined. Polygons and boxes are in pixels of
    the upright whole image, whatever the target.
    """
    return [
        _text(
            [line for line in lines if line.confidence >= params.min_confidence],
            each.box,
        )
        for each, lines in zip(crop, engine(crop), strict=True)
    ]


def _text(lines: Sequence[Line], within: Box) -> Text:
    shown = []
    for line in lines:
        bbox = Box.around(line.polygon, within)
        if bbox is not None:
            shown.append(
                TextLine(
                    text=line.text,
                    confidence=line.confidence,
                    polygon=list(line.polygon),
                    bbox=bbox,
                )
            )
    return Text(text="\n".join(line.text for line in shown), lines=shown)
