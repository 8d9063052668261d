"""Boxes and points, in pixels of the upright whole image, origin at the top left."""

from math import ceil, floor
from typing import NamedTuple


class Point(NamedTuple):
    x: float
    y: float


class Box(NamedTuple):
    """`[xmin, ymin, xmax, ymax]`, integer pixels; xmax and ymax are exclusive."""

    xmin: int
    ymin: int
    xmax: int
    ymax: int

    @property
    def width(self) -> int:
        return self.xmax - self.xmin

    @property
    def height(self) -> int:
        return self.ymax - self.ymin

    @property
    def area(self) -> int:
        """Pixels inside; 0 for a box that is empty or turned inside out."""
        return max(0, self.width) * max(0, self.height)

    def clip(self, within: "Box") -> "Box | None":
        """The part inside `within`, or None when no pixel of it is."""
        box = Box(
            max(self.xmin, within.xmin),
            max(self.ymin, within.ymin),
            min(self.xmax, within.xmax),
            min(self.ymax, within.ymax),
        )
        return box if box.width > 0 and box.height > 0 else None

    @classmethod
    def rounded(cls, xmin: float, ymin: float, xmax: float, ymax: float, within: "Box") -> "Box | None":
        """The nearest whole pixels of a detector's box, inside `within`; None when nothing is left."""
        return cls(round(xmin), round(ymin), round(xmax), round(ymax)).clip(within)

    @classmethod
    def around(cls, points: "list[Point] | tuple[Point, ...]", within: "Box") -> "Box | None":
        """The smallest whole-pixel box that holds every point, inside `within`.

        Points on one line of pixels still have a box of one pixel.
        """
        xs, ys = [point.x for point in points], [point.y for point in points]
        xmin, ymin = floor(min(xs)), floor(min(ys))
        return cls(xmin, ymin, max(xmin + 1, ceil(max(xs))), max(ymin + 1, ceil(max(ys)))).clip(within)
