"""`classify` over heads of every kind, with real embeddings of real photos."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.api.room import Room
from app.core.registry import Registry
from app.core.resolver import Task, resolve
from app.main import build_room, build_store
from app.settings import Settings
from classifiers.shelf import Shelf
from tests.heads import put_head
from tests.images import astronaut, encoded, noise
from tests.tiny import TinyStore

HOG_SPACE = "embed_hog_hsv/1"
# The persons that a tiny model finds are none.
FACE = {"target": "prominent_face", "face_context": "whole_image"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def room(registry: Registry, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    settings = Settings(lanes=2, offline=True, data=data)
    store = TinyStore(build_store(settings), tmp_path_factory.mktemp("checkpoints"))
    room = build_room(settings, registry, store)
    yield room
    room.pool.close()
    room.index.close()
    room.classifiers.close()


@pytest.fixture(scope="module")
def shelf(data: Path) -> Shelf:
    return Shelf(data / "classifiers")


def answers(room: Room, *tasks: dict[str, Any], image: np.ndarray | None = None) -> tuple[Any, Any]:
    """The plan of tasks and its run."""

    async def run() -> tuple[Any, Any]:
        listed = [Task(str(number), "classify", task) for number, task in enumerate(tasks)]
        plan = resolve(listed, room.registry, room.pool.choose, await room.resources(listed))
        source = room.source(encoded(astronaut() if image is None else image))
        return plan, await room.executor.run(plan, source, 60)

    return asyncio.run(run())


def answer(room: Room, image: np.ndarray | None = None, **params: Any) -> Any:
    """The only outcome."""
    _, run = answers(room, params, image=image)
    (outcome,) = run.outcomes
    return outcome


def value(room: Room, image: np.ndarray | None = None, **params: Any) -> Any:
    outcome = answer(room, image, **params)
    assert outcome.fault is None, outcome.fault
    return outcome.items[0].value


def vector_of(room: Room, type_: str, **params: Any) -> np.ndarray:
    async def run() -> np.ndarray:
        plan = resolve([Task("v", type_, params)], room.registry, room.pool.choose)
        done = await room.executor.run(plan, room.source(encoded(astronaut())), 60)
        values: np.ndarray = done.outcomes[0].items[0].value.values
        return values

    return asyncio.run(run())


def test_the_answer_is_the_heads_own(room, shelf):
    card = put_head(shelf, "one", spaces=[HOG_SPACE], threshold=0.25)
    found = value(room, collection_id="one")
    head = shelf.current("one")
    (expected,) = head.probabilities([vector_of(room, "embed_hog_hsv")[None]])
    assert found.probability == pytest.approx(expected[1], abs=1e-12)
    assert found.threshold == 0.25
    assert found.is_in_collection == (expected[1] >= 0.25)
    assert (found.label, found.labels, found.version) == (None, None, card.version)


def test_an_integer_and_its_digits_name_one_collection(room, shelf):
    put_head(shelf, "7", spaces=[HOG_SPACE])
    plan, run = answers(room, {"collection_id": 7}, {"collection_id": "7"})
    assert plan.tasks[0].node == plan.tasks[1].node
    assert run.outcomes[0].fault is None


def test_several_labels_have_a_probability_each(room, shelf):
    put_head(shelf, "classes", labels=("a", "b", "c"), spaces=[HOG_SPACE])
    found = value(room, collection_id="classes")
    assert set(found.labels) == {"a", "b", "c"}
    assert sum(found.labels.values()) == pytest.approx(1)
    assert found.label == max(found.labels, key=found.labels.get)
    assert found.probability == found.labels[found.label]
    assert (found.is_in_collection, found.threshold) == (None, None)


def test_several_embeddings_are_joined_in_the_order_of_the_card(room, shelf):
    names = ("embed_face", "embed_hog_hsv")
    vectors = [vector_of(room, name, **FACE) for name in names]
    lengths = list(map(len, vectors))
    put_head(shelf, "joined", list(zip(names, lengths, strict=True)), **FACE)
    found = value(room, collection_id="joined")
    (expected,) = shelf.current("joined").probabilities([each[None] for each in vectors])
    assert found.probability == pytest.approx(expected[1], abs=1e-6)


def test_five_classifiers_on_one_region_cost_one_embedding(room, shelf):
    for number in range(5):
        put_head(shelf, f"five-{number}", seed=number, spaces=[HOG_SPACE])
    image = noise(80, 60)
    plan, run = answers(room, *({"collection_id": f"five-{number}"} for number in range(5)), image=image)
    types = [node.operation.type for node in plan.nodes.values()]
    assert types.count("embed_hog_hsv") == 1
    assert types.count("measure_region") == 1
    assert types.count("classify") == 5
    assert len({outcome.items[0].value.probability for outcome in run.outcomes}) == 5


def test_the_target_is_the_classifiers_own(room, shelf):
    put_head(shelf, "of-faces", **FACE, spaces=[HOG_SPACE])
    plan, run = answers(
        room,
        {"collection_id": "of-faces"},
        {"collection_id": "of-faces", **FACE},
        {"collection_id": "of-faces", **FACE, "target": "whole_image"},
    )
    own, same, other = run.outcomes
    assert own.items[0].region.name == "face"
    assert len({task.node for task in plan.tasks}) == 1
    assert own.warnings == same.warnings == ()
    (told,) = other.warnings
    assert "trained on prominent_face" in told
    assert "whole_image was not used" in told


def test_faces_are_looked_for_where_the_training_did(room, shelf):
    put_head(shelf, "anywhere", target="prominent_face", face_context="whole_image", spaces=[HOG_SPACE])
    outcome = answer(room, collection_id="anywhere", face_context="prominent_person")
    assert outcome.planned.params.face_context == "whole_image"
    assert outcome.items[0].region.name == "face"


def test_without_its_region_the_task_is_skipped(room, shelf):
    put_head(shelf, "no-face", target="prominent_face")
    fault = answer(room, noise(80, 60), collection_id="no-face").fault
    assert (fault.status, fault.code) == ("skipped", "region_not_found")


def test_lists_and_boxes_are_asked_as_they_are(room, shelf):
    put_head(shelf, "any", target="prominent_face", spaces=[HOG_SPACE])
    all_faces = answer(room, collection_id="any", target="all_faces")
    assert [item.region.name for item in all_faces.items] == ["face"]
    assert all_faces.planned.is_plural
    box = answer(room, collection_id="any", target={"bbox": [0, 0, 50, 40]})
    assert tuple(box.items[0].region.box) == (0, 0, 50, 40)
    for outcome in (all_faces, box):
        (told,) = outcome.warnings
        assert "trained on prominent_face" in told


def test_no_classifier_is_a_skip_that_names_those_there_are(room, shelf):
    put_head(shelf, "known")
    fault = answer(room, collection_id=404).fault
    assert (fault.status, fault.code) == ("skipped", "classifier_not_found")
    assert "'404'" in fault.message
    assert "known" in fault.message


def test_another_space_is_an_error_and_never_a_number(room, shelf):
    put_head(shelf, "moved", spaces=["embed_hog_hsv/0"])
    outcome = answer(room, collection_id="moved")
    assert (outcome.fault.status, outcome.fault.code) == ("error", "space_mismatch")
    assert "embed_hog_hsv/0" in outcome.fault.message
    assert outcome.items == ()


def test_other_dimensions_are_an_error_where_the_space_is_unknown(room, shelf):
    put_head(shelf, "short", [("embed_hog_hsv", 2019)])
    fault = answer(room, collection_id="short").fault
    assert (fault.status, fault.code) == ("error", "space_mismatch")
    assert "2019" in fault.message
    assert "2020" in fault.message


def test_an_operation_that_this_server_lacks_is_told(room, shelf):
    put_head(shelf, "lost", [("embed_of_long_ago", 4)])
    fault = answer(room, collection_id="lost").fault
    assert (fault.status, fault.code) == ("skipped", "unsupported_operation")
    assert "embed_of_long_ago" in fault.message


def test_what_it_was_not_trained_on_is_no_drift(room, shelf):
    put_head(shelf, "boxed", spaces=[HOG_SPACE])
    for number in range(3):
        answer(room, collection_id="boxed", target={"bbox": [0, 0, 50, 40 + number]})
    assert room.classifiers.health("boxed").seen == 0
    answer(room, collection_id="boxed", target="whole_image")
    assert room.classifiers.health("boxed").seen == 1


def test_a_space_that_nobody_knows_is_told_with_every_answer(room, shelf):
    put_head(shelf, "unproven")
    (told,) = answer(room, collection_id="unproven").warnings
    assert "embed_hog_hsv" in told


def test_a_new_version_serves_at_the_next_request(room, shelf):
    old = put_head(shelf, "renewed", seed=1)
    assert value(room, collection_id="renewed").version == old.version
    new = put_head(shelf, "renewed", seed=2)
    renewed = value(room, collection_id="renewed")
    assert renewed.version == new.version
    shelf.rollback("renewed")
    again = value(room, collection_id="renewed")
    assert again.version == old.version
    assert again.probability != renewed.probability


def test_a_broken_file_never_replaces_a_working_one(room, shelf):
    first = put_head(shelf, "broken", seed=1)
    assert value(room, collection_id="broken").version == first.version
    second = put_head(shelf, "broken", seed=2)
    (shelf.folder / "broken" / second.version / "head.npz").write_bytes(b"no head")
    assert value(room, collection_id="broken").version == first.version


def test_a_classifier_that_cannot_be_read_is_an_error_without_a_path(room, shelf):
    card = put_head(shelf, "unreadable")
    (shelf.folder / "unreadable" / card.version / "card.json").write_bytes(b"{")
    fault = answer(room, collection_id="unreadable").fault
    assert (fault.status, fault.code) == ("error", "classifier_unavailable")
    assert str(shelf.folder) not in fault.message


@pytest.mark.parametrize("collection", [None, True, -1, 2**63, 1.5, "", "x" * 501, [], {}])
def test_what_names_no_collection_is_refused(room, collection):
    fault = answer(room, collection_id=collection).fault
    assert (fault.status, fault.code) == ("skipped", "invalid_params")
    assert "collection_id" in fault.message


def test_odd_names_are_looked_up_as_they_are(room, shelf):
    for name in ("../up", "a/b", "\0", "é", "best_models.json", "\ud800".encode("utf-8", "replace").decode()):
        assert answer(room, collection_id=name).fault.code == "classifier_not_found"
