"""From tasks to a plan: what is shared, what is refused and why, and in which order nodes stand."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.artifacts import Crop
from app.core.errors import InvalidParams, UnsupportedTarget
from app.core.geometry import Box
from app.core.operation import (
    IMAGE,
    OUTSIDE_KEY,
    Chosen,
    EngineSpec,
    Needs,
    NoParams,
    Operation,
    Params,
    Ref,
    TaskRef,
    operation,
)
from app.core.plan import IMAGE_NODE, Plan, PlannedTask
from app.core.registry import Registry, discover
from app.core.resolver import Task, resolve, validated
from tests.toys import ToyWeights

REAL = discover("operations")
# As many tasks as one request may have.
MOST_TASKS = 64


class Following(Params):
    """Params that name another task, whatever it finds."""

    of: Annotated[str | None, OUTSIDE_KEY] = None
    also: Annotated[str | None, OUTSIDE_KEY] = None
    level: int = 0


def follow(params: Following) -> Needs:
    first = TaskRef(params.of, "of") if params.of else IMAGE
    return {"first": first, "second": TaskRef(params.also, "also") if params.also else first}


@operation(params=Following, needs=follow)
def combine(first: Sequence[Any], second: Sequence[Any], params: Following) -> list[int]:
    """Combine the results of two tasks."""
    return [0 for _ in first]


FOLLOWING = Registry([combine])


def first_engine(op: Operation, params: Params) -> Chosen | None:
    able = op.may_be_served_by(params)
    return Chosen(able[0], "0123456789abcdef") if able else None


def task(type_: str, operation_id: str = "t", **params: Any) -> Task:
    return Task(operation_id, type_, params)


def planned(*tasks: Task, registry: Registry = REAL) -> Plan:
    return resolve(tasks, registry, first_engine)


def by_id(plan: Plan) -> dict[str, PlannedTask]:
    return {one.operation_id: one for one in plan.tasks}


def of_type(plan: Plan, type_: str) -> list[str]:
    return [node.id for node in plan.nodes.values() if node.operation.type == type_]


def refused(*tasks: Task, registry: Registry = REAL) -> dict[str, tuple[str, str]]:
    """Code and message of every task that has no node."""
    plan = planned(*tasks, registry=registry)
    return {one.operation_id: (one.fault.code, one.fault.message) for one in plan.tasks if one.fault}


# Sharing


def test_one_task_is_followed_down_to_the_image():
    plan = planned(task("detect_bounding_box", target="prominent_face"))
    assert [node.operation.type for node in plan.nodes.values()] == [
        "find_objects",
        "detect_persons",
        "face_context",
        "detect_faces",
        "regions",
        "detect_bounding_box",
    ]
    assert plan.upstream(plan.tasks[0].node) == {IMAGE_NODE, *plan.nodes}


def test_equal_tasks_are_one_node():
    plan = planned(
        task("embed_hog_hsv", "a", target="prominent_face"),
        task("embed_hog_hsv", "b", target="prominent_face"),
    )
    first, second = plan.tasks
    assert first.node == second.node
    assert first.crop == second.crop
    assert len(of_type(plan, "embed_hog_hsv")) == len(of_type(plan, "encode_crop")) == 1


def test_defaults_that_are_given_are_as_those_left_out():
    plan = planned(
        task("read_text", "a"),
        task("read_text", "b", target="whole_image", min_confidence=0.5, face_context="prominent_person"),
        task("read_text", "c", min_confidence=0.6),
    )
    tasks = by_id(plan)
    assert tasks["a"].node == tasks["b"].node != tasks["c"].node


def test_whole_numbers_are_as_fractions():
    plan = planned(task("read_text", "a", min_confidence=1), task("read_text", "b", min_confidence=1.0))
    assert len(of_type(plan, "read_text")) == 1


def test_different_operations_share_their_stages():
    plan = planned(
        task("embed_hog_hsv", "a", target="prominent_face"),
        task("hash_perceptual", "b", target="prominent_face"),
        task("detect_bounding_box", "c", target="all_persons"),
    )
    assert len(of_type(plan, "detect_persons")) == len(of_type(plan, "detect_faces")) == 1
    tasks = by_id(plan)
    assert plan.nodes[tasks["a"].node].inputs == plan.nodes[tasks["b"].node].inputs
    assert tasks["a"].crop == tasks["b"].crop


@pytest.mark.parametrize(
    ("type_", "params"),
    [("detect_bounding_box", {}), ("embed_hog_hsv", {}), ("crop", {"crop_format": "none"})],
)
def test_a_face_looked_for_elsewhere_is_another_one(type_, params):
    plan = planned(
        task(type_, "person", target="prominent_face", **params),
        task(type_, "image", target="prominent_face", face_context="whole_image", **params),
    )
    tasks = by_id(plan)
    assert len(of_type(plan, "detect_faces")) == 2
    assert tasks["person"].node != tasks["image"].node
    looked_in = [plan.nodes[node_id].inputs["crop"] for node_id in of_type(plan, "detect_faces")]
    assert sorted(looked_in) == ["face_context#1", IMAGE_NODE]


@pytest.mark.parametrize("target", ["whole_image", "prominent_person", "all_persons", {"bbox": [0, 0, 9, 9]}])
def test_the_face_context_means_nothing_to_other_targets(target):
    plan = planned(
        task("embed_hog_hsv", "a", target=target, face_context="prominent_person"),
        task("embed_hog_hsv", "b", target=target, face_context="whole_image"),
    )
    assert plan.tasks[0].node == plan.tasks[1].node


@pytest.mark.parametrize("target", ["prominent_face", "all_persons", {"bbox": [0, 0, 9, 9]}])
def test_tasks_on_one_region_share_its_crop(target):
    plan = planned(
        task("embed_hog_hsv", "a", target=target),
        task("hash_perceptual", "b", target=target),
        task("image_properties", "c", target=target, include_gps=True),
    )
    assert len(of_type(plan, "encode_crop")) == 1
    assert len({one.crop for one in plan.tasks}) == 1


def test_the_crop_is_made_once_a_format():
    formats = ["png", "jpeg", "webp", "png", "none"]
    plan = planned(
        *(
            task("embed_hog_hsv", str(number), target="all_faces", crop_format=format_)
            for number, format_ in enumerate(formats)
        )
    )
    assert len(of_type(plan, "embed_hog_hsv")) == 1
    assert len(of_type(plan, "encode_crop")) == 3
    crops = [one.crop for one in plan.tasks]
    assert crops[0] == crops[3]
    assert crops[4] is None


def test_a_task_on_the_whole_image_needs_no_crop():
    plan = planned(task("embed_hog_hsv"))
    assert plan.tasks[0].crop is None
    assert of_type(plan, "encode_crop") == []


def test_what_is_missing_counts_as_part_of_the_region():
    plan = planned(
        task("embed_hog_hsv", "a", target="prominent_person"),
        task("embed_hog_hsv", "b", target="prominent_person", on_missing="whole_image"),
        task("embed_hog_hsv", "c", target="prominent_person", on_missing="skip"),
    )
    tasks = by_id(plan)
    assert tasks["a"].node == tasks["b"].node != tasks["c"].node
    assert len(of_type(plan, "detect_persons")) == 1


def test_equal_boxes_are_one_region():
    plan = planned(
        task("crop", "a", target={"bbox": [0, 0, 9, 9]}),
        task("crop", "b", target={"bbox": [0, 0, 9, 9]}),
        task("crop", "c", target={"bbox": [0, 0, 9, 8]}),
    )
    tasks = by_id(plan)
    assert tasks["a"].node == tasks["b"].node != tasks["c"].node


def test_run_sees_no_param_that_lies_outside_the_key():
    plan = planned(task("image_properties", target="all_faces", include_gps=True, crop_format="webp"))
    params = plan.nodes[plan.tasks[0].node].params
    assert params.target == "whole_image"
    assert params.crop_format == "png"
    assert params.include_gps is True
    assert plan.tasks[0].params.target == "all_faces"


# References between tasks


def test_a_task_follows_the_boxes_of_another():
    plan = planned(
        task("hash_perceptual", "hash", target={"task": "faces"}),
        task("detect_bounding_box", "faces", target="all_faces"),
    )
    tasks = by_id(plan)
    regions = plan.nodes[tasks["hash"].node].inputs["crop"]
    assert plan.nodes[regions].inputs["found"] == tasks["faces"].node
    assert tasks["hash"].is_plural


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        pytest.param({"target": "all_faces"}, {"target": "all_faces"}, True, id="equal"),
        pytest.param(
            {"target": "all_persons"},
            {"target": "all_persons", "face_context": "whole_image"},
            True,
            id="equal in their canonical form",
        ),
        pytest.param({"target": "all_faces"}, {"target": "all_persons"}, False, id="other boxes"),
        pytest.param(
            {"target": "prominent_face"},
            {"target": "prominent_face", "face_context": "whole_image"},
            False,
            id="faces looked for elsewhere",
        ),
    ],
)
def test_the_work_behind_a_followed_task_counts_and_not_its_name(one, other, shared):
    plan = planned(
        task("embed_hog_hsv", "a", target={"task": "one"}),
        task("embed_hog_hsv", "b", target={"task": "other"}),
        task("detect_bounding_box", "one", **one),
        task("detect_bounding_box", "other", **other),
    )
    tasks = by_id(plan)
    assert (tasks["a"].node == tasks["b"].node) is shared
    assert (tasks["a"].crop == tasks["b"].crop) is shared


def test_references_may_lead_through_several_tasks_in_any_order():
    chain = [
        task("crop", "first", target="all_faces"),
        task("read_text", "second", target={"task": "first"}),
        task("crop", "third", target={"task": "second"}),
    ]
    forward, backward = planned(*chain), planned(*reversed(chain))
    assert refused(*chain) == refused(*reversed(chain)) == {}
    assert forward.nodes.keys() == backward.nodes.keys()


@pytest.mark.parametrize("turn", [1, -1])
def test_a_request_may_be_one_long_chain(turn):
    chain = [
        task("crop", "0"),
        *(task("crop", str(n), target={"task": str(n - 1)}) for n in range(1, MOST_TASKS)),
    ]
    plan = planned(*chain[::turn])
    assert len(of_type(plan, "crop")) == MOST_TASKS
    assert refused(*chain[::turn]) == {}


def test_a_task_may_follow_one_that_finds_nothing_where_any_result_will_do():
    plan = planned(task("combine", "a"), task("combine", "b", of="a", also="a", level=1), registry=FOLLOWING)
    tasks = by_id(plan)
    assert plan.nodes[tasks["b"].node].inputs == {"first": tasks["a"].node, "second": tasks["a"].node}


# Refused references


@pytest.mark.parametrize(
    ("length", "path"),
    [(1, "a -> a"), (2, "a -> b -> a"), (3, "a -> b -> c -> a")],
)
def test_a_cycle_refuses_all_its_tasks_and_shows_the_path(length, path):
    names = "abc"[:length]
    tasks = [
        task("crop", name, target={"task": names[(number + 1) % length]}) for number, name in enumerate(names)
    ]
    expected = ("invalid_reference", f"target.task: tasks refer to each other in a cycle: {path}")
    assert refused(*tasks, task("crop", "sibling")) == dict.fromkeys(names, expected)


def test_a_task_that_leads_into_a_cycle_is_refused_for_it():
    plan = planned(
        task("crop", "before", target={"task": "a"}),
        task("crop", "a", target={"task": "b"}),
        task("crop", "b", target={"task": "a"}),
        task("crop", "after", target={"task": "before"}),
    )
    tasks = by_id(plan)
    assert plan.nodes == {}
    for name, followed in {"before": "a", "after": "before"}.items():
        fault = tasks[name].fault
        assert fault.code == "invalid_reference"
        assert fault.message.startswith(f"target.task: task '{followed}' was skipped: ")
        assert fault.caused_by.stage == f"task '{followed}'"
        assert "cycle: a -> b -> a" in fault.root.message
    assert "cycle: a -> b -> a" in tasks["a"].fault.message
    assert "cycle: a -> b -> a" in tasks["b"].fault.message


def test_two_cycles_through_one_task():
    told = refused(
        task("combine", "a", of="b", also="c"),
        task("combine", "b", of="a"),
        task("combine", "c", of="a"),
        task("combine", "d"),
        registry=FOLLOWING,
    )
    assert told.keys() == {"a", "b", "c"}
    assert {code for code, _ in told.values()} == {"invalid_reference"}


@pytest.mark.parametrize("name", ["nobody", "T", " t", "crop"])
def test_a_reference_to_an_unknown_task(name):
    told = refused(task("crop", target={"task": name}), task("crop", "sibling"))
    assert told == {"t": ("invalid_reference", f"target.task: this request has no task '{name}'")}


def test_a_reference_to_a_task_that_is_refused():
    plan = planned(
        task("crop", "a", target={"task": "b"}),
        task("read_text", "b", min_confidence=7),
    )
    fault = by_id(plan)["a"].fault
    assert (fault.status, fault.code) == ("skipped", "invalid_reference")
    assert fault.message.startswith("target.task: task 'b' was skipped: Invalid params for 'read_text'")
    assert fault.caused_by.stage == "task 'b'"
    assert fault.caused_by.code == "invalid_params"


@pytest.mark.parametrize("finds_none", ["embed_hog_hsv", "hash_perceptual", "image_properties"])
def test_a_reference_to_a_task_that_finds_no_boxes(finds_none):
    told = refused(task("crop", "a", target={"task": "b"}), task(finds_none, "b"))
    code, message = told["a"]
    assert told.keys() == {"a"}
    assert code == "invalid_reference"
    assert message.startswith(f"target.task: task 'b' of type '{finds_none}' gives no boxes; these do: ")
    assert "detect_bounding_box" in message
    assert "detect_faces" not in message


def test_a_long_name_is_not_repeated_at_length():
    tasks = [task("combine", "x" * 128, of="y" * 128), task("combine", "y" * 128, of="y" * 128)]
    told = refused(*tasks, registry=FOLLOWING)
    assert len(told) == 2
    assert all(len(message) < 400 for _, message in told.values())


# Refused tasks


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        (task("embed_hog"), "unsupported_operation", ["'embed_hog'", "'embed_hog_hsv'"]),
        (task("detect_faces"), "unsupported_operation", ["'detect_faces'"]),
        (task(""), "unsupported_operation", ["Supported types"]),
        (task("crop", target="nose"), "unsupported_target", ['"nose"', "whole_image", '{"bbox": ...}']),
        (task("crop", target=7), "unsupported_target", ["7", "whole_image"]),
        (task("crop", target=None), "unsupported_target", ["null"]),
        (task("detect_bounding_box", target="whole_image"), "unsupported_target", ["prominent_person"]),
        (
            task("detect_bounding_box", target={"bbox": [0, 0, 1, 1]}),
            "unsupported_target",
            ["'detect_bounding_box'", "all_faces"],
        ),
        (task("read_text", min_confidence=1.5), "invalid_params", ["min_confidence", "equal to 1", "1.5"]),
        (task("read_text", min_confidence="1"), "invalid_params", ["min_confidence", "number", '"1"']),
        (task("read_text", min_confidence=True), "invalid_params", ["min_confidence", "true"]),
        (task("crop", colour="red"), "invalid_params", ["colour: is not a known field"]),
        (task("crop", crop_format="gif"), "invalid_params", ["crop_format", "'webp'", '"gif"']),
        (task("crop", face_context="nose"), "invalid_params", ["face_context"]),
        (task("crop", target={"bbox": [1, 1, 1, 5]}), "invalid_params", ["target.bbox", "no pixel"]),
        (task("crop", target={"bbox": [0, 0, 1.5, 5]}), "invalid_params", ["target.bbox[2]", "1.5"]),
        (task("crop", target={"task": ""}), "invalid_params", ["target.task"]),
        (task("crop", target={"bbox": [0, 0, 1, 1], "task": "a"}), "invalid_params", ["task: is not"]),
    ],
    ids=str,
)
def test_a_task_that_makes_no_sense_is_refused_with_a_reason(wrong, code, words):
    plan = planned(wrong, task("crop", "sibling"))
    fault = by_id(plan)["t"].fault
    assert (fault.status, fault.code) == ("skipped", code)
    for word in words:
        assert word in fault.message
    assert by_id(plan)["t"].node is None
    assert by_id(plan)["sibling"].node is not None


@pytest.mark.parametrize("depth", [10, 200, 300, 900])
def test_a_deeply_nested_param_is_refused(depth):
    value: object = 0
    for _ in range(depth):
        value = [value]
    told = refused(task("crop", "a", target=value), task("read_text", "b", min_confidence=value))
    assert told.keys() == {"a", "b"}
    assert told["a"][0] in {"unsupported_target", "invalid_params"}
    assert told["b"][0] == "invalid_params"


def test_validated_raises_what_the_task_will_answer():
    assert validated(REAL["crop"], {"crop_format": "jpeg"}).crop_format == "jpeg"
    with pytest.raises(UnsupportedTarget):
        validated(REAL["crop"], {"target": "nose"})
    with pytest.raises(InvalidParams):
        validated(REAL["crop"], {"nose": 1})


def test_a_refused_task_leaves_no_node_behind():
    plan = planned(
        task("combine", "a", level=1),
        task("combine", "b", of="a", also="nobody"),
        task("combine", "c", of="wrong"),
        task("combine", "wrong", level="x"),
        registry=FOLLOWING,
    )
    assert list(plan.nodes) == [by_id(plan)["a"].node]


def test_no_task_is_an_empty_plan():
    assert planned() == Plan({}, ())


# Order, heights and users


def test_every_node_follows_its_inputs():
    plan = planned(
        task("hash_perceptual", "a", target={"task": "b"}),
        task("crop", "b", target="prominent_face"),
        task("embed_hog_hsv", "c", target="all_persons"),
    )
    assert_sound(plan)


def test_the_height_is_the_longest_chain_that_waits():
    plan = planned(
        task("detect_bounding_box", "face", target="prominent_face"),
        task("detect_bounding_box", "person", target="prominent_person"),
    )
    heights = [(node.operation.type, node.height) for node in plan.nodes.values()]
    assert sorted(heights, key=lambda entry: -entry[1]) == [
        ("find_objects", 5),
        ("detect_persons", 4),
        ("face_context", 3),
        ("detect_faces", 2),
        ("regions", 1),
        ("regions", 1),
        ("detect_bounding_box", 0),
        ("detect_bounding_box", 0),
    ]


def test_the_tasks_that_share_a_node_stand_in_the_order_of_the_request():
    plan = planned(
        task("crop", "z", target="all_persons", crop_format="none"),
        task("embed_hog_hsv", "a", target="prominent_face"),
        task("image_properties", "m"),
        task("embed_hog_hsv", "q", target={"task": "z"}),
    )
    users = plan.users()
    tasks = by_id(plan)
    assert users[of_type(plan, "detect_persons")[0]] == ["z", "a", "q"]
    assert users[of_type(plan, "detect_faces")[0]] == ["a"]
    assert users[tasks["a"].crop] == ["a"]
    assert users[tasks["z"].node] == ["z", "q"]
    assert users[tasks["m"].node] == ["m"]


def test_upstream_of_the_image_is_the_image():
    assert planned().upstream(IMAGE_NODE) == {IMAGE_NODE}


# The key of the work


def work_of(op: Operation, engine: EngineSpec, fingerprint: str = "0123", **params: Any) -> str:
    chosen = Chosen(engine, fingerprint)
    plan = resolve([Task("t", op.type, params)], Registry([op]), lambda op, params: chosen)
    return plan.nodes[plan.tasks[0].node].work


def measuring(name: str = "measure", version: int = 1) -> Operation:
    def run(first: Sequence[Crop], second: Sequence[Crop], params: Following, engine: Any) -> list[int]:
        """Measure."""
        return [0 for _ in first]

    run.__name__ = name
    return operation(params=Following, needs=follow, engine=[ENGINE, OTHER], version=version)(run)


ENGINE = EngineSpec("toy", ToyWeights(), "MIT", object)
OTHER = replace(ENGINE, name="other")


def test_the_work_is_known_by_all_that_its_result_depends_on():
    measure = measuring()
    works = [
        work_of(measure, ENGINE),
        work_of(measure, OTHER),
        work_of(measure, ENGINE, fingerprint="4567"),
        work_of(measure, ENGINE, level=1),
        work_of(measuring("weigh"), ENGINE),
        work_of(measuring(version=2), ENGINE),
    ]
    assert len(set(works)) == len(works)


def test_the_work_is_known_by_nothing_else():
    assert work_of(measuring(), ENGINE) == work_of(measuring(), ENGINE, level=0)
    assert work_of(measuring(), ENGINE) == work_of(measuring(), replace(ENGINE, licence="BSD", batch=9))


def test_the_chosen_engine_serves():
    measure = measuring()
    chosen = Chosen(OTHER, "0123")
    plan = resolve([task("measure")], Registry([measure]), lambda op, params: chosen)
    assert plan.nodes[plan.tasks[0].node].engine is chosen


# Whatever a client sends

IDS = [f"t{number}" for number in range(8)]

references = st.builds(lambda name: {"task": name}, st.sampled_from([*IDS, "nobody"]))
targets = (
    references
    | references
    | st.sampled_from(["whole_image", "prominent_person", "prominent_face", "all_persons", "all_faces"])
    | st.sampled_from([{"bbox": [0, 0, 5, 5]}, {"bbox": [1, 1, 1, 1]}, "nose", None, 7, [], {}])
)
choices = st.fixed_dictionaries(
    {},
    optional={
        "target": targets,
        "face_context": st.sampled_from(["prominent_person", "whole_image", "elsewhere"]),
        "on_missing": st.sampled_from(["skip", "whole_image", None]),
        "crop_format": st.sampled_from(["png", "jpeg", "none", "gif"]),
    },
)
anything = st.dictionaries(st.text(max_size=5), st.recursive(st.none() | st.integers() | st.text(), st.lists))
types = st.sampled_from([*REAL.public, *REAL.public, *REAL, "unknown"]) | st.text(max_size=8)
task_lists = st.lists(st.tuples(types, choices | choices | anything), max_size=len(IDS)).map(
    lambda drawn: [Task(name, *each) for name, each in zip(IDS, drawn, strict=False)]
)
followings = st.lists(
    st.fixed_dictionaries(
        {"of": st.sampled_from([*IDS, None]), "also": st.sampled_from([*IDS, None, None, "nobody"])}
    ),
    max_size=len(IDS),
).map(lambda drawn: [Task(name, "combine", params) for name, params in zip(IDS, drawn, strict=False)])


def assert_sound(plan: Plan) -> None:
    """What holds of every plan."""
    seen = {IMAGE_NODE}
    for node_id, node in plan.nodes.items():
        assert node.id == node_id
        assert set(node.inputs.values()) <= seen
        seen.add(node_id)
    waiting = {source: node for node in plan.nodes.values() for source in node.inputs.values()}
    for node in plan.nodes.values():
        above = [user.height for user in plan.nodes.values() if node.id in user.inputs.values()]
        assert node.height == max((height + 1 for height in above), default=0)
        assert (node.height > 0) == (node.id in waiting)
    for one in plan.tasks:
        assert (one.node is None) != (one.fault is None)
        assert one.node in {None, *plan.nodes}
        assert one.crop in {None, *plan.nodes}
        assert one.fault is None or one.crop is None
        assert one.fault is None or one.fault.status == "skipped"
    users = plan.users()
    assert users.keys() == plan.nodes.keys()
    assert all(users.values())


def answered(plan: Plan) -> dict[str, str | None]:
    return {one.operation_id: one.fault.code if one.fault else None for one in plan.tasks}


def shared(plan: Plan, names: Iterable[str]) -> set[frozenset[str]]:
    """Which tasks are one node."""
    tasks = by_id(plan)
    return {frozenset(other for other in names if tasks[other].node == tasks[name].node) for name in names}


@settings(max_examples=60)
@given(task_lists, st.randoms(use_true_random=False))
def test_any_list_of_tasks_gives_a_sound_plan_that_does_not_depend_on_its_order(tasks, random):
    plan = planned(*tasks)
    assert [one.operation_id for one in plan.tasks] == [one.operation_id for one in tasks]
    assert_sound(plan)
    assert planned(*tasks) == plan
    shuffled = random.sample(tasks, len(tasks))
    again = planned(*shuffled)
    names = [one.operation_id for one in tasks]
    assert answered(again) == answered(plan)
    assert len(again.nodes) == len(plan.nodes)
    assert shared(again, names) == shared(plan, names)


@given(followings)
def test_any_web_of_references_gives_a_sound_plan(tasks):
    plan = planned(*tasks, registry=FOLLOWING)
    assert_sound(plan)
    names = {one.operation_id for one in tasks}
    needed = {one.operation_id: {name for name in one.params.values() if name is not None} for one in tasks}
    sound: set[str] = set()
    while fresh := {name for name in names - sound if needed[name] <= sound}:
        sound |= fresh
    assert {name for name, code in answered(plan).items() if code is None} == sound


class Deep(Params):
    deep: bool = False
    """Whether the need is one that start-up cannot know of."""


def test_needs_that_raise_fail_their_task_alone(caplog):
    caplog.set_level(logging.ERROR)

    @operation(needs=lambda params: {"crop": IMAGE})
    def unregistered(crop: Sequence[Crop], params: NoParams) -> list[Box]:
        """Not in the registry."""
        return [each.box for each in crop]

    def needs(params: Deep) -> Needs:
        return {"crop": Ref(unregistered, NoParams()) if params.deep else IMAGE}

    @operation(params=Deep, needs=needs)
    def digs(crop: Sequence[Crop], params: Deep) -> list[Box]:
        """Needs more with some params."""
        return [each.box for each in crop]

    plan = resolve(
        [Task("a", "digs", {"deep": True}), Task("b", "digs", {})], Registry([digs]), lambda op, params: None
    )
    failed, planned = plan.tasks
    assert (failed.fault.status, failed.fault.code) == ("error", "internal")
    assert planned.fault is None
    assert "'unregistered' is needed, but is not registered" in caplog.text
