"""Random DINOv2 and DINOv3 checkpoints in the format of Meta's hub repositories."""

import json
from pathlib import Path
from typing import Any

from app.engines.random_weights.values import draw_weights

SEED = 20230414

# Hidden size, layers and heads: table 17 of the DINOv2 paper.
DINO_V2 = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}

IMAGENET: dict[str, Any] = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "rescale_factor": 1 / 255,
}


def write_dino_v2(folder: Path, *, size: str = "base", tiny: bool = False) -> None:
    """Write `config.json`, `preprocessor_config.json` and `model.safetensors`.

    Args:
        folder: where to; it exists.
        size: "small", "base" or "large".
        tiny: 2 layers of width 48 instead; positions and input sizes stay.
    """
    from transformers import Dinov2Config, Dinov2Model

    hidden_size, layers, heads = (48, 2, 3) if tiny else DINO_V2[size]
    config = Dinov2Config(
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=518,
        patch_size=14,
    )
    write_model(folder, Dinov2Model, config)
    processor = IMAGENET | {
        "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "image_processor_type": "BitImageProcessor",
        "resample": 3,
        "size": {"shortest_edge": 256},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2), "utf-8")


def write_dino_v3(folder: Path, *, tiny: bool = False) -> None:
    """Write `config.json`, `preprocessor_config.json` and `model.safetensors` of a ViT-L/16.

    Args:
        folder: where to; it exists.
        tiny: 2 layers of width 48 instead; register tokens and input size stay.
    """
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    hidden_size, layers, heads = (48, 2, 3) if tiny else (1024, 24, 16)
    config = DINOv3ViTConfig(
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_register_tokens=4,
        patch_size=16,
        image_size=224,
    )
    write_model(folder, DINOv3ViTModel, config)
    processor = IMAGENET | {
        "do_center_crop": None,
        "image_processor_type": "DINOv3ViTImageProcessorFast",
        "resample": 2,
        "size": {"height": 224, "width": 224},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2), "utf-8")


def write_model(folder: Path, kind: Any, config: Any) -> None:
    """A model of the class `kind`: `config.json` and `model.safetensors`."""
    model = kind(config)
    draw_weights(model, SEED)
    model.save_pretrained(folder)
