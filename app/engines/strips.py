"""Strips: images many times longer than wide, before a model that looks at their middle square.

Such a model's own preprocessing scales the shorter side to its input size and cuts the middle square out. A
strip of 200,000x1 pixels would become one of 44,800,000x224 in between.
"""

from app.core.artifacts import Pixels

# So far from the ends, what is cut off does not reach into the middle square, and no photo is that long.
LONGEST = 16


def middle_of_strip(pixels: Pixels) -> Pixels:
    """Cut a strip to the middle `LONGEST` of its squares; other images stay as they are.

    `pixels` is RGB uint8 [height, width, 3]. The middle stays the middle, to the pixel.
    """
    height, width = pixels.shape[:2]
    top = cut_off(height, LONGEST * width)
    left = cut_off(width, LONGEST * height)
    return pixels[top : height - top, left : width - left]


def cut_off(side: int, longest: int) -> int:
    """How many pixels to cut off either end, so that at most one more than `longest` is left."""
    return max(0, side - longest) // 2
