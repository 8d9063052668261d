"""How messages repeat what a client sent: by the name of the field, and never at length."""

import json
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from app.core.target import RegionParams
from app.core.wording import explain, quoted, shortened


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    size: Annotated[int, Field(ge=1, le=9)] = 1
    grid: list[list[int]] = []


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    inner: Inner = Inner()
    many: list[Inner] = []


def explained(type_: Any, value: object, **options: str) -> str:
    """What is said of a value that a type refuses."""
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(type_).validate_python(value)
    return explain(refused.value.errors(include_url=False), **options)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("short", "short"),
        ("x" * 64, "x" * 64),
        ("x" * 65, "x" * 64 + "..."),
        ("😀" * 65, "😀" * 64 + "..."),
    ],
)
def test_a_long_text_is_shortened(text, shown):
    assert shortened(text) == shown


def test_the_limit_may_be_chosen():
    assert shortened("abcdef", limit=3) == "abc..."


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1, "1"),
        (0.5, "0.5"),
        (None, "null"),
        (True, "true"),
        ("a", '"a"'),
        ("Größe", '"Größe"'),
        ('"', r'"\""'),
        ("a\nb", r'"a\nb"'),
        ([1, "a"], '[1,"a"]'),
        ({"a": {"b": None}}, '{"a":{"b":null}}'),
        (float("nan"), "NaN"),
        ("x" * 100, '"' + "x" * 63 + "..."),
        (list(range(100)), "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,2..."),
    ],
)
def test_a_value_is_quoted_as_json(value, shown):
    assert quoted(value) == shown


def test_what_is_no_json_is_quoted_too():
    assert quoted(...) == '"Ellipsis"'


@pytest.mark.parametrize("depth", [100, 300, 1000])
def test_a_deeply_nested_value_is_quoted_too(depth):
    value: object = 1
    for _ in range(depth):
        value = [value]
    assert 0 < len(quoted(value)) <= 67


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_quote_is_one_short_line(value):
    shown = quoted(value)
    assert len(shown) <= 67
    assert "\n" not in shown


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({}, "name: is required"),
        ({"name": "a", "colour": 1}, "colour: is not a known field"),
        ({"name": 1}, "name: Input should be a valid string, got 1"),
        (
            {"name": "a", "inner": {"size": 10}},
            "inner.size: Input should be less than or equal to 9, got 10",
        ),
        ({"name": "a", "inner": {"colour": 1}}, "inner.colour: is not a known field"),
        (
            {"name": "a", "many": [{}, {"size": "x"}]},
            'many[1].size: Input should be a valid integer, got "x"',
        ),
        (
            {"name": "a", "inner": {"grid": [[0], [0, "x"]]}},
            'inner.grid[1][1]: Input should be a valid integer, got "x"',
        ),
        (
            {"name": 1, "many": "x"},
            'name: Input should be a valid string, got 1; many: Input should be a valid list, got "x"',
        ),
    ],
)
def test_a_problem_is_told_by_the_path_of_its_field(value, told):
    assert explained(Body, value) == told


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ({"bbox": [0, 0, "9", 9]}, 'target.bbox[2]: Input should be a valid integer, got "9"'),
        ({"bbox": [0, 0, 9, 9], "x": 1}, "target.x: is not a known field"),
        ({"task": ""}, 'target.task: String should have at least 1 character, got ""'),
    ],
)
def test_the_tag_of_a_union_is_not_told(target, told):
    with pytest.raises(ValidationError) as refused:
        RegionParams.model_validate_json(json.dumps({"target": target}))
    assert explain(refused.value.errors(include_url=False)) == told


def test_a_problem_of_the_whole_is_told_of_the_body():
    assert explained(str, 1) == "body: Input should be a valid string, got 1"


@pytest.mark.parametrize(
    ("type_", "value", "told"),
    [
        (Body, {}, "tasks_json.name: is required"),
        (list[Body], [{}], "tasks_json[0].name: is required"),
        (str, 1, "tasks_json: Input should be a valid string, got 1"),
    ],
)
def test_a_root_stands_before_every_path(type_, value, told):
    assert explained(type_, value, root="tasks_json") == told


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (1, ["[0]"]),
        (5, ["[0]", "[1]", "[2]", "[3]", "[4]"]),
        (6, ["[0]", "[1]", "[2]", "[3]", "[4]", "and 1 more"]),
        (50, ["[0]", "[1]", "[2]", "[3]", "[4]", "and 45 more"]),
    ],
)
def test_no_more_than_five_problems_are_told(wrong, told):
    lines = explained(list[int], ["x"] * wrong).split("; ")
    assert [line.partition(":")[0] for line in lines] == told


def test_one_problem_is_told_once():
    assert explained(int | float, "x").count("valid integer") == 1
    assert explained(Annotated[int, Field(ge=1)] | Annotated[int, Field(ge=1)], 0).count("greater") == 1


@pytest.mark.parametrize("type_", [Body, list[Body], dict[str, int]])
def test_a_message_stays_short_whatever_was_sent(type_):
    assert len(explained(type_, {"x" * 10_000: "y" * 10_000, "name": ["z" * 10_000] * 1000})) < 1000
