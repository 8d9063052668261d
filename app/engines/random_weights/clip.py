"""Random CLIP and SigLIP checkpoints in the format of open_clip's hub repositories."""

import json
from itertools import product
from pathlib import Path
from string import ascii_lowercase, digits
from typing import Any

from app.engines.random_weights.values import draw_weights

SEED = 20210105


def write_clip(folder: Path, *, architecture: str, tag: str, tiny: bool = False) -> None:
    """Write `open_clip_config.json`, `open_clip_model.safetensors` and, where it has its own, the tokenizer.

    Args:
        folder: where to; it exists.
        architecture: what open_clip calls the model, "ViT-B-32" for example.
        tag: the weights whose preprocessing and activation the configuration names.
        tiny: shrink the towers to less than 4 MB; input size and context length stay.
    """
    import open_clip
    import torch
    from safetensors.torch import save_file

    model_cfg = open_clip.get_model_config(architecture)
    if model_cfg is None:
        raise ValueError(f"open_clip knows no {architecture}")
    if tiny:
        shrink(model_cfg)
    pretrained = open_clip.get_pretrained_cfg(architecture, tag)
    if pretrained.get("quick_gelu"):
        model_cfg["quick_gelu"] = True
    preprocess_cfg = {key: pretrained[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2), "utf-8")
    if "hf_tokenizer_name" in model_cfg["text_cfg"]:
        write_tokenizer(folder, model_cfg["text_cfg"]["vocab_size"])
    with torch.random.fork_rng(devices=()):
        # The class token and other vectors keep what the constructor draws.
        torch.manual_seed(SEED)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    draw_weights(model, SEED)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")


def shrink(model_cfg: dict[str, Any]) -> None:
    """Make the towers small; both kinds of image tower keep their format."""
    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    if "timm_model_name" in vision:
        # The smallest tower in timm that can pool by attention, as SigLIP's does.
        vision |= {"timm_model_name": "test_vit", "image_size": 160}
        model_cfg["embed_dim"] = 64
        text |= {"vocab_size": 2000, "width": 64, "heads": 2, "layers": 2}
    else:
        vision |= {"layers": 2, "width": 64, "head_width": 32}
        model_cfg["embed_dim"] = 32
        text |= {"width": 16, "heads": 2, "layers": 2}


def write_tokenizer(folder: Path, size: int) -> None:
    """A Gemma tokenizer, as SigLIP 2 has it, with a vocabulary of `size` tokens that somebody made up."""
    from transformers import GemmaTokenizer

    letters = [*ascii_lowercase, *digits, "▁"]
    pairs: list[Any] = list(product(letters, letters))
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    words += [f"<0x{byte:02X}>" for byte in range(256)] + letters
    words += ["".join(pair) for pair in pairs]
    words += [f"<unused{number}>" for number in range(size - len(words))]
    tokenizer = GemmaTokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=pairs,
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
    )
    tokenizer.save_pretrained(folder)
