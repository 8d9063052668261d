"""The wire that image_embed's clients speak."""

import base64
import io
from typing import Any

import numpy as np
import PIL.Image
import pytest

from tests.images import ASTRONAUT_FACE, astronaut, encoded, page

RESULT_FIELDS = {
    "status",
    "data",
    "cropped_image_bbox",
    "cropped_image_base64",
    "error_message",
}


def task(type_: str, operation_id: str = "t", **params: Any) -> dict[str, Any]:
    return {"operation_id": operation_id, "type": type_, "params": params}


def test_an_upload_answers_in_the_known_form(analyze, astronaut_png):
    body = analyze(astronaut_png, task("detect_bounding_box", target="prominent_face"))
    assert body["image_url"] == "uploaded:image.png"
    result = body["results"]["t"]
    assert result.keys() >= RESULT_FIELDS
    assert result["status"] == "success"
    assert np.abs(np.array(result["data"]) - ASTRONAUT_FACE).max() <= 10
    assert result["cropped_image_bbox"] is None
    assert result["cropped_image_base64"] is None
    assert result["error_message"] is None


def test_a_crop_is_shown_with_its_box(analyze, astronaut_png):
    body = analyze(astronaut_png, task("embed_hog_hsv", target="prominent_face"))
    result = body["results"]["t"]
    xmin, ymin, xmax, ymax = result["cropped_image_bbox"]
    crop = PIL.Image.open(io.BytesIO(base64.b64decode(result["cropped_image_base64"])))
    assert crop.format == "PNG"
    np.testing.assert_array_equal(np.asarray(crop), astronaut()[ymin:ymax, xmin:xmax])
    assert len(result["data"]) == 2020
    assert result["model"]["space"] == "embed_hog_hsv/1"


def test_the_whole_image_shows_no_crop(analyze, astronaut_png):
    result = analyze(astronaut_png, task("hash_perceptual"))["results"]["t"]
    assert result["status"] == "success"
    assert result["cropped_image_bbox"] is None
    assert result["cropped_image_base64"] is None


@pytest.mark.parametrize("params", [None, {}])
def test_params_may_be_missing_or_null(client, astronaut_png, params):
    import orjson

    tasks = [
        {"operation_id": "a", "type": "embed_hog_hsv"},
        {"operation_id": "b", "type": "embed_hog_hsv", "params": params},
    ]
    response = client.post(
        "/analyze_image_upload",
        files={"image_file": ("x.png", astronaut_png)},
        data={"tasks_json": orjson.dumps(tasks).decode()},
    )
    results = response.json()["results"]
    assert results["a"]["status"] == results["b"]["status"] == "success"
    assert results["a"]["data"] == results["b"]["data"]


def test_no_face_is_skipped_with_the_known_message(analyze):
    image = encoded(page("no face here"))
    result = analyze(image, task("embed_hog_hsv", target="prominent_face"))["results"]["t"]
    assert result["status"] == "skipped"
    assert result["error_code"] == "region_not_found"
    assert "No prominent face found" in result["error_message"]
    assert result["data"] is None


def test_no_person_uses_the_whole_image(analyze):
    image = encoded(page("no person here"))
    results = analyze(
        image,
        task("embed_hog_hsv", "person", target="prominent_person"),
        task("embed_hog_hsv", "whole"),
        task("embed_hog_hsv", "strict", target="prominent_person", on_missing="skip"),
    )["results"]
    person = results["person"]
    assert person["status"] == "success"
    assert person["cropped_image_bbox"] is None
    assert person["cropped_image_base64"] is None
    assert person["warnings"] == ["No prominent person found; the whole image was used."]
    assert person["data"] == results["whole"]["data"]
    assert results["strict"]["status"] == "skipped"
    assert results["strict"]["error_code"] == "region_not_found"


def test_detection_that_finds_nothing_is_a_success(analyze):
    results = analyze(
        encoded(page("nobody")),
        task("detect_bounding_box", "person"),
        task("detect_bounding_box", "face", target="prominent_face"),
        task("detect_bounding_box", "faces", target="all_faces"),
    )["results"]
    assert [results[name]["status"] for name in results] == ["success"] * 3
    assert results["person"]["data"] is None
    assert results["face"]["data"] is None
    assert results["faces"]["items"] == []


@pytest.mark.parametrize(
    ("wrong", "code", "message"),
    [
        (task("embed_hog"), "unsupported_operation", "Unsupported operation type 'embed_hog'"),
        (task("embed_hog"), "unsupported_operation", "Did you mean 'embed_hog_hsv'?"),
        (task("embed_hog_hsv", target="nose"), "unsupported_target", "Unsupported target"),
        (
            task("detect_bounding_box", target="whole_image"),
            "unsupported_target",
            "prominent_person",
        ),
        (
            task("detect_bounding_box", target={"bbox": [0, 0, 1, 1]}),
            "unsupported_target",
            "Allowed",
        ),
        (task("read_text", min_confidence=2), "invalid_params", "min_confidence"),
        (task("read_text", colour="red"), "invalid_params", "colour: is not a known field"),
        (task("embed_hog_hsv", target={"bbox": [5, 5, 5, 9]}), "invalid_params", "target.bbox"),
        (task("embed_hog_hsv", target={"bbox": [0, 0, "9", 9]}), "invalid_params", "target.bbox[2]"),
        (task("embed_hog_hsv", target={"bbox": [600, 0, 700, 9]}), "invalid_params", "512x512"),
        (task("embed_hog_hsv", target={"task": "nobody"}), "invalid_reference", "nobody"),
        (task("embed_hog_hsv", target={"task": "t"}), "invalid_reference", "t -> t"),
    ],
)
def test_a_task_that_makes_no_sense_is_skipped_with_a_reason(analyze, astronaut_png, wrong, code, message):
    results = analyze(astronaut_png, wrong, task("crop", "sibling"))["results"]
    assert results["t"]["status"] == "skipped"
    assert results["t"]["error_code"] == code
    assert message in results["t"]["error_message"]
    assert results["t"]["data"] is None
    assert results["sibling"]["status"] == "success"


def test_plural_targets_answer_items_in_order_of_prominence(analyze):
    canvas = np.zeros((512, 800, 3), np.uint8)
    canvas[:, :512] = astronaut()
    canvas[:256, 512:768] = astronaut()[::2, ::2]
    results = analyze(
        encoded(canvas),
        task("detect_bounding_box", "boxes", target="all_faces"),
        task("embed_hog_hsv", "vectors", target="all_faces", crop_format="jpeg"),
    )["results"]
    boxes = results["boxes"]["items"]
    assert len(boxes) == 2
    widths = [item["bbox"][2] - item["bbox"][0] for item in boxes]
    assert widths[0] > widths[1]
    for item in boxes:
        assert item["data"] == item["bbox"]
        assert item["confidence"] > 0.9
        assert item["label"] == "face"
        assert len(item["landmarks"]) == 5
        assert all(item["bbox"][0] <= x <= item["bbox"][2] for x, _ in item["landmarks"])
    vectors = results["vectors"]
    assert vectors["data"] is None
    assert [item["bbox"] for item in vectors["items"]] == [item["bbox"] for item in boxes]
    for item in vectors["items"]:
        assert len(item["data"]) == 2020
        crop = PIL.Image.open(io.BytesIO(base64.b64decode(item["cropped_image_base64"])))
        assert crop.format == "JPEG"
        assert crop.width == item["bbox"][2] - item["bbox"][0]


@pytest.mark.parametrize(("crop_format", "known_as"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_the_crop_comes_in_the_asked_format(analyze, astronaut_png, crop_format, known_as):
    target = {"bbox": [10, 20, 110, 70]}
    result = analyze(astronaut_png, task("crop", target=target, crop_format=crop_format))
    result = result["results"]["t"]
    crop = PIL.Image.open(io.BytesIO(base64.b64decode(result["cropped_image_base64"])))
    assert crop.format == known_as
    assert crop.size == (100, 50)
    assert result["data"] == result["cropped_image_bbox"] == [10, 20, 110, 70]


def test_no_crop_is_encoded_when_none_is_asked_for(analyze, astronaut_png):
    body = analyze(astronaut_png, task("crop", target={"bbox": [10, 20, 110, 70]}, crop_format="none"))
    result = body["results"]["t"]
    assert result["cropped_image_base64"] is None
    assert result["cropped_image_bbox"] == [10, 20, 110, 70]
    assert not any(node.startswith("encode_crop") for node in body["timings_ms"]["nodes"])


def test_the_crop_operation_shows_the_whole_image_too(analyze, astronaut_png):
    result = analyze(astronaut_png, task("crop"))["results"]["t"]
    crop = PIL.Image.open(io.BytesIO(base64.b64decode(result["cropped_image_base64"])))
    np.testing.assert_array_equal(np.asarray(crop), astronaut())
    assert result["cropped_image_bbox"] == [0, 0, 512, 512]


def test_a_box_over_the_edge_is_cut_with_a_warning(analyze, astronaut_png):
    result = analyze(astronaut_png, task("crop", target={"bbox": [-5, 500, 20, 900]}))
    result = result["results"]["t"]
    assert result["data"] == [0, 500, 20, 512]
    assert result["warnings"] == ["target.bbox was cut to the image: [0, 500, 20, 512]."]


def test_the_answer_tells_of_the_image_and_of_the_time(analyze, astronaut_png):
    from app.runtime.decode import sha256_of

    body = analyze(astronaut_png, task("image_properties"))
    assert body["image"] == {
        "width": 512,
        "height": 512,
        "format": "PNG",
        "sha256": sha256_of(astronaut_png),
    }
    assert body["timings_ms"].keys() == {"fetch", "decode", "nodes", "total"}
    assert len(body["request_id"]) == 32


def test_an_image_is_turned_upright_by_its_exif(analyze):
    upright = astronaut()
    turned = PIL.Image.fromarray(np.rot90(upright))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    turned.save(file, "PNG", exif=exif)
    body = analyze(file.getvalue(), task("detect_bounding_box", target="prominent_face"))
    box = body["results"]["t"]["data"]
    assert np.abs(np.array(box) - ASTRONAUT_FACE).max() <= 10
