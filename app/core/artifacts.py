"""Immutable results: the image, its regions and crops, and what operations make of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from app.core.geometry import Box, Point
from app.core.key import digest

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What is known of an image without its pixels.

    `width` and `height` are those of the upright image. `format`, `mode` and the rest describe the
    file. `sha256` is the digest of the file's bytes, and thereby the identity of the image.
    """

    sha256: str
    width: int
    height: int
    format: str
    mode: str
    file_bytes: int
    orientation: int = 1
    taken_at: str | None = None
    latitude: float | None = None
    longitude: float | None = None

    @property
    def box(self) -> Box:
        return Box(0, 0, self.width, self.height)


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A decoded image: `pixels` is [height, width, 3], uint8 RGB, upright, read-only."""

    info: ImageInfo
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class Region:
    """A named part of the image.

    `name` is the target or the stage that chose it. `landmarks` are a face's five points: left eye,
    right eye, nose, left and right corner of the mouth, as seen in the image.
    """

    box: Box
    name: str
    confidence: float | None = None
    label: str | None = None
    landmarks: tuple[Point, ...] | None = None

    @property
    def is_whole_image(self) -> bool:
        return self.name == "whole_image"

    def key(self, image_sha256: str) -> str:
        """What a computation on this region's pixels depends on."""
        return digest("region", image_sha256, self.box, self.landmarks, self.is_whole_image)

    def crop(self, image: Image) -> "Crop":
        return Crop(image, self.box, self.landmarks, self.is_whole_image)

    def prominence(self, image: Box) -> float:
        """Confidence x sqrt(area / image area): how much a detection stands out."""
        return float((self.confidence or 0.0) * (self.box.area / image.area) ** 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """What an operation's `run` sees of a region: its pixels, and where they lie."""

    image: Image
    box: Box
    landmarks: tuple[Point, ...] | None = None
    is_whole_image: bool = False

    @classmethod
    def whole(cls, image: Image) -> "Crop":
        return cls(image, image.info.box, is_whole_image=True)

    @property
    def pixels(self) -> Pixels:
        """[height, width, 3], uint8 RGB: a read-only view, not a copy."""
        box = self.box
        return self.image.pixels[box.ymin : box.ymax, box.xmin : box.xmax]


class Data(BaseModel):
    """Base of structured results. Its fields are the `data` that clients read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """An embedding: `values` is [n] float32, read-only. Its space is that of its operation and engine."""

    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or self.values.dtype != np.float32:
            raise ValueError(f"a vector is one float32 row, not {self.values.dtype} {self.values.shape}")
        if self.values.base is not None:
            # A row of a batch would keep the whole batch alive, and change with it.
            object.__setattr__(self, "values", self.values.copy())
        self.values.flags.writeable = False

    def normalized(self) -> "Vector":
        """At length 1; a zero vector stays zero."""
        length = float(np.linalg.norm(self.values))
        return Vector((self.values / length).astype(np.float32)) if length > 0 else self


@dataclass(frozen=True, slots=True)
class Detections:
    """What a detector found in one region: boxes of the whole image, in no promised order."""

    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image file as base64 text; None where there is nothing to show."""

    base64: str | None


def by_prominence(regions: Sequence[Region], image: Box) -> tuple[Region, ...]:
    """Most prominent first. Ties break by position, so that one image always gives one order."""
    return tuple(
        sorted(
            regions,
            key=lambda region: (
                -region.prominence(image),
                region.box.ymin,
                region.box.xmin,
            ),
        )
    )


def jsonable(value: Any) -> Any:
    """A result as plain JSON values; a vector stays a float32 array, which the encoder writes fast."""
    match value:
        case Vector():
            return value.values
        case BaseModel():
            return value.model_dump(mode="json")
        case Box():
            return list(value)
        case EncodedImage():
            return value.base64
        case _:
            return value


def size_in_bytes(value: Any) -> int:
    """About what a result occupies, for a cache that is bounded in bytes."""
    overhead = 256
    match value:
        case Vector():
            return overhead + value.values.nbytes
        case np.ndarray():
            return overhead + value.nbytes
        case EncodedImage():
            return overhead + len(value.base64 or "")
        case str() | bytes():
            return overhead + len(value)
        case BaseModel():
            # Python objects take several times the bytes of their JSON.
            return overhead + 4 * len(value.model_dump_json())
        case Detections():
            return overhead * (1 + len(value.regions))
        case Mapping():
            return overhead + sum(size_in_bytes(name) + size_in_bytes(part) for name, part in value.items())
        case Box():
            return overhead
        case list() | tuple() | set() | frozenset():
            return overhead + sum(map(size_in_bytes, value))
    if is_dataclass(value):
        return overhead + sum(size_in_bytes(getattr(value, part.name)) for part in fields(value))
    return overhead
