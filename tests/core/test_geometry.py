"""Boxes: cutting, rounding and enclosing, always in whole pixels inside the image."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.geometry import Box, Point

IMAGE = Box(0, 0, 100, 50)

numbers = st.integers(-200, 200)
boxes = st.builds(Box, numbers, numbers, numbers, numbers)
coordinates = st.floats(-200, 200)


@pytest.mark.parametrize(
    ("box", "size", "area"),
    [
        (Box(0, 0, 100, 50), (100, 50), 5000),
        (Box(3, 4, 4, 5), (1, 1), 1),
        (Box(3, 4, 3, 9), (0, 5), 0),
        (Box(9, 4, 3, 9), (-6, 5), 0),
        (Box(9, 9, 3, 3), (-6, -6), 0),
    ],
)
def test_size_and_area(box, size, area):
    assert (box.width, box.height) == size
    assert box.area == area


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        pytest.param(IMAGE, IMAGE, id="the image itself"),
        pytest.param(Box(10, 10, 20, 20), Box(10, 10, 20, 20), id="inside"),
        pytest.param(Box(-5, -5, 20, 20), Box(0, 0, 20, 20), id="over the top left corner"),
        pytest.param(Box(90, 40, 120, 70), Box(90, 40, 100, 50), id="over the bottom right corner"),
        pytest.param(Box(-9, -9, 999, 999), IMAGE, id="around the image"),
        pytest.param(Box(99, 49, 200, 200), Box(99, 49, 100, 50), id="the last pixel"),
        pytest.param(Box(100, 0, 110, 50), None, id="touches the right edge"),
        pytest.param(Box(0, 50, 100, 60), None, id="touches the bottom edge"),
        pytest.param(Box(-10, 0, 0, 50), None, id="touches the left edge"),
        pytest.param(Box(0, -10, 100, 0), None, id="touches the top edge"),
        pytest.param(Box(300, 300, 400, 400), None, id="far outside"),
        pytest.param(Box(10, 10, 10, 20), None, id="no width"),
        pytest.param(Box(10, 10, 20, 10), None, id="no height"),
        pytest.param(Box(20, 20, 10, 10), None, id="inside out"),
    ],
)
def test_clip(box, clipped):
    assert box.clip(IMAGE) == clipped


@given(boxes, boxes)
def test_a_clipped_box_has_pixels_and_lies_in_both(box, within):
    clipped = box.clip(within)
    assert within.clip(box) == clipped
    if clipped is not None:
        assert clipped.area > 0
        assert clipped.clip(box) == clipped.clip(within) == clipped


@pytest.mark.parametrize(
    ("corners", "rounded"),
    [
        pytest.param((10.0, 20.0, 30.0, 40.0), Box(10, 20, 30, 40), id="whole"),
        pytest.param((9.6, 20.4, 30.4, 39.6), Box(10, 20, 30, 40), id="to the nearest"),
        pytest.param((-0.4, -7.0, 30.2, 60.0), Box(0, 0, 30, 50), id="cut to the image"),
        pytest.param((10.6, 20.0, 11.4, 40.0), None, id="narrower than a pixel"),
        pytest.param((120.0, 20.0, 140.0, 40.0), None, id="outside"),
        pytest.param((30.0, 40.0, 10.0, 20.0), None, id="inside out"),
    ],
)
def test_rounded(corners, rounded):
    assert Box.rounded(*corners, within=IMAGE) == rounded


@given(coordinates, coordinates, coordinates, coordinates)
def test_a_rounded_box_is_whole_and_at_most_half_a_pixel_off(xmin, ymin, xmax, ymax):
    everywhere = Box(-1000, -1000, 1000, 1000)
    box = Box.rounded(xmin, ymin, xmax, ymax, within=everywhere)
    if box is not None:
        assert all(type(edge) is int for edge in box)
        for edge, asked in zip(box, (xmin, ymin, xmax, ymax), strict=True):
            assert abs(edge - asked) <= 0.5


@pytest.mark.parametrize(
    ("points", "box"),
    [
        pytest.param([(10, 20), (30, 20), (30, 40), (10, 40)], Box(10, 20, 30, 40), id="whole corners"),
        pytest.param([(10.9, 20.1), (29.1, 39.9)], Box(10, 20, 30, 40), id="grown to whole pixels"),
        pytest.param([(2.5, 2.5)], Box(2, 2, 3, 3), id="one point"),
        pytest.param([(20, 5), (40, 25), (20, 45), (0, 25)], Box(0, 5, 40, 45), id="a lozenge"),
        pytest.param([(-5, -5), (10, 10)], Box(0, 0, 10, 10), id="cut to the image"),
        pytest.param([(-9, 5), (-3, 10)], None, id="left of the image"),
        pytest.param([(101, 5), (120, 10)], None, id="right of the image"),
    ],
)
def test_around(points, box):
    assert Box.around([Point(*point) for point in points], IMAGE) == box


@pytest.mark.parametrize(
    "points",
    [
        pytest.param([(5, 5), (5, 9)], id="a vertical line"),
        pytest.param([(5, 5), (9, 5)], id="a horizontal line"),
        pytest.param([(5, 5)], id="one point"),
        pytest.param([(0, 0)], id="the corner of the image"),
    ],
)
def test_points_on_a_line_of_whole_pixels_still_have_a_box(points):
    box = Box.around([Point(*point) for point in points], IMAGE)
    assert box is not None
    assert box.area > 0
    assert box.clip(IMAGE) == box
    assert all(box.xmin <= x <= box.xmax and box.ymin <= y <= box.ymax for x, y in points)


@given(st.lists(st.builds(Point, st.floats(0.25, 99.75), st.floats(0.25, 49.75)), min_size=2, max_size=6))
def test_the_box_around_points_of_the_image_holds_them_and_no_pixel_more(points):
    box = Box.around(points, IMAGE)
    if box is not None:
        xs, ys = [point.x for point in points], [point.y for point in points]
        assert box.xmin <= min(xs) < box.xmin + 1
        assert box.ymin <= min(ys) < box.ymin + 1
        assert box.xmax - 1 <= max(xs) <= box.xmax
        assert box.ymax - 1 <= max(ys) <= box.ymax
