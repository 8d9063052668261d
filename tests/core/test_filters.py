"""Filters over metadata: their JSON form, what is refused of it, and what they select."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from app.core.filters import (
    MAX_CHOICES,
    MAX_CONDITIONS,
    MAX_DEPTH,
    All,
    AnyOf,
    FilterJson,
    OneOf,
    Range,
    is_storable,
    matches,
    parsed,
)


@pytest.mark.parametrize(
    ("raw", "filter"),
    [
        ({}, All(())),
        ({"kind": "cat"}, OneOf("kind", ("cat",))),
        ({"kind": None}, OneOf("kind", (None,))),
        ({"kind": {"eq": True}}, OneOf("kind", (True,))),
        ({"kind": {"in": ["cat", 2, None]}}, OneOf("kind", ("cat", 2, None))),
        ({"kind": {"in": []}}, OneOf("kind", ())),
        ({"year": {"lt": 1990.5}}, Range("year", "lt", 1990.5)),
        ({"year": {"gte": 2000, "lt": 2010}}, All((Range("year", "gte", 2000), Range("year", "lt", 2010)))),
        ({"a": 1, "b": 2}, All((OneOf("a", (1,)), OneOf("b", (2,))))),
        ({"or": [{"a": 1}, {}]}, AnyOf((OneOf("a", (1,)), All(())))),
        ({"and": [{"a": 1}]}, All((OneOf("a", (1,)),))),
        # Metadata may well have keys of these names.
        ({"or": "gold", "and": {"in": [1]}}, All((OneOf("or", ("gold",)), OneOf("and", (1,))))),
        ({"": ""}, OneOf("", ("",))),
    ],
)
def test_the_json_form_is_read(raw: dict[str, Any], filter: object) -> None:
    assert parsed(raw) == filter


def nested(levels: int) -> dict[str, Any]:
    filter: dict[str, Any] = {"a": 1}
    for _ in range(levels - 1):
        filter = {"and": [filter]}
    return filter


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (5, 'filter: must be an object such as {"kind": "cat"}, not 5'),
        ({"or": []}, "filter.or: needs at least one filter in its list"),
        ({"or": [{"a": 1}, "b"]}, 'filter.or[1]: must be an object such as {"kind": "cat"}, not "b"'),
        ({"a": {}}, "filter.a: needs a condition: eq, in, gt, gte, lt or lte"),
        ({"a": [1, 2]}, 'filter.a: must be one value; for one of several, write {"in": [...]}'),
        ({"a": {"ne": 1}}, "filter.a.ne: is no condition; these are: eq, in, gt, gte, lt, lte"),
        ({"a": {"in": "cat"}}, 'filter.a.in: must be a list of values, not "cat"'),
        ({"a": {"in": {"b": 1}}}, 'filter.a.in: must be a list of values, not {"b":1}'),
        (
            {"a": {"in": [[1]]}},
            "filter.a.in: must be a string, a number, true, false or null, not [1]",
        ),
        ({"a": {"in": [0] * (MAX_CHOICES + 1)}}, "filter.a.in: has 1001 values; at most 1000 are taken"),
        ({"a": {"gt": True}}, "filter.a.gt: must be a number or a string, not true"),
        ({"a": {"gt": None}}, "filter.a.gt: must be a number or a string, not null"),
        (
            {"a": {"eq": {"b": 1}}},
            'filter.a.eq: must be a string, a number, true, false or null, not {"b":1}',
        ),
        ({"a": float("nan")}, "filter.a: must be a finite number, not nan"),
        ({"a": {"lt": float("inf")}}, "filter.a.lt: must be a finite number, not inf"),
        ({"a": "\0"}, r'filter.a: must hold no NUL and no lone surrogate, not "\u0000"'),
        ({"a": {"gt": "\ud800"}}, r"filter.a.gt: must hold no NUL and no lone surrogate, not '\ud800'"),
        ({"a\0": 1}, r'filter: must hold no NUL and no lone surrogate, not "a\u0000"'),
        (nested(MAX_DEPTH + 1), "filter" + ".and[0]" * MAX_DEPTH + ": is nested deeper than 8 levels"),
        ({"k" * 100: {}}, f"filter.{'k' * 64}...: needs a condition: eq, in, gt, gte, lt or lte"),
    ],
)
def test_what_is_not_of_the_form_is_refused_by_its_place(raw: Any, message: str) -> None:
    with pytest.raises(ValueError, match="filter") as refused:
        parsed(raw)
    assert str(refused.value) == message


def test_the_deepest_filter_is_read() -> None:
    assert matches(parsed(nested(MAX_DEPTH)), {"a": 1})


@pytest.mark.parametrize(
    "too_many",
    [
        {str(number): number for number in range(MAX_CONDITIONS + 1)},
        {"or": [{"a": 1}] * (MAX_CONDITIONS + 1)},
        {"and": [{}] * (MAX_CONDITIONS + 1)},
        {"or": [{"and": [{"a": {"gt": 1, "lt": 2}}] * 20}, {"or": [{"b": 1}] * 25}]},
    ],
)
def test_conditions_are_counted_wherever_they_stand(too_many: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="filter: has more than 64 conditions"):
        parsed(too_many)
    assert parsed({"or": [{"a": 1}] * MAX_CONDITIONS})


METADATA = {
    "kind": "cat",
    "year": 1999,
    "score": 2.0,
    "huge": 2**53 + 1,
    "on": True,
    "off": False,
    "none": None,
    "tags": ["cat"],
    "inner": {"kind": "cat"},
    "date": "2026-03-09",
    "": "empty",
}


@pytest.mark.parametrize(
    ("raw", "selected"),
    [
        ({}, True),
        ({"kind": "cat"}, True),
        ({"kind": "Cat"}, False),
        ({"absent": None}, False),
        ({"none": None}, True),
        ({"none": 0}, False),
        ({"none": {"lte": 0}}, False),
        ({"year": 1999.0}, True),
        ({"score": 2}, True),
        ({"year": "1999"}, False),
        ({"huge": float(2**53)}, False),
        ({"huge": {"gt": float(2**53)}}, True),
        ({"on": True}, True),
        ({"on": 1}, False),
        ({"off": 0}, False),
        ({"off": {"gte": 0}}, False),
        ({"tags": "cat"}, False),
        ({"inner": "cat"}, False),
        ({"inner.kind": "cat"}, False),
        ({"kind": {"in": ["dog", "cat"]}}, True),
        ({"kind": {"in": []}}, False),
        ({"year": {"in": ["1999", True, None]}}, False),
        ({"date": {"gte": "2026-03-01", "lt": "2026-04-01"}}, True),
        ({"date": {"gt": 2026}}, False),
        ({"kind": {"gt": "Zebra"}}, True),
        ({"kind": {"gt": "cat"}}, False),
        ({"kind": {"gte": "cat", "lte": "cat"}}, True),
        ({"year": {"gt": 1998, "lt": 1999}}, False),
        ({"": "empty"}, True),
        ({"or": [{"kind": "dog"}, {"year": 1999}]}, True),
        ({"or": [{"kind": "dog"}, {"year": 1}]}, False),
        ({"and": [{"kind": "cat"}, {"year": 1}]}, False),
        ({"kind": "cat", "or": [{"absent": 1}, {"and": [{}, {"on": True}]}]}, True),
    ],
)
def test_what_is_selected(raw: dict[str, Any], selected: bool) -> None:
    assert matches(parsed(raw), METADATA) is selected


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["and", "or", "eq", "in", "gt", "lt", "a", "\0"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(raw=st.dictionaries(st.sampled_from(["and", "or", "a", ""]), ANYTHING), metadata=ANYTHING)
def test_anything_is_read_or_refused_and_then_answered(raw: dict[str, Any], metadata: Any) -> None:
    try:
        answer = str(matches(parsed(raw), {"a": metadata}))
    except ValueError as refused:
        answer = str(refused)
    assert answer.startswith(("filter", "True", "False"))


class Searching(BaseModel):
    filter: FilterJson = {}


def test_as_a_param_it_stays_as_it_was_written() -> None:
    raw = {"year": {"gte": 2000}}
    assert Searching(filter=raw).filter == raw


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"year": {"above": 2000}}, "year.above: is no condition; these are: eq, in, gt, gte, lt, lte"),
        ({".a": {}}, ".a: needs a condition: eq, in, gt, gte, lt or lte"),
        ({"filter": {}}, "filter: needs a condition: eq, in, gt, gte, lt or lte"),
        ({"and": [{}] * 65}, "has more than 64 conditions"),
        ({"a\0": 1}, r'must hold no NUL and no lone surrogate, not "a\u0000"'),
    ],
)
def test_as_a_param_its_messages_leave_the_field_to_the_param(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Searching(filter=raw)
    (problem,) = refused.value.errors()
    assert (problem["loc"], problem["msg"]) == (("filter",), f"Value error, {message}")


@pytest.mark.parametrize(
    ("text", "storable"), [("", True), ("é🙂\x01", True), ("a\0", False), ("\udfff", False)]
)
def test_text_that_storages_keep(text: str, storable: bool) -> None:
    assert is_storable(text) is storable
