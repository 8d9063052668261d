"""JSON schemas in the words of the reference."""

import pytest

from scripts.docs.words import fields, kind, named


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, "any JSON"),
        (True, "any JSON"),
        ({"type": "string"}, "string"),
        ({"type": "string", "minLength": 1, "maxLength": 128}, "string of 1 to 128 characters"),
        ({"type": "string", "maxLength": 200}, "string of up to 200 characters"),
        ({"type": "string", "pattern": "^a$"}, "string like `^a$`"),
        ({"type": "string", "format": "binary"}, "file"),
        ({"type": "string", "contentMediaType": "application/json"}, "JSON text"),
        ({"type": "integer", "minimum": 0, "maximum": 10_000}, "integer (0 to 10,000)"),
        ({"type": "number", "minimum": 0.5}, "number (at least 0.5)"),
        ({"type": "number", "exclusiveMinimum": 0}, "number (over 0)"),
        ({"type": ["number", "null"], "maximum": 1}, "number (at most 1) or null"),
        ({"const": "a"}, "`a`"),
        ({"enum": ["a", 1, None]}, "`a`, `1`, `null`"),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "boolean or null"),
        ({"type": "array", "items": {"type": "number"}}, "list of numbers"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}, "list of 2 strings"),
        (
            {"type": "array", "items": {"$ref": "#/$defs/Box"}, "minItems": 1, "maxItems": 9},
            "list of 1 to 9 `Box`",
        ),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, "[integer, string]"),
        ({"type": "object"}, "object"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "object: number by name"),
    ],
)
def test_a_schema_in_words(schema, words):
    assert kind(schema) == words


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("#/components/schemas/TaskResult", "TaskResult"),
        ("#/components/schemas/AnalyzeRequest/properties/tasks", "AnalyzeRequest.tasks"),
    ],
)
def test_the_name_of_what_is_referred_to(reference, name):
    assert named(reference) == name


def test_fields_as_a_table():
    schema = {
        "properties": {
            "id": {"type": "string", "description": "One | two\nlines."},
            "k": {"type": "integer", "default": 10},
            "metadata": {"type": "object", "default": {}},
        },
        "required": ["id"],
    }
    assert fields(schema).splitlines() == [
        "| field | is | default | meaning |",
        "| - | - | - | - |",
        "| `id` | string | required | One \\| two lines. |",
        "| `k` | integer | `10` |  |",
        "| `metadata` | object | none |  |",
    ]
    assert fields(schema, defaults=False).splitlines()[0] == "| field | is | meaning |"
