"""Tasks as people write them."""

import math

import numpy as np
import orjson
import pytest

from app.client import InvalidInput, Task
from app.client.task import tasks_json, wire_tasks
from app.core.geometry import Box

FACE = {"operation_id": "face", "type": "crop", "params": {"target": "prominent_face"}}


@pytest.mark.parametrize(
    "tasks",
    [
        Task("crop", id="face", target="prominent_face"),
        [Task("crop", id="face", target="prominent_face")],
        {"face": Task("crop", target="prominent_face")},
        # Where a task has an id of its own, the key is what names it here.
        {"face": Task("crop", id="other", target="prominent_face")},
        {"face": {"type": "crop", "params": {"target": "prominent_face"}}},
        FACE,
        [FACE],
        (FACE,),
    ],
)
def test_the_forms_of_a_task(tasks):
    assert wire_tasks(tasks) == [FACE]


@pytest.mark.parametrize("tasks", ["crop", ["crop"], {"crop": "crop"}])
def test_a_type_alone(tasks):
    assert wire_tasks(tasks) == [{"operation_id": "crop", "type": "crop"}]


def test_ids_are_the_types_and_unique():
    tasks = ["crop", Task("crop", id="crop_2"), Task("crop"), {"type": "crop"}, "read_text"]
    ids = [task["operation_id"] for task in wire_tasks(tasks)]
    assert ids == ["crop", "crop_2", "crop_3", "crop_4", "read_text"]


@pytest.mark.parametrize("tasks", [[], {}, ()])
def test_no_task(tasks):
    with pytest.raises(InvalidInput, match="there are none; give at least one"):
        wire_tasks(tasks)


@pytest.mark.parametrize("task", [None, 3, {"params": {}}, ["crop"]])
def test_what_is_no_task(task):
    with pytest.raises(InvalidInput, match="is no task; give a Task, the type of an operation"):
        wire_tasks([task])


def test_params_may_be_of_numpy_and_boxes_of_answers():
    params = {"target": {"bbox": Box(1, 2, 3, 4)}, "size": np.int64(3), "vector": np.float32([1, 0.5])}
    (task,) = orjson.loads(tasks_json(Task("x", **params)))
    assert task["params"] == {"target": {"bbox": [1, 2, 3, 4]}, "size": 3, "vector": [1.0, 0.5]}


@pytest.mark.parametrize(
    "value", [{1, 2}, object(), b"bytes", math], ids=["set", "object", "bytes", "module"]
)
def test_params_that_json_cannot_hold(value):
    with pytest.raises(InvalidInput, match="tasks: cannot be written as JSON"):
        tasks_json(Task("crop", target=value))


def test_a_task_is_shown_as_it_is_written():
    task = Task("embed_hog_hsv", id="vector", target={"task": "face"})
    assert repr(task) == "Task('embed_hog_hsv', id='vector', target={'task': 'face'})"
    assert eval(repr(task)) == task
    assert task != Task("embed_hog_hsv", id="vector")
