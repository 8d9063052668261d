"""Filters and metadata mean the same in every storage, however odd."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.filters import matches, parsed
from app.index.storage import MAX_HITS, Declaration, ItemRegion, NewItem, Query, Storage

# Metadata that a storage may take for something else: each value under each key in turn.
ODD_KEYS = (
    "k",
    "",
    "a.b",
    "it's",
    'say "so"',
    "100%",
    "%(k)s",
    "{}",
    "$.k",
    "é",
    "K",
    "and",
    "\\u0041",
    "k ",
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.0, 0.0, -0.0, 0.1, 1e-7, 5e-324, 1.5, 1e16, 1e22, 1.7e308, -1e300),
    *(
        2**53,
        2**53 + 1,
        float(2**53),
        2**63 - 1,
        float(2**63),
        -(2**63),
        -float(2**63),
        2**64 - 1,
        10**16 + 1,
    ),
    *("", "0", "1", "1.0", "true", "null", "a", "A", "b", "Z", "é", "e\u0301", "z", "ß", "\ud7ff", "\ue000"),
    *(
        "\U0001f642",
        "100%",
        "it's",
        'say "so"',
        "\\",
        "\\u0041",
        "a\nb",
        "{}",
        "%s",
        "2026-03-09",
        "2026-3-9",
    ),
    *([], ["a"], [1], {}, {"k": 1}, {"k": "a"}, "[1]", '{"k": 1}'),
)
SCALARS = [value for value in ODD_VALUES if not isinstance(value, list | dict)]
BOUNDS = [value for value in SCALARS if value is not None and not isinstance(value, bool)]


def odd_metadata() -> list[dict[str, Any]]:
    """Every value under the first key, the others shifted against each other, and some keys missing."""
    return [
        {
            key: ODD_VALUES[(number + 5 * place) % len(ODD_VALUES)]
            for place, key in enumerate(ODD_KEYS)
            if place == 0 or (number + place) % 4
        }
        for number in range(len(ODD_VALUES))
    ] + [{}]


def conditions() -> st.SearchStrategy[dict[str, Any]]:
    keys, scalars = st.sampled_from(ODD_KEYS), st.sampled_from(SCALARS)
    ranges = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.sampled_from(BOUNDS), min_size=1)
    one = st.dictionaries(
        keys, scalars | st.fixed_dictionaries({"in": st.lists(scalars, max_size=12)}) | ranges, max_size=3
    )
    return st.recursive(
        one,
        lambda inner: st.dictionaries(
            st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3), min_size=1
        ),
        max_leaves=6,
    )


@pytest.fixture
def odd(storage: Storage) -> Storage:
    """A storage with a collection of odd metadata."""
    storage.create(Declaration("odd", "embed", {}))
    vectors = np.random.default_rng(5).normal(size=(len(ODD_VALUES) + 1, 4)).astype(np.float32)
    items = [
        NewItem(f"{number:03d}", (ItemRegion(vector, phash=number),), metadata)
        for number, (vector, metadata) in enumerate(zip(vectors, odd_metadata(), strict=True))
    ]
    storage.add("odd", items, "space")
    return storage


def differing(storage: Storage, raw: Mapping[str, Any]) -> list[str]:
    """The ids that a storage selects otherwise than `matches`."""
    filter = parsed(raw)
    right = {f"{number:03d}" for number, each in enumerate(odd_metadata()) if matches(filter, each)}
    query = Query(k=MAX_HITS, filter=filter)
    (hits,) = storage.search("odd", np.ones((1, 4), np.float32), query)
    near = storage.near_hashes("odd", 0, 64, query)
    return sorted(({hit.id for hit in hits} ^ right) | ({each.hit.id for each in near} ^ right))


def test_equality_and_ranges_select_what_they_say(odd: Storage) -> None:
    filters: list[dict[str, Any]] = [{"k": value} for value in SCALARS]
    filters += [{"k": {name: bound}} for bound in BOUNDS for name in ("gt", "gte", "lt", "lte")]
    filters += [{key: ODD_VALUES[7 * place]} for place, key in enumerate(ODD_KEYS[:5])]
    filters += [{key: {"gte": ""}} for key in ODD_KEYS] + [{key: {"lt": 10**20}} for key in ODD_KEYS]
    filters += [{"k": {"in": SCALARS}}, {"k": {"in": []}}, {"missing": None}, {}]
    assert {json.dumps(raw): found for raw in filters if (found := differing(odd, raw))} == {}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=conditions())
def test_filters_select_what_they_say(odd: Storage, raw: dict[str, Any]) -> None:
    assert differing(odd, raw) == []


def test_metadata_comes_back_as_it_was_given(odd: Storage) -> None:
    kept = [item.metadata for item in odd.items("odd", limit=100)]
    # As text, in which 1 is not 1.0 and keys have an order.
    assert list(map(json.dumps, kept)) == list(map(json.dumps, odd_metadata()))
