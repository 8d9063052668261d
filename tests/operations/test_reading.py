"""Text and codes, read by the real engines."""

import asyncio

import numpy as np
import pytest

from app.engines.text import RAPIDOCR_TEXT
from tests.api.test_wire import task
from tests.images import crop_of, encoded, page, pasted, plain, qr_code

LINES = ("Sightgraph reads text", "in the order of reading", "on every line of 3")


def test_lines_are_read_in_order(analyze):
    data = analyze(encoded(page(*LINES)), task("read_text"))["results"]["t"]["data"]
    assert data["text"] == "\n".join(LINES)
    assert [line["text"] for line in data["lines"]] == list(LINES)
    tops = [line["bbox"][1] for line in data["lines"]]
    assert tops == sorted(tops)
    for line in data["lines"]:
        assert line["confidence"] > 0.8
        assert len(line["polygon"]) == 4
        xs, ys = zip(*line["polygon"], strict=True)
        assert line["bbox"][0] <= min(xs) <= max(xs) <= line["bbox"][2]
        assert line["bbox"][1] <= min(ys) <= max(ys) <= line["bbox"][3]


def test_columns_on_one_row_are_read_from_left_to_right(analyze):
    sheet = pasted(plain(900, 120, (255, 255, 255)), page("first", width=300), 20, 30)
    sheet = pasted(sheet, page("second", width=300), 480, 24)
    data = analyze(encoded(sheet), task("read_text"))["results"]["t"]["data"]
    assert [line["text"] for line in data["lines"]] == ["first", "second"]


def test_text_in_a_crop_is_in_coordinates_of_the_whole_image(analyze):
    text = page("inside the box")
    sheet = pasted(plain(1000, 600, (255, 255, 255)), text, 400, 300)
    sheet = pasted(sheet, page("outside"), 10, 10)
    target = {"bbox": [380, 280, 900, 400]}
    results = analyze(encoded(sheet), task("read_text", "crop", target=target), task("read_text", "whole"))[
        "results"
    ]
    (line,) = results["crop"]["data"]["lines"]
    assert line["text"] == "inside the box"
    same = [each for each in results["whole"]["data"]["lines"] if each["text"] == line["text"]]
    assert np.abs(np.array(same[0]["bbox"]) - line["bbox"]).max() <= 8


def test_unsure_lines_can_be_left_out(analyze):
    image = encoded(page(*LINES))
    every = analyze(image, task("read_text"))["results"]["t"]["data"]["lines"]
    bound = sorted(line["confidence"] for line in every)[1]
    sure = analyze(image, task("read_text", min_confidence=bound))["results"]["t"]["data"]["lines"]
    assert sure == [line for line in every if line["confidence"] >= bound]
    assert len(sure) < len(every)


def test_lines_can_be_the_target_of_another_task(analyze):
    results = analyze(
        encoded(page(*LINES)),
        task("read_text", "lines"),
        task("crop", "crops", target={"task": "lines"}, crop_format="none"),
    )["results"]
    assert [item["bbox"] for item in results["crops"]["items"]] == [
        line["bbox"] for line in results["lines"]["data"]["lines"]
    ]


@pytest.mark.parametrize("text", ["https://example.org/a?b=c", "grüße, 世界", "x" * 200])
def test_a_qr_code_is_read(analyze, text):
    code = qr_code(text)
    sheet = pasted(plain(code.shape[1] + 300, code.shape[0] + 200, (200, 210, 220)), code, 120, 90)
    (found,) = analyze(encoded(sheet), task("read_codes"))["results"]["t"]["data"]["codes"]
    assert found["kind"] == "qr_code"
    assert found["text"] == text
    xmin, ymin, xmax, ymax = found["bbox"]
    # The quiet zone of four modules is not a part of the code.
    assert 120 < xmin < 120 + 40
    assert 90 < ymin < 90 + 40
    assert xmax <= 120 + code.shape[1]
    assert ymax <= 90 + code.shape[0]


def test_several_codes_are_read_from_top_to_bottom(analyze):
    sheet = plain(900, 700, (255, 255, 255))
    sheet = pasted(sheet, qr_code("below"), 100, 400)
    sheet = pasted(sheet, qr_code("above"), 500, 20)
    codes = analyze(encoded(sheet), task("read_codes"))["results"]["t"]["data"]["codes"]
    assert [code["text"] for code in codes] == ["above", "below"]


@pytest.mark.parametrize(
    ("format_", "kind", "text"),
    [
        ("EAN13", "ean_13", "4006381333931"),
        ("Code128", "code_128", "SIGHT-42"),
        ("DataMatrix", "data_matrix", "lot 7"),
        ("PDF417", "pdf_417", "boarding"),
    ],
)
def test_a_barcode_is_read(analyze, format_, kind, text):
    import zxingcpp

    barcode = zxingcpp.create_barcode(text, getattr(zxingcpp.BarcodeFormat, format_))
    drawn = np.asarray(zxingcpp.write_barcode_to_image(barcode, scale=4))
    sheet = plain(drawn.shape[1] + 200, drawn.shape[0] + 200, (255, 255, 255))
    sheet = pasted(sheet, np.repeat(drawn[:, :, None], 3, axis=2), 100, 100)
    (found,) = analyze(encoded(sheet), task("read_codes"))["results"]["t"]["data"]["codes"]
    assert (found["kind"], found["text"]) == (kind, text)


@pytest.mark.parametrize("size", [(200_000, 1), (1, 200_000), (80_000, 10), (5000, 4000)])
def test_a_strip_is_scaled_before_it_is_padded(room, size):
    """Padded at its full size, a PNG of a few hundred bytes would take gigabytes."""
    reader = asyncio.run(room.pool.load(RAPIDOCR_TEXT))
    prepared = reader.pre(crop_of(plain(*size)))
    height, width = prepared.pixels.shape[:2]
    assert max(height, width) <= 2000
    assert min(height, width) >= 736


@pytest.mark.parametrize("size", [14, 22, 40])
@pytest.mark.parametrize(
    "text", ["The quick", "The quick brown fox", "The quick brown fox jumps over the lazy dog"]
)
def test_a_line_that_is_cut_out_is_read(room, text, size):
    """The detector of lines would scale it up until its letters are higher than any that it knows."""
    reader = asyncio.run(room.pool.load(RAPIDOCR_TEXT))
    sheet = page(text, width=round(size * 0.55 * len(text)) + 40, size=size)
    (lines,) = reader([crop_of(sheet[8:-8])])
    assert [line.text for line in lines] == [text]


def test_text_of_a_large_image_is_at_its_place(analyze):
    sheet = pasted(plain(6000, 3000, (255, 255, 255)), page("far away", size=200, width=1200), 4500, 2000)
    (line,) = analyze(encoded(sheet), task("read_text"))["results"]["t"]["data"]["lines"]
    assert line["text"] == "far away"
    xmin, ymin, xmax, ymax = line["bbox"]
    # The reader searches at a third of the size and draws its boxes generously.
    assert 4420 <= xmin < xmax <= 5700
    assert 1940 <= ymin < ymax <= 2300
