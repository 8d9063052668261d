"""Printed text."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from app.core.artifacts import Data, Region
from app.core.geometry import Box, Point
from app.core.operation import Needs, operation
from app.core.target import RegionParams
from app.engines.text import LOWEST_CONFIDENCE, Line
from operations import encode_crop, read_lines
from operations.read_lines import Languages


class Params(RegionParams):
    min_confidence: Annotated[float, Field(ge=LOWEST_CONFIDENCE, le=1)] = LOWEST_CONFIDENCE
    """Lines that the reader is less sure of are left out."""

    languages: Languages | None = None
    """Codes of the languages to read, as EasyOCR names them (`["de", "fr"]`), all of one script; by default
    printed text in Latin and Chinese script."""


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
    return {"lines": read_lines.of(params, params.languages)}


def found(region: Region, value: Text) -> Sequence[Region]:
    return tuple(Region(line.bbox, "text_line", line.confidence, label="text") for line in value.lines)


@operation(params=Params, needs=needs, inline=True, model_of="lines", finds=found, crop=encode_crop.crop_of)
def read_text(lines: Sequence[Sequence[Line]], params: Params) -> list[Text]:
    """Read printed text.

    `data` has the lines in reading order and `text`, all of them joined. Polygons and boxes are in pixels of
    the upright whole image, whatever the target.
    """
    return [_text([line for line in each if line.confidence >= params.min_confidence]) for each in lines]


def _text(lines: Sequence[Line]) -> Text:
    shown = [
        TextLine(text=line.text, confidence=line.confidence, polygon=list(line.polygon), bbox=line.bbox)
        for line in lines
    ]
    return Text(text="\n".join(line.text for line in shown), lines=shown)
