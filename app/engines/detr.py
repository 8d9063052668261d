"""Objects by detection transformers: D-FINE and RT-DETRv2, as transformers runs them.

Peng et al., "D-FINE: redefine regression task in DETRs as fine-grained distribution refinement", 2024
(arXiv:2410.13842). Lv et al., "RT-DETRv2: improved baseline with bag-of-freebies for real-time detection
transformer", 2024 (arXiv:2407.17140). Both were trained on the 80 classes of COCO.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from app.core.artifacts import Crop, Detections
from app.core.operation import EngineSpec
from app.core.weights import Placement
from app.engines.base import Engine, grey_crop
from app.engines.coco import coco_name
from app.engines.detections import LARGEST_SIDE, LOWEST_CONFIDENCE, Found, coco_limits, in_whole_image
from app.engines.device import compute_on
from app.engines.precision import place
from app.engines.pretrained import load_whole
from app.engines.random_weights.detectors import write_detr
from app.engines.scaling import scaled_to_fit
from app.engines.weights import Hub

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Prepared:
    """`pixel_values` is [3, h, w] float32 as the checkpoint's processor makes it; `size` is the crop's
    height and width."""

    pixel_values: "torch.Tensor"
    size: tuple[int, int]


class DetrDetector(Engine[Crop, Prepared, dict[str, "torch.Tensor"], Detections]):
    """Crops to objects, in coordinates of the whole image.

    The image is squeezed into a square, whatever its shape, so all crops of a batch have one size.
    """

    def __init__(self, placement: Placement) -> None:
        import transformers

        library: Any = transformers
        compute_on(placement.threads)
        self._device = placement.device
        self._processor = library.AutoImageProcessor.from_pretrained(placement.files, local_files_only=True)
        model = load_whole(library.AutoModelForObjectDetection, placement.files)
        place(model, placement, in_half=model.model.backbone)
        self._model = model
        self._names: dict[int, str] = model.config.id2label
        self.labels = tuple(coco_name(self._names[number]) for number in sorted(self._names))

    def pre(self, item: Crop) -> Prepared:
        import PIL.Image

        pixels = scaled_to_fit(item.pixels, LARGEST_SIDE).pixels
        inputs = self._processor(images=PIL.Image.fromarray(pixels), return_tensors="pt")
        return Prepared(inputs["pixel_values"][0], (item.box.height, item.box.width))

    def core(self, ready: Sequence[Prepared]) -> list[dict[str, "torch.Tensor"]]:
        import torch

        with torch.inference_mode():
            pixel_values = torch.stack([each.pixel_values for each in ready]).to(self._device)
            outputs = self._model(pixel_values=pixel_values)
            results: list[dict[str, torch.Tensor]] = self._processor.post_process_object_detection(
                outputs, threshold=LOWEST_CONFIDENCE, target_sizes=[each.size for each in ready]
            )
        return results

    def post(self, raw: dict[str, "torch.Tensor"], ready: Prepared, item: Crop) -> Detections:
        columns = raw["labels"].tolist(), raw["scores"].tolist(), raw["boxes"].tolist()
        return in_whole_image(
            (
                Found(self._names[number], score, tuple(corners))
                for number, score, corners in zip(*columns, strict=True)
            ),
            item,
        )

    def warmup(self, items: int = 1) -> None:
        self([grey_crop(64, 64)] * items)


def _spec(
    name: str, repository: str, size_bytes: int, cost_ms: int, precision: float, limits: str = ""
) -> EngineSpec:
    return EngineSpec(
        name=name,
        weights=Hub(repository, ("config.json", "preprocessor_config.json", "model.safetensors"), size_bytes),
        licence="Apache-2.0",
        load=DetrDetector,
        limits=coco_limits(precision) + limits,
        input_size="640x640, squeezed",
        cost_ms=cost_ms,
        write_random=partial(write_detr, name=name),
    )


# The precisions are those that github.com/Peterande/D-FINE and github.com/lyuwenyu/RT-DETR publish.
D_FINE_NANO = _spec(
    "d-fine-nano",
    "ustc-community/dfine-nano-coco",
    15_300_000,
    300,
    42.8,
    " Lacks the fine grid of the larger ones, and misses small objects.",
)
D_FINE_SMALL = _spec("d-fine-small", "ustc-community/dfine-small-coco", 41_500_000, 600, 48.5)
D_FINE_MEDIUM = _spec("d-fine-medium", "ustc-community/dfine-medium-coco", 78_700_000, 1200, 52.3)
RT_DETR_V2_R18 = _spec("rt-detr-v2-r18", "PekingU/rtdetr_v2_r18vd", 80_904_640, 1200, 48.1)
