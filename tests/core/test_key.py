"""The digest behind every key: the same everywhere, and different for whatever differs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.geometry import Box
from app.core.key import digest

ROOT = Path(__file__).parents[2]

WORDS = ("work", 3, 0.5, True, None, {"b": [1, 2], "a": {"Größe": "日本"}}, "😀", "\x00")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_a_digest_is_160_bits_of_hex():
    assert len(digest("a")) == 40
    assert int(digest("a"), 16) >= 0


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_another_process_gives_the_same_digest(seed):
    code = f"from app.core.key import digest; print(digest(*{WORDS!r}))"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == digest(*WORDS)


@pytest.mark.parametrize("position", range(len(WORDS)))
def test_every_part_counts(position):
    changed = [*WORDS]
    changed[position] = "changed"
    left_out = [word for number, word in enumerate(WORDS) if number != position]
    assert len({digest(*WORDS), digest(*changed), digest(*left_out)}) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(["a", "b"], ["b", "a"], id="order"),
        pytest.param(["a", "b"], ["ab"], id="joined"),
        pytest.param(["a", "b"], ["a,b"], id="a comma inside"),
        pytest.param(["a", "b"], ['a","b'], id="quotes inside"),
        pytest.param([["a"], "b"], ["a", ["b"]], id="nesting"),
        pytest.param([], [None], id="nothing and null"),
        pytest.param([None], ["null"], id="null and its name"),
        pytest.param([1], ["1"], id="a number and its digits"),
        pytest.param([1], [True], id="one and true"),
        pytest.param([0], [False], id="zero and false"),
        pytest.param([0.1], [0.1 + 2**-54], id="the last bit of a float"),
        pytest.param([{"a": 1, "b": 2}], [{"a": 2, "b": 1}], id="values swapped"),
        pytest.param([{"a": None}], [{}], id="a field that is null"),
        pytest.param(["é"], ["e\u0301"], id="composed and decomposed"),
        pytest.param(["é"], ["\\u00e9"], id="a character and its escape"),
        pytest.param(["😀"], ["😁"], id="beyond the basic plane"),
    ],
)
def test_what_differs_has_another_digest(one, other):
    assert digest(*one) != digest(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param([{"a": 1, "b": 2}], [{"b": 2, "a": 1}], id="order of fields"),
        pytest.param([Box(1, 2, 3, 4)], [[1, 2, 3, 4]], id="a box and its numbers"),
        pytest.param([(1, (2, 3))], [[1, [2, 3]]], id="tuples and lists"),
    ],
)
def test_what_is_the_same_in_json_has_one_digest(one, other):
    assert digest(*one) == digest(*other)


@given(json_values)
def test_a_trip_over_the_wire_changes_no_digest(value):
    assert digest(json.loads(json.dumps(value))) == digest(value)


@given(json_values, json_values)
def test_two_digests_are_equal_exactly_when_the_values_are(one, other):
    def canonical(value: object) -> str:
        return json.dumps(value, sort_keys=True)

    assert (digest(one) == digest(other)) == (canonical(one) == canonical(other))


def test_what_is_no_json_has_no_digest():
    with pytest.raises(TypeError):
        digest(object())
