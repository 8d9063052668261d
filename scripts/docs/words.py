"""JSON schemas in words, for tables."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Link = Callable[[str], str]

_COUNTED = ("string", "number", "integer", "object", "file", "boolean")
# By the keyword of the least and of the most.
_BOUNDS = (
    ("minimum", "maximum", "{} to {}", "at least {}", "at most {}"),
    ("exclusiveMinimum", "exclusiveMaximum", "over {} and under {}", "over {}", "under {}"),
)


def plain(name: str) -> str:
    """The name of a schema where there is nothing to link to."""
    return f"`{name}`"


def kind(schema: Mapping[str, Any] | bool, link: Link = plain) -> str:
    """What a value must be, as a phrase.

    Args:
        schema: its JSON schema.
        link: how a named schema is referred to.
    """
    if isinstance(schema, bool) or not schema:
        return "any JSON"
    if "$ref" in schema:
        return link(named(schema["$ref"]))
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return ", ".join(map(code, schema["enum"]))
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(kind(each, link) for each in schema[several]))
    if "allOf" in schema:
        return " and ".join(kind(each, link) for each in schema["allOf"])
    types = schema.get("type", "any JSON")
    if isinstance(types, list):
        return " or ".join(kind({**schema, "type": each}, link) for each in types)
    return _OF_TYPE.get(types, lambda *_: types)(schema, link)


def _array(schema: Mapping[str, Any], link: Link) -> str:
    if "prefixItems" in schema:
        return f"[{', '.join(kind(each, link) for each in schema['prefixItems'])}]"
    amount = _amount(schema.get("minItems", 0), schema.get("maxItems"))
    items = schema.get("items", {})
    return f"list of {amount + ' ' if amount else ''}{_plural(kind(items, link))}"


def _object(schema: Mapping[str, Any], link: Link) -> str:
    values = schema.get("additionalProperties")
    if isinstance(values, Mapping) and values:
        return f"object: {kind(values, link)} by name"
    return "object"


def _string(schema: Mapping[str, Any], link: Link) -> str:
    if schema.get("format") == "binary":
        return "file"
    if "contentMediaType" in schema or "contentSchema" in schema:
        content = schema.get("contentSchema")
        return "JSON text" if content is None else f"JSON text of {kind(content, link)}"
    amount = _amount(schema.get("minLength", 0), schema.get("maxLength"))
    length = f" of {amount} characters" if amount else ""
    pattern = f" like `{schema['pattern']}`" if "pattern" in schema else ""
    return f"string{length}{pattern}"


def _number(schema: Mapping[str, Any], link: Link) -> str:
    bounds = []
    for low, high, both, least, most in _BOUNDS:
        if low in schema and high in schema:
            bounds.append(both.format(short(schema[low]), short(schema[high])))
        elif low in schema:
            bounds.append(least.format(short(schema[low])))
        elif high in schema:
            bounds.append(most.format(short(schema[high])))
    return f"{schema['type']} ({', '.join(bounds)})" if bounds else schema["type"]


_OF_TYPE: dict[str, Callable[[Mapping[str, Any], Link], str]] = {
    "array": _array,
    "object": _object,
    "string": _string,
    "number": _number,
    "integer": _number,
}


def named(reference: str) -> str:
    """The last step of a `$ref`; of one into a schema also the schema: `AnalyzeRequest.tasks`."""
    steps = reference.split("/")
    if "properties" in steps:
        at = steps.index("properties")
        return f"{steps[at - 1]}.{steps[at + 1]}"
    return steps[-1]


def short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def code(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text}`"


def one_line(text: str | None) -> str:
    """A description inside a cell of a table."""
    return " ".join((text or "").split()).replace("|", "\\|")


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    headings = tuple(headings)
    lines = [headings, ("-",) * len(headings), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def fields(schema: Mapping[str, Any], link: Link = plain, *, defaults: bool = True) -> str:
    """The fields of an object, as a table."""
    required = set(schema.get("required", ()))

    def default(name: str, field: Mapping[str, Any]) -> str:
        if name in required:
            return "required"
        value = field.get("default")
        # An object of its own rather than a value to repeat.
        return "none" if value in (None, {}, []) else code(value)

    headings = ("field", "is", "default", "meaning") if defaults else ("field", "is", "meaning")
    rows = []
    for name, field in schema.get("properties", {}).items():
        cells = [f"`{name}`", kind(field, link), one_line(field.get("description"))]
        if defaults:
            cells.insert(2, default(name, field))
        rows.append(cells)
    return table(headings, rows)


def _amount(least: int, most: int | None) -> str:
    if most is None:
        return f"{least:,} or more" if least > 0 else ""
    if least == most:
        return f"{most:,}"
    return f"{least:,} to {most:,}" if least else f"up to {most:,}"


def _plural(words: str) -> str:
    """Of the simple kinds; all others stay as they are."""
    simple, space, rest = words.partition(" ")
    return f"{simple}s{space}{rest}" if simple in _COUNTED else words
