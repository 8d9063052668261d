"""Face embedders against facenet-pytorch's documented call, and against insightface's, step by step."""

from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from facenet_pytorch import MTCNN, InceptionResnetV1
from onnxruntime import InferenceSession
from skimage.transform import SimilarityTransform

from app.core.artifacts import Crop, Pixels
from app.core.errors import RegionNotFound, UnsupportedTarget
from app.core.geometry import Box, Point
from app.core.weights import Placement
from app.engines.identities import (
    ARCFACE_TEMPLATE,
    AURAFACE_FILE,
    VGGFACE2,
    VGGFACE2_FILE,
    AuraFaceEmbedder,
    FaceEmbedder,
    aligned_face,
    providers,
)
from app.engines.random_weights.identities import write_auraface, write_vggface2
from tests.engines.vectors import (
    FACE,
    LANDMARKS,
    cosines,
    digest,
    loaded_digest,
    odd_images,
    photos,
    rows,
)
from tests.images import astronaut, crop_of, image_of, noise, plain


@pytest.fixture(scope="module")
def vggface2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vggface2")
    write_vggface2(folder)
    return folder


@pytest.fixture(scope="module")
def auraface(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("auraface")
    write_auraface(folder, tiny=True)
    return folder


@pytest.fixture(scope="module")
def facenet(vggface2: Path) -> FaceEmbedder:
    return FaceEmbedder(Placement(vggface2))


@pytest.fixture(scope="module")
def arcface(auraface: Path) -> AuraFaceEmbedder:
    return AuraFaceEmbedder(Placement(auraface))


def faces() -> list[Crop]:
    """Regions with the landmarks of a face, upright and turned, in different images."""
    boxes = [FACE, Box(0, 0, 512, 512), Box(100, 30, 300, 250)]
    found = [Crop(image_of(astronaut()), box, LANDMARKS) for box in boxes]
    turned = tuple(Point(511 - point.y, point.x) for point in LANDMARKS)
    found.append(Crop(image_of(np.rot90(astronaut(), -1)), Box(300, 150, 480, 300), turned))
    return [*found, Crop(image_of(noise(512, 512)), FACE, LANDMARKS)]


# --- FaceNet


def test_facenet_is_the_documented_call(
    vggface2: Path, facenet: FaceEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's README, with the file where the library would keep it."""
    kept = tmp_path / "checkpoints"
    kept.mkdir()
    (kept / VGGFACE2_FILE).hardlink_to(vggface2 / VGGFACE2_FILE)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    resnet = InceptionResnetV1(pretrained="vggface2").eval()
    mtcnn = MTCNN(image_size=160, margin=0)
    crops = [*faces(), *photos()]
    expected = []
    for crop in crops:
        box = np.array([list(crop.box)], np.float32)
        face = mtcnn.extract(PIL.Image.fromarray(crop.image.pixels), box, None)
        with torch.no_grad():
            expected.append(resnet(face.unsqueeze(0))[0])

    answers = rows(facenet(crops))
    assert answers.shape == (len(crops), 512)
    np.testing.assert_allclose(np.linalg.norm(answers, axis=1), 1, atol=1e-5)
    assert cosines(answers, torch.stack(expected)).min() > 1 - 1e-9


def test_facenet_batches_are_their_singles(facenet: FaceEmbedder) -> None:
    together = rows(facenet(photos()))
    alone = np.concatenate([rows(facenet([crop])) for crop in photos()])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert len(np.unique(together.round(3), axis=0)) == len(photos())
    assert facenet([]) == []


def test_facenet_takes_odd_images(facenet: FaceEmbedder) -> None:
    answers = rows(facenet([crop_of(pixels) for pixels in odd_images().values()]))
    assert np.isfinite(answers).all()


def test_facenet_in_half_precision_is_close(vggface2: Path, facenet: FaceEmbedder) -> None:
    half = rows(FaceEmbedder(Placement(vggface2, precision="bfloat16"))(faces()[:1]))
    assert half.dtype == np.float32
    assert cosines(half, rows(facenet(faces()[:1]))).min() > 0.999


def test_facenet_refuses_truncated_weights(vggface2: Path, tmp_path: Path) -> None:
    (tmp_path / VGGFACE2_FILE).write_bytes((vggface2 / VGGFACE2_FILE).read_bytes()[:-100_000])
    with pytest.raises(RuntimeError):
        FaceEmbedder(Placement(tmp_path))


@pytest.mark.parametrize("key", ["repeat_2.3.conv2d.weight", "last_bn.running_mean", "logits.bias"])
def test_facenet_names_a_missing_tensor(key: str, vggface2: Path, tmp_path: Path) -> None:
    state = torch.load(vggface2 / VGGFACE2_FILE)
    del state[key]
    torch.save(state, tmp_path / VGGFACE2_FILE)
    with pytest.raises((RuntimeError, KeyError), match=key):
        FaceEmbedder(Placement(tmp_path))


def test_facenet_names_an_unknown_tensor(vggface2: Path, tmp_path: Path) -> None:
    torch.save(torch.load(vggface2 / VGGFACE2_FILE) | {"stranger": torch.zeros(2)}, tmp_path / VGGFACE2_FILE)
    with pytest.raises(RuntimeError, match="stranger"):
        FaceEmbedder(Placement(tmp_path))


def test_facenets_file_is_the_one_that_the_library_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def no_download(url: str, target: str) -> None:
        asked.append(url)
        raise OSError

    module = "facenet_pytorch.models.inception_resnet_v1"
    monkeypatch.setattr(f"{module}.download_url_to_file", no_download)
    monkeypatch.setattr(f"{module}.os.path.exists", lambda _: False)
    with pytest.raises(OSError):  # noqa: PT011
        InceptionResnetV1(pretrained="vggface2")
    weights: Any = VGGFACE2.weights
    assert asked == [weights.files[0].url]


# --- AuraFace


def insightface(folder: Path, crop: Crop) -> Any:
    """`norm_crop`, `get_feat` and `normed_embedding` of insightface, one after the other."""
    assert crop.landmarks is not None
    bgr = crop.image.pixels[:, :, ::-1]
    kps = np.array([[point.x, point.y] for point in crop.landmarks])
    tform = SimilarityTransform.from_estimate(kps, ARCFACE_TEMPLATE)
    aligned = cv2.warpAffine(bgr, tform.params[0:2, :], (112, 112), borderValue=0.0)
    blob = cv2.dnn.blobFromImages([aligned], 1.0 / 127.5, (112, 112), (127.5, 127.5, 127.5), swapRB=True)
    session = InferenceSession(folder / AURAFACE_FILE)
    embedding = session.run(None, {session.get_inputs()[0].name: blob})[0].flatten()
    return embedding / np.linalg.norm(embedding)


def test_auraface_is_insightfaces_call(auraface: Path, arcface: AuraFaceEmbedder) -> None:
    answers = rows(arcface(faces()))
    assert answers.shape == (len(faces()), 512)
    expected = np.stack([insightface(auraface, crop) for crop in faces()])
    assert cosines(answers, expected).min() > 1 - 1e-9
    np.testing.assert_allclose(answers, expected, atol=1e-6)


def test_auraface_looks_at_the_landmarks_and_not_at_the_box(arcface: AuraFaceEmbedder) -> None:
    tight, whole, loose, turned, other = rows(arcface(faces()))
    np.testing.assert_array_equal(tight, whole)
    np.testing.assert_array_equal(tight, loose)
    assert cosines(tight[None], turned[None])[0] > 0.99
    assert cosines(tight[None], other[None])[0] < 0.99


def dotted(points: Any, width: int, height: int) -> tuple[Pixels, tuple[Point, ...]]:
    """A black image with a white dot on every point, and the points."""
    image = plain(width, height, (0, 0, 0)).copy()
    for x, y in points:
        cv2.circle(image, (round(x), round(y)), 7, (255, 255, 255), -1)
    return image, tuple(Point(x, y) for x, y in points.tolist())


@pytest.mark.parametrize("degrees", [0, 30, 180, -100])
def test_alignment_brings_the_landmarks_onto_the_template(degrees: int) -> None:
    moved = SimilarityTransform(scale=3.5, rotation=np.radians(degrees), translation=(300, 350))
    image, landmarks = dotted(moved(ARCFACE_TEMPLATE - 56), 640, 700)
    aligned = aligned_face(image, landmarks)
    assert aligned is not None
    assert aligned.shape == (112, 112, 3)
    for x, y in ARCFACE_TEMPLATE:
        assert aligned[round(y), round(x)].min() > 200
    assert np.count_nonzero(aligned[:, :, 0] > 127) < 5 * 25


@pytest.mark.parametrize("upright", [True, False])
def test_alignment_takes_images_larger_than_opencv_does(upright: bool) -> None:
    side, at = 70_000, 52_345
    photo = astronaut() if upright else astronaut().transpose(1, 0, 2)
    panorama = np.zeros((512, side, 3), np.uint8)
    panorama[:, at : at + 512] = astronaut()
    landmarks = tuple(Point(point.x + at, point.y) for point in LANDMARKS)
    own = LANDMARKS
    if not upright:
        panorama = panorama.transpose(1, 0, 2)
        landmarks = tuple(Point(point.y, point.x) for point in landmarks)
        own = tuple(Point(point.y, point.x) for point in own)
    far, near = aligned_face(panorama, landmarks), aligned_face(photo, own)
    assert far is not None
    assert near is not None
    assert np.abs(far.astype(int) - near).max() <= 2


def test_auraface_needs_landmarks_that_lie_apart(arcface: AuraFaceEmbedder) -> None:
    good = faces()[0]
    without = Crop(good.image, good.box)
    on_one_point = Crop(good.image, good.box, (Point(200, 100),) * 5)
    first, none, one, last = arcface([good, without, on_one_point, good])
    assert isinstance(none, UnsupportedTarget)
    assert "has none" in str(none)
    assert isinstance(one, RegionNotFound)
    np.testing.assert_array_equal(rows([first]), rows([last]))


def test_auraface_takes_odd_images_and_landmarks(arcface: AuraFaceEmbedder) -> None:
    for pixels in odd_images().values():
        height, width = pixels.shape[:2]
        across = ARCFACE_TEMPLATE / 112 * [width, height]
        crop = crop_of(pixels)
        points = tuple(Point(x, y) for x, y in across.tolist())
        (answer,) = arcface([Crop(crop.image, crop.box, points)])
        assert np.isfinite(rows([answer])).all()


def test_auraface_batches_are_their_singles(arcface: AuraFaceEmbedder) -> None:
    np.testing.assert_array_equal(
        rows(arcface(faces())),
        np.concatenate([rows(arcface([crop])) for crop in faces()]),
    )
    assert arcface([]) == []
    arcface.warmup()


def test_auraface_refuses_truncated_weights(auraface: Path, tmp_path: Path) -> None:
    (tmp_path / AURAFACE_FILE).write_bytes((auraface / AURAFACE_FILE).read_bytes()[:-1000])
    with pytest.raises(Exception, match="Protobuf parsing failed"):
        AuraFaceEmbedder(Placement(tmp_path))


def test_auraface_refuses_a_missing_tensor(auraface: Path, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(auraface / AURAFACE_FILE)
    del model.graph.initializer[3]
    onnx.save(model, tmp_path / AURAFACE_FILE)
    with pytest.raises(Exception, match=r"weights\.3"):
        AuraFaceEmbedder(Placement(tmp_path))


def test_auraface_refuses_another_input(auraface: Path, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(auraface / AURAFACE_FILE)
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 96
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(model, tmp_path / AURAFACE_FILE)
    with pytest.raises(ValueError, match="112x112"):
        AuraFaceEmbedder(Placement(tmp_path))


def test_auraface_computes_on_a_gpu_only_where_onnx_runtime_can(monkeypatch: pytest.MonkeyPatch) -> None:
    assert providers("cpu") == providers("mps") == providers("cuda") == ["CPUExecutionProvider"]
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: both)
    assert providers("cpu") == ["CPUExecutionProvider"]
    assert providers("cuda:1") == [("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"]


# --- both


@pytest.mark.parametrize("name", ["facenet", "arcface"])
def test_threads_share_an_engine(name: str, request: pytest.FixtureRequest) -> None:
    engine = request.getfixturevalue(name)
    expected = digest(engine(faces()[:2]))
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: digest(engine(faces()[:2])), range(4))) == {expected}


def test_another_process_gives_the_same_bits(
    elsewhere: Executor, vggface2: Path, auraface: Path, facenet: FaceEmbedder, arcface: AuraFaceEmbedder
) -> None:
    loads = ((FaceEmbedder, vggface2), (AuraFaceEmbedder, auraface))
    theirs = [elsewhere.submit(loaded_digest, engine, folder) for engine, folder in loads]
    ours = [digest(engine(photos())) for engine in (facenet, arcface)]
    assert [each.result() for each in theirs] == ours
