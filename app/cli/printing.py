"""What a terminal is shown of texts that come from elsewhere."""

import sys
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# Into a pipe a table must not be folded.
_PIPE_WIDTH = 240


def printable(text: str) -> str:
    """A text with what moves the cursor, turns the direction or cannot be encoded shown as escapes."""
    return "".join(_escaped(each) if _is_unseen(each) else each for each in text)


def table_console() -> "Console":
    """Where a command prints its table."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table, whose cells may hold anything."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        # As Text, so that brackets in a name mean nothing.
        table.add_row(*(Text(printable(cell)) for cell in row))
    table_console().print(table)


def _is_unseen(character: str) -> bool:
    category = unicodedata.category(character)
    return category.startswith("C") or category in ("Zl", "Zp")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
