"""Whose face it is, as a vector: FaceNet of facenet-pytorch, and AuraFace by ONNX Runtime.

Schroff et al., "FaceNet: a unified embedding for face recognition and clustering", 2015 (arXiv:1503.03832),
with the Inception-ResNet v1 that David Sandberg trained. Deng et al., "ArcFace: additive angular margin loss
for deep face recognition", 2018 (arXiv:1801.07698), as trained by fal (hub repository fal/AuraFace-v1).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from app.core.artifacts import Crop, Pixels, Vector
from app.core.errors import RegionNotFound, TaskError, UnsupportedTarget
from app.core.geometry import Point
from app.core.operation import EngineSpec
from app.core.weights import Placement
from app.engines.base import Engine, grey_crop
from app.engines.device import compute_on
from app.engines.random_weights.identities import write_auraface, write_vggface2
from app.engines.weights import Download, Hub, RemoteFile

if TYPE_CHECKING:
    from torch import Tensor

VGGFACE2_FILE = "20180402-114759-vggface2.pt"
FACENET_SIDE = 160
# The layer that told the 8,631 persons of the training apart; embeddings are taken before it.
CLASSIFIER = ("logits.weight", "logits.bias")

AURAFACE_FILE = "glintr100.onnx"
ARCFACE_SIDE = 112
# Where both eyes, the nose and both corners of the mouth lie in the 112x112 face, x before y: `arcface_dst`
# of insightface (python-package/insightface/utils/face_align.py).
ARCFACE_TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    np.float32,
)
# OpenCV's warpAffine takes no larger image.
WARPED_SIDE = 32_766

Face = NDArray[np.float32]


class FaceEmbedder(Engine[Crop, "Tensor", "Tensor", Vector]):
    """Crops of faces to 512 floats of length 1. The whole crop is taken for the face."""

    def __init__(self, placement: Placement) -> None:
        """Load the file that facenet-pytorch would download.

        Raises:
            Exception: what torch raises on a missing or damaged file, and on missing or unexpected keys.
        """
        import torch
        from facenet_pytorch import InceptionResnetV1

        compute_on(placement.threads)
        state = torch.load(placement.files / VGGFACE2_FILE, map_location="cpu", weights_only=True)
        for name in CLASSIFIER:
            del state[name]
        model = InceptionResnetV1()
        model.load_state_dict(state)
        self._device = torch.device(placement.device)
        self._dtype = getattr(torch, placement.precision)
        self._model = model.eval().requires_grad_(False).to(self._device, self._dtype)

    def pre(self, item: Crop) -> "Tensor":
        """The face as the library cuts and standardises it, float32 [3, 160, 160]."""
        from facenet_pytorch import extract_face, fixed_image_standardization

        pixels = item.pixels
        height, width = pixels.shape[:2]
        face = extract_face(PIL.Image.fromarray(pixels), (0, 0, width, height), FACENET_SIDE)
        tensor: Tensor = fixed_image_standardization(face)
        return tensor

    def core(self, ready: Sequence["Tensor"]) -> list["Tensor"]:
        import torch

        with torch.inference_mode():
            faces = torch.stack(list(ready)).to(self._device, self._dtype)
            return list(self._model(faces).float().cpu())

    def post(self, raw: "Tensor", ready: "Tensor", item: Crop) -> Vector:
        return Vector(raw.numpy())

    def warmup(self, items: int = 1) -> None:
        self([grey_crop(FACENET_SIDE, FACENET_SIDE)] * items)


class AuraFaceEmbedder(Engine[Crop, Face | TaskError, Face | TaskError, Vector | TaskError]):
    """Crops with landmarks to 512 floats of length 1: insightface's `normed_embedding`.

    The face is cut out of the whole image around the crop's landmarks. A crop without any, or with landmarks
    that give no alignment, answers an error in its place.
    """

    def __init__(self, placement: Placement) -> None:
        """Load `glintr100.onnx`; the precision is always that of the file, float32.

        Raises:
            Exception: what ONNX Runtime raises on a missing or damaged file.
            ValueError: it does not take 112x112 RGB faces.
        """
        import onnxruntime

        compute_on(placement.threads)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = placement.threads, 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            placement.files / AURAFACE_FILE, options, providers=providers(placement.device)
        )
        (taken,) = self._session.get_inputs()
        if list(taken.shape[1:]) != [3, ARCFACE_SIDE, ARCFACE_SIDE]:
            raise ValueError(f"{AURAFACE_FILE} takes {taken.shape}, not faces of 112x112")
        self._input = taken.name

    def pre(self, item: Crop) -> Face | TaskError:
        """The aligned face, float32 [1, 3, 112, 112], RGB from -1 to 1."""
        import cv2

        if item.landmarks is None:
            return UnsupportedTarget(
                "A face is aligned by its landmarks, and this region has none: take one that is a face."
            )
        aligned = aligned_face(item.image.pixels, item.landmarks)
        if aligned is None:
            return RegionNotFound("The landmarks of this face give no alignment.")
        return np.asarray(cv2.dnn.blobFromImage(aligned, 1 / 127.5, mean=(127.5, 127.5, 127.5)), np.float32)

    def core(self, ready: Sequence[Face | TaskError]) -> list[Face | TaskError]:
        # One by one: the file declares an output of one row, and a batch gains nothing on a CPU.
        return [each if isinstance(each, TaskError) else self._embedded(each) for each in ready]

    def post(self, raw: Face | TaskError, ready: Face | TaskError, item: Crop) -> Vector | TaskError:
        return raw if isinstance(raw, TaskError) else Vector(raw).normalized()

    def warmup(self, items: int = 1) -> None:
        grey = grey_crop(ARCFACE_SIDE, ARCFACE_SIDE)
        eyes_nose_mouth = tuple(Point(x, y) for x, y in ARCFACE_TEMPLATE.tolist())
        self([Crop(grey.image, grey.box, eyes_nose_mouth)] * items)

    def _embedded(self, face: Face) -> Face:
        (rows,) = self._session.run(None, {self._input: face})
        embedding: Face = rows[0]
        return embedding


def providers(device: str) -> list[Any]:
    """ONNX Runtime's name for the device, with the CPU for what it cannot do or where it is not installed."""
    import onnxruntime

    kind, _, number = device.partition(":")
    found = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    cuda = [("CUDAExecutionProvider", {"device_id": int(number or 0)})] if kind == "cuda" and found else []
    return [*cuda, "CPUExecutionProvider"]


def aligned_face(pixels: Pixels, landmarks: Sequence[Point]) -> Pixels | None:
    """Turn and scale a face so that its landmarks come to lie on ArcFace's template, as `norm_crop` of
    insightface does (python-package/insightface/utils/face_align.py).

    Args:
        pixels: the whole image, RGB uint8 [height, width, 3].
        landmarks: left eye, right eye, nose, left and right corner of the mouth, in pixels of the image.

    Returns:
        RGB uint8 [112, 112, 3], black outside the image; None where no such transform exists, as for points
        that are all one.
    """
    import cv2
    from skimage.transform import SimilarityTransform

    points = np.array([(point.x, point.y) for point in landmarks])
    transform = SimilarityTransform.from_estimate(points, ARCFACE_TEMPLATE)
    if not transform or not np.isfinite(transform.params).all():
        return None
    matrix = transform.params[:2]
    if max(pixels.shape[:2]) > WARPED_SIDE:
        # Cut out the largest part around the face, and move the transform along.
        height, width = pixels.shape[:2]
        furthest = np.maximum([width - WARPED_SIDE, height - WARPED_SIDE], 0)
        left, top = np.clip(points.mean(axis=0) - WARPED_SIDE // 2, 0, furthest).astype(int)
        pixels = pixels[top : top + WARPED_SIDE, left : left + WARPED_SIDE]
        matrix = matrix + np.outer(matrix[:, :2] @ [left, top], [0, 0, 1])
    return np.asarray(cv2.warpAffine(pixels, matrix, (ARCFACE_SIDE, ARCFACE_SIDE), borderValue=0), np.uint8)


VGGFACE2 = EngineSpec(
    name="facenet-vggface2",
    weights=Download(
        id="facenet/vggface2",
        cache="facenet",
        files=(
            RemoteFile(
                # What facenet-pytorch 2.5.3 downloads: `load_weights` of models/inception_resnet_v1.py.
                url="https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/" + VGGFACE2_FILE,
                name=VGGFACE2_FILE,
                size_bytes=112_000_000,
            ),
        ),
    ),
    licence="MIT",
    load=FaceEmbedder,
    batch=8,
    limits="Takes the whole region for an upright face and gives a vector of whatever is there.",
    input_size="160x160",
    cost_ms=76,
    write_random=write_vggface2,
)

AURAFACE = EngineSpec(
    name="auraface-v1",
    weights=Hub("fal/AuraFace-v1", (AURAFACE_FILE,), 261_000_000),
    licence="Apache-2.0",
    load=AuraFaceEmbedder,
    limits="Needs the five landmarks that a face detector finds. Its training data is not published, and its "
    "authors say that it knows some ethnicities less well.",
    input_size="112x112",
    cost_ms=250,
    # As measured: ONNX Runtime takes 2.7 times the file.
    memory_bytes=700_000_000,
    write_random=write_auraface,
)
