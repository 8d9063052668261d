"""Values of params, as they are written on a command line."""

import difflib
import json
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any, TypeVar

from app.cli.tasks.json_schema import Schema, in_words

Bounded = TypeVar("Bounded", int, float)

_SHOWN = 60


class ValueRefused(ValueError):
    """A text stands for no value that is taken. The message goes on after the param's name."""


def value_of(text: str, schema: Schema) -> Any:
    """The value that a text stands for.

    A list is written `a,b`, an object that has one field `field:value`; lists, objects and texts may also be
    JSON.

    Raises:
        ValueRefused: it stands for none.
    """
    alternatives = schema.alternatives
    for each in alternatives:
        # Who begins so means this one, and is told what it lacks.
        if each.sole is not None and text.startswith(f"{each.sole[0]}:"):
            return _read(text, each)
    several = [each for each in alternatives if each.type != "null"]
    if len(several) == 1 and text != "null":
        return _read(text, several[0])
    for each in sorted(alternatives, key=_order):
        try:
            return _read(text, each)
        except ValueRefused:
            continue
    raise _refused(text, schema)


def nearest(text: str, known: Iterable[str]) -> str | None:
    """The word that was meant, probably."""
    return next(iter(difflib.get_close_matches(text, list(known), n=1)), None)


def text_of(value: Any) -> str:
    """A value as `value_of` reads it."""
    match value:
        case str():
            return value
        case list() if all(isinstance(each, str | int | float) and "," not in str(each) for each in value):
            return ",".join(map(text_of, value))
        case dict() if len(value) == 1 and not isinstance(next(iter(value.values())), dict):
            ((name, inner),) = value.items()
            return f"{name}:{text_of(inner)}"
    return json.dumps(value, ensure_ascii=False)


def _order(schema: Schema) -> int:
    """What any text could stand for is tried last."""
    if schema.choices:
        return 0
    return {"array": 2, "string": 3}.get(schema.type or "", 1)


def _read(text: str, schema: Schema) -> Any:
    value = _READ.get(schema.type, _json)(text, schema)
    if schema.choices and value not in schema.choices:
        raise _refused(text, schema)
    return value


def _null(text: str, schema: Schema) -> None:
    if text != "null":
        raise _refused(text, schema)


def _boolean(text: str, schema: Schema) -> bool:
    if text not in ("true", "false"):
        raise _refused(text, schema)
    return text == "true"


def _integer(text: str, schema: Schema) -> int:
    try:
        value = int(text)
    except ValueError:
        raise _refused(text, schema) from None
    return _within(value, text, schema)


def _number(text: str, schema: Schema) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _refused(text, schema) from None
    if not isfinite(value):
        raise _refused(text, schema)
    return _within(value, text, schema)


def _within(value: Bounded, text: str, schema: Schema) -> Bounded:
    if not schema.of.get("minimum", value) <= value <= schema.of.get("maximum", value):
        raise _refused(text, schema)
    return value


def _string(text: str, schema: Schema) -> str:
    value = text
    if text.startswith('"'):
        try:
            value = json.loads(text)
        except ValueError:
            # It only begins like one.
            value = text
    if not schema.of.get("minLength", 0) <= len(value) <= schema.of.get("maxLength", len(value)):
        raise _refused(text, schema)
    return value


def _array(text: str, schema: Schema) -> list[Any]:
    if text.startswith("["):
        value = _json(text, schema)
        if not isinstance(value, list):
            raise _refused(text, schema)
    else:
        parts = [part.strip() for part in text.split(",")] if text else []
        value = [value_of(part, schema.element(place)) for place, part in enumerate(parts)]
    if not schema.of.get("minItems", 0) <= len(value) <= schema.of.get("maxItems", len(value)):
        raise _refused(text, schema)
    return value


def _object(text: str, schema: Schema) -> dict[str, Any]:
    if schema.sole is not None:
        name, inner = schema.sole
        if text.startswith(f"{name}:"):
            try:
                return {name: value_of(text.removeprefix(f"{name}:"), inner)}
            except ValueRefused:
                raise _refused(text, schema) from None
    value = _json(text, schema)
    if not isinstance(value, dict):
        raise _refused(text, schema)
    return value


def _json(text: str, schema: Schema) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _refused(text, schema) from None


_READ: dict[str | None, Callable[[str, Schema], Any]] = {
    "null": _null,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "string": _string,
    "array": _array,
    "object": _object,
}


def _refused(text: str, schema: Schema) -> ValueRefused:
    from app.core.wording import shortened

    near = nearest(text, (str(choice) for each in schema.alternatives for choice in each.choices))
    hint = f"; did you mean '{near}'?" if near else ""
    return ValueRefused(f"must be {in_words(schema)}, got '{shortened(text, _SHOWN)}'{hint}")
