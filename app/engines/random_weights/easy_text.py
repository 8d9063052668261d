"""EasyOCR's networks with random values, in the layout of its files. They have one size: none is tiny.

A random network finds no text and reads none. So batch normalisation is set to what it meets on a page of
drawn words, and the last layers are scaled until the page has lines, with characters and gaps in them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from app.core.artifacts import Pixels
    from app.engines.easy_text import Group

SEED = 20250101


def write_easyocr(folder: Path, group: "Group") -> None:
    """The file that finds lines and the one that reads them, as EasyOCR's archives have them."""
    import torch
    from easyocr.config import recognition_models
    from easyocr.craft import CRAFT
    from easyocr.imgproc import normalizeMeanVariance

    from app.engines.easy_text import DETECTOR

    folder.mkdir(parents=True, exist_ok=True)
    page = _page()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        with torch.device("meta"):
            finder = CRAFT()
        inputs = torch.from_numpy(normalizeMeanVariance(page)).permute(2, 0, 1)[None]
        regions, links = _drawn(finder, inputs)[0].reshape(-1, 2).unbind(1)
        last = finder.conv_cls[-1]
        # EasyOCR wants 0.4 of a line's pixels, 0.7 somewhere in it, and 0.4 of what links its characters.
        _stretch(last, 0, regions, (0.80, 0.4), (0.95, 0.8))
        _stretch(last, 1, links, (0.50, 0.0), (0.98, 0.4))
        _save(finder, folder / DETECTOR)

        characters = recognition_models[f"gen{group.generation}"][group.model]["characters"]
        reader: Any = group.network(characters)
        lines = torch.from_numpy(page[:, :, 0]).reshape(-1, 1, 64, page.shape[1]) / 127.5 - 1
        answers = _drawn(reader, lines, None).flatten(0, 1)
        last = reader.Prediction
        scale = 12 / answers.std(0)
        last.weight.mul_(scale[:, None])
        last.bias.copy_((last.bias - answers.mean(0)) * scale)
        # "No character here" half of the time.
        last.bias[0] += answers.mul(scale).sub(answers.mean(0) * scale)[:, 1:].amax(1).median()
        _save(reader, folder / group.file)


def _page() -> "Pixels":
    """Dark words on light ground: [height, width, 3], three rows of 64 px."""
    import cv2

    page = np.full((192, 256, 3), 235, np.uint8)
    for row, words in enumerate(("a page of", "3 lines of", "Words.")):
        cv2.putText(page, words, (16, 64 * row + 46), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (20, 20, 20), 3)
    return page


def _drawn(network: "torch.nn.Module", *inputs: "torch.Tensor | None") -> Any:
    """Draw values for a network that has none, so that signals keep their strength from layer to layer.

    Returns:
        What it answers to the inputs.
    """
    import torch

    network.to_empty(device="cpu").eval()
    for module in network.modules():
        match module:
            case torch.nn.Conv2d() | torch.nn.Linear():
                torch.nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    torch.nn.init.zeros_(module.bias)
            case torch.nn.LSTM():
                for name, values in module.named_parameters():
                    torch.nn.init.normal_(values, std=0.2 if "weight" in name else 0.0)
            case torch.nn.BatchNorm2d():
                module.reset_parameters()
                module.train()
                module.momentum = 1.0
    answers = network(*inputs)
    network.eval()
    return answers


def _stretch(
    last: Any, channel: int, answers: "torch.Tensor", low: tuple[float, float], high: tuple[float, float]
) -> None:
    """Scale what the last layer answers in a channel, so that two of its quantiles get two values."""
    below, above = answers.quantile(low[0]), answers.quantile(high[0])
    scale = (high[1] - low[1]) / (above - below)
    last.weight[channel] *= scale
    last.bias[channel] = last.bias[channel] * scale + low[1] - below * scale


def _save(network: "torch.nn.Module", path: Path) -> None:
    import torch

    torch.save({f"module.{key}": values for key, values in network.state_dict().items()}, path)
