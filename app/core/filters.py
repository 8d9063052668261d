"""Filters over the metadata of indexed items: one JSON form, whatever storage evaluates it.

    {"kind": "cat"}                                   equality: a string, a number, true, false or null
    {"year": {"gte": 2000, "lt": 2010}}               ranges: gt, gte, lt, lte over numbers or strings
    {"kind": {"in": ["cat", "dog"]}}                  one of several
    {"or": [{"kind": "cat"}, {"year": {"lt": 1990}}]} and, or; several keys of one object all have to hold

An item whose metadata lacks a key does not match a condition on it, also not one on null. Values of different
types are never equal, and no range holds between them: `1` is not `"1"` and not `true`, but `1` is `1.0`.
Strings are ordered by code points, which orders dates in ISO 8601.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from app.core.wording import quoted, shortened

MAX_DEPTH = 8
MAX_CONDITIONS = 64
MAX_CHOICES = 1000

Scalar = str | int | float | bool | None
Comparison = Literal["gt", "gte", "lt", "lte"]

# What stands in messages for the whole filter.
_ROOT = "filter"

_COMPARISONS: dict[str, Comparison] = {"gt": "gt", "gte": "gte", "lt": "lt", "lte": "lte"}


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value under a key is one of these."""

    key: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The value under a key lies beyond, below or at a bound of its own type."""

    key: str
    comparison: Comparison
    bound: str | int | float


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; of no parts, always."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple["Filter", ...]


Filter = OneOf | Range | All | AnyOf


def parsed(raw: Mapping[str, Any]) -> Filter:
    """A filter in its JSON form.

    Raises:
        ValueError: it is not of the form; the message names the place and the remedy.
    """
    return _object(raw, _ROOT, 1, _Counter())


def _checked(raw: dict[str, Any]) -> dict[str, Any]:
    try:
        parsed(raw)
    except ValueError as error:
        # Who validates a param names its field.
        raise ValueError(re.sub(rf"^{_ROOT}(\.|: )", "", str(error))) from None
    return raw


FilterJson = Annotated[dict[str, Any], AfterValidator(_checked)]
"""A param that holds a filter as the client wrote it; what it means comes from `parsed`."""


def matches(condition: Filter, metadata: Mapping[str, Any]) -> bool:
    """Whether an item with this metadata passes."""
    match condition:
        case All(parts):
            return all(matches(part, metadata) for part in parts)
        case AnyOf(parts):
            return any(matches(part, metadata) for part in parts)
        case OneOf(key, values):
            return key in metadata and any(_equal(metadata[key], value) for value in values)
        case Range(key, comparison, bound):
            return key in metadata and _holds(metadata[key], comparison, bound)


def is_storable(text: str) -> bool:
    """Whether every storage can keep a text: PostgreSQL keeps no NUL, and UTF-8 has no lone surrogates."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


class _Counter:
    """Counts the conditions of one filter."""

    def __init__(self) -> None:
        self._count = 0

    def add(self) -> None:
        self._count += 1
        if self._count > MAX_CONDITIONS:
            raise ValueError(f"{_ROOT}: has more than {MAX_CONDITIONS} conditions")


def _object(raw: Any, place: str, depth: int, counted: _Counter) -> Filter:
    if not isinstance(raw, Mapping):
        raise ValueError(f'{place}: must be an object such as {{"kind": "cat"}}, not {quoted(raw)}')
    if depth > MAX_DEPTH:
        raise ValueError(f"{place}: is nested deeper than {MAX_DEPTH} levels")
    if not raw:
        # It always holds, but a list of a million of them is as long as one of conditions.
        counted.add()
    parts = [part for key, value in raw.items() for part in _key(key, value, place, depth, counted)]
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _key(key: str, value: Any, place: str, depth: int, counted: _Counter) -> list[Filter]:
    here = f"{place}.{shortened(_text(key, place))}"
    if key in ("and", "or") and isinstance(value, list):
        if not value:
            raise ValueError(f"{here}: needs at least one filter in its list")
        parts = tuple(
            _object(part, f"{here}[{number}]", depth + 1, counted) for number, part in enumerate(value)
        )
        return [All(parts) if key == "and" else AnyOf(parts)]
    if isinstance(value, list):
        raise ValueError(f'{here}: must be one value; for one of several, write {{"in": [...]}}')
    if not isinstance(value, Mapping):
        counted.add()
        return [OneOf(key, (_scalar(value, here),))]
    if not value:
        raise ValueError(f"{here}: needs a condition: eq, in, gt, gte, lt or lte")
    return [_condition(key, name, operand, here, counted) for name, operand in value.items()]


def _condition(key: str, name: str, operand: Any, place: str, counted: _Counter) -> Filter:
    counted.add()
    here = f"{place}.{shortened(name)}"
    if name == "eq":
        return OneOf(key, (_scalar(operand, here),))
    if name == "in":
        if not isinstance(operand, Sequence) or isinstance(operand, str):
            raise ValueError(f"{here}: must be a list of values, not {quoted(operand)}")
        if len(operand) > MAX_CHOICES:
            raise ValueError(f"{here}: has {len(operand)} values; at most {MAX_CHOICES} are taken")
        return OneOf(key, tuple(_scalar(each, here) for each in operand))
    if name in _COMPARISONS:
        bound = _scalar(operand, here)
        if bound is None or isinstance(bound, bool):
            raise ValueError(f"{here}: must be a number or a string, not {quoted(operand)}")
        return Range(key, _COMPARISONS[name], bound)
    raise ValueError(f"{here}: is no condition; these are: eq, in, gt, gte, lt, lte")


def _scalar(value: Any, place: str) -> Scalar:
    match value:
        case str():
            return _text(value, place)
        case float() if not math.isfinite(value):
            raise ValueError(f"{place}: must be a finite number, not {value}")
        case None | int() | float():
            return value
    raise ValueError(f"{place}: must be a string, a number, true, false or null, not {quoted(value)}")


def _text(text: str, place: str) -> str:
    # No metadata holds such text, and not every storage can compare with it.
    if not is_storable(text):
        raise ValueError(f"{place}: must hold no NUL and no lone surrogate, not {quoted(text)}")
    return text


def _equal(value: Any, other: Scalar) -> bool:
    return _kind(value) == _kind(other) and bool(value == other)


def _holds(value: Any, comparison: Comparison, bound: Any) -> bool:
    if _kind(value) != _kind(bound):
        return False
    match comparison:
        case "gt":
            return bool(value > bound)
        case "gte":
            return bool(value >= bound)
        case "lt":
            return bool(value < bound)
        case "lte":
            return bool(value <= bound)


def _kind(value: Any) -> str:
    # To Python, true is 1.
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case None:
            return "null"
    return "other"
