"""Filters as SQL conditions that select exactly what `app.core.filters.matches` selects.

The column `attributes`, jsonb, holds of an item's metadata what a filter can look at: the strings, numbers,
booleans and nulls of its top level.
"""

from collections.abc import Mapping
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from app.core.filters import All, AnyOf, Comparison, Filter, OneOf, Range, Scalar

_OPERATORS: dict[Comparison, sql.SQL] = {
    "gt": sql.SQL(">"),
    "gte": sql.SQL(">="),
    "lt": sql.SQL("<"),
    "lte": sql.SQL("<="),
}

# Of so many values of a list each is looked up.
_MAX_LOOKED_UP = 8


def attributes_of(metadata: Mapping[str, Any]) -> dict[str, Scalar]:
    """What filters see of metadata, to be kept as jsonb."""
    return {
        key: _exact(value)
        for key, value in metadata.items()
        if value is None or isinstance(value, str | int | float)
    }


def condition(filter: Filter | None) -> tuple[sql.Composable, dict[str, Any]]:
    """A condition on `attributes`, with the values of its named placeholders."""
    values: dict[str, Any] = {}
    return (sql.SQL("TRUE") if filter is None else _compiled(filter, values)), values


def _compiled(filter: Filter, values: dict[str, Any]) -> sql.Composable:
    match filter:
        case All(parts):
            return _joined("AND", "TRUE", [_compiled(part, values) for part in parts])
        case AnyOf(parts):
            return _joined("OR", "FALSE", [_compiled(part, values) for part in parts])
        case OneOf(key, choices):
            if len(choices) > _MAX_LOOKED_UP:
                # Of a long list the server makes a hash table.
                equal = [Jsonb(_exact(choice)) for choice in choices]
                return sql.SQL("attributes -> {} = ANY({}::jsonb[])").format(
                    _kept(key, values, "::text"), _kept(equal, values)
                )
            # Containment of a key with a scalar is equality of both, which the index on `attributes` finds.
            contained = [Jsonb({key: _exact(choice)}) for choice in choices]
            return _joined(
                "OR", "FALSE", [sql.SQL("attributes @> {}").format(_kept(each, values)) for each in contained]
            )
        case Range(key, comparison, bound):
            # Compared as text only where it is text: jsonb orders strings by the database's collation, and
            # values of different types by their types. An absent key gives NULL, which holds nowhere.
            template = (
                "(jsonb_typeof(attributes -> {key}) = 'string'"
                ' AND attributes ->> {key} COLLATE "C" {is_} {bound}::text)'
                if isinstance(bound, str)
                else "(jsonb_typeof(attributes -> {key}) = 'number' AND attributes -> {key} {is_} {bound})"
            )
            return sql.SQL(template).format(
                key=_kept(key, values, "::text"),
                is_=_OPERATORS[comparison],
                bound=_kept(bound if isinstance(bound, str) else Jsonb(_exact(bound)), values),
            )


def _joined(operator: str, empty: str, parts: list[sql.Composable]) -> sql.Composable:
    if not parts:
        return sql.SQL(empty)
    return sql.SQL("({})").format(sql.SQL(f" {operator} ").join(parts))


def _kept(value: Any, values: dict[str, Any], cast: str = "") -> sql.Composable:
    name = f"filter_{len(values)}"
    values[name] = value
    return sql.Placeholder(name) + sql.SQL(cast)


def _exact(value: Scalar) -> Scalar:
    """A number so that its decimal digits are its exact value where an integer may equal it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
