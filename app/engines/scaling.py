"""Scaling an image down before it is searched."""

from dataclasses import dataclass

import numpy as np

from app.core.artifacts import Pixels


@dataclass(frozen=True, slots=True)
class Scaled:
    """`pixels` is an image scaled by `scale`, at most 1; RGB uint8 [height, width, 3]."""

    pixels: Pixels
    scale: float


def scaled_to_fit(pixels: Pixels, side: int) -> Scaled:
    """Scale down until the longer side is at most `side`; smaller images stay as they are."""
    import cv2

    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale == 1.0:
        return Scaled(pixels, scale)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return Scaled(np.asarray(resized, np.uint8), scale)
