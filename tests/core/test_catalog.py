"""The catalog: what it says of every operation, and that the results are as it says."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter

from app.core.artifacts import Crop, Vector, jsonable
from app.core.catalog import (
    allowed_targets,
    data_schema,
    default_target,
    makers,
    other_targets,
    params_schema,
    stages_behind,
)
from app.core.operation import IMAGE, NoParams, Operation, Params, operation
from app.core.registry import Registry, discover
from app.core.resolver import Task, resolve
from app.runtime.outcomes import Outcome
from tests.images import astronaut, encoded

PUBLIC = discover("operations").public
NAMES = ["whole_image", "prominent_person", "prominent_face", "all_persons", "all_faces"]

every_operation = pytest.mark.parametrize("op", PUBLIC.values(), ids=PUBLIC.keys())


@pytest.fixture(scope="module")
def outcomes(tiny_room) -> dict[str, Outcome]:
    """What every operation answers of a photo with a face."""
    room = tiny_room
    tasks = [Task(name, name, example(op)) for name, op in PUBLIC.items()]
    tasks += [Task(name, "embed_hog_hsv", {}) for name in ("first", "second")]
    resources = asyncio.run(room.resources(tasks))
    plan = resolve(tasks, room.registry, room.pool.choose, resources)
    source = room.source(encoded(astronaut()))
    answered = asyncio.run(room.executor.run(plan, source))
    return {outcome.planned.operation_id: outcome for outcome in answered.outcomes}


def example(op: Operation) -> dict[str, Any]:
    assert op.example_params is not None
    params = op.example_params.model_dump(mode="json", exclude_defaults=True)
    return params | ({"face_context": "whole_image"} if "face" in op.type else {})


def described_objects(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of a schema and of its definitions, with its path."""
    for name, definition in [("", schema), *schema.get("$defs", {}).items()]:
        for field, about in definition.get("properties", {}).items():
            yield f"{name}.{field}".lstrip("."), about


def unbounded(schema: dict[str, Any]) -> bool:
    """Whether a client could send a value of any size."""
    variants = [*schema.get("anyOf", []), *schema.get("oneOf", [])]
    if variants:
        return any(unbounded(variant) for variant in variants)
    if "enum" in schema or "const" in schema:
        return False
    match schema.get("type"):
        case "integer" | "number":
            low, high = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}
            return not (low & schema.keys() and high & schema.keys())
        case "string":
            return not {"maxLength", "pattern", "format"} & schema.keys()
        case "array":
            return "maxItems" not in schema or unbounded(schema.get("items", {}))
    return False


# What is said of every operation


@every_operation
def test_every_operation_has_a_summary_of_one_sentence(op):
    assert op.summary[0].isupper()
    assert op.summary.endswith(".")
    assert len(op.summary) <= 110


@every_operation
def test_every_param_is_described_and_bounded(op):
    for path, field in described_objects(params_schema(op)):
        assert field.get("description"), path
        assert not unbounded(field), path


@every_operation
def test_every_field_of_a_result_is_described(op):
    for path, field in described_objects(data_schema(op)):
        assert field.get("description"), path


@every_operation
def test_every_schema_is_plain_json(op):
    for schema in (params_schema(op), data_schema(op)):
        assert orjson.loads(orjson.dumps(schema)) == schema


@every_operation
def test_unknown_params_are_refused_by_the_schema_too(op):
    assert params_schema(op)["additionalProperties"] is False


@every_operation
def test_every_operation_on_regions_names_its_targets(op):
    assert set(allowed_targets(op)) <= set(NAMES)
    assert not set(allowed_targets(op)) & set(other_targets(op))
    if "target" in op.params.model_fields:
        assert allowed_targets(op)
        assert default_target(op) in allowed_targets(op)
    else:
        assert allowed_targets(op) == other_targets(op) == []
        assert default_target(op) is None


@every_operation
def test_the_description_does_not_repeat_the_summary(op):
    assert op.summary not in op.description


# That the results are as it says


@every_operation
def test_a_real_result_is_as_the_schema_says(op, outcomes):
    if op.type not in outcomes:
        pytest.skip("demands params")
    outcome = outcomes[op.type]
    if outcome.fault is not None and outcome.fault.code == "model_unavailable":
        pytest.skip(outcome.fault.message)
    assert outcome.fault is None
    for item in outcome.items:
        assert item.fault is None
        sent = orjson.loads(orjson.dumps(jsonable(item.value), option=orjson.OPT_SERIALIZE_NUMPY))
        if op.output is Vector:
            TypeAdapter(list[float]).validate_python(sent, strict=True)
            assert data_schema(op) == {"type": "array", "items": {"type": "number"}}
        else:
            read = TypeAdapter(op.output).validate_json(orjson.dumps(sent), strict=True)
            assert jsonable(read) == jsonable(item.value)
            if "properties" in data_schema(op):
                assert sent.keys() == data_schema(op)["properties"].keys()


@pytest.mark.parametrize("name", ["crop", "embed_hog_hsv", "hash_perceptual", "image_properties"])
def test_an_image_has_a_result(outcomes, name):
    assert len(outcomes[name].items) == 1
    assert outcomes[name].items[0].value is not None


# Single facts


@pytest.mark.parametrize(
    ("type_", "allowed", "others", "default"),
    [
        ("crop", NAMES, ['{"bbox": ...}', '{"task": ...}'], "whole_image"),
        ("detect_bounding_box", NAMES[1:], [], "prominent_person"),
    ],
)
def test_targets_of_known_operations(type_, allowed, others, default):
    op = PUBLIC[type_]
    assert (allowed_targets(op), other_targets(op), default_target(op)) == (allowed, others, default)


@pytest.mark.parametrize(
    ("type_", "stages"),
    [
        ("crop", ["find_objects", "detect_faces"]),
        ("detect_bounding_box", ["find_objects", "detect_faces"]),
        ("read_codes", ["read_codes", "find_objects", "detect_faces"]),
        ("embed_clip", ["encode_clip", "find_objects", "detect_faces"]),
        ("compare", []),
    ],
)
def test_the_stages_behind_an_operation_are_those_of_all_its_targets(type_, stages):
    assert [stage.type for stage, _ in stages_behind(PUBLIC[type_])] == stages


@pytest.mark.parametrize(
    ("type_", "stages"),
    [
        ("crop", []),
        ("detect_bounding_box", ["find_objects", "detect_faces"]),
        ("read_codes", ["read_codes"]),
        ("read_text", ["read_lines"]),
        ("embed_clip", ["encode_clip"]),
        ("classify_zero_shot", ["classify_zero_shot"]),
        ("embed_hog_hsv", []),
        ("compare", []),
    ],
)
def test_the_makers_of_the_data_are_the_own_engines_or_those_it_is_passed_on_from(type_, stages):
    assert [stage.type for stage, _ in makers(PUBLIC[type_])] == stages


def toy(answer: Any) -> Operation:
    def run(crop: Sequence[Crop], params: Params) -> Any:
        """Answer something."""

    run.__annotations__["return"] = answer
    return operation(needs=lambda _: {"crop": IMAGE})(run)


@pytest.mark.parametrize(
    ("answer", "schema"),
    [
        (list[int], {"type": "integer"}),
        (list[str | None], {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (list[list[int]], {"type": "array", "items": {"type": "integer"}}),
        (list[Vector], {"type": "array", "items": {"type": "number"}}),
    ],
    ids=str,
)
def test_the_schema_of_the_data_is_that_of_one_item(answer, schema):
    assert data_schema(toy(answer)) == schema


def test_an_operation_with_nothing_to_choose():
    op = toy(list[int])
    assert op.params is NoParams
    assert params_schema(op)["properties"] == {}
    assert stages_behind(op) == makers(op) == ()
    assert list(Registry([op]).public) == ["run"]
