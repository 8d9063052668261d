"""Where models can compute."""

import shutil
import warnings
from pathlib import Path

from app.cli.doctor.finding import Findings, ok, problem, size, warning
from app.settings import Settings


def devices(settings: Settings | None) -> Findings:
    import torch

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for device in range(number):
        yield from _gpu(device)
    if number == 0 and torch.backends.mps.is_available():
        yield ok("device", f"Apple's GPU (mps), torch {torch.__version__}.")
    elif number == 0:
        yield from _no_gpu([str(each.message) for each in told])
    if settings is not None:
        yield from _as_set(settings)


def _gpu(number: int) -> Findings:
    """Whether one really computes: a driver may show it, and refuse the code."""
    import torch

    device = torch.device("cuda", number)
    name = torch.cuda.get_device_name(device)
    try:
        free, total = torch.cuda.mem_get_info(device)
        torch.ones(8, device=device).sum().item()
    except RuntimeError as error:
        first = str(error).partition("\n")[0]
        yield problem(
            "device",
            f"cuda:{number} is a {name}, and does not compute: {first}",
            "Take a torch that is built for it, free its memory, or set SIGHTGRAPH_DEVICE=cpu.",
        )
        return
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    yield ok("device", f"cuda:{number} is a {name}, {size(free)} of {size(total)} free, {built}.")


def _no_gpu(told: list[str]) -> Findings:
    import torch

    driver = nvidia_driver()
    if not driver:
        yield ok("device", f"No GPU: models compute on the CPU, torch {torch.__version__}.")
    elif torch.version.cuda is None:
        yield warning(
            "device",
            f"{driver} is here, and torch {torch.__version__} is built without CUDA: models compute on the "
            "CPU.",
            "Install the torch for CUDA; its site says which fits the driver.",
        )
    else:
        why = f" ({told[0].partition(chr(10))[0]})" if told else ""
        yield warning(
            "device",
            f"{driver} is here, and torch {torch.__version__}, built for CUDA {torch.version.cuda}, cannot "
            f"use it{why}: models compute on the CPU.",
            "Bring the driver up to that CUDA; start a container with its GPUs (docker run --gpus all); see "
            "whether CUDA_VISIBLE_DEVICES hides them.",
        )


def nvidia_driver(proc: Path = Path("/proc/driver/nvidia/version")) -> str:
    """What is known of NVIDIA's driver; empty where there is none."""
    try:
        words = proc.read_text(encoding="utf-8").splitlines()[0].split()
    except (OSError, UnicodeDecodeError, IndexError):
        return "NVIDIA's driver" if shutil.which("nvidia-smi") else ""
    numbers = [word for word in words if word[0].isdecimal() and "." in word]
    return " ".join(["NVIDIA's driver", *numbers[:1]])


def _as_set(settings: Settings) -> Findings:
    from app.core.errors import ModelUnavailable
    from app.main import local_store

    try:
        place = local_store(settings).place(Path())
    except ModelUnavailable as error:
        yield problem("device", str(error), "Set SIGHTGRAPH_DEVICE=auto.")
        return
    if place.device == "cpu" and place.precision != "float32":
        yield warning(
            "device",
            f"SIGHTGRAPH_PRECISION={settings.precision} on a CPU, which is several times slower than float32 "
            "on most.",
            "Set SIGHTGRAPH_PRECISION=auto.",
        )
    else:
        yield ok("device", f"Models compute on {place.device} in {place.precision}.")
