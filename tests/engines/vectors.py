"""What the tests of embedding engines share: images and comparisons."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.core.artifacts import Crop, Pixels, Vector
from app.core.geometry import Box, Point
from app.core.weights import Placement
from tests.images import astronaut, crop_of, image_of, noise, plain

# Near enough to what MTCNN finds in the astronaut's face.
FACE = Box(181, 62, 268, 172)
LANDMARKS = (Point(205, 108), Point(245, 105), Point(228, 128), Point(210, 147), Point(245, 146))


def photos() -> list[Crop]:
    """Photos whole and cut, in colour and grey; the cut one is a face with its landmarks."""
    from skimage import data

    grey = np.repeat(np.asarray(data.camera())[:, :, None], 3, axis=2)
    whole = [crop_of(pixels) for pixels in (astronaut(), data.chelsea(), data.coffee(), grey)]
    return [*whole, Crop(image_of(astronaut()), FACE, LANDMARKS)]


def odd_images() -> dict[str, Pixels]:
    return {
        "1x1": noise(1, 1),
        "2x3": noise(2, 3),
        "3000x2": noise(3000, 2),
        "2x3000": noise(2, 3000),
        "200000x1": noise(200_000, 1),
        "black": plain(64, 48, (0, 0, 0)),
        "white": plain(48, 64, (255, 255, 255)),
        "noise": noise(300, 200),
    }


def rows(vectors: Sequence[Vector]) -> Any:
    """Vectors as one float32 array [n, dimensions]."""
    return np.stack([vector.values for vector in vectors])


def cosines(left: Any, right: Any) -> Any:
    """Of each row with its like: [n, dimensions] twice to [n]."""
    left, right = (np.asarray(each, np.float64) for each in (left, right))
    return (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


def digest(answers: Sequence[Any]) -> str:
    """Of all vectors in an engine's answers, bit for bit; answers without one count for nothing."""
    hasher = hashlib.sha256()
    for answer in answers:
        for each in (answer, getattr(answer, "image", None), getattr(answer, "patches", None)):
            if isinstance(each, Vector):
                hasher.update(each.values.tobytes())
    return hasher.hexdigest()


def loaded_digest(engine: Callable[[Placement], Any], folder: Path) -> str:
    """Of an engine's vectors of `photos()`, loaded anew; another process can be asked for it."""
    return digest(engine(Placement(folder))(photos()))
