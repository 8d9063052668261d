"""What an answer says of places in the image: boxes, outlines and points, with a few words to each.

Which values of an operation's data are places is told by the JSON schema of its data.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app.cli.tasks.json_schema import Schema

if TYPE_CHECKING:
    from app.client import Answer, Item, TaskResult

XY = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in pixels of the upright image.

    `outline` is a box or a polygon by its corners; xmax and ymax are exclusive.
    """

    outline: tuple[XY, ...] = ()
    is_box: bool = True
    points: tuple[XY, ...] = ()
    words: str = ""


def marks_of(answer: "Answer", schemas: Mapping[str, Schema]) -> dict[str, list[Mark]]:
    """The places by the tasks that name them; none for a task that failed.

    Args:
        answer: to the tasks of an image.
        schemas: of their data.
    """
    return {
        name: [
            mark if mark.words else replace(mark, words=name)
            for mark in (_of_result(result, schemas.get(name, Schema({}))) if result.ok else ())
        ]
        for name, result in answer.items()
    }


def _of_result(result: "TaskResult", schema: Schema) -> Iterator[Mark]:
    for item in result.items or ():
        found = [mark for mark in _places(item.data, schema) if mark.outline != _corners(item.bbox)]
        yield _of_item(item, "" if found else _words(item.data))
        yield from found
    if result.items is not None:
        return
    found = list(_places(result.data, schema))
    yield from found
    if result.cropped_image_bbox is not None and not found:
        yield Mark(_corners(result.cropped_image_bbox), words=_words(result.data))


def _of_item(item: "Item", said: str) -> Mark:
    told = [item.label, None if item.confidence is None else f"{item.confidence:.2f}", said]
    points = tuple((point.x, point.y) for point in item.landmarks or ())
    return Mark(_corners(item.bbox), points=points, words=" ".join(filter(None, told)))


def _places(value: Any, schema: Schema) -> Iterator[Mark]:
    """Those in data of this schema, at any depth."""
    for each in schema.alternatives:
        if isinstance(value, list) and each.is_box:
            yield Mark(_corners(value))
            return
        if isinstance(value, list) and each.type == "array":
            for place, element in enumerate(value):
                yield from _places(element, each.element(place))
            return
        if isinstance(value, dict) and each.properties:
            yield from _of_object(value, each.properties)
            return


def _of_object(value: Mapping[str, Any], properties: Mapping[str, Schema]) -> Iterator[Mark]:
    """The object's own place, and those of what it holds."""
    boxes = [value[name] for name, schema in properties.items() if value.get(name) and _is_box(schema)]
    polygons = [value[name] for name, schema in properties.items() if value.get(name) and _is_polygon(schema)]
    if polygons:
        yield Mark(tuple((x, y) for x, y in polygons[0]), is_box=False, words=_words(value))
    elif boxes:
        yield Mark(_corners(boxes[0]), words=_words(value))
    for name, schema in properties.items():
        if not _is_box(schema) and not _is_polygon(schema):
            yield from _places(value.get(name), schema)


def _is_box(schema: Schema) -> bool:
    return any(each.is_box for each in schema.alternatives)


def _is_polygon(schema: Schema) -> bool:
    return any(
        each.type == "array"
        and "items" in each.of
        and any(inner.is_point for inner in each.element().alternatives)
        for each in schema.alternatives
    )


def _words(data: Any) -> str:
    """What data says in words, and how sure it is; of a list, which begins with the best, its first."""
    match data:
        case str():
            return " ".join(data.split())
        case [dict() as first, *_]:
            return _words(first)
        case dict():
            texts = [_words(each) for each in data.values() if isinstance(each, str | list)]
            said = " ".join(filter(None, texts))
            shares = [each for each in data.values() if isinstance(each, float) and 0 <= each <= 1]
            return f"{said} {shares[0]:.2f}" if said and shares else said
    return ""


def _corners(box: Sequence[float]) -> tuple[XY, ...]:
    xmin, ymin, xmax, ymax = box
    return ((xmin, ymin), (xmax, ymin), (xmax, ymax), (xmin, ymax))
