"""The result cache: bounded in bytes, the least recently used goes first."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.artifacts import Data, Detections, EncodedImage, Region, Vector, size_in_bytes
from app.core.geometry import Box
from app.runtime.cache import ResultCache


class Words(Data):
    text: str


def result(size: int) -> EncodedImage:
    """A result that counts as so many bytes."""
    empty = size_in_bytes(EncodedImage(""))
    return EncodedImage("x" * (size - empty))


def filled(max_bytes: int, *keys: str, size: int = 1000) -> ResultCache:
    cache = ResultCache(max_bytes)
    for key in keys:
        cache.put(key, result(size))
    return cache


def kept(cache: ResultCache, keys: str = "abcdef") -> str:
    return "".join(key for key in keys if key in cache)


def test_what_was_put_is_found():
    cache, value = ResultCache(10_000), result(1000)
    cache.put("a", value)
    assert cache.get("a") is value
    assert cache.get("b") is None
    assert "a" in cache
    assert "b" not in cache
    assert (len(cache), cache.bytes_used) == (1, 1000)


@pytest.mark.parametrize(
    ("max_bytes", "survivors"),
    [(6000, "abcdef"), (5999, "bcdef"), (3000, "def"), (1000, "f"), (999, "")],
)
def test_the_bytes_are_bounded(max_bytes, survivors):
    cache = filled(max_bytes, *"abcdef")
    assert kept(cache) == survivors
    assert cache.bytes_used == 1000 * len(survivors) <= max_bytes


def test_a_large_result_takes_the_place_of_several():
    cache = filled(4000, *"abcd")
    cache.put("e", result(2500))
    assert kept(cache) == "de"


@pytest.mark.parametrize(
    ("used", "survivors"),
    [("", "cdef"), ("a", "adef"), ("ab", "abef"), ("ba", "abef"), ("aaaa", "adef"), ("dcba", "abef")],
)
def test_what_was_used_lately_stays(used, survivors):
    cache = filled(4000, *"abcd")
    for key in used:
        assert cache.get(key) is not None
    for key in "ef":
        cache.put(key, result(1000))
    assert kept(cache) == survivors


def test_to_look_is_not_to_use():
    cache = filled(2000, *"ab")
    assert "a" in cache
    cache.put("c", result(1000))
    assert kept(cache) == "bc"


def test_to_put_again_is_to_use():
    cache = filled(2000, *"aba")
    assert cache.bytes_used == 2000
    cache.put("c", result(1000))
    assert kept(cache) == "ac"


def test_a_result_that_is_replaced_counts_once():
    cache = filled(4000, "a", size=3000)
    cache.put("a", result(500))
    assert (len(cache), cache.bytes_used) == (1, 500)


def test_a_result_that_is_larger_than_the_whole_is_let_go():
    cache = filled(2000, *"ab")
    cache.put("c", result(2001))
    assert kept(cache) == "ab"
    cache.put("c", result(2000))
    assert kept(cache) == "c"


def test_a_cache_of_no_bytes_keeps_nothing():
    cache = ResultCache(0)
    cache.put("a", EncodedImage(None))
    assert cache.get("a") is None
    assert (len(cache), cache.bytes_used) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(300, 2500)), max_size=40))
def test_no_order_of_results_exceeds_the_bound(puts):
    cache = ResultCache(4000)
    for key, size in puts:
        cache.put(key, result(size))
        assert cache.get(key) is not None
        assert cache.bytes_used <= 4000
        assert cache.bytes_used == sum(size_in_bytes(cache.get(each)) for each in kept(cache))


@pytest.mark.parametrize(
    ("value", "payload"),
    [
        pytest.param(Vector(np.zeros(2500, np.float32)), 10_000, id="vector"),
        pytest.param(EncodedImage("x" * 10_000), 10_000, id="image"),
        pytest.param(Words(text="x" * 10_000), 10_000, id="structured"),
        pytest.param(Detections((Region(Box(0, 0, 1, 1), "face"),) * 100), 10_000, id="detections"),
        pytest.param("x" * 10_000, 10_000, id="text"),
        pytest.param(["x" * 100] * 100, 10_000, id="list"),
        pytest.param({str(n): "x" * 100 for n in range(100)}, 10_000, id="dict"),
        pytest.param(np.zeros((50, 200), np.uint8), 10_000, id="array"),
        pytest.param(b"\xff" * 10_000, 10_000, id="bytes"),
        pytest.param([Words(text="x" * 100)] * 100, 10_000, id="list of structured"),
        pytest.param((np.zeros(5000, np.uint8),) * 2, 10_000, id="tuple of arrays"),
        pytest.param([Vector(np.zeros(1250, np.float32))] * 2, 10_000, id="list of vectors"),
    ],
)
def test_a_large_result_of_any_kind_counts_its_bytes(value: Any, payload: int):
    assert size_in_bytes(value) >= payload
    cache = ResultCache(payload // 2)
    cache.put("a", value)
    assert "a" not in cache


@pytest.mark.parametrize("value", [None, 0, "", Box(0, 0, 1, 1), EncodedImage(None)], ids=repr)
def test_even_nothing_counts_something(value):
    assert size_in_bytes(value) > 0
