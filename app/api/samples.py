"""Images to try the server with: photos in the public domain that scikit-image ships, and drawings."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageDraw
import PIL.ImageEnhance
import PIL.ImageFont
import PIL.ImageOps

_THUMBNAIL_SIDE = 192
_INK, _PAPER, _BAND = "#1b2733", "#ffffff", "#0d6e74"


@dataclass(frozen=True, eq=False)
class Sample:
    """An image, and tasks that show something on it. A page leaves out the tasks that its server lacks."""

    name: str
    title: str
    credit: str
    media_type: str
    tasks: tuple[dict[str, Any], ...]
    make: Callable[[], bytes]

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "title": self.title, "credit": self.credit, "tasks": self.tasks}


@cache
def sample_image(sample: Sample) -> bytes:
    """The image file, made when it is asked for first."""
    return sample.make()


@cache
def sample_thumbnail(sample: Sample) -> bytes:
    """The image in small, as WebP."""
    with PIL.Image.open(io.BytesIO(sample_image(sample))) as image:
        small = PIL.ImageOps.fit(image.convert("RGB"), (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    return _encoded(small, "WEBP", quality=80)


def _shipped(name: str) -> bytes:
    # The package is not imported for a file of its own.
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "data" / name).read_bytes()


def _pair() -> bytes:
    """One face twice: as it is, and mirrored, smaller and darker."""
    with PIL.Image.open(io.BytesIO(_shipped("astronaut.png"))) as image:
        first = image.convert("RGB")
    second = PIL.ImageOps.mirror(first).resize((410, 410), PIL.Image.Resampling.LANCZOS)
    sheet = PIL.Image.new("RGB", (1010, 560), "#e9e6df")
    sheet.paste(first, (24, 24))
    sheet.paste(PIL.ImageEnhance.Brightness(second).enhance(0.75), (568, 75))
    return _encoded(sheet, "JPEG", quality=90)


def _ticket() -> bytes:
    """A ticket with printed text, a QR code and a barcode."""
    from zxingcpp import BarcodeFormat, create_barcode

    image = PIL.Image.new("RGB", (1000, 560), "#c9d3d6")
    draw = PIL.ImageDraw.Draw(image)
    draw.rounded_rectangle((40, 40, 960, 520), 22, fill=_PAPER)
    draw.rounded_rectangle((40, 40, 960, 128), 22, fill=_BAND)
    draw.rectangle((40, 100, 960, 128), fill=_BAND)
    draw.text((76, 58), "MUSEUM OF LIGHT", fill="white", font=_font(42))
    for line, (text, size) in enumerate(
        [("ADMIT ONE", 46), ("Hall 3, seat 24", 32), ("Saturday 14 June, 19:30", 32), ("Price 18.50", 32)]
    ):
        draw.text((76, 160 + 62 * line), text, fill=_INK, font=_font(size))
    code = create_barcode("https://example.org/tickets/3-24", BarcodeFormat.QRCode)
    image.paste(PIL.Image.fromarray(_pixels(code, 7)).convert("RGB"), (660, 146))
    bars = create_barcode("LIGHT-0324", BarcodeFormat.Code128)
    strip = PIL.Image.fromarray(_pixels(bars, 3)).convert("RGB")
    image.paste(strip.resize((strip.width, 70)), (62, 430))
    return _encoded(image, "PNG", optimize=True)


def _pixels(barcode: Any, scale: int) -> Any:
    import numpy as np

    return np.asarray(barcode.to_image(scale=scale))


def _font(size: int) -> PIL.ImageFont.ImageFont | PIL.ImageFont.FreeTypeFont:
    return PIL.ImageFont.load_default(size)


def _encoded(image: PIL.Image.Image, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def _task(operation_id: str, type_: str, **params: Any) -> dict[str, Any]:
    return {"operation_id": operation_id, "type": type_, "params": params}


SAMPLES = {
    sample.name: sample
    for sample in (
        Sample(
            "astronaut",
            "Astronaut",
            "Eileen Collins, by NASA, in the public domain",
            "image/png",
            (
                _task("faces", "detect_bounding_box", target="all_faces"),
                _task("vector", "embed_hog_hsv", target={"task": "faces"}),
                _task("words", "read_text"),
                _task("colours", "image_properties"),
                _task("caption", "describe_image"),
            ),
            lambda: _shipped("astronaut.png"),
        ),
        Sample(
            "pair",
            "One face twice",
            "Eileen Collins, by NASA, in the public domain",
            "image/jpeg",
            (
                _task("faces", "embed_hog_hsv", target="all_faces"),
                _task("alike", "compare", a="faces", b="faces", a_item=0, b_item=1),
            ),
            _pair,
        ),
        Sample(
            "ticket",
            "Ticket",
            "Drawn by this server",
            "image/png",
            (_task("text", "read_text"), _task("codes", "read_codes")),
            _ticket,
        ),
        Sample(
            "cat",
            "Cat",
            "Chelsea, by Stéfan van der Walt, CC0",
            "image/png",
            (
                _task("objects", "detect_objects"),
                _task("caption", "describe_image"),
                _task("hashes", "hash_perceptual"),
                _task("vector", "embed_hog_hsv"),
            ),
            lambda: _shipped("chelsea.png"),
        ),
    )
}
