"""The protocol of engines: pre -> core -> post, and a warm-up.

pre     items to the model's input, on the CPU
core    the forward pass
post    the model's output to artifacts, in coordinates of the whole image
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np

from app.core.artifacts import Crop, Image, ImageInfo, Pixels

Item = TypeVar("Item")
Ready = TypeVar("Ready")
Raw = TypeVar("Raw")
Result = TypeVar("Result")


class Engine(ABC, Generic[Item, Ready, Raw, Result]):
    """A loaded model. Called with a list of items, it answers a list of the same length.

    Several threads may call one engine at once: an engine keeps nothing of a call.
    """

    @abstractmethod
    def pre(self, item: Item) -> Ready: ...

    @abstractmethod
    def core(self, ready: Sequence[Ready]) -> Sequence[Raw]: ...

    @abstractmethod
    def post(self, raw: Raw, ready: Ready, item: Item) -> Result: ...

    @abstractmethod
    def warmup(self, items: int = 1) -> None:
        """Run on so many small things, so that the first request does not pay for it.

        Once when it is loaded, and with several where that is to tell what a call with more items costs.
        """

    def __call__(self, items: Sequence[Item]) -> list[Result]:
        ready = [self.pre(item) for item in items]
        raw = self.core(ready) if ready else []
        return [self.post(*each) for each in zip(raw, ready, items, strict=True)]


def grey_crop(width: int, height: int) -> Crop:
    """A plain grey image, for warm-ups."""
    pixels: Pixels = np.full((height, width, 3), 127, np.uint8)
    info = ImageInfo(sha256="", width=width, height=height, format="", mode="RGB", file_bytes=0)
    return Crop.whole(Image(info, pixels))
