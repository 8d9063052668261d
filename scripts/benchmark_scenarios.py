"""What is asked in a benchmark of serving, and whether two servers answered alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Task = dict[str, Any]

PERSONS = "opencv-hog-people"
FACES = "mtcnn"
EMBEDDERS = {"embed_clip_vit_b_32": "ViT-B-32", "embed_dino_v2": "dinov2-base"}
CAPTIONER = "blip-base"

# Numbers that are summed up in another order, in batches say, differ this little.
LEAST_COSINE = 0.9999
MOST_PIXELS = 1


def _task(name: str, type_: str, **params: Any) -> Task:
    if params.get("target") == "prominent_face":
        params["face_context"] = "whole_image"
    # How a crop is shown is no work of a model.
    shown = {} if type_ == "detect_bounding_box" else {"crop_format": "none"}
    return {"operation_id": name, "type": type_, "params": {**params, **shown}}


_FACE = _task("face", "detect_bounding_box", target="prominent_face")
_CLIP = _task("clip", "embed_clip_vit_b_32", target="whole_image")
_FULL = (
    _task("person", "detect_bounding_box", target="prominent_person"),
    _FACE,
    *(
        _task(f"{name}_{target}", type_, target=target)
        for name, type_ in (("clip", "embed_clip_vit_b_32"), ("dino", "embed_dino_v2"))
        for target in ("whole_image", "prominent_person", "prominent_face")
    ),
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a request asks.

    Args:
        tasks: on every image.
        images: of one request; several go to `/analyze_batch/`, or where a server has none, in as many single
            requests at once.
        varied: whether each request has images of its own; or all the same, which a cache may answer.
        bound: whether its time is compared with that of the bare forwards.
        overload: whether it is also asked more often than it can be answered.
    """

    name: str
    about: str
    tasks: tuple[Task, ...]
    images: int = 1
    varied: bool = True
    bound: bool = True
    overload: bool = True

    @property
    def engines(self) -> list[str]:
        """The names of the engines that serve it."""
        names: dict[str, None] = {}
        for task in self.tasks:
            match task["params"].get("target"):
                case "prominent_person":
                    names[PERSONS] = None
                case "prominent_face":
                    names[FACES] = None
            if task["type"] in EMBEDDERS:
                names[EMBEDDERS[task["type"]]] = None
            elif task["type"] == "describe_image":
                names[CAPTIONER] = None
        return list(names)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("face", "the prominent face", (_FACE,)),
        Scenario("clip", "CLIP of the whole image", (_CLIP,)),
        Scenario("full", "person, face, CLIP and DINOv2 of whole image, person and face", _FULL),
        Scenario("caption", "a caption of 20 tokens", (_task("text", "describe_image", max_length=20),)),
        Scenario("batch", "CLIP of 16 images a request", (_CLIP,), images=16, bound=False, overload=False),
        Scenario(
            "cached",
            "CLIP of one upload of 100 KB, again and again",
            (_CLIP,),
            varied=False,
            bound=False,
            overload=False,
        ),
    )
}


@dataclass(slots=True)
class Agreement:
    """How far the answers of two servers to the same images differ."""

    images: int = 0
    least_cosine: float = 1.0
    most_pixels: int = 0
    other_texts: int = 0
    only_one_found: int = 0

    @property
    def holds(self) -> bool:
        return (
            self.least_cosine >= LEAST_COSINE and self.most_pixels <= MOST_PIXELS and not self.only_one_found
        )

    def compare(self, ours: Mapping[str, Any], theirs: Mapping[str, Any], tasks: Sequence[Task]) -> None:
        """Compare two answers to one image; each has the data of its tasks by their ids."""
        self.images += 1
        for task in tasks:
            a, b = ours[task["operation_id"]], theirs[task["operation_id"]]
            if a is None or b is None:
                self.only_one_found += a is not b
            elif isinstance(a, str):
                self.other_texts += a != b
            elif task["type"] == "detect_bounding_box":
                self.most_pixels = max(self.most_pixels, *(abs(x - y) for x, y in zip(a, b, strict=True)))
            else:
                self.least_cosine = min(self.least_cosine, _cosine(a, b))


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.shape != y.shape:
        return 0.0
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))
