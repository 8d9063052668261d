"""Plots as inline SVG: lines, dots, bars and intervals on axes with round ticks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

# Told apart by people who see colours differently, too (Okabe and Ito).
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7a5195",
    "#8c6d31",
    "#4d4d4d",
    "#b2182b",
)

_WIDTH, _HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 46

# For what shows an SVG without the style sheet of its page.
_FAINT = 'stroke="#dfe4ea"'

Points = Sequence[tuple[float, float]]


def shown(text: str) -> str:
    """Any text as HTML; control characters are told and not sent."""
    return escape("".join(letter if letter.isprintable() else "�" for letter in text))


@dataclass(frozen=True, slots=True)
class Range:
    """From where to where an axis runs."""

    low: float
    high: float

    def part(self, value: float) -> float:
        """0 at the low end, 1 at the high one, and never beyond."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def ticks(self) -> list[float]:
        """About five round numbers."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = min((factor * power for factor in (1, 2, 2.5, 5, 10)), key=lambda step: abs(step - rough))
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return [round((first + number) * step, 12) for number in range(count)]


SHARE = Range(0.0, 1.0)


def around(values: Sequence[float], *, floor: float | None = None) -> Range:
    """A range that holds all values with some room."""
    low = min(values) if floor is None else floor
    high = max(values)
    room = (high - low) * 0.06 or 0.5
    return Range(low if floor is not None else low - room, high + room)


@dataclass(slots=True)
class Plot:
    """Axes that are drawn upon; `svg` gives the whole.

    Args:
        title: says what is seen, to those who do not see it.
        x_label: below the axis.
        y_label: beside it.
        x: its range.
        y: its range.
    """

    title: str
    x_label: str
    y_label: str
    x: Range = SHARE
    y: Range = SHARE
    _marks: list[str] = field(default_factory=list)
    _legend: list[tuple[str, str]] = field(default_factory=list)

    def line(self, points: Points, colour: str, name: str = "", *, dashed: bool = False) -> None:
        path = " ".join(f"{self._across(x):.1f},{self._up(y):.1f}" for x, y in points)
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self._marks.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{1.2 if dashed else 2}"'
            f' stroke-linejoin="round"{dash}/>'
        )
        if name:
            self._legend.append((colour, name))

    def dots(self, points: Points, colour: str, sizes: Sequence[float], notes: Sequence[str]) -> None:
        for (x, y), size, note in zip(points, sizes, notes, strict=True):
            self._marks.append(
                f'<circle cx="{self._across(x):.1f}" cy="{self._up(y):.1f}" r="{size:.1f}" fill="{colour}"'
                f' fill-opacity="0.85"><title>{shown(note)}</title></circle>'
            )

    def bars(self, edges: Sequence[float], heights: Sequence[float], colour: str, name: str) -> None:
        """From each edge to the next; drawn over others, which shine through."""
        for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
            if height:
                top = self._up(height)
                self._marks.append(
                    f'<rect x="{self._across(left) + 0.5:.1f}" y="{top:.1f}"'
                    f' width="{self._across(right) - self._across(left) - 1:.1f}"'
                    f' height="{self._up(self.y.low) - top:.1f}" fill="{colour}" fill-opacity="0.5"/>'
                )
        self._legend.append((colour, name))

    def mark(self, x: float, name: str) -> None:
        """An upright line with words."""
        across = self._across(x)
        side, shift = ("end", -5) if x > (self.x.low + self.x.high) / 2 else ("start", 5)
        self._marks.append(
            f'<line x1="{across:.1f}" x2="{across:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" class="mark"'
            f' stroke="#1c2430" stroke-dasharray="2 3"/>'
            f'<text x="{across + shift:.1f}" y="{_TOP + 12}" text-anchor="{side}" class="note">'
            f"{shown(name)}</text>"
        )

    def svg(self) -> str:
        axes = []
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        for tick in self.x.ticks():
            across = self._across(tick)
            axes.append(
                f'<line x1="{across:.1f}" x2="{across:.1f}" y1="{_TOP}" y2="{bottom}" class="grid" {_FAINT}/>'
                f'<text x="{across:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>'
            )
        for tick in self.y.ticks():
            up = self._up(tick)
            axes.append(
                f'<line x1="{_LEFT}" x2="{right}" y1="{up:.1f}" y2="{up:.1f}" class="grid" {_FAINT}/>'
                f'<text x="{_LEFT - 7}" y="{up + 4:.1f}" text-anchor="end">{tick:g}</text>'
            )
        middle = (_TOP + bottom) / 2
        axes.append(
            f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}" text-anchor="middle" class="name">'
            f"{shown(self.x_label)}</text>"
            f'<text transform="translate(13 {middle}) rotate(-90)" text-anchor="middle" class="name">'
            f"{shown(self.y_label)}</text>"
        )
        drawing = (
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" font-size="11" role="img"'
            f' aria-label="{shown(self.title)}">'
            f"{''.join(axes)}{''.join(self._marks)}</svg>"
        )
        keys = "".join(
            f'<span><i style="background:{colour}"></i>{shown(name)}</span>' for colour, name in self._legend
        )
        return (
            f"<figure><figcaption>{shown(self.title)}</figcaption>{drawing}<p class=keys>{keys}</p></figure>"
        )

    def _across(self, x: float) -> float:
        return _LEFT + self.x.part(x) * (_WIDTH - _LEFT - _RIGHT)

    def _up(self, y: float) -> float:
        return _HEIGHT - _BOTTOM - self.y.part(y) * (_HEIGHT - _TOP - _BOTTOM)


def whisker(value: float, low: float, high: float, of: Range, colour: str) -> str:
    """An interval with its figure, for a cell of a table; all of one range line up."""
    left, right, middle = (6 + 168 * of.part(place) for place in (low, high, value))
    return (
        '<svg viewBox="0 0 180 18" class="whisker" aria-hidden="true">'
        '<line x1="6" x2="174" y1="9" y2="9" class="grid"/>'
        f'<line x1="{left:.1f}" x2="{right:.1f}" y1="9" y2="9" stroke="{colour}" stroke-width="4"'
        ' stroke-opacity="0.4" stroke-linecap="round"/>'
        f'<circle cx="{middle:.1f}" cy="9" r="4" fill="{colour}"/></svg>'
    )
