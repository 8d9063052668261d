"""Weights that stay in their file: processes that load the same one share its memory.

Libraries on transformers leave them there by themselves; open_clip copies them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Module


def map_weights(model: "Module", file: Path) -> None:
    """Take a loaded model's parameters from the file where that changes none of them.

    Args:
        model: on the CPU, not to be trained.
        file: of safetensors, which is mapped into memory; replaced it may be, but not written to.
    """
    import torch
    from safetensors import safe_open

    with safe_open(file, framework="pt") as mapped:
        kept = set(mapped.keys())
        for name, parameter in model.named_parameters():
            if name in kept:
                values = mapped.get_tensor(name)
                if values.dtype == parameter.dtype and torch.equal(values, parameter):
                    parameter.data = values
