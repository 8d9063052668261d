"""The images of a benchmark: each another one, so that no cache answers, and all of them the same by seed."""

import io
from functools import cached_property
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

# The part of a photo that differs, away from the face and the person.
_STAMP = 64


class Photos:
    """A photo of 640x384 with a face (skimage's astronaut) and a person seen whole (drawn), and ones that
    differ from it by a stamp in a corner. The bundled detectors find both in all of them."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def jpeg(self, number: int) -> bytes:
        rng = np.random.default_rng([self._seed, number])
        stamp = rng.integers(0, 256, (_STAMP // 8, _STAMP // 8, 3), dtype=np.uint8)
        pixels = self._base.copy()
        pixels[:_STAMP, -_STAMP:] = stamp.repeat(8, axis=0).repeat(8, axis=1)
        return _encoded(pixels, "JPEG", quality=85)

    @cached_property
    def of_100_kb(self) -> bytes:
        """The photo as a file of about 100 KB."""
        files = (_encoded(self._base, "JPEG", quality=quality) for quality in range(85, 101))
        return next(file for file in files if len(file) >= 100_000)

    def small(self, number: int) -> bytes:
        """Noise of 48x48 as a PNG."""
        rng = np.random.default_rng([self._seed, number])
        return _encoded(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8), "PNG")

    @cached_property
    def _base(self) -> Pixels:
        from skimage import data

        face = PIL.Image.fromarray(data.astronaut()).resize((384, 384))
        return np.concatenate([np.asarray(face), np.asarray(_figure(256, 384))], axis=1)


def _figure(width: int, height: int, top: int = 30, tall: int = 220) -> PIL.Image.Image:
    """A standing person as a silhouette."""
    scale = 2
    image = PIL.Image.new("RGB", (width * scale, height * scale), (190, 190, 190))
    draw = PIL.ImageDraw.Draw(image)

    def at(across: float, down: float) -> tuple[float, float]:
        return (width / 2 + across * tall) * scale, (top + down * tall) * scale

    draw.ellipse([at(-0.055, 0.0), at(0.055, 0.14)], fill=(60, 60, 60))
    draw.polygon([at(-0.12, 0.17), at(0.12, 0.17), at(0.1, 0.52), at(-0.1, 0.52)], fill=(60, 60, 60))
    for side in (-1, 1):
        arm = [(0.12, 0.17), (0.17, 0.50), (0.13, 0.50), (0.07, 0.20)]
        leg = [(0.10, 0.50), (0.00, 0.50), (0.05, 1.00), (0.11, 1.00)]
        for limb in (arm, leg):
            draw.polygon([at(side * across, down) for across, down in limb], fill=(60, 60, 60))
    return image.resize((width, height), PIL.Image.Resampling.LANCZOS)


def _encoded(pixels: Pixels, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()
