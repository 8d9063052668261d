"""A contact sheet: pictures side by side, with a caption under each and the boxes that are meant."""

import base64
import bisect
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from app.core.errors import ImageUnreadable
from app.runtime.decode import DecodeLimits, decode, sha256_of

Fractions = tuple[float, float, float, float]
"""A box as shares of its picture's width and height: xmin, ymin, xmax, ymax."""

Font = PIL.ImageFont.ImageFont | PIL.ImageFont.FreeTypeFont

PICTURE = 224
GAP = 12
_LINE = 18
_FONT_SIZE = 14
_MAX_COLUMNS = 8

_PAPER = (255, 255, 255)
_INK = (20, 20, 20)
_MISSING = (208, 208, 208)
_FRAME = (230, 30, 60)


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture, None where there is none, over the lines of its caption."""

    picture: PIL.Image.Image | None
    caption: tuple[str, str]
    boxes: tuple[Fractions, ...] = ()


def picture_of_file(path: Path) -> PIL.Image.Image | None:
    """An image file, upright as the server sees it; None where it cannot be decoded here.

    Raises:
        OSError: it cannot be read.
    """
    return picture_of_bytes(path.read_bytes())


def picture_of_bytes(data: bytes) -> PIL.Image.Image | None:
    """The same of what a file holds."""
    try:
        return PIL.Image.fromarray(decode(data, sha256_of(data), DecodeLimits()).pixels)
    except ImageUnreadable:
        return None


def picture_of_item(item: Mapping[str, Any] | None) -> PIL.Image.Image | None:
    """The thumbnail that is kept of an item."""
    if item is None or item["thumbnail_base64"] is None:
        return None
    return PIL.Image.open(io.BytesIO(base64.b64decode(item["thumbnail_base64"]))).convert("RGB")


def fractions(box: Sequence[int] | None, width: int | None, height: int | None) -> tuple[Fractions, ...]:
    """A box in pixels as shares of its image; none for the whole image and where the size is not known."""
    if box is None or not width or not height:
        return ()
    return ((box[0] / width, box[1] / height, box[2] / width, box[3] / height),)


def contact_sheet(tiles: Sequence[Tile]) -> PIL.Image.Image:
    """All tiles, row by row, in about the shape of a screen.

    Args:
        tiles: at least one.
    """
    columns = min(len(tiles), _MAX_COLUMNS, math.ceil(math.sqrt(len(tiles) * 1.6)))
    rows = math.ceil(len(tiles) / columns)
    width, height = PICTURE + GAP, PICTURE + 2 * _LINE + GAP
    sheet = PIL.Image.new("RGB", (columns * width + GAP, rows * height + GAP), _PAPER)
    font = PIL.ImageFont.load_default(_FONT_SIZE)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        _paint(sheet, tile, GAP + column * width, GAP + row * height, font)
    return sheet


def shortened_to(text: str, width: float, font: Font) -> str:
    """A text that fits a width, without its middle where it is too long: the ends tell names apart."""
    text = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    if font.getlength(text) <= width:
        return text

    def without_middle(kept: int) -> str:
        return f"{text[:kept]}...{text[-kept:]}"

    fitting = bisect.bisect(
        range(1, len(text) // 2), width, key=lambda kept: font.getlength(without_middle(kept))
    )
    return without_middle(max(1, fitting))


def _paint(sheet: PIL.Image.Image, tile: Tile, left: int, top: int, font: Font) -> None:
    draw = PIL.ImageDraw.Draw(sheet)
    if tile.picture is None:
        draw.rectangle((left, top, left + PICTURE - 1, top + PICTURE - 1), fill=_MISSING)
    else:
        picture = tile.picture.copy()
        picture.thumbnail((PICTURE, PICTURE), PIL.Image.Resampling.LANCZOS)
        x, y = left + (PICTURE - picture.width) // 2, top + (PICTURE - picture.height) // 2
        sheet.paste(picture, (x, y))
        for box in tile.boxes:
            draw.rectangle(_on_sheet(box, picture, x, y), outline=_FRAME, width=2)
    for number, line in enumerate(tile.caption):
        at = (left, top + PICTURE + 3 + number * _LINE)
        draw.text(at, shortened_to(line, PICTURE, font), fill=_INK, font=font)


def _on_sheet(box: Fractions, picture: PIL.Image.Image, x: int, y: int) -> tuple[int, int, int, int]:
    """The corners of a box, the last ones included, on a picture that was put at a place."""
    xmin, ymin = int(box[0] * picture.width), int(box[1] * picture.height)
    xmax = max(xmin, math.ceil(box[2] * picture.width) - 1)
    ymax = max(ymin, math.ceil(box[3] * picture.height) - 1)
    return x + xmin, y + ymin, x + xmax, y + ymax
