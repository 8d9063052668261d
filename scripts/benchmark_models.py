"""The models of a scenario, called directly: what a server would call anyway, and nothing else."""

import io
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
from benchmark_scenarios import CAPTIONER, EMBEDDERS, FACES, PERSONS, Task

from app.core.artifacts import Crop, Image, ImageInfo, by_prominence
from app.core.registry import discover
from app.main import build_store
from app.settings import Settings

_DETECTORS = {"prominent_person": PERSONS, "prominent_face": FACES}


class Models:
    """Loaded and warm, as the environment's settings say.

    Args:
        engines: their names.
    """

    def __init__(self, engines: Sequence[str]) -> None:
        store = build_store(Settings())
        specs = discover("operations").engines
        self._engines: dict[str, Any] = {name: specs[name].load(store.open(specs[name])) for name in engines}
        for engine in self._engines.values():
            engine.warmup()

    def one_by_one(self, image: Image, tasks: Sequence[Task]) -> dict[str, Any]:
        """The data of each task: every region is looked for once, and every crop embedded by itself."""
        crops: dict[str, Crop | None] = {}
        answers: dict[str, Any] = {}
        for task in tasks:
            params, type_ = task["params"], task["type"]
            target = params.get("target", "whole_image")
            if target not in crops:
                crops[target] = self._crop(image, target)
            crop = crops[target]
            if type_ == "detect_bounding_box":
                answers[task["operation_id"]] = None if crop is None else list(crop.box)
                continue
            crop = crop or Crop.whole(image)
            if type_ == "describe_image":
                captions = self._engines[CAPTIONER].describe([crop], max_length=params["max_length"])
                answers[task["operation_id"]] = captions[0]
            else:
                answers[task["operation_id"]] = self._engines[EMBEDDERS[type_]]([crop])[0].values.tolist()
        return answers

    def at_once(self, image: Image, tasks: Sequence[Task]) -> float:
        """The milliseconds of the fewest calls that answer the tasks: each model once, on all its crops."""
        started = time.perf_counter()
        targets = dict.fromkeys(task["params"].get("target", "whole_image") for task in tasks)
        crops = {target: self._crop(image, target) or Crop.whole(image) for target in targets}
        for type_ in dict.fromkeys(task["type"] for task in tasks):
            wanted = [task["params"] for task in tasks if task["type"] == type_]
            these = [crops[params.get("target", "whole_image")] for params in wanted]
            if type_ == "describe_image":
                self._engines[CAPTIONER].describe(these, max_length=wanted[0]["max_length"])
            elif type_ in EMBEDDERS:
                self._engines[EMBEDDERS[type_]](these)
        return (time.perf_counter() - started) * 1000

    def _crop(self, image: Image, target: str) -> Crop | None:
        whole = Crop.whole(image)
        if target == "whole_image":
            return whole
        (found,) = self._engines[_DETECTORS[target]]([whole])
        best = by_prominence(found.regions, image.info.box)[:1]
        return best[0].crop(image) if best else None


def decoded(data: bytes) -> Image:
    """As Pillow reads a file."""
    pixels = np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))
    height, width = pixels.shape[:2]
    return Image(ImageInfo("", width, height, "", "RGB", len(data)), pixels)


def threads(count: int) -> None:
    """Let a call compute on so many threads; engines load with one a lane."""
    import cv2
    import torch

    torch.set_num_threads(count)
    cv2.setNumThreads(count)
