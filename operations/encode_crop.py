"""The stage that encodes the crop which an answer shows. Tasks on one region share it."""

import base64
import io
from collections.abc import Sequence
from typing import Any, Literal

import PIL.Image

from app.core.artifacts import Crop, EncodedImage
from app.core.errors import InvalidParams, TaskError
from app.core.operation import Needs, Ref, operation
from app.core.target import RegionParams
from operations import regions

Format = Literal["png", "jpeg", "webp"]

# Measured on a 512x512 crop: PNG level 1 takes 27 ms for 557 KiB, level 6 119 ms for 505 KiB; JPEG 1 ms for
# 58 KiB; WebP method 0 8 ms for 50 KiB.
_OPTIONS: dict[Format, dict[str, Any]] = {
    "png": {"compress_level": 1},
    "jpeg": {"quality": 90},
    "webp": {"quality": 90, "method": 0},
}
# The formats' own limits on a side.
_LARGEST_SIDE: dict[Format, int] = {"png": 2**31 - 1, "jpeg": 65_500, "webp": 16_383}


class EncodeParams(RegionParams):
    format: Format = "png"
    """The file format."""

    show_whole_image: bool = False
    """Whether the whole image is encoded too; by default only a part of it is a crop."""


def needs(params: EncodeParams) -> Needs:
    return {"crop": regions.ref(params)}


@operation(params=EncodeParams, needs=needs, public=False)
def encode_crop(crop: Sequence[Crop], params: EncodeParams) -> list[EncodedImage | TaskError]:
    """The crop as an image file in base64."""
    return [_encoded(each, params) for each in crop]


def _encoded(crop: Crop, params: EncodeParams) -> EncodedImage | TaskError:
    if crop.is_whole_image and not params.show_whole_image:
        return EncodedImage(None)
    limit = _LARGEST_SIDE[params.format]
    if max(crop.box.width, crop.box.height) > limit:
        return InvalidParams(f"crop_format: a {params.format} has at most {limit:,} pixels a side; use png")
    file = io.BytesIO()
    PIL.Image.fromarray(crop.pixels).save(file, params.format, **_OPTIONS[params.format])
    return EncodedImage(base64.b64encode(file.getbuffer()).decode("ascii"))


def crop_of(params: RegionParams) -> Ref | None:
    """The stage behind the crop in a task's answer; None where it shows none."""
    if params.crop_format == "none" or params.target == "whole_image":
        return None
    return any_crop_of(params, show_whole_image=False)


def any_crop_of(params: RegionParams, *, show_whole_image: bool = True) -> Ref | None:
    """The same for an operation that shows the whole image too."""
    if params.crop_format == "none":
        return None
    chosen = {name: getattr(params, name) for name in ("target", "face_context", "on_missing")}
    return Ref(
        encode_crop,
        EncodeParams(**chosen, format=params.crop_format, show_whole_image=show_whole_image),
    )
