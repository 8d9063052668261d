"""Decoding: the bytes of a file to an upright RGB image.

Nothing of the file is believed but its bytes: the format is found from them, the size is checked before
anything is decoded, and whatever Pillow raises becomes one refusal.
"""

import hashlib
import io
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps
from pi_heif import register_heif_opener

from app.core.artifacts import Image, ImageInfo, Pixels
from app.core.errors import ImageUnreadable

log = logging.getLogger(__name__)

# Pillow registers most formats only when it meets a file that it does not know.
PIL.Image.init()
register_heif_opener()
# Pillow's own guard only warns between its two bounds; ours is exact and is checked on the header.
PIL.Image.MAX_IMAGE_PIXELS = None

# Each decodes in this process; EPS, for one, would start Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "AVIF", "HEIF")
_SHOWN_FORMATS = "JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF, HEIC"

_TAG_ORIENTATION = 0x0112
_TAG_TIME = 0x0132
_TAG_EXIF = 0x8769
_TAG_GPS = 0x8825
_TAG_TIME_ORIGINAL = 0x9003


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    max_pixels: int = 100_000_000


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def decode(data: bytes, sha256: str, limits: DecodeLimits) -> Image:
    """Decode the first frame of a file.

    The result is upright by EXIF, in sRGB by the ICC profile, and 8-bit RGB: 16-bit samples are scaled,
    transparency lies over white.

    Args:
        data: the file.
        sha256: of the file; becomes the identity of the image.
        limits: the largest image.

    Raises:
        ImageUnreadable: not one of the formats, over the pixel limit, or broken.
    """
    with _opened(data, limits) as opened:
        turned = _turned_by_decoder(opened)
        opened.load()
        facts = _facts(opened, turned)
        pixels = _upright_rgb(opened)
        format_, mode = _format_name(opened), opened.mode
    height, width = pixels.shape[:2]
    info = ImageInfo(
        sha256=sha256,
        width=width,
        height=height,
        format=format_,
        mode=mode,
        file_bytes=len(data),
        **facts,
    )
    return Image(info, pixels)


def pixels_in(data: bytes, limits: DecodeLimits) -> int:
    """The number of pixels that decoding a file would give, from its header alone.

    Raises:
        ImageUnreadable: not one of the formats, over the pixel limit, or broken so far.
    """
    with _opened(data, limits) as opened:
        return opened.width * opened.height


@contextmanager
def _opened(data: bytes, limits: DecodeLimits) -> Iterator[PIL.Image.Image]:
    """The file with its header read and its size checked. Whatever goes wrong inside refuses the image."""
    if not data:
        raise ImageUnreadable("the file is empty")
    try:
        with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            _check_size(opened.size, limits)
            yield opened
    except ImageUnreadable:
        raise
    except PIL.UnidentifiedImageError:
        raise ImageUnreadable(f"the file is not an image in a known format ({_SHOWN_FORMATS})") from None
    except Exception as error:
        # A hostile file can raise nearly anything inside a decoder.
        log.info("undecodable image: %r", error)
        raise ImageUnreadable("the file is damaged or incomplete") from error


def _check_size(size: tuple[int, int], limits: DecodeLimits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageUnreadable("the image has no pixels")
    if width * height > limits.max_pixels:
        raise ImageUnreadable(
            f"the image has {width}x{height} pixels; at most {limits.max_pixels:,} pixels are decoded"
        )


def _format_name(opened: PIL.Image.Image) -> str:
    # MPO is a JPEG with further frames, as cameras write it; DIB a BMP without its file header.
    return {"MPO": "JPEG", "DIB": "BMP"}.get(opened.format or "", opened.format or "")


def _upright_rgb(opened: PIL.Image.Image) -> Pixels:
    image = _eight_bit(PIL.ImageOps.exif_transpose(opened))
    profile = opened.info.get("icc_profile")
    colours, alpha = _without_alpha(image)
    upright = _in_srgb(colours, profile)
    if alpha is not None:
        white = PIL.Image.new("RGB", upright.size, (255, 255, 255))
        white.paste(upright, mask=alpha)
        upright = white
    pixels: Pixels = np.ascontiguousarray(np.asarray(upright, dtype=np.uint8))
    pixels.flags.writeable = False
    return pixels


def _without_alpha(image: PIL.Image.Image) -> tuple[PIL.Image.Image, PIL.Image.Image | None]:
    """The colours in a mode that a profile can speak of (L, RGB or CMYK), and the alpha channel."""
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        layered = image.convert("LA" if grey else "RGBA")
        *_, alpha = layered.split()
        return layered.convert("L" if grey else "RGB"), alpha
    if image.mode == "CMYK":
        return image, None
    return image.convert("L" if grey else "RGB"), None


def _eight_bit(image: PIL.Image.Image) -> PIL.Image.Image:
    """Pillow's own conversion clips samples of more than 8 bits; this scales them."""
    if image.mode.startswith("I;16"):
        samples = np.asarray(image)
        return PIL.Image.fromarray((samples >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        samples = np.nan_to_num(np.asarray(image, dtype=np.float32))
        # 16-bit PNGs arrive as I; floating point images are held to run from 0 to 1 unless they say more.
        high = 65535.0 if image.mode == "I" else 255.0 if samples.max() > 1 else 1.0
        scaled = np.clip(samples, 0, high, out=samples)
        scaled *= 255 / high
        return PIL.Image.fromarray(np.round(scaled, out=scaled).astype(np.uint8))
    return image


def _in_srgb(image: PIL.Image.Image, profile: object) -> PIL.Image.Image:
    """RGB in sRGB; a profile that cannot be used is left out."""
    if isinstance(profile, bytes) and profile:
        try:
            converted = PIL.ImageCms.profileToProfile(
                image,
                PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                PIL.ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
            if converted is not None:
                return converted
        except (PIL.ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            log.info("unusable ICC profile: %s", error)
    return image.convert("RGB")


def _turned_by_decoder(opened: PIL.Image.Image) -> Any:
    """The orientation of a file that its decoder turns upright while it loads, and then forgets."""
    tags = getattr(opened, "tag_v2", {})
    return tags.get(_TAG_ORIENTATION) or opened.info.get("original_orientation")


def _facts(opened: PIL.Image.Image, turned: Any) -> dict[str, Any]:
    """What the EXIF block says; nothing where it is missing or broken."""
    facts: dict[str, Any] = {}
    try:
        exif = opened.getexif()
        orientation = turned or exif.get(_TAG_ORIENTATION)
        if isinstance(orientation, int) and 1 <= orientation <= 8:
            facts["orientation"] = orientation
        taken = exif.get_ifd(_TAG_EXIF).get(_TAG_TIME_ORIGINAL) or exif.get(_TAG_TIME)
        if isinstance(taken, str) and taken.strip("\0 "):
            facts["taken_at"] = taken.strip("\0 ")[:32]
        gps = exif.get_ifd(_TAG_GPS)
        if gps:
            facts["latitude"] = _degrees(gps.get(2), gps.get(1), "S")
            facts["longitude"] = _degrees(gps.get(4), gps.get(3), "W")
    except Exception as error:
        # EXIF is optional: a broken block must not cost the image.
        log.info("unreadable EXIF: %r", error)
    return facts


def _degrees(parts: Any, reference: Any, negative: str) -> float | None:
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(value):
        return None
    return round(-value if reference == negative else value, 6)
