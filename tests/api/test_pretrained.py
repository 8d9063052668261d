"""The operations with downloaded weights, over the whole application: on tiny models, and without any."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from litestar.testing import TestClient

from app.api.app import build_app
from app.api.room import Room
from app.core.operation import Operation
from app.core.registry import discover
from app.main import build_room, build_store, load_engines, wanted_engines
from app.runtime.decode import sha256_of
from app.settings import Settings
from tests.api.test_sharing import photo
from tests.api.test_wire import task
from tests.conftest import CACHES, ask, nothing_to_load
from tests.images import ASTRONAUT_FACE, astronaut, encoded, noise, page, pasted
from tests.tiny import TinyStore

PUBLIC = discover("operations").public
NEED_WEIGHTS = [
    "answer_question",
    "classify_zero_shot",
    "describe_image",
    "detect_objects",
    "embed_auraface",
    "embed_clip",
    "embed_clip_vit_b_32",
    "embed_dino_v2",
    "embed_dino_v3",
    "embed_dino_v3_patch",
    "embed_face",
]
FACES = {"face_context": "whole_image"}


@pytest.fixture
def tiny(tiny_client: TestClient[Any]) -> Any:
    """Upload an image with tasks; the results, of which none may be an error."""

    def results(image: bytes, *tasks: dict[str, Any]) -> dict[str, Any]:
        answered: dict[str, Any] = ask(tiny_client, image, *tasks)["results"]
        for name, result in answered.items():
            assert result["status"] != "error", (name, result["error_message"])
        return answered

    return results


def example(type_: str) -> dict[str, Any]:
    params = PUBLIC[type_].example_params
    assert params is not None
    return params.model_dump(mode="json", exclude_defaults=True)


# Without weights


@pytest.mark.parametrize("type_", NEED_WEIGHTS)
def test_without_weights_a_task_says_how_to_get_them(analyze, astronaut_png, type_):
    params = example(type_) | (FACES if "face" in type_ else {})
    result = analyze(astronaut_png, task(type_, **params))["results"]["t"]
    assert result["status"] == "error"
    assert result["error_code"] == "model_unavailable"
    assert "not on this machine" in result["error_message"]
    assert "sightgraph models pull" in result["error_message"]
    assert str(CACHES) not in result["error_message"]


def test_without_weights_the_other_tasks_are_answered(analyze, astronaut_png):
    results = analyze(
        astronaut_png,
        task("embed_clip_vit_b_32", "absent"),
        task("detect_bounding_box", "face", target="prominent_face", **FACES),
        task("detect_bounding_box", "person"),
    )["results"]
    assert results["absent"]["error_code"] == "model_unavailable"
    assert results["absent"]["caused_by"]["stage"] == "encode_clip"
    assert np.abs(np.array(results["face"]["data"]) - ASTRONAUT_FACE).max() <= 12
    assert results["person"]["model"]["engine"] == "opencv-hog-people"


@pytest.mark.parametrize("type_", NEED_WEIGHTS)
def test_discovery_tells_what_is_absent_and_what_it_would_be(client, type_):
    entry = client.get("/available_operations/").json()["operations"][type_]
    assert (entry["state"], entry["ready"], entry["progress"]) == ("absent", False, None)
    assert entry["size_bytes"] > 1_000_000
    assert entry["licence"]
    engine = next(each for each in entry["engines"] if each["name"] == entry["engine"])
    assert "sightgraph models pull" in engine["problem"]
    ready = client.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["operations"][type_] == {
        name: entry[name] for name in ("state", "progress", "engine", "licence", "size_bytes")
    }


def test_a_plan_tells_which_models_are_not_here(client):
    plan = client.post("/plan/", json={"tasks": [task("describe_image")]}).json()
    (node,) = [node for node in plan["nodes"] if node["operation"] == "describe_image"]
    assert (node["engine"], node["state"]) == ("blip-base", "absent")
    assert plan["cold_models"] == ["blip-base"]


# One request, shared work


@pytest.fixture
def counted(registry, tmp_path, monkeypatch):
    """A server without D-FINE, whose persons are real, that counts the items of every batch."""
    only = frozenset({"ViT-B-32", "dinov2-base", "blip-base"})
    settings = Settings(lanes=2, offline=True)
    room = build_room(settings, registry, TinyStore(build_store(settings), tmp_path, only))
    asyncio.run(load_engines(room, wanted_engines(["all"], room)))
    batches: list[tuple[str, int]] = []
    for operation in registry.values():
        if not operation.expands:
            # The declaration is frozen.
            monkeypatch.setitem(vars(operation), "run", counting(operation, batches))
    with TestClient(build_app(room, "0", nothing_to_load), raise_server_exceptions=False) as client:
        yield client, batches
    room.pool.close()


def counting(operation: Operation, batches: list[tuple[str, int]]) -> Callable[..., Any]:
    run = operation.run

    def counted(**columns: Any) -> Any:
        answer = run(**columns)
        batches.append((operation.type, len(answer)))
        return answer

    return counted


def test_a_request_computes_every_region_once_for_each_model(counted):
    """Person, face, three CLIP, three DINOv2 and a caption."""
    client, batches = counted
    places: dict[str, dict[str, Any]] = {
        "whole": {},
        "person": {"target": "prominent_person"},
        "face": {"target": "prominent_face", **FACES},
    }
    tasks = [
        task("detect_bounding_box", "box_of_person"),
        task("detect_bounding_box", "box_of_face", **places["face"]),
        *(task("embed_clip_vit_b_32", f"clip_{name}", **place) for name, place in places.items()),
        *(task("embed_dino_v2", f"dino_{name}", **place) for name, place in places.items()),
        task("describe_image", "caption"),
    ]
    results = ask(client, photo(77), *tasks)["results"]
    assert {result["status"] for result in results.values()} == {"success"}
    items: Counter[str] = Counter()
    for type_, count in batches:
        items[type_] += count
    assert items == {
        "find_objects": 1,
        "detect_persons": 1,
        "detect_faces": 1,
        "encode_clip": 3,
        "embed_dino_v2": 3,
        "describe_image": 1,
        "detect_bounding_box": 2,
        "embed_clip_vit_b_32": 3,
        "encode_crop": 2,
    }


# Embeddings


def test_clip_embeds_as_many_floats_as_its_model_has(tiny, astronaut_png):
    result = tiny(astronaut_png, task("embed_clip_vit_b_32"))["t"]
    assert len(result["data"]) > 8
    assert result["model"]["engine"] == "ViT-B-32"
    assert result["model"]["space"].startswith("clip/1/ViT-B-32/")
    assert result["cropped_image_base64"] is None


def test_a_vector_is_scaled_to_length_1_when_asked(tiny, astronaut_png):
    results = tiny(
        astronaut_png,
        task("embed_clip_vit_b_32", "as_it_is"),
        task("embed_clip_vit_b_32", "unit", normalize=True),
    )
    raw, unit = (np.array(results[name]["data"]) for name in ("as_it_is", "unit"))
    assert np.linalg.norm(unit) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(raw) != pytest.approx(1, abs=1e-3)
    assert raw @ unit == pytest.approx(np.linalg.norm(raw), rel=1e-5)


def test_both_clip_operations_share_one_space_and_one_pass(tiny, astronaut_png):
    results = tiny(astronaut_png, task("embed_clip_vit_b_32", "fixed"), task("embed_clip", "chosen"))
    assert results["fixed"]["data"] == results["chosen"]["data"]
    assert results["fixed"]["model"] == results["chosen"]["model"]


def test_a_text_is_embedded_in_the_space_of_images(tiny, tiny_client, astronaut_png):
    tasks = [task("embed_clip", "text", text="a cat"), task("embed_clip", "image")]
    results = tiny(astronaut_png, *tasks)
    assert results["text"]["model"]["space"] == results["image"]["model"]["space"]
    assert len(results["text"]["data"]) == len(results["image"]["data"])
    assert results["text"]["cropped_image_bbox"] is None
    # A text is the same whatever the image: it comes from the cache.
    again = ask(tiny_client, encoded(noise(40, 40, 5)), tasks[0])["results"]["text"]
    assert again["data"] == results["text"]["data"]
    assert again["timing_ms"] == 0


def test_a_text_has_no_region(tiny, astronaut_png):
    result = tiny(astronaut_png, task("embed_clip", text="a cat", target="prominent_face"))["t"]
    assert result["error_code"] == "invalid_params"
    assert "a text has no region" in result["error_message"]


@pytest.mark.parametrize("model", ["ViT-B-16", "ViT-B-16-SigLIP2"])
def test_another_model_has_another_space(tiny, astronaut_png, model):
    results = tiny(
        astronaut_png,
        task("embed_clip", "one", model=model),
        task("embed_clip", "other"),
        task("compare", "both", a="one", b="other"),
    )
    assert results["one"]["model"]["engine"] == model
    assert results["both"]["error_code"] == "invalid_reference"
    assert "different spaces" in results["both"]["error_message"]


def test_an_unknown_model_is_refused_with_those_that_there_are(tiny, astronaut_png):
    result = tiny(astronaut_png, task("embed_clip", model="ViT-Z"))["t"]
    assert result["error_code"] == "invalid_params"
    assert "ViT-B-32" in result["error_message"]


def test_dino_v2_sees_more_at_a_higher_resolution(tiny, astronaut_png):
    results = tiny(astronaut_png, task("embed_dino_v2", "low"), task("embed_dino_v2", "high", resolution=518))
    assert len(results["low"]["data"]) == len(results["high"]["data"])
    assert results["low"]["data"] != results["high"]["data"]


def test_vectors_of_two_resolutions_are_not_compared(tiny, astronaut_png):
    results = tiny(
        astronaut_png,
        task("embed_dino_v2", "low"),
        task("embed_dino_v2", "high", resolution=518),
        task("compare", "both", a="low", b="high"),
    )
    assert results["both"]["error_code"] == "invalid_reference"
    assert "embed_dino_v2-518" in results["both"]["error_message"]


def test_both_dino_v3_vectors_come_from_one_pass(tiny_client, astronaut_png):
    body = ask(tiny_client, astronaut_png, task("embed_dino_v3", "cls"), task("embed_dino_v3_patch", "patch"))
    results = body["results"]
    assert len(results["cls"]["data"]) == len(results["patch"]["data"])
    assert results["cls"]["data"] != results["patch"]["data"]
    assert results["cls"]["model"]["space"] != results["patch"]["model"]["space"]
    assert sum(node.startswith("encode_dino_v3#") for node in body["timings_ms"]["nodes"]) == 1


@pytest.mark.parametrize("type_", ["embed_face", "embed_auraface"])
def test_faces_are_embedded(tiny, type_):
    two = pasted(astronaut().repeat(2, axis=1)[:, ::2], astronaut()[20:220, 130:330], 300, 300)
    results = tiny(
        encoded(two),
        task(type_, "prominent", **FACES),
        task(type_, "all", target="all_faces", crop_format="none"),
    )
    prominent, items = results["prominent"], results["all"]["items"]
    assert len(prominent["data"]) == len(items[0]["data"])
    assert prominent["cropped_image_base64"]
    assert prominent["cropped_image_bbox"] == items[0]["bbox"]
    assert prominent["data"] == items[0]["data"]


@pytest.mark.parametrize("type_", ["embed_face", "embed_auraface"])
def test_only_faces_are_embedded_as_faces(tiny, astronaut_png, type_):
    result = tiny(astronaut_png, task(type_, target="whole_image"))["t"]
    assert result["error_code"] == "unsupported_target"


# Comparing


def test_a_vector_is_like_itself(tiny, astronaut_png):
    results = tiny(
        astronaut_png,
        task("embed_clip", "a"),
        task("embed_clip_vit_b_32", "b", normalize=True),
        task("compare", "same", a="a", b="b"),
        task("embed_clip", "text", text="an astronaut"),
        task("compare", "fit", a="a", b="text"),
    )
    assert results["same"]["data"] == {"cosine": pytest.approx(1), "distance": pytest.approx(0, abs=1e-3)}
    vectors = [np.array(results[name]["data"]) for name in ("a", "text")]
    unit = [vector / np.linalg.norm(vector) for vector in vectors]
    assert results["fit"]["data"]["cosine"] == pytest.approx(unit[0] @ unit[1], abs=1e-5)
    assert results["fit"]["data"]["distance"] == pytest.approx(np.linalg.norm(unit[0] - unit[1]), abs=1e-5)


def test_one_of_several_items_is_compared(analyze):
    boxes = [[0, 0, 100, 100], [100, 100, 300, 300]]
    image = encoded(pasted(astronaut(), page("first"), 0, 0))
    results = analyze(
        image,
        task("read_text", "lines"),
        *(task("embed_hog_hsv", f"box{n}", target={"bbox": box}) for n, box in enumerate(boxes)),
        task("embed_hog_hsv", "of_lines", target={"task": "lines"}),
        task("compare", "boxes", a="box0", b="box1"),
        task("compare", "item", a="of_lines", b="box0", a_item=0),
        task("compare", "beyond", a="of_lines", b="box0", a_item=99),
        task("compare", "nobody", a="of_lines", b="someone"),
        task("compare", "no_vector", a="lines", b="box0"),
        task("compare", "circle", a="circle", b="box0"),
    )["results"]
    assert -1 <= results["boxes"]["data"]["cosine"] < 1
    assert results["item"]["status"] == "success"
    assert "no number 99" in results["beyond"]["error_message"]
    for name in ("beyond", "nobody", "no_vector", "circle"):
        assert results[name]["status"] == "skipped"
        assert results[name]["error_code"] == "invalid_reference"
    assert "gives no vectors" in results["no_vector"]["error_message"]


def test_nothing_to_compare_is_told(client, analyze):
    image = encoded(noise(64, 64, 8))
    tasks = [
        task("embed_hog_hsv", "faces", target="all_faces"),
        task("compare", "none", a="faces", b="faces"),
    ]
    body = {"tasks": tasks}
    assert client.post("/plan/", json=body).status_code == 200
    result = analyze(image, *tasks)["results"]["none"]
    assert result["error_code"] == "invalid_reference"
    assert "found nothing to embed" in result["error_message"]
    body |= {"image_sha256": sha256_of(image)}
    assert client.post("/plan/", json=body).status_code == 200


def test_which_of_several_items_is_meant_must_be_said(analyze):
    sheet = page("first line", "second line")
    results = analyze(
        encoded(sheet),
        task("read_text", "lines"),
        task("embed_hog_hsv", "many", target={"task": "lines"}),
        task("embed_hog_hsv", "whole"),
        task("compare", "which", a="many", b="whole"),
        task("compare", "second", a="many", b="whole", a_item=1),
    )["results"]
    assert "a_item" in results["which"]["error_message"]
    assert results["second"]["status"] == "success"


# Zero-shot classification


@pytest.mark.parametrize("model", ["ViT-B-32", "ViT-B-16-SigLIP2"])
def test_labels_are_judged_by_the_similarity_of_image_and_text(tiny, tiny_room, astronaut_png, model):
    labels = ["cat", "dog", "astronaut"]
    results = tiny(
        astronaut_png,
        task("classify_zero_shot", "judged", labels=labels, model=model, template="this is {}."),
        task("embed_clip", "image", model=model, normalize=True),
        *(
            task("embed_clip", label, model=model, normalize=True, text=f"this is {label}.")
            for label in labels
        ),
    )
    judged = results["judged"]["data"]["labels"]
    assert [each["probability"] for each in judged] == sorted(
        (each["probability"] for each in judged), reverse=True
    )
    assert sum(each["probability"] for each in judged) == pytest.approx(1, abs=1e-5)
    # The checkpoint's own.
    scale = asyncio.run(tiny_room.pool.load(tiny_room.registry.engines[model])).logit_scale
    cosines = [np.dot(results["image"]["data"], results[label]["data"]) for label in labels]
    weights = np.exp(scale * (np.array(cosines) - max(cosines)))
    expected = dict(zip(labels, weights / weights.sum(), strict=True))
    for each in judged:
        assert each["probability"] == pytest.approx(expected[each["label"]], abs=1e-4)


@pytest.mark.parametrize("model", ["ViT-B-32", "ViT-B-16-SigLIP2"])
def test_with_multi_label_each_label_stands_alone(tiny, astronaut_png, model):
    def judged(*labels: str) -> dict[str, float]:
        params = {"labels": labels, "model": model, "multi_label": True}
        answer = tiny(astronaut_png, task("classify_zero_shot", **params))["t"]["data"]["labels"]
        return {each["label"]: each["probability"] for each in answer}

    two, three = judged("cat", "dog"), judged("cat", "dog", "astronaut")
    assert all(three[label] == pytest.approx(two[label], abs=1e-5) for label in two)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"labels": ["one"]}, "labels"),
        ({"labels": [f"label {number}" for number in range(257)]}, "labels"),
        ({"labels": ["cat", "cat"]}, "names a label twice"),
        ({"labels": ["cat", ""]}, "labels"),
        ({"labels": ["cat", "dog"], "template": "a photo"}, "template"),
        ({"labels": ["cat", "dog"], "template": "{} and {}"}, "template"),
        ({}, "labels"),
    ],
)
def test_labels_that_cannot_be_judged_are_refused(tiny, astronaut_png, params, told):
    result = tiny(astronaut_png, task("classify_zero_shot", **params))["t"]
    assert (result["status"], result["error_code"]) == ("skipped", "invalid_params")
    assert told in result["error_message"]


def test_braces_in_a_label_stay_as_they_are(tiny, astronaut_png):
    result = tiny(astronaut_png, task("classify_zero_shot", labels=["{0}", "{x.y}"]))["t"]
    assert {each["label"] for each in result["data"]["labels"]} == {"{0}", "{x.y}"}


# Objects


def test_objects_have_a_label_a_confidence_and_a_box_in_the_image(tiny, astronaut_png):
    data = tiny(astronaut_png, task("detect_objects", min_confidence=0.05))["t"]["data"]
    assert data["items"]
    confidences = [item["confidence"] for item in data["items"]]
    assert confidences == sorted(confidences, reverse=True)
    for item in data["items"]:
        xmin, ymin, xmax, ymax = item["bbox"]
        assert 0 <= xmin < xmax <= 512
        assert 0 <= ymin < ymax <= 512
        assert item["label"]


def test_texts_of_one_request_are_bounded(tiny, astronaut_png):
    def labels(number: int) -> list[str]:
        return [f"kind {number} {each}" for each in range(256)]

    tasks = [task("classify_zero_shot", f"t{number}", labels=labels(number)) for number in (1, 2)]
    results = tiny(astronaut_png, *tasks, task("describe_image", "caption", max_length=1))
    assert results["t1"]["status"] == "success"
    assert results["t2"]["error_code"] == "invalid_params"
    assert "texts" in results["t2"]["error_message"]
    assert results["caption"]["status"] == "success"


def test_objects_are_chosen_by_label_confidence_and_number(tiny, astronaut_png):
    every = tiny(astronaut_png, task("detect_objects", min_confidence=0.05))["t"]["data"]["items"]
    label, middle = every[0]["label"], every[len(every) // 2]["confidence"]
    results = tiny(
        astronaut_png,
        task("detect_objects", "label", min_confidence=0.05, labels=[label]),
        task("detect_objects", "sure", min_confidence=middle),
        task("detect_objects", "few", min_confidence=0.05, max_items=2),
        task("crop", "crops", target={"task": "few"}, crop_format="none"),
    )
    assert results["label"]["data"]["items"] == [item for item in every if item["label"] == label]
    assert results["sure"]["data"]["items"] == [item for item in every if item["confidence"] >= middle]
    assert results["few"]["data"]["items"] == every[:2]
    assert [item["bbox"] for item in results["crops"]["items"]] == [item["bbox"] for item in every[:2]]


def test_an_unknown_label_is_refused_with_the_nearest(tiny, astronaut_png):
    result = tiny(astronaut_png, task("detect_objects", labels=["persn"]))["t"]
    assert "did you mean 'person'?" in result["error_message"]


def test_persons_and_objects_are_found_in_one_search(tiny_client, astronaut_png):
    body = ask(tiny_client, astronaut_png, task("detect_bounding_box", "p"), task("detect_objects", "o"))
    assert sum(node.startswith("find_objects#") for node in body["timings_ms"]["nodes"]) == 1
    assert body["results"]["p"]["model"] == body["results"]["o"]["model"]
    assert body["results"]["o"]["model"]["engine"] == "d-fine-nano"


# Text about images


def test_a_caption_is_a_string_that_params_shape(tiny, astronaut_png):
    results = tiny(
        astronaut_png,
        task("describe_image", "plain"),
        task("describe_image", "short", max_length=1),
        task("describe_image", "beams", num_beams=3),
        task("answer_question", "answer", question="How many?"),
    )
    for result in results.values():
        assert isinstance(result["data"], str)
    assert len(results["short"]["data"].split()) <= 1
    assert results["plain"]["model"]["engine"] == "blip-base"


@pytest.mark.parametrize(
    "params", [{"max_length": 0}, {"max_length": 513}, {"num_beams": 0}, {"max_length": 400, "num_beams": 8}]
)
def test_a_caption_has_bounds(tiny, astronaut_png, params):
    result = tiny(astronaut_png, task("describe_image", **params))["t"]
    assert result["error_code"] == "invalid_params"
    assert next(iter(params)) in result["error_message"]


# Reading


def test_a_language_chooses_its_reader(tiny):
    results = tiny(
        encoded(page("Straße")),
        task("read_text", "any"),
        task("read_text", "german", languages=["de"]),
        task("read_text", "unknown", languages=["klingon"]),
        task("read_text", "mixed", languages=["ru", "ko"]),
    )
    assert results["any"]["model"]["engine"] == "rapidocr"
    assert results["german"]["model"]["engine"] == "easyocr-latin"
    assert "'klingon' is no language code" in results["unknown"]["error_message"]
    assert "ru, ko" in results["mixed"]["error_message"]


def test_two_languages_of_one_reader_are_one_reading(tiny_client):
    tasks = [task("read_text", "a", languages=["de"]), task("read_text", "b", languages=["fr", "de"])]
    plan = tiny_client.post("/plan/", json={"tasks": tasks}).json()
    assert sum(node["operation"] == "read_lines" for node in plan["nodes"]) == 1


def test_lines_are_read_once_however_sure_they_must_be(tiny_client):
    image = encoded(page("read me once"))
    tasks = [task("read_text", "all"), task("read_text", "sure", min_confidence=0.9)]
    body = ask(tiny_client, image, *tasks)
    assert sum(node.startswith("read_lines#") for node in body["timings_ms"]["nodes"]) == 1


# Settings


def test_a_setting_chooses_the_engines(registry, tmp_path):
    settings = Settings(
        lanes=1, offline=True, engines={"embed_dino_v2": ("dinov2-small",), "embed_clip": ("ViT-B-16",)}
    )
    room = build_room(settings, registry, TinyStore(build_store(settings), tmp_path))
    with TestClient(build_app(room, "0", nothing_to_load)) as client:
        results = ask(
            client,
            encoded(noise(50, 50)),
            task("embed_dino_v2", "small"),
            task("embed_clip", "offered", model="ViT-B-16"),
            task("embed_clip", "refused", model="ViT-B-32"),
        )["results"]
    room.pool.close()
    assert results["small"]["model"]["engine"] == "dinov2-small"
    assert results["offered"]["status"] == "success"
    assert results["refused"]["error_code"] == "invalid_params"
    assert "It offers: ViT-B-16" in results["refused"]["error_message"]


def test_an_operation_that_a_setting_leaves_no_engine_says_so(registry, tmp_path):
    settings = Settings(lanes=1, offline=True, engines={"detect_bounding_box": ("opencv-hog-people",)})
    room = build_room(settings, registry, TinyStore(build_store(settings), tmp_path))
    asyncio.run(load_engines(room))
    with TestClient(build_app(room, "0", nothing_to_load)) as client:
        results = ask(
            client, encoded(noise(50, 50)), task("detect_objects", "o"), task("detect_bounding_box", "p")
        )["results"]
        operations = client.get("/available_operations/").json()["operations"]
    room.pool.close()
    assert results["o"]["error_code"] == "invalid_params"
    assert "It offers: opencv-hog-people" in results["o"]["error_message"]
    assert results["p"]["model"]["engine"] == "opencv-hog-people"
    assert operations["detect_objects"]["state"] == "absent"
    assert operations["detect_objects"]["ready"] is False
    engines = [engine["name"] for engine in operations["detect_bounding_box"]["engines"]]
    assert engines == ["opencv-hog-people", "mtcnn"]


def test_a_room_is_put_together_from_the_settings_alone(registry: Any) -> None:
    room: Room = build_room(Settings(lanes=1, offline=True, weights="random"), registry)
    spec = registry.engines["ViT-B-32"]
    assert room.pool.store.present(spec)
    assert "random" in room.pool.store.caution(spec).lower()
    room.pool.close()


def test_no_image_is_decoded_for_a_model_that_is_absent(analyze):
    image = encoded(noise(300, 200, 31))
    before = analyze(image, task("embed_hog_hsv"))
    assert before["timings_ms"]["decode"] > 0
    body = analyze(image, task("embed_dino_v2"))
    assert body["results"]["t"]["error_code"] == "model_unavailable"
    assert body["timings_ms"]["decode"] == 0
