"""What an examination finds."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_SHOWN_NAMES = 8


class Level(StrEnum):
    """From good to bad."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    `topic` is what was looked at. `message` says what is the case, and `remedy` what to do about it.
    """

    topic: str
    level: Level
    message: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "check": self.topic,
            "level": str(self.level),
            "message": self.message,
            "remedy": self.remedy or None,
        }


Findings = Iterator[Finding]
Examination = Callable[[], Findings]


def ok(topic: str, message: str) -> Finding:
    return Finding(topic, Level.OK, message)


def warning(topic: str, message: str, remedy: str) -> Finding:
    return Finding(topic, Level.WARNING, message, remedy)


def problem(topic: str, message: str, remedy: str) -> Finding:
    return Finding(topic, Level.PROBLEM, message, remedy)


def worst(findings: Iterable[Finding]) -> Level:
    order = list(Level)
    return max((each.level for each in findings), key=order.index, default=Level.OK)


def listed(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    shown = ", ".join(names[:_SHOWN_NAMES])
    left = len(names) - _SHOWN_NAMES
    return f"{shown} and {left} more" if left > 0 else shown


def size(number: float) -> str:
    """Bytes, for people."""
    from rich.filesize import decimal

    return decimal(int(number))
