"""Perceptual hashes."""

from collections.abc import Sequence

from app.core.artifacts import Crop, Data
from app.core.operation import Needs, operation
from app.core.target import RegionParams
from app.engines.hashes import IMAGEHASH, PerceptualHasher
from operations import encode_crop, regions


class Params(RegionParams):
    """Nothing beyond the choice of regions."""


class Hashes(Data):
    phash: str
    """Frequencies of the cosine transform, 64 bits: the hash to compare first."""
    dhash: str
    """Differences of neighbouring pixels, 64 bits."""
    whash: str
    """Haar wavelets, 64 bits."""
    colorhash: str
    """Shares of colours, 42 bits."""


def needs(params: Params) -> Needs:
    return {"crop": regions.ref(params)}


@operation(params=Params, needs=needs, engine=IMAGEHASH, crop=encode_crop.crop_of)
def hash_perceptual(crop: Sequence[Crop], params: Params, engine: PerceptualHasher) -> list[Hashes]:
    """Perceptual hashes that stay nearly the same when an image is scaled or compressed again.

    The hex strings are those of the ImageHash package (`phash`, `dhash`, `whash`, `colorhash` at their
    defaults). Compare two by the number of bits in which they differ: under about 10 of 64 it is the same
    picture.
    """
    return [Hashes(**hashes._asdict()) for hashes in engine(crop)]
