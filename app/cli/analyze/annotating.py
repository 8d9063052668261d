"""What was found, drawn on the image: outlines, points and words in a colour for each task, over a legend."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import cycle

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from app.cli.analyze.marks import XY, Mark
from app.cli.contact_sheet import Font, shortened_to

RGB = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]

# Easy to tell apart, also on photos.
_COLOURS: tuple[RGB, ...] = (
    (230, 25, 75),
    (0, 130, 200),
    (60, 180, 75),
    (245, 130, 48),
    (145, 30, 180),
    (70, 240, 240),
    (240, 50, 230),
    (210, 245, 60),
    (0, 128, 128),
    (255, 225, 25),
)
_INK, _PAPER = (20, 20, 20), (255, 255, 255)
# A smaller image is enlarged, since words on it could not be read.
_LEAST_SIDE = 480
_MOST_TIMES = 8
_SMALLEST_FONT = 13
# Of the picture.
_WIDEST_WORDS = 0.5


class Annotation:
    """A copy of an image that is drawn on.

    Args:
        image: upright, in RGB.
    """

    def __init__(self, image: PIL.Image.Image) -> None:
        self._times = min(_MOST_TIMES, max(1, math.ceil(_LEAST_SIDE / max(image.size))))
        size = (image.width * self._times, image.height * self._times)
        self._picture = image.resize(size, PIL.Image.Resampling.BICUBIC) if self._times > 1 else image.copy()
        self._draw = PIL.ImageDraw.Draw(self._picture)
        # Of a panorama, the longer side is what is looked at.
        side = math.sqrt(size[0] * size[1])
        self._line = max(2, round(side / 320))
        self._font = PIL.ImageFont.load_default(max(_SMALLEST_FONT, round(side / 50)))
        self._line_height = _height(self._font)
        self._drawn: dict[tuple[XY, ...], int] = {}
        self._outlines: list[Rectangle] = []
        self.labels: list[Rectangle] = []

    def draw(self, marks: Mapping[str, Sequence[Mark]], legend: Mapping[str, str]) -> PIL.Image.Image:
        """The image with all marks, and below it what each colour means.

        Args:
            marks: by their tasks.
            legend: what is said of each task.
        """
        colours = dict(zip(legend, cycle(_COLOURS)))
        every = [(mark, colours[task]) for task, of_task in marks.items() for mark in of_task]
        for mark, colour in every:
            self._draw_outline(mark, colour)
            self._draw_points(mark.points, colour)
        self._outlines = [self._around(mark) for mark, _ in every if mark.outline]
        # Words over all lines, whatever their order.
        for mark, colour in every:
            if mark.words and mark.outline:
                self._draw_words(mark, colour)
        return self._with_legend({f"{task}: {told}": colours[task] for task, told in legend.items()})

    def _draw_outline(self, mark: Mark, colour: RGB) -> None:
        if not mark.outline:
            return
        # A place that several tasks name shows the colours of all of them.
        before = self._drawn.get(mark.outline, 0)
        self._drawn[mark.outline] = before + 1
        corners = [(x * self._times, y * self._times) for x, y in mark.outline]
        if mark.is_box:
            (xmin, ymin), (xmax, ymax) = corners[0], corners[2]
            inset = before * self._line
            if min(xmax - xmin, ymax - ymin) <= 2 * (inset + self._line):
                inset = 0
            box = (xmin + inset, ymin + inset, max(xmin, xmax - 1) - inset, max(ymin, ymax - 1) - inset)
            self._draw.rectangle(_grown(box, 1), outline=_INK, width=self._line + 2)
            self._draw.rectangle(box, outline=colour, width=self._line)
            return
        around = [*corners, corners[0], corners[1]] if len(corners) > 1 else corners
        for width, ink in ((self._line + 2, _INK), (self._line, colour)):
            self._draw.line(around, fill=ink, width=width, joint="curve")

    def _draw_points(self, points: Sequence[XY], colour: RGB) -> None:
        for x, y in points:
            self._draw.circle((x * self._times, y * self._times), self._line * 1.5 + 1, fill=_INK)
            self._draw.circle((x * self._times, y * self._times), self._line * 1.5, fill=colour)

    def _draw_words(self, mark: Mark, colour: RGB) -> None:
        pad = self._line
        text = shortened_to(drawable(mark.words), self._picture.width * _WIDEST_WORDS, self._font)
        place = self._place(mark, self._font.getlength(text) + 2 * pad, self._line_height + pad)
        self.labels.append(place)
        self._draw.rectangle(place, fill=colour)
        self._draw.text((place[0] + pad, place[1]), text, fill=_on(colour), font=self._font)

    def _place(self, mark: Mark, width: float, height: float) -> Rectangle:
        """Where words of this size beside a place cover least of what is drawn and written."""
        own = xmin, ymin, xmax, ymax = self._around(mark)
        corners = [
            (xmin, ymin - height),
            (xmax + self._line, ymin),
            (xmin, ymax + self._line),
            (xmin - self._line - width, ymin),
            (xmax - width, ymin - height),
            (xmin, ymin - 2 * height),
            (xmin, ymax + height),
            (xmin, ymin),
        ]
        places = [self._inside((x, y, x + width, y + height)) for x, y in corners]

        def covered(place: Rectangle) -> float:
            labels = sum(_common(place, other) for other in self.labels)
            outlines = sum(_common(place, other) for other in self._outlines if other != own)
            # Of a large place its words may be inside.
            return 4 * labels + outlines + _common(place, own) / 2

        return min(places, key=covered)

    def _around(self, mark: Mark) -> Rectangle:
        """The box of a mark in pixels of the picture."""
        xs, ys = zip(*mark.outline, strict=True)
        times = self._times
        return min(xs) * times, min(ys) * times, max(xs) * times, max(ys) * times

    def _inside(self, place: Rectangle) -> Rectangle:
        """A place, moved into the picture."""
        xmin, ymin, xmax, ymax = place
        right = max(0.0, min(self._picture.width - xmax, 0.0) + xmin) - xmin
        down = max(0.0, min(self._picture.height - ymax, 0.0) + ymin) - ymin
        return xmin + right, ymin + down, xmax + right, ymax + down

    def _with_legend(self, entries: Mapping[str, RGB]) -> PIL.Image.Image:
        row = round(self._line_height * 1.3)
        gap = row // 2
        width, height = self._picture.size
        sheet = PIL.Image.new("RGB", (width, height + gap * 2 + row * len(entries)), _PAPER)
        sheet.paste(self._picture)
        draw = PIL.ImageDraw.Draw(sheet)
        for number, (text, colour) in enumerate(entries.items()):
            top = height + gap + number * row
            swatch = row * 0.6
            draw.rectangle((gap, top + row * 0.2, gap + swatch, top + row * 0.2 + swatch), fill=colour)
            left = gap * 2 + swatch
            line = shortened_to(drawable(text), width - left - gap, self._font)
            draw.text((left, top + row / 2), line, fill=_INK, font=self._font, anchor="lm")
        return sheet


def drawable(text: str) -> str:
    """A text in the characters that the font has, which are those of ASCII: accents fall off."""
    plain = unicodedata.normalize("NFKD", text)
    return "".join(
        each if each.isascii() and each.isprintable() else "?"
        for each in plain
        if not unicodedata.combining(each)
    )


def _height(font: Font) -> float:
    """Of a line of text."""
    _, top, _, bottom = font.getbbox("Ág")
    return bottom + top


def _grown(box: Rectangle, by: float) -> Rectangle:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def _common(one: Rectangle, other: Rectangle) -> float:
    """The area that two have in common."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _on(colour: RGB) -> RGB:
    """Ink that can be read on a colour."""
    red, green, blue = colour
    return _INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else _PAPER
