"""Perceptual hashes by the ImageHash package, which needs no weights."""

from collections.abc import Sequence
from typing import NamedTuple

import PIL.Image

from app.core.artifacts import Crop
from app.core.operation import EngineSpec
from app.core.weights import Placement
from app.engines.base import Engine, grey_crop
from app.engines.weights import Bundled


class HexHashes(NamedTuple):
    """Hex strings as the package writes them."""

    phash: str
    dhash: str
    whash: str
    colorhash: str


class PerceptualHasher(Engine[Crop, PIL.Image.Image, HexHashes, HexHashes]):
    """Crops to hashes, by the package's own functions at their defaults."""

    def __init__(self, _: Placement) -> None:
        import imagehash

        self._functions = (
            imagehash.phash,
            imagehash.dhash,
            imagehash.whash,
            imagehash.colorhash,
        )

    def phashes(self, items: Sequence[Crop]) -> list[int]:
        """Of each crop the 64 bits of its `phash`, as an unsigned number."""
        return [int(str(self._functions[0](self.pre(item))), 16) for item in items]

    def pre(self, item: Crop) -> PIL.Image.Image:
        return PIL.Image.fromarray(item.pixels)

    def core(self, ready: Sequence[PIL.Image.Image]) -> list[HexHashes]:
        return [HexHashes(*(str(of(image)) for of in self._functions)) for image in ready]

    def post(self, raw: HexHashes, ready: PIL.Image.Image, item: Crop) -> HexHashes:
        return raw

    def warmup(self, items: int = 1) -> None:
        self([grey_crop(32, 32)] * items)


IMAGEHASH = EngineSpec(
    name="imagehash",
    weights=Bundled("ImageHash", "imagehash"),
    licence="BSD-2-Clause",
    load=PerceptualHasher,
    limits="Copies only: a crop, a turn or a mirror image changes the hashes.",
)
