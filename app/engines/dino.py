"""What images look like, by DINOv2 and DINOv3: self-supervised transformers of Meta AI, in transformers.

Oquab et al., "DINOv2: learning robust visual features without supervision", 2023 (arXiv:2304.07193). Siméoni
et al., "DINOv3", 2025 (arXiv:2508.10104).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import PIL.Image

from app.core.artifacts import Crop, Pixels, Vector
from app.core.operation import EngineSpec
from app.core.weights import Placement
from app.engines.base import Engine, grey_crop
from app.engines.device import compute_on
from app.engines.pretrained import load_whole
from app.engines.random_weights.dino import write_dino_v2, write_dino_v3
from app.engines.strips import middle_of_strip
from app.engines.weights import Hub

if TYPE_CHECKING:
    from torch import Tensor

RESOLUTION = 224
FILES = ("config.json", "preprocessor_config.json", "model.safetensors")


class DinoV2(Engine[Crop, "Tensor", "Tensor", Vector]):
    """Crops to the class token after the last layer norm: 384, 768 or 1024 floats, not normalised."""

    def __init__(self, placement: Placement) -> None:
        """Load the folder of a hub repository by transformers.

        Raises:
            Exception: what transformers or safetensors raise on missing or damaged files.
            ValueError: the weights lack a tensor, or have one that the model does not know.
        """
        from transformers import Dinov2Model

        self._network = Network(Dinov2Model, placement)

    def embed(self, crops: Sequence[Crop], resolution: int = RESOLUTION) -> list[Vector]:
        """Vectors of the crops, looked at as squares of `resolution` pixels, a multiple of 14."""
        ready = [self._prepared(crop, resolution) for crop in crops]
        return [self.post(*each) for each in zip(self.core(ready), ready, crops, strict=True)]

    def pre(self, item: Crop) -> "Tensor":
        """float32 [3, 224, 224]."""
        return self._prepared(item, RESOLUTION)

    def core(self, ready: Sequence["Tensor"]) -> list["Tensor"]:
        return list(self._network(ready)[:, 0]) if ready else []

    def post(self, raw: "Tensor", ready: "Tensor", item: Crop) -> Vector:
        return Vector(raw.numpy())

    def warmup(self, items: int = 1) -> None:
        self([grey_crop(RESOLUTION, RESOLUTION)] * items)

    def _prepared(self, crop: Crop, resolution: int) -> "Tensor":
        # The checkpoint scales the shorter side to 256 and cuts out 224: other resolutions keep the ratio.
        processor = self._network.processor
        shortest_edge = round(processor.size.shortest_edge * resolution / processor.crop_size.height)
        return self._network.prepared(
            middle_of_strip(crop.pixels),
            size={"shortest_edge": shortest_edge},
            crop_size={"height": resolution, "width": resolution},
        )


@dataclass(frozen=True, slots=True, eq=False)
class DinoTokens:
    """`image` is the class token, `patches` the mean of the patch tokens; both after the last layer norm."""

    image: Vector
    patches: Vector


class DinoV3(Engine[Crop, "Tensor", "Tensor", DinoTokens]):
    """Crops to class token and mean patch token: 1024 floats each for ViT-L, not normalised.

    The register tokens, which stand between the two, count as neither.
    """

    def __init__(self, placement: Placement) -> None:
        """Load the folder of a hub repository by transformers.

        Raises:
            Exception: what transformers or safetensors raise on missing or damaged files.
            ValueError: the weights lack a tensor, or have one that the model does not know.
        """
        from transformers import DINOv3ViTModel

        self._network = Network(DINOv3ViTModel, placement)
        self._first_patch = 1 + self._network.config.num_register_tokens

    def pre(self, item: Crop) -> "Tensor":
        """float32 [3, 224, 224]; the image is squashed to a square."""
        return self._network.prepared(item.pixels)

    def core(self, ready: Sequence["Tensor"]) -> list["Tensor"]:
        return list(self._network(ready))

    def post(self, raw: "Tensor", ready: "Tensor", item: Crop) -> DinoTokens:
        patches = raw[self._first_patch :].mean(dim=0)
        return DinoTokens(image=Vector(raw[0].numpy()), patches=Vector(patches.numpy()))

    def warmup(self, items: int = 1) -> None:
        self([grey_crop(RESOLUTION, RESOLUTION)] * items)


class Network:
    """A transformers model with its image processor: images to tokens."""

    def __init__(self, kind: Any, placement: Placement) -> None:
        """Load a model of the class `kind`.

        Raises:
            ValueError: the weights and the model do not have the same tensors.
        """
        import torch
        from transformers import AutoImageProcessor

        compute_on(placement.threads)
        self.processor = AutoImageProcessor.from_pretrained(placement.files, local_files_only=True)
        model = load_whole(kind, placement.files)
        self.config = model.config
        self._device = torch.device(placement.device)
        self._dtype = getattr(torch, placement.precision)
        self._model = model.requires_grad_(False).to(self._device, self._dtype)

    def prepared(self, pixels: Pixels, **changed: Any) -> "Tensor":
        """RGB uint8 [height, width, 3] as the checkpoint's processor makes it, float32 [3, height, width]."""
        image = PIL.Image.fromarray(pixels)
        tensor: Tensor = self.processor(images=image, return_tensors="pt", **changed).pixel_values[0]
        return tensor

    def __call__(self, images: Sequence["Tensor"]) -> "Tensor":
        """Float32 tokens after the last layer norm, [images, tokens, width]; the class token comes first."""
        import torch

        with torch.inference_mode():
            batch = torch.stack(list(images)).to(self._device, self._dtype)
            tokens: Tensor = self._model(pixel_values=batch).last_hidden_state
            return tokens.float().cpu()


def dino_v2_spec(size: str, parameters: int, cost_ms: int) -> EngineSpec:
    return EngineSpec(
        name=f"dinov2-{size}",
        weights=Hub(f"facebook/dinov2-{size}", FILES, 4 * parameters),
        licence="Apache-2.0",
        load=DinoV2,
        batch=4,
        limits="Sees the middle square of the image. Alike looks, not identity; takes no texts.",
        input_size="224x224 or 518x518",
        cost_ms=cost_ms,
        write_random=partial(write_dino_v2, size=size),
    )


DINO_V2_MODELS = (
    dino_v2_spec("base", 86_600_000, cost_ms=480),
    dino_v2_spec("small", 22_100_000, cost_ms=133),
    dino_v2_spec("large", 304_400_000, cost_ms=1850),
)
"""The first is the default."""

DINO_V3 = EngineSpec(
    name="dinov3-vitl16",
    weights=Hub("facebook/dinov3-vitl16-pretrain-lvd1689m", FILES, 1_213_000_000),
    licence="DINOv3 License",
    load=DinoV3,
    batch=4,
    limits="The repository is gated: accept Meta's DINOv3 License on the hub and set HF_TOKEN to pull it. "
    "Squashes the image to a square. Alike looks, not identity; takes no texts.",
    input_size="224x224",
    cost_ms=1400,
    write_random=write_dino_v3,
)
