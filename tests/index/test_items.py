"""What of items can be kept: the same in every storage."""

import datetime
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import InvalidParams
from app.core.geometry import Box
from app.index.items import MAX_ID_LENGTH, checked_items
from app.index.storage import ItemRegion, NewItem

VECTOR = np.ones(4, np.float32)


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"a": [1, 2.5, None, True, {"b": "é🙂"}]},
        {"": ""},
        {"backslash": "\\u0000"},
        {"a": 2**64 - 1},
        nested(100),
    ],
)
def test_json_is_kept(metadata: dict[str, Any]) -> None:
    (written,) = checked_items([NewItem("a", (), metadata)])
    assert json.loads(written) == metadata


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (NewItem("", ()), 'id: must be 1 to 512 characters, without NUL and lone surrogates, not ""'),
        (NewItem("a\0", ()), "id: must be 1 to 512 characters"),
        (NewItem("\ud800", ()), "id: must be 1 to 512 characters"),
        (NewItem("a" * (MAX_ID_LENGTH + 1), ()), "id: must be 1 to 512 characters"),
        (NewItem("a", (), {"b": "\0"}), 'item "a", metadata: must hold no NUL character'),
        (NewItem("a", (), {"b": "\\\0"}), 'item "a", metadata: must hold no NUL character'),
        (NewItem("a", (), {"b\0": 1}), 'item "a", metadata: must hold no NUL character'),
        (NewItem("a", (), {"b": "\udc00"}), 'item "a", metadata: cannot be written as JSON'),
        (
            NewItem("a", (), {"b": 2**64}),
            'item "a", metadata: cannot be written as JSON: Integer exceeds 64-bit',
        ),
        (NewItem("a", (), {"b": float("nan")}), 'item "a", metadata: must hold JSON values only, and finite'),
        (NewItem("a", (), {"b": [float("-inf")]}), 'item "a", metadata: must hold JSON values only'),
        (
            NewItem("a", (), {"b": datetime.date(2026, 3, 9)}),
            'item "a", metadata: must hold JSON values only',
        ),
        (NewItem("a", (), {"b": b"bytes"}), 'item "a", metadata: cannot be written as JSON'),
        (NewItem("a", (), {1: "b"}), 'item "a", metadata: cannot be written as JSON'),
        (NewItem("a", (), nested(5000)), 'item "a", metadata: cannot be written as JSON: Recursion limit'),
        (NewItem("a", (), width=2**31), 'item "a": pixels must lie within 2147483647, not 2147483648'),
        (NewItem("a", (ItemRegion(VECTOR, Box(0, 0, 1, 2**70)),)), 'item "a": pixels must lie within'),
        (NewItem("a", (ItemRegion(VECTOR, phash=2**64),)), 'item "a": phash must be 64 bits'),
        (NewItem("a", (ItemRegion(VECTOR, phash=-1),)), 'item "a": phash must be 64 bits, not -1'),
        (NewItem("a", (), sha256="\0"), 'item "a": sha256 must hold no NUL and no lone surrogate'),
    ],
)
def test_what_cannot_be_kept_is_refused_by_its_name(item: NewItem, message: str) -> None:
    with pytest.raises(InvalidParams) as refused:
        checked_items([NewItem("fine", ()), item])
    assert str(refused.value).startswith(message)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec=None), max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(metadata=st.dictionaries(st.text(max_size=3), VALUES, max_size=4))
def test_any_metadata_is_kept_exactly_or_refused(metadata: dict[str, Any]) -> None:
    try:
        (written,) = checked_items([NewItem("a", (), metadata)])
    except InvalidParams:
        return
    assert json.dumps(json.loads(written)) == json.dumps(metadata)
