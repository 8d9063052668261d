"""A visual embedding that needs no weights."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.artifacts import Crop, Vector
from app.core.operation import Needs, operation
from app.core.target import RegionParams
from operations import encode_crop, regions

Row = NDArray[np.float32]

SIDE = 128
CELL = 16
ORIENTATIONS = 9
# Hue, saturation, value.
BINS = (16, 4, 4)
# 7 x 7 blocks of 2 x 2 cells of 9 orientations, and the histogram.
DIMENSIONS = 7 * 7 * 4 * ORIENTATIONS + BINS[0] * BINS[1] * BINS[2]


class Params(RegionParams):
    """Nothing beyond the choice of regions."""


def needs(params: Params) -> Needs:
    return {"crop": regions.ref(params)}


@operation(params=Params, needs=needs, crop=encode_crop.crop_of)
def embed_hog_hsv(crop: Sequence[Crop], params: Params) -> list[Vector]:
    """Embed shape and colour without a model: a histogram of gradients beside one of colours.

    2020 floats of L2 norm 1: 1764 of HOG (Dalal and Triggs 2005; 128x128 px, cells of 16 px, blocks of
    2x2 cells) and 256 of an HSV histogram (16x4x4), each half of the squared length. It finds copies and
    images of alike layout; it knows nothing of what they show.
    """
    return [Vector(_embedded(each)) for each in crop]


def _embedded(crop: Crop) -> Row:
    import cv2

    small = cv2.resize(crop.pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    hog = cv2.HOGDescriptor((SIDE, SIDE), (2 * CELL, 2 * CELL), (CELL, CELL), (CELL, CELL), ORIENTATIONS)
    shape = np.ravel(hog.compute(np.ascontiguousarray(small[:, :, ::-1]))).astype(np.float32)
    colour = np.ravel(
        cv2.calcHist(
            [cv2.cvtColor(small, cv2.COLOR_RGB2HSV)],
            [0, 1, 2],
            None,
            BINS,
            [0, 180, 0, 256, 0, 256],
        )
    )
    # The square root makes the distance of histograms that of Hellinger, which large bins do not drown.
    return _unit(np.concatenate([_unit(shape), _unit(np.sqrt(colour, dtype=np.float32))]))


def _unit(vector: Row) -> Row:
    """The vector at length 1; a zero vector, as the gradients of a plain surface, stays zero."""
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length if length > 0 else vector, np.float32)
