"""Loading the models of transformers, whole or not at all."""

from pathlib import Path
from typing import Any

from app.core.weights import Precision

# Counted in training, and read by nothing after it.
_COUNTERS = "num_batches_tracked"


def load_whole(model_class: Any, files: Path, precision: Precision = "float32") -> Any:
    """A model ready to infer, on the CPU.

    Args:
        model_class: of transformers, with `from_pretrained`.
        files: the folder of the checkpoint; never a name, which would be looked up in the hub.
        precision: of its weights.

    Raises:
        ValueError: the files lack a part of the model, or hold one that it does not have or has in another
            shape; names the first. The library fills what is missing with random values, and only logs it.
    """
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    model, report = model_class.from_pretrained(
        files,
        local_files_only=True,
        dtype=getattr(torch, precision),
        output_loading_info=True,
        # They are refused below, by name.
        ignore_mismatched_sizes=True,
    )
    for problem, found in report.items():
        # Of a tensor of another size the shapes are told too.
        names = sorted(each if isinstance(each, str) else each[0] for each in found)
        names = [name for name in names if not name.endswith(_COUNTERS)]
        if names:
            raise ValueError(f"{problem.replace('_', ' ')} in the weights: {names[0]} (of {len(names)})")
    return model.eval()
