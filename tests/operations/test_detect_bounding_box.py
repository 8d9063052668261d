"""Persons and faces, found by the real detectors."""

import numpy as np
import pytest

from tests.api.test_wire import task
from tests.images import ASTRONAUT_FACE, astronaut, encoded, figure, pasted

FACE_ANYWHERE = task("detect_bounding_box", target="prominent_face", face_context="whole_image")


def test_a_standing_person_is_found(analyze):
    result = analyze(encoded(figure()), task("detect_bounding_box"))["results"]["t"]
    xmin, ymin, xmax, ymax = result["data"]
    # The figure is 220 px tall in the middle of 400x300; the detector's box is a little generous.
    assert 140 <= xmin <= 170
    assert 20 <= ymin <= 50
    assert 230 <= xmax <= 260
    assert 225 <= ymax <= 275
    assert result["model"]["engine"] == "opencv-hog-people"


def test_all_persons_come_most_prominent_first(analyze):
    canvas = np.full((300, 640, 3), 190, np.uint8)
    canvas = pasted(canvas, figure(width=320, tall=180), 0, 0)
    canvas = pasted(canvas, figure(width=320), 320, 0)
    items = analyze(encoded(canvas), task("detect_bounding_box", target="all_persons"))
    items = items["results"]["t"]["items"]
    assert len(items) == 2
    assert {item["label"] for item in items} == {"person"}
    prominence = [
        item["confidence"]
        * ((item["bbox"][2] - item["bbox"][0]) * (item["bbox"][3] - item["bbox"][1])) ** 0.5
        for item in items
    ]
    assert prominence == sorted(prominence, reverse=True)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_face_is_found_at_any_size_of_the_image(analyze, factor):
    large = astronaut().repeat(factor, axis=0).repeat(factor, axis=1)
    body = analyze(encoded(large, "JPEG", quality=95), FACE_ANYWHERE)
    box = np.array(body["results"]["t"]["data"]) / factor
    assert np.abs(box - ASTRONAUT_FACE).max() <= 8


def test_a_face_inside_the_person_is_in_coordinates_of_the_whole_image(analyze):
    """A figure with a real face for a head: found in the person, at its place in the image."""
    face = astronaut()[40:190, 160:290]
    canvas = pasted(figure(width=1000, height=1000, top=100, tall=800), face, 435, 70)
    results = analyze(
        encoded(canvas),
        task("detect_bounding_box", "person"),
        task("detect_bounding_box", "face", target="prominent_face"),
        task("detect_bounding_box", "anywhere", target="prominent_face", face_context="whole_image"),
    )["results"]
    person, face_box = results["person"]["data"], results["face"]["data"]
    assert person is not None
    assert results["face"]["warnings"] == []
    assert person[0] <= face_box[0] < face_box[2] <= person[2]
    assert np.abs(np.array(face_box) - results["anywhere"]["data"]).max() <= 25
    expected = np.array(ASTRONAUT_FACE) - [160, 40, 160, 40] + [435, 70, 435, 70]
    assert np.abs(np.array(results["anywhere"]["data"]) - expected).max() <= 20


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_a_face_is_found_in_every_mode(analyze, mode):
    import io

    import PIL.Image

    file = io.BytesIO()
    PIL.Image.fromarray(astronaut()).convert(mode).save(file, "TIFF")
    body = analyze(file.getvalue(), FACE_ANYWHERE)
    box = np.array(body["results"]["t"]["data"])
    assert np.abs(box - ASTRONAUT_FACE).max() <= 12
