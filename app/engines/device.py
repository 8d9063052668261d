"""Where models compute, on how many threads, and in what precision.

On a CPU the pool's lanes share the cores: a model computes on its lane's part of them. bfloat16 is 4 to 7
times slower than float32 on CPUs without AMX.
"""

import threading
from pathlib import Path
from typing import Any

from app.core.weights import Placement, Precision

# Once an engine needs it. Among the modules it is there before it can be used, while it is being imported.
_torch: Any = None
_told = threading.local()


def compute_on(threads: int) -> None:
    """Make torch compute on so many threads a call, and OpenCV on the one that calls it."""
    global _torch
    import cv2
    import torch

    torch.set_num_threads(threads)
    _torch = torch
    cv2.setNumThreads(1)


def compute_from_now_on(threads: int) -> None:
    """Make what torch computes for the thread that calls this run on so many; other threads are not touched.

    OpenMP and MKL keep the number for each thread. What does not use torch goes on as it is.
    """
    # Not what torch says that it is: of a thread that was never told, the libraries under it know nothing.
    if _torch is not None and getattr(_told, "threads", None) != threads:
        _torch.set_num_threads(threads)
        _told.threads = threads


def placement(files: Path, device: str, precision: str, threads: int) -> Placement:
    """Where to put a model, with `auto` resolved by what this machine has.

    Raises:
        ValueError: the device is not there, with the remedy.
    """
    chosen = _device(device)
    return Placement(files, chosen, _precision(precision, chosen), threads)


def _device(asked: str) -> str:
    import torch

    if asked == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = asked.partition(":")
    here = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }[kind]
    if int(number or 0) >= here:
        raise ValueError(f"SIGHTGRAPH_DEVICE: this machine has no device '{asked}'; use auto or cpu")
    return asked


def _precision(asked: str, device: str) -> Precision:
    import torch

    if asked == "auto":
        if device == "cpu":
            return "float32"
        if device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False):
            return "bfloat16"
        return "float16"
    names: dict[str, Precision] = {
        "float32": "float32",
        "bfloat16": "bfloat16",
        "float16": "float16",
    }
    return names[asked]
