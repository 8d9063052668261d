"""Objects by torchvision's detectors: Faster R-CNN and SSDlite, trained on COCO.

Ren et al., "Faster R-CNN: towards real-time object detection with region proposal networks", 2015
(arXiv:1506.01497). Li et al., "Benchmarking detection transfer learning with vision transformers", 2021
(arXiv:2111.11429), for its second version. Howard et al., "Searching for MobileNetV3", 2019
(arXiv:1905.02244), for SSDlite.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from app.core.artifacts import Crop, Detections, Pixels
from app.core.operation import EngineSpec
from app.core.weights import Placement
from app.engines.base import Engine, grey_crop
from app.engines.detections import LARGEST_SIDE, Found, coco_limits, in_whole_image
from app.engines.device import compute_on
from app.engines.precision import place
from app.engines.random_weights.detectors import write_torchvision
from app.engines.scaling import scaled_to_fit
from app.engines.weights import Download, RemoteFile

if TYPE_CHECKING:
    import torch

# Faster R-CNN scales the longer side down to 1333 or 640 px, and fails where nothing is left of the shorter.
THINNEST = 600
# What torchvision's list of COCO's 91 numbers calls those that are no class.
NO_CLASS = frozenset({"__background__", "N/A"})


@dataclass(frozen=True, slots=True)
class Architecture:
    """One of torchvision's detectors.

    Args:
        builder: its function in `torchvision.models.detection`.
        weights: the enumeration of its weights there.
        file: their name in torch's cache.
        frozen_epsilon: of the backbone's frozen batch normalisation; None where it is not frozen.
    """

    builder: str
    weights: str
    file: str
    frozen_epsilon: float | None = None

    def build(self) -> "torch.nn.Module":
        """The network with random values, and with the very layers that its trained weights belong to.

        torchvision freezes the backbone's batch normalisation only while it downloads weights itself. The
        first Faster R-CNN was also trained without an epsilon (pytorch/vision#2933).
        """
        from torchvision.models import detection

        network: torch.nn.Module = getattr(detection, self.builder)(weights=None, weights_backbone=None)
        if self.frozen_epsilon is not None:
            _freeze_batch_norms(network.get_submodule("backbone"), self.frozen_epsilon)
        return network

    def metadata(self) -> Any:
        """torchvision's own description of the weights: `meta`, `transforms`, `url`."""
        from torchvision.models import detection

        return getattr(detection, self.weights).COCO_V1


def _freeze_batch_norms(network: "torch.nn.Module", epsilon: float) -> None:
    from torch.nn import BatchNorm2d
    from torchvision.ops import FrozenBatchNorm2d

    for name, module in list(network.named_modules()):
        if isinstance(module, BatchNorm2d):
            network.set_submodule(name, FrozenBatchNorm2d(module.num_features, epsilon))


def _fix_scales(network: "torch.nn.Module") -> None:
    """Let Faster R-CNN's pool of regions see a square first.

    It infers from the first image how much smaller each map of features is, keeps that, and is wrong where
    the image was a thin strip.
    """
    import torch

    roi_heads = getattr(network, "roi_heads", None)
    if roi_heads is None:
        return
    side = 256
    with torch.inference_mode():
        features = network.eval().get_submodule("backbone")(torch.zeros(1, 3, side, side))
        roi_heads.box_roi_pool(features, [torch.tensor([[0.0, 0.0, side, side]])], [(side, side)])


class TorchvisionDetector(Engine[Crop, Pixels, dict[str, "torch.Tensor"], Detections]):
    """Crops to objects, in coordinates of the whole image."""

    def __init__(self, placement: Placement, architecture: Architecture) -> None:
        import torch

        compute_on(placement.threads)
        self._device = placement.device
        network = architecture.build()
        state = torch.load(placement.files / architecture.file, map_location="cpu", weights_only=True)
        network.load_state_dict(state)
        _fix_scales(network)
        place(network, placement, in_half=network.get_submodule("backbone"))
        self._network = network
        metadata = architecture.metadata()
        self._transform = metadata.transforms()
        self._names: list[str] = metadata.meta["categories"]
        self.labels = tuple(name for name in self._names if name not in NO_CLASS)

    def pre(self, item: Crop) -> Pixels:
        return no_thinner(scaled_to_fit(item.pixels, LARGEST_SIDE).pixels, THINNEST)

    def core(self, ready: Sequence[Pixels]) -> list[dict[str, "torch.Tensor"]]:
        # One by one: in a batch the smaller images are padded, which moves their boxes.
        return [self._search(pixels) for pixels in ready]

    def post(self, raw: dict[str, "torch.Tensor"], ready: Pixels, item: Crop) -> Detections:
        across, down = item.box.width / ready.shape[1], item.box.height / ready.shape[0]
        columns = raw["labels"].tolist(), raw["scores"].tolist(), raw["boxes"].tolist()
        return in_whole_image(
            (
                Found(self._names[number], score, (xmin * across, ymin * down, xmax * across, ymax * down))
                for number, score, (xmin, ymin, xmax, ymax) in zip(*columns, strict=True)
                if self._names[number] not in NO_CLASS
            ),
            item,
        )

    def warmup(self, items: int = 1) -> None:
        self([grey_crop(64, 64)] * items)

    def _search(self, pixels: Pixels) -> dict[str, "torch.Tensor"]:
        import torch

        # A copy, because torch warns of arrays that it could not write to.
        image = self._transform(torch.from_numpy(pixels.copy()).permute(2, 0, 1))
        with torch.inference_mode():
            (found,) = self._network([image.to(self._device)])
        result: dict[str, torch.Tensor] = found
        return result


def no_thinner(pixels: Pixels, ratio: int) -> Pixels:
    """The pixels, stretched across where the longer side is more than `ratio` times the shorter one."""
    import cv2

    height, width = pixels.shape[:2]
    least = -(-max(height, width) // ratio)
    if min(height, width) >= least:
        return pixels
    return np.asarray(cv2.resize(pixels, (max(width, least), max(height, least))), np.uint8)


def _spec(
    name: str,
    architecture: Architecture,
    mebibytes: float,
    cost_ms: int,
    precision: float,
    input_size: str,
) -> EngineSpec:
    _, _, hash_and_suffix = architecture.file.rpartition("-")
    file = RemoteFile(
        url=f"https://download.pytorch.org/models/{architecture.file}",
        name=architecture.file,
        size_bytes=round(mebibytes * 2**20),
        # torchvision puts the first digits of the hash into the name.
        sha256_prefix=hash_and_suffix.removesuffix(".pth"),
    )
    return EngineSpec(
        name=name,
        weights=Download(f"torchvision/{architecture.builder}", (file,), "torch"),
        licence="BSD-3-Clause",
        load=partial(TorchvisionDetector, architecture=architecture),
        limits=coco_limits(precision),
        input_size=input_size,
        cost_ms=cost_ms,
        write_random=partial(write_torchvision, architecture=architecture),
    )


FASTER_RCNN = _spec(
    "faster-rcnn",
    Architecture(
        "fasterrcnn_resnet50_fpn",
        "FasterRCNN_ResNet50_FPN_Weights",
        "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
        frozen_epsilon=0.0,
    ),
    159.743,
    3200,
    37.0,
    "shorter side 800, longer at most 1333",
)
FASTER_RCNN_V2 = _spec(
    "faster-rcnn-v2",
    Architecture(
        "fasterrcnn_resnet50_fpn_v2",
        "FasterRCNN_ResNet50_FPN_V2_Weights",
        "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
    ),
    167.104,
    6400,
    46.7,
    "shorter side 800, longer at most 1333",
)
FASTER_RCNN_MOBILENET_320 = _spec(
    "faster-rcnn-mobilenet-320",
    Architecture(
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "FasterRCNN_MobileNet_V3_Large_320_FPN_Weights",
        "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth",
        frozen_epsilon=1e-5,
    ),
    74.239,
    130,
    22.8,
    "shorter side 320, longer at most 640",
)
SSDLITE = _spec(
    "ssdlite",
    Architecture(
        "ssdlite320_mobilenet_v3_large",
        "SSDLite320_MobileNet_V3_Large_Weights",
        "ssdlite320_mobilenet_v3_large_coco-a79551df.pth",
    ),
    13.418,
    150,
    21.3,
    "320x320, squeezed",
)
