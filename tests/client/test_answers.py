"""Answers, typed."""

import numpy as np
import PIL.Image
import pytest

from app.client import Answer, BatchResult, Refused, SightgraphError, Task, TaskFailed
from app.client.results import TaskResult
from app.core.geometry import Box
from tests.images import ASTRONAUT_FACE, astronaut, encoded, noise

TASKS = {
    "box": Task("detect_bounding_box", target="prominent_face", face_context="whole_image"),
    "face": Task("embed_hog_hsv", target="prominent_face", face_context="whole_image"),
    "faces": Task("embed_hog_hsv", target="all_faces", crop_format="jpeg"),
    "typo": "embed_hog",
}


@pytest.fixture
def answer(ask):
    return ask("analyze", encoded(astronaut()), TASKS)


def near(box, wanted):
    return np.abs(np.subtract(box, wanted)).max() <= 10


def test_what_a_task_answers(answer):
    assert list(answer) == list(TASKS)
    assert answer.image_url == "uploaded:image"
    assert (answer.image.width, answer.image.height, answer.image.format) == (512, 512, "PNG")
    assert len(answer.image.sha256) == 64
    assert answer.request_id
    assert answer.timings_ms["total"] > 0
    assert set(answer.raw["results"]) == set(TASKS)
    # A detection is a box, and shows none.
    box = answer["box"]
    assert isinstance(box.box, Box)
    assert near(box.box, ASTRONAUT_FACE)
    assert (box.crop, box.vector, box.text, box.items) == (None, None, None, None)
    assert box.model.engine == "mtcnn"
    # What was made of a region has its vector and its pixels.
    face = answer["face"].require()
    assert face.box == box.box
    assert isinstance(face.crop, PIL.Image.Image)
    assert face.crop.size == (box.box.width, box.box.height)
    assert (face.vector.dtype, face.vector.shape) == (np.float32, (2020,))
    np.testing.assert_array_equal(face.vector, np.float32(face.data))
    assert face.timing_ms >= 0


def test_several_regions_are_items(answer):
    faces = answer["faces"]
    assert (faces.data, faces.box, faces.crop, faces.vector) == (None, None, None, None)
    (item,) = faces.items
    assert item.ok
    assert near(item.box, ASTRONAUT_FACE)
    assert item.vector.dtype == np.float32
    assert item.crop.format == "JPEG"
    assert item.label == "face"
    assert item.confidence > 0.9
    left_eye = item.landmarks[0]
    assert item.box.xmin < left_eye.x < item.box.xmax


def test_a_task_without_a_result(answer):
    typo = answer["typo"]
    assert (typo.ok, typo.status, typo.error_code) == (False, "skipped", "unsupported_operation")
    assert "'embed_hog_hsv'" in typo.error_message
    assert not answer.ok
    with pytest.raises(TaskFailed, match=r"typo: .*'embed_hog_hsv'") as failed:
        answer.require()
    assert failed.value.result is typo
    with pytest.raises(KeyError, match="'nose' is no task of this answer, which has box, face"):
        answer["nose"]


def test_the_cause_of_a_failure(ask):
    answer = ask("analyze", noise(32, 32), ["detect_objects", "image_properties"])
    failed = answer["detect_objects"]
    assert failed.error_code == "model_unavailable"
    assert failed.caused_by.stage == "find_objects"
    assert answer["image_properties"].require().ok


def test_answers_are_shown_short(answer):
    assert repr(answer).startswith("Answer(512x512 PNG, box: success, face: success")
    assert repr(answer).endswith("typo: unsupported_operation)")
    assert "data=<2020 values>" in repr(answer["face"])
    assert "box" in str(answer["box"])
    for result in answer.values():
        assert len(repr(result)) < 1000
        assert repr(result).startswith(f"TaskResult(id='{result.id}'")


def result_of(**fields):
    return TaskResult.of_json("a", {"status": "success", "data": None, **fields})


@pytest.mark.parametrize(
    ("data", "box"),
    [
        ([1, 2, 3, 4], Box(1, 2, 3, 4)),
        ([1.0, 2.0, 3.0, 4.0], None),
        ([1, 2, 3], None),
        ([True, False, True, True], None),
        (None, None),
        ("text", None),
    ],
)
def test_which_data_is_a_box(data, box):
    assert result_of(data=data).box == box


@pytest.mark.parametrize(
    ("data", "text"),
    [("a cat", "a cat"), ({"text": "EXIT", "lines": []}, "EXIT"), ({"text": 1}, None), ([1.0], None)],
)
def test_which_data_is_a_text(data, text):
    assert result_of(data=data).text == text


def test_what_an_older_server_leaves_out_and_a_newer_one_adds():
    older = result_of(error_message=None)
    assert (older.error_code, older.warnings, older.items, older.model) == (None, [], None, None)
    newer = result_of(colour="red")
    assert newer.raw["colour"] == "red"


def test_what_became_of_an_image_of_a_batch():
    answer = Answer({"image_url": "a", "results": {}})
    assert BatchResult("a", answer).require() is answer
    assert BatchResult("a", answer).ok
    with pytest.raises(Refused, match="broken"):
        BatchResult("a", error=Refused(400, "broken")).require()
    with pytest.raises(SightgraphError, match="there is no answer"):
        BatchResult("a").require()
