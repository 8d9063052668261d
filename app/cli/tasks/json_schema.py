"""What the catalog's JSON schemas say.

They come from how operations declare their params and data; nothing here knows one of those by its name.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

_MOST_NAMED = 12
_NO_BOUND = 2**31 - 1
# How far what holds itself is told, a list of such lists, say.
_DEEPEST = 4
_DEEPER = "..."


@dataclass(frozen=True)
class Schema:
    """A JSON schema, with the definitions that it refers to."""

    of: Mapping[str, Any]
    definitions: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def root(cls, schema: Mapping[str, Any]) -> "Schema":
        return cls(schema, schema.get("$defs", {}))

    @cached_property
    def alternatives(self) -> "list[Schema]":
        """What it allows, without references; itself, where that is one thing."""
        # One that only refers to itself says nothing, as the empty one does.
        return list(self._leaves(frozenset())) or [self._inner({})]

    def _leaves(self, behind: frozenset[str]) -> "Iterator[Schema]":
        if "$ref" in self.of:
            name = self.of["$ref"].rpartition("/")[2]
            if name not in behind:
                yield from self._inner(self.definitions[name])._leaves(behind | {name})
            return
        several = self.of.get("anyOf") or self.of.get("oneOf")
        if several is None:
            yield self
            return
        for each in several:
            yield from self._inner(each)._leaves(behind)

    @property
    def type(self) -> str | None:
        kind = self.of.get("type")
        return kind if isinstance(kind, str) else None

    @property
    def choices(self) -> list[Any]:
        """The values that it lists, if it does."""
        return [self.of["const"]] if "const" in self.of else list(self.of.get("enum", []))

    @cached_property
    def properties(self) -> "dict[str, Schema]":
        return {name: self._inner(each) for name, each in self.of.get("properties", {}).items()}

    @property
    def required(self) -> list[str]:
        return list(self.of.get("required", []))

    @property
    def sole(self) -> "tuple[str, Schema] | None":
        """The property that an object must have, where there is no other one."""
        return (
            next(iter(self.properties.items())) if len(self.properties) == len(self.required) == 1 else None
        )

    def element(self, place: int = 0) -> "Schema":
        """Of an array's element."""
        fixed = self.of.get("prefixItems", [])
        return self._inner(fixed[place] if place < len(fixed) else self.of.get("items", {}))

    @property
    def is_box(self) -> bool:
        """Whether it is declared as a box of the image. One of another image is declared as plain numbers."""
        return self._titles == ["Xmin", "Ymin", "Xmax", "Ymax"]

    @property
    def is_point(self) -> bool:
        """Whether it is declared as a point of the image."""
        return self._titles == ["X", "Y"]

    @property
    def _titles(self) -> list[str | None]:
        return [each.get("title") for each in self.of.get("prefixItems", [])]

    def _inner(self, schema: Mapping[str, Any]) -> "Schema":
        return Schema(schema, self.definitions)


def in_words(schema: Schema, depth: int = _DEEPEST) -> str:
    """What is taken, for people."""
    if not depth:
        return _DEEPER
    told = [word for each in schema.alternatives if each.type != "null" for word in _words(each, depth)]
    return one_of(list(dict.fromkeys(told)))


def one_of(words: Sequence[str]) -> str:
    """`a, b or c`; many are cut off."""
    if len(words) > _MOST_NAMED:
        return f"{', '.join(words[:_MOST_NAMED])} or {len(words) - _MOST_NAMED} more"
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _words(schema: Schema, depth: int) -> list[str]:
    if schema.choices:
        return [str(choice) for choice in schema.choices]
    match schema.type:
        case "boolean":
            return ["true", "false"]
        case "integer":
            return [f"a whole number{_bounds(schema, 'minimum', 'maximum')}"]
        case "number":
            return [f"a number{_bounds(schema, 'minimum', 'maximum')}"]
        case "string":
            return [f"a text{_bounds(schema, 'minLength', 'maxLength', ' characters')}"]
        case "array" if "prefixItems" in schema.of:
            return [_placeholder(schema, depth)]
        case "array":
            inside = in_words(schema.element(), depth - 1)
            return [f"a list{_bounds(schema, 'minItems', 'maxItems')} of: {inside}"]
        case "object" if schema.sole is not None:
            name, inner = schema.sole
            return [f"{name}:{_placeholder(inner, depth)}"]
        case "object":
            return ["a JSON object"]
    return ["JSON"]


def _bounds(schema: Schema, least: str, most: str, unit: str = "") -> str:
    low, high = schema.of.get(least), schema.of.get(most)
    # What only keeps a number inside what a machine holds tells a user nothing.
    low = None if low is None or low <= -_NO_BOUND else low
    high = None if high is None or high >= _NO_BOUND else high
    if low is not None and high is not None:
        return f" from {low} to {high}{unit}"
    if high is not None:
        return f" up to {high}{unit}"
    return "" if low is None else f" from {low}{unit}"


def _placeholder(schema: Schema, depth: int) -> str:
    inner = schema.alternatives[0]
    if depth and "prefixItems" in inner.of:
        elements = (inner.element(place) for place, _ in enumerate(inner.of["prefixItems"]))
        return ",".join(_placeholder(element, depth - 1) for element in elements)
    return {"string": "NAME", "integer": "N", "number": "N"}.get(inner.type or "", _DEEPER)
