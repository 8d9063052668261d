"""Images and texts in one space, by CLIP and SigLIP models in open_clip.

Radford et al., "Learning transferable visual models from natural language supervision", 2021
(arXiv:2103.00020). Tschannen et al., "SigLIP 2", 2025 (arXiv:2502.14786). Ilharco et al., "OpenCLIP", 2021
(doi:10.5281/zenodo.5143773).
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import PIL.Image

from app.core.artifacts import Crop, Vector
from app.core.operation import EngineSpec
from app.core.weights import Placement
from app.engines.base import Engine, grey_crop
from app.engines.device import compute_on
from app.engines.mapped import map_weights
from app.engines.random_weights.clip import write_clip
from app.engines.strips import middle_of_strip
from app.engines.weights import Hub

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "open_clip_model.safetensors"


class ClipEmbedder(Engine[Crop | str, "Tensor", "Tensor", Vector]):
    """Crops and texts, mixed in any order, to vectors of one space that are not normalised.

    An image is prepared as the checkpoint's `preprocess_cfg` says; a text is cut to its context length.

    Attributes:
        logit_scale: what a cosine is multiplied with to give a logit; the inverse of the temperature.
        logit_bias: what is added to it; 0 where the model has none.
        is_sigmoid: whether a logit's probability is its sigmoid, on its own, as in SigLIP; otherwise it is
            the softmax over all texts.
    """

    def __init__(self, placement: Placement) -> None:
        """Load the folder of a hub repository by open_clip's own loader.

        Raises:
            Exception: what open_clip, torch or safetensors raise on missing or wrong files and keys.
            ValueError: the checkpoint of a sigmoid model has no bias.
        """
        import open_clip
        import torch

        compute_on(placement.threads)
        name = f"local-dir:{placement.files}"
        # Unlike the others of its kind, this call insists on weights.
        model, self._prepare = open_clip.create_model_from_pretrained(name)
        model.eval().requires_grad_(False)
        map_weights(model, placement.files / WEIGHTS)
        bias = getattr(model, "logit_bias", None)
        if bias is not None:
            require_bias(placement)
        # Before the model is cast: half precision makes 98.5 or so of a scale of 100.
        self.logit_scale = model.logit_scale.exp().item()
        self.logit_bias = 0.0 if bias is None else bias.item()
        self.is_sigmoid = bias is not None
        self._cuts_middle = model.visual.preprocess_cfg["resize_mode"] == "shortest"
        self._device = torch.device(placement.device)
        self._dtype = getattr(torch, placement.precision)
        self._model = model.to(self._device, self._dtype)
        self._tokenize = open_clip.get_tokenizer(name)
        # Tokenizers of the hub set themselves up in their first call, which two threads must not do.
        self._tokenize([""])

    def pre(self, item: Crop | str) -> "Tensor":
        """An image to float32 [3, height, width], a text to int64 [context length]."""
        tensor: Tensor
        if isinstance(item, str):
            tensor = self._tokenize([item])[0]
        else:
            pixels = middle_of_strip(item.pixels) if self._cuts_middle else item.pixels
            tensor = self._prepare(PIL.Image.fromarray(pixels))
        return tensor

    def core(self, ready: Sequence["Tensor"]) -> list["Tensor"]:
        """One batch of all images, one of all texts; float32 [dimensions] each."""
        import torch

        images = [number for number, each in enumerate(ready) if each.is_floating_point()]
        texts = [number for number, each in enumerate(ready) if not each.is_floating_point()]
        raw: dict[int, Tensor] = {}
        with torch.inference_mode():
            if images:
                batch = torch.stack([ready[number] for number in images]).to(self._device, self._dtype)
                raw.update(zip(images, self._model.encode_image(batch).float().cpu(), strict=True))
            if texts:
                batch = torch.stack([ready[number] for number in texts]).to(self._device)
                raw.update(zip(texts, self._model.encode_text(batch).float().cpu(), strict=True))
        return [raw[number] for number in range(len(ready))]

    def post(self, raw: "Tensor", ready: "Tensor", item: Crop | str) -> Vector:
        return Vector(raw.numpy())

    def warmup(self, items: int = 1) -> None:
        self([grey_crop(224, 224)] * items)
        self(["a photo"])


def require_bias(placement: Placement) -> None:
    """Refuse a checkpoint without the bias that a sigmoid model needs: open_clip would put 0 in its place.

    Raises:
        ValueError: it is missing.
    """
    from safetensors import safe_open

    with safe_open(placement.files / WEIGHTS, framework="pt") as file:
        if "logit_bias" not in file.keys():  # noqa: SIM118  (no mapping)
            raise ValueError(f"{WEIGHTS} has no logit_bias")


def clip_spec(
    name: str,
    repository: str,
    architecture: str,
    tag: str,
    *,
    licence: str,
    size_bytes: int,
    cost_ms: int,
    limits: str,
    tokenizer: tuple[str, ...] = (),
) -> EngineSpec:
    """The model that open_clip calls `architecture` with the weights it calls `tag`."""
    return EngineSpec(
        name=name,
        weights=Hub(repository, ("open_clip_config.json", WEIGHTS, *tokenizer), size_bytes),
        licence=licence,
        load=ClipEmbedder,
        batch=8,
        limits=limits,
        input_size="224x224",
        cost_ms=cost_ms,
        write_random=partial(write_clip, architecture=architecture, tag=tag),
    )


ENGLISH = "English texts of up to 77 tokens; reads little of text in images, counts and places things badly."

CLIP_MODELS = (
    # OpenAI publishes the weights under the MIT licence; the card of the repository says Apache-2.0.
    # The configurations of these three ask for QuickGELU, with which they were trained. By name open_clip 3
    # does so only for "ViT-B-32-quickgelu"; "ViT-B-32" with "openai" warns, and gives other vectors.
    clip_spec(
        "ViT-B-32",
        "timm/vit_base_patch32_clip_224.openai",
        "ViT-B-32",
        "openai",
        licence="MIT",
        size_bytes=605_000_000,
        cost_ms=150,
        limits=ENGLISH,
    ),
    clip_spec(
        "ViT-B-16",
        "timm/vit_base_patch16_clip_224.openai",
        "ViT-B-16",
        "openai",
        licence="MIT",
        size_bytes=598_000_000,
        cost_ms=380,
        limits=ENGLISH,
    ),
    clip_spec(
        "ViT-L-14",
        "timm/vit_large_patch14_clip_224.openai",
        "ViT-L-14",
        "openai",
        licence="MIT",
        size_bytes=1_711_000_000,
        cost_ms=1700,
        limits=ENGLISH,
    ),
    clip_spec(
        "ViT-B-32-laion2b",
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        "ViT-B-32",
        "laion2b_s34b_b79k",
        licence="MIT",
        size_bytes=605_000_000,
        cost_ms=150,
        limits=ENGLISH,
    ),
    clip_spec(
        "ViT-B-16-SigLIP2",
        "timm/ViT-B-16-SigLIP2",
        "ViT-B-16-SigLIP2",
        "webli",
        licence="Apache-2.0",
        size_bytes=1_535_000_000,
        cost_ms=400,
        limits="Texts of up to 64 tokens in many languages; squashes the image to a square.",
        tokenizer=("tokenizer.json", "tokenizer_config.json"),
    ),
)
"""The first is the default."""
