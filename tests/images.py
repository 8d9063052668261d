"""Images for tests: photos that scikit-image ships, and drawings."""

import io
from functools import cache
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from app.core.artifacts import Crop, Image, ImageInfo, Pixels
from app.runtime.decode import sha256_of

# What MTCNN finds in skimage.data.astronaut(), as [xmin, ymin, xmax, ymax].
ASTRONAUT_FACE = [181, 62, 268, 172]


@cache
def astronaut() -> Pixels:
    """512x512, one prominent face, a person seen to the waist."""
    from skimage import data

    return np.asarray(data.astronaut())


def plain(width: int, height: int, colour: tuple[int, int, int] = (127, 127, 127)) -> Pixels:
    return np.full((height, width, 3), colour, np.uint8)


def noise(width: int, height: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def page(*lines: str, width: int = 480, size: int = 28) -> Pixels:
    """Black text on white."""
    font = PIL.ImageFont.load_default(size)
    image = PIL.Image.new("RGB", (width, 20 + len(lines) * (size + 20)), "white")
    draw = PIL.ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((20, 16 + number * (size + 20)), line, fill="black", font=font)
    return np.asarray(image)


def qr_code(text: str, scale: int = 6) -> Pixels:
    import qrcode

    code = qrcode.QRCode(box_size=scale, border=4)
    code.add_data(text)
    return np.asarray(code.make_image().convert("RGB"))


def figure(width: int = 400, height: int = 300, top: int = 40, tall: int = 220) -> Pixels:
    """A standing person seen whole, drawn as a silhouette in the middle: the HOG detector finds it."""
    scale = 2
    image = PIL.Image.new("RGB", (width * scale, height * scale), (190, 190, 190))
    draw = PIL.ImageDraw.Draw(image)

    def at(across: float, down: float) -> tuple[float, float]:
        """A point by its shares of the figure's height, from the middle and from the top."""
        return (width / 2 + across * tall) * scale, (top + down * tall) * scale

    limbs = [
        [(-0.12, 0.17), (0.12, 0.17), (0.10, 0.52), (-0.10, 0.52)],
        [(-0.12, 0.17), (-0.17, 0.50), (-0.13, 0.50), (-0.07, 0.20)],
        [(0.12, 0.17), (0.17, 0.50), (0.13, 0.50), (0.07, 0.20)],
        [(-0.10, 0.50), (0.00, 0.50), (-0.05, 1.00), (-0.11, 1.00)],
        [(0.10, 0.50), (0.00, 0.50), (0.05, 1.00), (0.11, 1.00)],
    ]
    for limb in limbs:
        draw.polygon([at(*point) for point in limb], fill=(60, 60, 60))
    draw.ellipse([at(-0.055, 0.0), at(0.055, 0.14)], fill=(60, 60, 60))
    return np.asarray(image.resize((width, height), PIL.Image.Resampling.LANCZOS))


def pasted(canvas: Pixels, image: Pixels, x: int, y: int) -> Pixels:
    canvas = canvas.copy()
    canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
    return canvas


def encoded(pixels: Pixels, format_: str = "PNG", **options: Any) -> bytes:
    if format_ == "PNG":
        # Thrice as fast as the default, and as lossless.
        options.setdefault("compress_level", 1)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, format_, **options)
    return file.getvalue()


def image_of(pixels: Pixels) -> Image:
    """As decoding gives it."""
    pixels = np.ascontiguousarray(pixels)
    pixels.flags.writeable = False
    info = ImageInfo(
        sha256=sha256_of(pixels.tobytes()),
        width=pixels.shape[1],
        height=pixels.shape[0],
        format="PNG",
        mode="RGB",
        file_bytes=pixels.nbytes,
    )
    return Image(info, pixels)


def crop_of(pixels: Pixels) -> Crop:
    return Crop.whole(image_of(pixels))
