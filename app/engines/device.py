"""Where models compute, and in what precision.

On a CPU the pool's lanes share the cores, so that a model itself computes on one thread. Measured on two
cores: two lanes of one thread give 1.5 to 1.8 times the items a second of one lane of two threads. bfloat16
is 4 to 7 times slower than float32 on CPUs without AMX.
"""

from pathlib import Path

from app.core.weights import Placement, Precision


def one_thread_per_call() -> None:
    """Make torch and OpenCV compute on the thread that calls them."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def placement(files: Path, device: str, precision: str) -> Placement:
    """Where to put a model, with `auto` resolved by what this machine has.

    Raises:
        ValueError: the device is not there, with the remedy.
    """
    chosen = _device(device)
    return Placement(files, chosen, _precision(precision, chosen))


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
