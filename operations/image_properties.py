"""What can be measured of an image without a model."""

from collections.abc import Sequence

import numpy as np
import PIL.Image

from app.core.artifacts import Crop, Data, Pixels
from app.core.operation import Needs, operation
from app.core.target import RegionParams
from app.engines.scaling import scaled_to_fit
from operations import encode_crop, regions

# Sharpness depends on the size at which it is measured.
MEASURED_SIDE = 1024
TOO_DARK_BELOW = 40.0
TOO_BRIGHT_ABOVE = 215.0
# The usual bound on the variance of the Laplacian (Pech-Pacheco et al., 2000).
BLURRED_BELOW = 100.0
# Shares of colours are the same on a smaller copy.
COLOURS_SIDE = 256
DOMINANT_COLOURS = 5


class Params(RegionParams):
    include_gps: bool = False
    """Whether to tell where the photo was taken, when the file says so."""


class File(Data):
    width: int
    """Of the upright image, in pixels."""
    height: int
    """Of the upright image, in pixels."""
    format: str
    """JPEG, PNG, WEBP, GIF, TIFF, BMP, AVIF or HEIF."""
    mode: str
    """Pillow's name of the file's pixel layout: RGB, L, CMYK and so on."""
    bytes: int
    """The size of the file."""
    exif_orientation: int
    """1 to 8 as EXIF says; 1 is upright. Everything here is of the upright image."""
    taken_at: str | None
    """When the photo was taken, as EXIF writes it: `YYYY:MM:DD HH:MM:SS`, local time."""
    latitude: float | None
    """Degrees north; only when asked for with `include_gps`."""
    longitude: float | None
    """Degrees east; only when asked for with `include_gps`."""


class Colour(Data):
    hex: str
    """`#rrggbb` in sRGB."""
    share: float
    """The part of the region's pixels nearest to it, 0 to 1."""


class Flag(Data):
    raised: bool
    """Whether the measure is past the threshold."""
    measure: str
    """Which measure it looks at."""
    threshold: float
    """Where the flag is raised."""


class Properties(Data):
    file: File
    """The file and the whole image, whatever the target."""
    brightness: float
    """Mean luma of the region, 0 to 255."""
    contrast: float
    """Standard deviation of the luma."""
    sharpness: float
    """Variance of the Laplacian, at no more than 1024 pixels a side."""
    dominant_colours: list[Colour]
    """Up to five, the largest share first."""
    too_dark: Flag
    """The brightness is below its threshold."""
    too_bright: Flag
    """The brightness is above its threshold."""
    blurred: Flag
    """The sharpness is below its threshold."""


def needs(params: Params) -> Needs:
    return {"crop": regions.ref(params)}


@operation(params=Params, needs=needs, crop=encode_crop.crop_of)
def image_properties(crop: Sequence[Crop], params: Params) -> list[Properties]:
    """Size, format, EXIF time and orientation, brightness, contrast, sharpness and dominant colours.

    The flags say whether the region is too dark, too bright or blurred, each with its threshold. A plain
    surface is as little sharp as a blurred one.
    """
    return [_properties(each, params) for each in crop]


def brightness_of(crop: Crop) -> float:
    """Mean luma, 0 to 255."""
    return _mean(_scaled_and_luma(crop)[1])


def _scaled_and_luma(crop: Crop) -> tuple[Pixels, Pixels]:
    import cv2

    pixels = scaled_to_fit(crop.pixels, MEASURED_SIDE).pixels
    return pixels, np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def _mean(luma: Pixels) -> float:
    return round(float(luma.mean()), 2)


def _properties(crop: Crop, params: Params) -> Properties:
    import cv2

    pixels, luma = _scaled_and_luma(crop)
    brightness = _mean(luma)
    sharpness = round(float(cv2.Laplacian(luma, cv2.CV_64F).var()), 2)
    info = crop.image.info
    return Properties(
        file=File(
            width=info.width,
            height=info.height,
            format=info.format,
            mode=info.mode,
            bytes=info.file_bytes,
            exif_orientation=info.orientation,
            taken_at=info.taken_at,
            latitude=info.latitude if params.include_gps else None,
            longitude=info.longitude if params.include_gps else None,
        ),
        brightness=brightness,
        contrast=round(float(luma.std()), 2),
        sharpness=sharpness,
        dominant_colours=dominant_colours(scaled_to_fit(pixels, COLOURS_SIDE).pixels),
        too_dark=Flag(
            raised=brightness < TOO_DARK_BELOW,
            measure="brightness",
            threshold=TOO_DARK_BELOW,
        ),
        too_bright=Flag(
            raised=brightness > TOO_BRIGHT_ABOVE,
            measure="brightness",
            threshold=TOO_BRIGHT_ABOVE,
        ),
        blurred=Flag(
            raised=sharpness < BLURRED_BELOW,
            measure="sharpness",
            threshold=BLURRED_BELOW,
        ),
    )


def dominant_colours(pixels: Pixels) -> list[Colour]:
    """By median cut (Heckbert 1982), as Pillow quantises; each colour is the mean of its pixels."""
    image = PIL.Image.fromarray(pixels)
    indexed = np.asarray(
        image.quantize(DOMINANT_COLOURS, PIL.Image.Quantize.MEDIANCUT, dither=PIL.Image.Dither.NONE)
    )
    colours = []
    for index, count in zip(*np.unique(indexed, return_counts=True), strict=True):
        red, green, blue = pixels[indexed == index].mean(axis=0).round().astype(int).tolist()
        colours.append(
            Colour(
                hex=f"#{red:02x}{green:02x}{blue:02x}",
                share=round(count / indexed.size, 4),
            )
        )
    return sorted(colours, key=lambda colour: (-colour.share, colour.hex))
