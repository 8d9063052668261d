"""Printed text in many scripts by EasyOCR: CRAFT finds lines, a network for a group of languages reads them.

Baek et al., "Character region awareness for text detection", CVPR 2019 (arXiv:1904.01941); Shi et al., "An
end-to-end trainable neural network for image-based sequence recognition", 2015 (arXiv:1507.05717). It is much
slower than the bundled reader of Latin and Chinese, and there for what that one does not read.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from app.core.artifacts import Crop, Pixels
from app.core.geometry import Point
from app.core.operation import EngineSpec
from app.core.weights import Placement
from app.engines.base import Engine, grey_crop
from app.engines.device import compute_on
from app.engines.precision import place
from app.engines.random_weights.easy_text import write_easyocr
from app.engines.scaling import scaled_to_fit
from app.engines.text import Line, in_reading_order
from app.engines.weights import Download, RemoteFile

if TYPE_CHECKING:
    import torch

# The longer side in which lines are looked for; they are read in full size. EasyOCR's own bound is 2560, with
# which one photo takes a core more than a minute and 5 GB.
SEARCHED_SIDE = 1280
# Larger images are scaled down to this side first.
LARGEST_SIDE = 8192
# Thinner strips are padded to this shape, or nothing would be left of them where lines are looked for.
WIDEST_SHAPE = 64
# Longer lines, by their height, are none; to read one would take gigabytes.
LONGEST_LINE = 500

DETECTOR = "craft_mlt_25k.pth"


@dataclass(frozen=True, slots=True)
class Group:
    """Languages that one network reads.

    Args:
        name: of the engine, after `easyocr-`.
        languages: their codes in EasyOCR.
        generation: of the network, as EasyOCR counts.
        model: what EasyOCR calls the network.
        file: its weights.
        archive: the release of EasyOCR and the file in it that hold the weights.
        md5: of the weights, as EasyOCR checks them.
        size_bytes: of the weights, about.
        right_to_left: how a row is read.
    """

    name: str
    languages: tuple[str, ...]
    generation: Literal[1, 2]
    model: str
    file: str
    archive: str
    md5: str
    size_bytes: int
    right_to_left: bool = False

    def network(self, characters: str) -> "torch.nn.Module":
        """The network that reads a line, without values."""
        import torch
        from easyocr.model import model, vgg_model

        architecture, width = (model.Model, 512) if self.generation == 1 else (vgg_model.Model, 256)
        with torch.device("meta"):
            # One answer more is "no character here".
            network: torch.nn.Module = architecture(1, width, width, len(characters) + 1)
        return network


@dataclass(frozen=True, slots=True)
class Padded:
    """RGB pixels of the item scaled by `scale`, after `left` columns and `top` rows of padding, and the same
    in grey."""

    pixels: Pixels
    grey: Pixels
    scale: float
    left: int
    top: int


# Corners, text and confidence of each line.
Reading = list[tuple[Any, str, float]]


class EasyTextReader(Engine[Crop, Padded, Reading, list[Line]]):
    """Crops to lines of text, in reading order.

    The reader's weights stay as they are on every device. On a CPU EasyOCR by default rounds them to 8 bits,
    while it can: torch is about to drop that, and EasyOCR then goes on without a word.
    """

    def __init__(self, placement: Placement, group: Group) -> None:
        import sys

        import torch
        from easyocr import Reader
        from easyocr.craft import CRAFT
        from easyocr.detection import get_textbox
        from easyocr.utils import CTCLabelConverter

        compute_on(placement.threads)
        self._right_to_left = group.right_to_left
        folder = str(placement.files)
        # Without networks: it would hold their files against its own list of digests. Whoever placed the
        # files has checked them, and they need not be those of the list.
        reader = Reader(
            list(group.languages),
            gpu=placement.device,
            model_storage_directory=folder,
            user_network_directory=folder,
            download_enabled=False,
            detector=False,
            recognizer=False,
            verbose=False,
        )
        # It has put the folder there, for code of users' own networks.
        sys.path.remove(folder)
        with torch.device("meta"):
            reader.detector = CRAFT()
        reader.get_textbox = get_textbox
        reader.recognizer = group.network(reader.character)
        reader.converter = CTCLabelConverter(reader.character)
        for network, file in ((reader.detector, DETECTOR), (reader.recognizer, group.file)):
            state = torch.load(placement.files / file, map_location="cpu", weights_only=True)
            # They were saved from `DataParallel`, which holds the network as its `module`.
            state = {key.removeprefix("module."): values for key, values in state.items()}
            network.load_state_dict(state, assign=True)
            place(network, placement)
        self._reader = reader

    def pre(self, item: Crop) -> Padded:
        import cv2

        scaled = scaled_to_fit(item.pixels, LARGEST_SIDE)
        height, width = scaled.pixels.shape[:2]
        tall, wide = max(height, -(-width // WIDEST_SHAPE)), max(width, -(-height // WIDEST_SHAPE))
        top, left = (tall - height) // 2, (wide - width) // 2
        margins = top, tall - height - top, left, wide - width - left
        pixels = cv2.copyMakeBorder(scaled.pixels, *margins, cv2.BORDER_REPLICATE)
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        return Padded(np.asarray(pixels, np.uint8), np.asarray(grey, np.uint8), scaled.scale, left, top)

    def core(self, ready: Sequence[Padded]) -> list[Reading]:
        # Its batches are of images of one size, and of lines padded to one length, which changes the answer.
        return [self._read(each) for each in ready]

    def post(self, raw: Reading, ready: Padded, item: Crop) -> list[Line]:
        padding = np.array([ready.left, ready.top])
        low = np.array([item.box.xmin, item.box.ymin])
        high = np.array([item.box.xmax, item.box.ymax])
        lines = []
        for corners, text, confidence in raw:
            inside = np.clip((np.asarray(corners) - padding) / ready.scale + low, low, high)
            polygon = tuple(Point(round(x, 1), round(y, 1)) for x, y in inside.tolist())
            line = Line.within(item.box, text, float(confidence), polygon)
            if line is not None and text.strip():
                lines.append(line)
        return from_right_to_left(lines) if self._right_to_left else in_reading_order(lines)

    def warmup(self, items: int = 1) -> None:
        self([grey_crop(64, 64)] * items)

    def _read(self, ready: Padded) -> Reading:
        # EasyOCR asks for pinned memory even where there is no GPU. Said at every call: filters are the
        # process's, and whoever restores earlier ones takes this one away.
        warnings.filterwarnings("ignore", "'pin_memory' argument is set as true", UserWarning)
        # The two halves of `Reader.readtext`.
        horizontal, slanted = self._reader.detect(ready.pixels, canvas_size=SEARCHED_SIDE, reformat=False)
        height, width = ready.grey.shape
        # It finds lines also in the black that it pads the image with, and fails to read those.
        reading: Reading = self._reader.recognize(
            ready.grey,
            [box for box in horizontal[0] if _is_upright_line(box, width, height)],
            [corners for corners in slanted[0] if _is_slanted_line(corners)],
            reformat=False,
        )
        return reading


def _is_upright_line(box: Sequence[int], width: int, height: int) -> bool:
    """Whether the part of [xmin, xmax, ymin, ymax] inside the image is as long as a line may be."""
    xmin, xmax, ymin, ymax = box
    return _is_line(min(xmax, width) - max(0, xmin), min(ymax, height) - max(0, ymin))


def _is_slanted_line(corners: Sequence[Sequence[float]]) -> bool:
    """The same of four corners, which EasyOCR turns upright by their longest sides."""
    points = np.asarray(corners, np.float32)
    sides = np.linalg.norm(points - np.roll(points, -1, axis=0), axis=1)
    return _is_line(int(max(sides[0], sides[2])), int(max(sides[1], sides[3])))


def _is_line(width: int, height: int) -> bool:
    return min(width, height) >= 1 and max(width, height) <= LONGEST_LINE * min(width, height)


def from_right_to_left(lines: Sequence[Line]) -> list[Line]:
    """Rows from top to bottom, and inside a row from right to left."""
    mirrored = [replace(line, polygon=tuple(Point(-x, y) for x, y in line.polygon)) for line in lines]
    places = {id(line): place for place, line in enumerate(mirrored)}
    return [lines[places[id(line)]] for line in in_reading_order(mirrored)]


def _spec(group: Group, cost_ms: int) -> EngineSpec:
    releases = "https://github.com/JaidedAI/EasyOCR/releases/download"
    return EngineSpec(
        name=f"easyocr-{group.name}",
        weights=Download(
            f"easyocr/{group.model}",
            (
                RemoteFile(
                    url=f"{releases}/pre-v1.1.6/craft_mlt_25k.zip",
                    name=DETECTOR,
                    size_bytes=83_200_000,
                    md5="2f8227d2def4037cdb3b34389dcf9ec1",
                    archived=True,
                ),
                RemoteFile(
                    url=f"{releases}/{group.archive}",
                    name=group.file,
                    size_bytes=group.size_bytes,
                    md5=group.md5,
                    archived=True,
                ),
            ),
            "easyocr",
        ),
        licence="Apache-2.0",
        load=partial(EasyTextReader, group=group),
        limits=f"Slow. Looks for lines in the region scaled to at most {SEARCHED_SIDE} px; not for "
        f"handwriting. Languages: {', '.join(group.languages)}.",
        input_size=f"longer side at most {SEARCHED_SIDE}",
        cost_ms=cost_ms,
        write_random=partial(write_easyocr, group=group),
    )


# fmt: off
_LATIN = (
    "af", "az", "bs", "cs", "cy", "da", "de", "en", "es", "et", "fr", "ga", "hr", "hu", "id", "is", "it",
    "ku", "la", "lt", "lv", "mi", "ms", "mt", "nl", "no", "oc", "pi", "pl", "pt", "ro", "rs_latin", "sk",
    "sl", "sq", "sv", "sw", "tl", "tr", "uz", "vi",
)
_CYRILLIC = (
    "ru", "rs_cyrillic", "be", "bg", "uk", "mn", "abq", "ady", "kbd", "ava", "dar", "inh", "che", "lbe",
    "lez", "tab", "tjk", "en",
)
# fmt: on

GROUPS = (
    Group(
        "english",
        ("en",),
        2,
        "english_g2",
        "english_g2.pth",
        "v1.3/english_g2.zip",
        "5864788e1821be9e454ec108d61b887d",
        15_100_000,
    ),
    Group(
        "latin",
        _LATIN,
        2,
        "latin_g2",
        "latin_g2.pth",
        "v1.3/latin_g2.zip",
        "469869130aad1a34e8f9086f4262bc59",
        15_400_000,
    ),
    Group(
        "cyrillic",
        _CYRILLIC,
        2,
        "cyrillic_g2",
        "cyrillic_g2.pth",
        "v1.6.1/cyrillic_g2.zip",
        "19f85f43d9128a89ac21b8d6a06973fe",
        15_300_000,
    ),
    Group(
        "chinese-simplified",
        ("ch_sim", "en"),
        2,
        "zh_sim_g2",
        "zh_sim_g2.pth",
        "v1.3/zh_sim_g2.zip",
        "b601ce7143293387d3ec4f41a66edc07",
        22_000_000,
    ),
    Group(
        "japanese",
        ("ja", "en"),
        2,
        "japanese_g2",
        "japanese_g2.pth",
        "v1.3/japanese_g2.zip",
        "bad5146990ccb1272cb0908440fbe15e",
        17_300_000,
    ),
    Group(
        "korean",
        ("ko", "en"),
        2,
        "korean_g2",
        "korean_g2.pth",
        "v1.3/korean_g2.zip",
        "befecf7b1ca2fffb5af814a51443682d",
        16_100_000,
    ),
    Group(
        "telugu",
        ("te", "en"),
        2,
        "telugu_g2",
        "telugu.pth",
        "v1.2/telugu.zip",
        "f7576012a3abe593950c47bfa1bd8ddc",
        15_200_000,
    ),
    Group(
        "kannada",
        ("kn", "en"),
        2,
        "kannada_g2",
        "kannada.pth",
        "v1.2/kannada.zip",
        "c240c97e4adb8773b53b3b3dec728627",
        15_200_000,
    ),
    Group(
        "arabic",
        ("ar", "fa", "ug", "ur", "en"),
        1,
        "arabic_g1",
        "arabic.pth",
        "pre-v1.1.6/arabic.zip",
        "993074555550e4e06a6077d55ff0449a",
        215_400_000,
        right_to_left=True,
    ),
    Group(
        "devanagari",
        ("hi", "mr", "ne", "bh", "mai", "ang", "bho", "mah", "sck", "new", "gom", "en"),
        1,
        "devanagari_g1",
        "devanagari.pth",
        "pre-v1.1.6/devanagari.zip",
        "db6b1f074fae3070f561675db908ac08",
        215_400_000,
    ),
)

# Of a photo of 1280x720 with 18 lines. A line costs the first generation 14 times what it costs the second.
EASYOCR_READERS = tuple(_spec(group, 12_400 if group.generation == 2 else 40_000) for group in GROUPS)

# Every code that some group reads.
LANGUAGES = tuple(sorted({language for group in GROUPS for language in group.languages}))


def engine_for_languages(languages: Sequence[str]) -> str | None:
    """The name of the first engine that reads all of these, or None where no one does."""
    for group in GROUPS:
        if set(languages) <= set(group.languages):
            return f"easyocr-{group.name}"
    return None
