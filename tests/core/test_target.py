"""Targets: every form that is taken or refused, and what the schema says of them."""

import json
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.core.geometry import Box
from app.core.operation import OUTSIDE_KEY, NoParams
from app.core.target import (
    BoxTarget,
    PersonOrFace,
    RegionParams,
    Target,
    TargetParams,
    TaskTarget,
    target_forms,
    target_names,
)

NAMES = ["whole_image", "prominent_person", "prominent_face", "all_persons", "all_faces"]
FARTHEST = 2**31 - 1

TARGET: TypeAdapter[Target] = TypeAdapter(Target)


class PersonOrFaceParams(TargetParams):
    """As an operation declares that finds persons and faces."""

    target: Annotated[PersonOrFace, OUTSIDE_KEY] = "prominent_person"


def validated(target: object) -> object:
    """By the rules of JSON, as a request is read."""
    return RegionParams.model_validate_json(json.dumps({"target": target})).target


# Taken


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_taken(name):
    assert validated(name) == name


@pytest.mark.parametrize(
    "bbox",
    [
        pytest.param([0, 0, 1, 1], id="one pixel"),
        pytest.param([-10, -20, 30, 40], id="over the edge"),
        pytest.param([10_000, 10_000, 20_000, 20_000], id="outside of most images"),
        pytest.param([-FARTHEST, -FARTHEST, FARTHEST, FARTHEST], id="as far as it goes"),
    ],
)
def test_a_box_is_taken(bbox):
    target = validated({"bbox": bbox})
    assert isinstance(target, BoxTarget)
    assert target.box == Box(*bbox)


@pytest.mark.parametrize("name", ["a", "faces", "x" * 128, "whole_image", "Größe 😀", "-> '\""])
def test_a_task_is_taken(name):
    assert validated({"task": name}) == TaskTarget(task=name)


def test_the_whole_image_is_the_default():
    params = RegionParams()
    assert params.target == "whole_image"
    assert params.face_context == "prominent_person"
    assert params.on_missing is None
    assert params.crop_format == "png"


# Refused


@pytest.mark.parametrize(
    "target",
    [
        "",
        "nose",
        "Whole_Image",
        " whole_image",
        None,
        1,
        True,
        [],
        ["whole_image"],
        {},
        {"box": [0, 0, 1, 1]},
        {"name": "whole_image"},
    ],
    ids=json.dumps,
)
def test_an_unknown_target_is_refused(target):
    with pytest.raises(ValidationError) as refused:
        validated(target)
    assert {error["type"] for error in refused.value.errors()} <= {"literal_error", "union_tag_not_found"}
    assert refused.value.errors()[0]["loc"][0] == "target"


@pytest.mark.parametrize(
    ("bbox", "problem"),
    [
        pytest.param([5, 5, 5, 9], "encloses no pixel", id="no width"),
        pytest.param([5, 5, 9, 5], "encloses no pixel", id="no height"),
        pytest.param([9, 9, 5, 5], "encloses no pixel", id="inside out"),
        pytest.param([9, 5, 5, 9], "encloses no pixel", id="turned in one direction"),
        pytest.param([0, 0, 1], "Field required", id="three numbers"),
        pytest.param([0, 0, 1, 1, 1], "at most 4", id="five numbers"),
        pytest.param([], "Field required", id="empty"),
        pytest.param([0, 0, "9", 9], "valid integer", id="a string"),
        pytest.param([0, 0, 9.5, 9], "valid integer", id="a fraction"),
        pytest.param([0, 0, True, 9], "valid integer", id="a boolean"),
        pytest.param([0, 0, None, 9], "valid integer", id="null"),
        pytest.param([0, 0, FARTHEST + 1, 9], "less than or equal", id="too far"),
        pytest.param([-FARTHEST - 1, 0, 9, 9], "greater than or equal", id="too far left"),
        pytest.param([0, 0, 10**30, 9], "less than or equal", id="beyond any integer"),
        pytest.param("0,0,9,9", "valid array", id="text"),
        pytest.param(None, "valid array", id="no box"),
        pytest.param({"xmin": 0}, "valid array", id="an object"),
    ],
)
def test_a_box_that_is_none_is_refused(bbox, problem):
    with pytest.raises(ValidationError) as refused:
        validated({"bbox": bbox})
    for error in refused.value.errors():
        assert error["loc"][:2] == ("target", "@bbox")
        assert problem in error["msg"]


@pytest.mark.parametrize("name", ["", "x" * 129, 1, None, ["a"], True], ids=json.dumps)
def test_a_task_that_cannot_be_named_is_refused(name):
    with pytest.raises(ValidationError):
        validated({"task": name})


@pytest.mark.parametrize(
    "target",
    [{"bbox": [0, 0, 1, 1], "task": "a"}, {"bbox": [0, 0, 1, 1], "margin": 3}, {"task": "a", "index": 0}],
    ids=json.dumps,
)
def test_an_unknown_field_beside_a_form_is_refused(target):
    with pytest.raises(ValidationError) as refused:
        validated(target)
    assert {error["type"] for error in refused.value.errors()} == {"extra_forbidden"}


@pytest.mark.parametrize(
    "target", ["whole_image", {"bbox": [0, 0, 1, 1]}, {"task": "a"}, None], ids=json.dumps
)
def test_an_operation_may_take_fewer_targets(target):
    with pytest.raises(ValidationError):
        PersonOrFaceParams.model_validate_json(json.dumps({"target": target}))


# One region or many


@pytest.mark.parametrize(
    ("target", "plural"),
    [
        ("whole_image", False),
        ("prominent_person", False),
        ("prominent_face", False),
        ("all_persons", True),
        ("all_faces", True),
        (BoxTarget(bbox=(0, 0, 1, 1)), False),
        (TaskTarget(task="a"), True),
        (TaskTarget(task="whole_image"), True),
    ],
    ids=str,
)
def test_a_target_is_of_one_region_or_of_many(target, plural):
    assert RegionParams(target=target).is_plural is plural


def test_no_target_changes_what_is_computed_on_a_region():
    chosen = RegionParams(
        target="all_faces", face_context="whole_image", on_missing="skip", crop_format="webp"
    )
    assert chosen.canonical() == {}
    assert chosen.computing() == RegionParams()


# What the schema says


@pytest.mark.parametrize(
    ("params", "names", "forms"),
    [
        (RegionParams, NAMES, [*NAMES, '{"bbox": ...}', '{"task": ...}']),
        (TargetParams, NAMES, [*NAMES, '{"bbox": ...}', '{"task": ...}']),
        (PersonOrFaceParams, NAMES[1:], NAMES[1:]),
        (NoParams, [], []),
    ],
)
def test_names_and_forms(params, names, forms):
    assert target_names(params) == tuple(names)
    assert target_forms(params) == tuple(forms)


def test_an_operation_may_take_one_form():
    class BoxParams(TargetParams):
        target: Annotated[BoxTarget, OUTSIDE_KEY]

    assert target_names(BoxParams) == ()
    assert target_forms(BoxParams) == ('{"bbox": ...}',)


def test_the_schema_describes_every_form():
    schema = RegionParams.model_json_schema()
    target = schema["properties"]["target"]
    assert target["default"] == "whole_image"
    assert "description" in target
    names, bbox, task = target["oneOf"]
    assert names["enum"] == NAMES
    bbox, task = (schema["$defs"][form["$ref"].rpartition("/")[2]] for form in (bbox, task))
    assert bbox["properties"]["bbox"]["minItems"] == bbox["properties"]["bbox"]["maxItems"] == 4
    assert bbox["additionalProperties"] is False
    assert task["properties"]["task"] | {"maxLength": 128, "minLength": 1} == task["properties"]["task"]
    assert all("description" in field for field in schema["properties"].values())


def test_the_schema_is_plain_json():
    schema = RegionParams.model_json_schema()
    assert json.loads(json.dumps(schema)) == schema


pairs = st.lists(st.integers(-FARTHEST, FARTHEST), min_size=2, max_size=2, unique=True).map(sorted)
targets = (
    st.sampled_from(NAMES)
    | st.builds(lambda xs, ys: {"bbox": [xs[0], ys[0], xs[1], ys[1]]}, pairs, pairs)
    | st.text(min_size=1, max_size=128).map(lambda name: {"task": name})
)


@given(targets)
def test_what_was_taken_is_written_as_it_came(target):
    taken = validated(target)
    assert TARGET.dump_python(taken, mode="json") == target
    assert TARGET.validate_json(TARGET.dump_json(taken)) == taken
