"""The stage that makes the one perceptual hash by which copies of images are found."""

from collections.abc import Sequence

from app.core.artifacts import Crop
from app.core.operation import Needs, operation
from app.core.target import RegionParams
from app.engines.hashes import IMAGEHASH, PerceptualHasher
from operations import regions


class Params(RegionParams):
    """Nothing beyond the choice of regions."""


def needs(params: Params) -> Needs:
    return {"crop": regions.ref(params)}


@operation(params=Params, needs=needs, engine=IMAGEHASH, public=False)
def phash(crop: Sequence[Crop], params: Params, engine: PerceptualHasher) -> list[int]:
    """64 bits of the lowest frequencies, the same number as the `phash` of `hash_perceptual`."""
    return engine.phashes(crop)
