"""What tasks have in common is done once."""

import asyncio
from typing import Any

import numpy as np

from app.runtime.source import ImageSource
from tests.api.test_wire import task
from tests.images import ASTRONAUT_FACE, astronaut, encoded, figure, noise, pasted

# A new image for every test, so that nothing comes from the cache of another one.


def photo(seed: int) -> bytes:
    """A face at the left, a standing figure without a face at the right, and something of its own."""
    canvas = pasted(np.full((512, 912, 3), 190, np.uint8), astronaut(), 0, 0)
    canvas = pasted(canvas, figure(), 512, 0)
    return encoded(pasted(canvas, noise(400, 20, seed), 512, 492))


def stages(body: dict[str, Any], operation: str) -> list[str]:
    return [node for node in body["timings_ms"]["nodes"] if node.startswith(f"{operation}#")]


def test_the_main_job(client, analyze):
    """Detection, faces in two contexts, embeddings on three targets, a reference, a wrong type and a
    wrong param, in one request: every stage once, every answer right."""
    tasks = [
        task("detect_bounding_box", "person"),
        task("detect_bounding_box", "face_in_person", target="prominent_face"),
        task("detect_bounding_box", "face", target="prominent_face", face_context="whole_image"),
        task("embed_hog_hsv", "whole"),
        task("embed_hog_hsv", "of_person", target="prominent_person"),
        task("embed_hog_hsv", "of_face", target="prominent_face", face_context="whole_image"),
        task("image_properties", "of_found", target={"task": "face"}),
        task("embed_everything", "unknown"),
        task("read_text", "wrong", min_confidence="high"),
    ]
    image = photo(1)
    body = analyze(image, *tasks)
    results = body["results"]
    assert list(results) == [each["operation_id"] for each in tasks]

    assert len(stages(body, "detect_persons")) == 1
    # In the person and in the whole image: two contexts, two stages.
    assert len(stages(body, "detect_faces")) == 2
    assert all(body["timings_ms"]["nodes"][node] > 0 for node in stages(body, "detect_faces"))
    assert len(stages(body, "embed_hog_hsv")) == 3
    assert stages(body, "read_text") == []

    person = results["person"]["data"]
    assert person[0] > 512
    assert results["face_in_person"]["status"] == "success"
    assert results["face_in_person"]["data"] is None
    assert np.abs(np.array(results["face"]["data"]) - ASTRONAUT_FACE).max() <= 12
    assert len(results["whole"]["data"]) == 2020
    assert results["of_person"]["cropped_image_bbox"] == person
    assert results["whole"]["data"] != results["of_person"]["data"] != results["of_face"]["data"]
    assert results["of_face"]["cropped_image_bbox"] == results["face"]["data"]
    (found,) = results["of_found"]["items"]
    assert found["bbox"] == results["face"]["data"]
    assert found["data"]["file"]["width"] == 912
    assert results["unknown"]["error_code"] == "unsupported_operation"
    assert results["wrong"]["error_code"] == "invalid_params"
    assert "min_confidence" in results["wrong"]["error_message"]

    plan = client.post("/plan/", json={"tasks": tasks, "image_sha256": body["image"]["sha256"]}).json()
    by_id = {node["id"]: node for node in plan["nodes"]}
    assert by_id["detect_persons#1"]["tasks"] == ["person", "face_in_person", "of_person"]
    assert all(node["cached"] for node in plan["nodes"])


def test_a_face_in_the_person_is_never_answered_for_one_in_the_whole_image(client):
    tasks = [
        task("detect_bounding_box", "a", target="prominent_face"),
        task("detect_bounding_box", "b", target="prominent_face", face_context="whole_image"),
    ]
    nodes = client.post("/plan/", json={"tasks": tasks}).json()["nodes"]
    faces = [node for node in nodes if node["operation"] == "detect_faces"]
    assert [node["tasks"] for node in faces] == [["a"], ["b"]]


def test_contexts_that_turn_out_to_be_one_region_are_searched_once(analyze):
    """Without a person, both contexts are the whole image."""
    body = analyze(
        encoded(pasted(noise(560, 540, seed=9), astronaut(), 0, 0)),
        task("detect_bounding_box", "a", target="prominent_face"),
        task("detect_bounding_box", "b", target="prominent_face", face_context="whole_image"),
    )
    times = [body["timings_ms"]["nodes"][node] for node in stages(body, "detect_faces")]
    assert sorted(time > 0 for time in times) == [False, True]
    assert body["results"]["a"]["data"] == body["results"]["b"]["data"] is not None


def test_two_tasks_on_one_region_encode_its_crop_once(analyze):
    target = {"bbox": [5, 5, 105, 85]}
    body = analyze(
        photo(2),
        task("crop", "a", target=target),
        task("hash_perceptual", "b", target=target),
        task("embed_hog_hsv", "c", target=target, crop_format="jpeg"),
    )
    assert len(stages(body, "encode_crop")) == 3
    body = analyze(
        photo(3),
        task("image_properties", "a", target=target),
        task("hash_perceptual", "b", target=target),
        task("embed_hog_hsv", "c", target=target, crop_format="jpeg"),
    )
    assert len(stages(body, "encode_crop")) == 2
    results = body["results"]
    assert results["a"]["cropped_image_base64"] == results["b"]["cropped_image_base64"]


def test_the_second_request_finds_everything_kept(analyze):
    image = photo(4)
    tasks = [task("hash_perceptual", "a"), task("embed_hog_hsv", "b", target="all_faces")]
    first, second = analyze(image, *tasks), analyze(image, *tasks)
    assert any(first["timings_ms"]["nodes"].values())
    assert set(second["timings_ms"]["nodes"].values()) == {0}
    assert second["timings_ms"]["decode"] == 0
    for name in ("a", "b"):
        for field in ("data", "items", "model", "warnings"):
            assert second["results"][name][field] == first["results"][name][field]


def test_explicit_defaults_are_the_same_work(client):
    tasks = [
        task("read_text", "a"),
        task("read_text", "b", target="whole_image", min_confidence=0.5, crop_format="png"),
    ]
    nodes = client.post("/plan/", json={"tasks": tasks}).json()["nodes"]
    assert [node["tasks"] for node in nodes if node["operation"] == "read_text"] == [["a", "b"]]


def test_a_task_that_refers_to_a_skipped_one_is_skipped_with_its_cause(analyze):
    body = analyze(
        encoded(noise(80, 80, seed=5)),
        task("crop", "face", target="prominent_face"),
        task("embed_hog_hsv", "of_face", target={"task": "face"}),
        task("crop", "wrong", crop_format="gif"),
        task("embed_hog_hsv", "of_wrong", target={"task": "wrong"}),
    )
    of_face = body["results"]["of_face"]
    assert (of_face["status"], of_face["error_code"]) == ("skipped", "region_not_found")
    assert "No prominent face found" in of_face["error_message"]
    of_wrong = body["results"]["of_wrong"]
    assert (of_wrong["status"], of_wrong["error_code"]) == ("skipped", "invalid_reference")
    assert of_wrong["caused_by"]["code"] == "invalid_params"
    assert of_wrong["caused_by"]["stage"] == "task 'wrong'"


def test_an_image_that_two_requests_need_at_once_is_decoded_once(room):
    async def scenario() -> list[ImageSource]:
        data = photo(77)
        sources = [room.source(data) for _ in range(3)]
        images = await asyncio.gather(*(source.image() for source in sources))
        assert all(image is images[0] for image in images)
        return sources

    assert sorted(source.decode_ms > 0 for source in asyncio.run(scenario())) == [False, False, True]
