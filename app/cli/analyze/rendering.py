"""The answer to an image, for a terminal: each result in the form that its data has."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from app.cli.printing import printable
from app.cli.tasks.json_schema import Schema
from app.core.wording import shortened

if TYPE_CHECKING:
    from app.client import Answer, TaskResult

# The JSON schemas of the data of each task.
Schemas = Mapping[str, Schema]

_STYLES = {"success": "green", "error": "bold red", "skipped": "yellow"}
_FIRST_NUMBERS = 5
# Shorter than any embedding, and longer than a box or a point.
_FEW_NUMBERS = 8
_INLINE = 120
_INDENT = 2


def rendered(answer: "Answer", types: Mapping[str, str], schemas: Schemas) -> RenderableType:
    """All results of an image.

    Args:
        answer: to the tasks.
        types: the operation of each task.
        schemas: of their data.
    """
    return Group(*(_result(each, types.get(name), schemas.get(name)) for name, each in answer.items()))


def heading(source: str, answer: "Answer") -> Text:
    """Which image it is, and how long it took."""
    told = (
        [] if answer.image is None else [f"{answer.image.width}x{answer.image.height} {answer.image.format}"]
    )
    total = answer.timings_ms.get("total")
    told += [] if total is None else [f"{total:.0f} ms"]
    return Text.assemble((printable(source), "bold"), (printable("  " + ", ".join(told)), "dim"))


def inline(value: Any) -> str:
    """Data on one line."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case str():
            return " ".join(value.split())
        case []:
            return "none"
        case list() if _is_vector(value):
            first = " ".join(f"{each:.4g}" for each in value[:_FIRST_NUMBERS])
            return f"{len(value)} numbers: {first} ..."
        case list() if all(isinstance(each, int | float) for each in value):
            return " ".join(map(inline, value))
        case list():
            return f"{len(value)}: {'; '.join(map(inline, value))}"
        case dict():
            return ", ".join(f"{name} {inline(each)}" for name, each in value.items() if each is not None)
    return str(value)


def _result(result: "TaskResult", type_: str | None, schema: Schema | None) -> RenderableType:
    engine = result.model.engine if result.model else None
    facts = [
        type_ if type_ != result.id else None,
        engine,
        f"{result.timing_ms:.0f} ms" if result.ok else None,
    ]
    head = Text.assemble(
        (printable(result.id), "bold"),
        "  ",
        (result.status, _STYLES[result.status]),
        ("  " + "  ".join(printable(each) for each in facts if each), "dim"),
    )
    parts: list[RenderableType] = []
    if not result.ok:
        parts.append(_line(f"{result.error_code}: {result.error_message}"))
        cause = result.caused_by
        if cause is not None and cause.message not in (result.error_message or ""):
            parts.append(_line(f"caused by {cause.stage}: {cause.code}: {cause.message}"))
    elif result.items is not None:
        parts.append(_items(result))
    else:
        if result.cropped_image_bbox is not None and result.data != list(result.cropped_image_bbox):
            parts.append(Text(f"of {_box(result.cropped_image_bbox)}", "dim"))
        parts += _data(result.data, schema)
    parts += [Text(printable(f"warning: {warning}"), "yellow") for warning in result.warnings]
    return Group(head, *(Padding(part, (0, 0, 0, _INDENT), expand=False) for part in parts))


def _data(data: Any, schema: Schema | None) -> Iterable[RenderableType]:
    """The data of one region."""
    match data:
        case None:
            yield Text("nothing found", "dim")
        case str():
            yield from map(_line, data.splitlines() or [""])
        case list() if schema is not None and schema.is_box:
            yield Text(_box(data))
        case list() if _is_table(data):
            yield _table(data)
        case dict():
            yield from _object(data)
        case _:
            yield _line(inline(data))


def _object(data: Mapping[str, Any]) -> Iterable[RenderableType]:
    """Its plain fields one a line, then its lists as tables."""
    tables = {name: value for name, value in data.items() if _is_table(value)}
    fields = Table.grid(padding=(0, 2))
    for name, value in data.items():
        if value not in (None, "") and name not in tables and not _says_a_column(value, tables.values()):
            fields.add_row(Text(printable(name), "dim"), _line(inline(value)))
    if fields.rows:
        yield fields
    for name, rows in tables.items():
        if rows and (len(tables) > 1 or fields.rows):
            yield Text(printable(name), "dim")
        yield _table(rows) if rows else Text(f"no {printable(name)}", "dim")


def _items(result: "TaskResult") -> RenderableType:
    """What was made of each region, as a table."""
    items = result.items or []
    rows: list[dict[str, Any]] = []
    for number, item in enumerate(items):
        data = f"{item.error_code}: {item.error_message}" if not item.ok else item.data
        rows.append(
            {
                "item": number,
                "bbox": list(item.bbox),
                "label": item.label,
                "confidence": item.confidence,
                # A detection's data is the box that is there already.
                "data": None if data == list(item.bbox) else data,
            }
        )
    return _table(rows) if rows else Text("nothing found", "dim")


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows with the fields that any of them has; outlines are left out, since their boxes are there."""
    names = dict.fromkeys(name for row in rows for name, value in row.items() if value is not None)
    table = Table(box=None, pad_edge=False, header_style="dim")
    shown = [name for name in names if not any(_is_outline(row.get(name)) for row in rows)]
    for name in shown:
        numbers = all(isinstance(row.get(name), int | float | None) for row in rows)
        table.add_column(printable(name), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        cells = [row.get(name) for name in shown]
        table.add_row(
            *(_line(shortened(inline(cell), _INLINE)) if cell is not None else "" for cell in cells)
        )
    return table


def _line(text: str) -> Text:
    # As Text, so that brackets in what an image says mean nothing.
    return Text(printable(text))


def _box(box: Sequence[int]) -> str:
    xmin, ymin, xmax, ymax = box
    return f"{xmin} {ymin} {xmax} {ymax} ({xmax - xmin}x{ymax - ymin})"


def _is_vector(value: Sequence[Any]) -> bool:
    return len(value) > _FEW_NUMBERS and all(isinstance(each, int | float) for each in value)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _is_outline(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, list) for each in value)


def _says_a_column(value: Any, tables: Iterable[Sequence[Mapping[str, Any]]]) -> bool:
    """Whether a text is only what the rows of a table say one by one."""
    columns = [[row.get(name) for row in rows] for rows in tables for name in (rows[0] if rows else ())]
    return isinstance(value, str) and any(value.splitlines() == column for column in columns)
