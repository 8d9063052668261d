"""Hashes, properties and the embedding without weights."""

import io

import imagehash
import numpy as np
import PIL.Image
import pytest

from app.core.artifacts import Crop
from app.core.geometry import Box
from operations.measure_region import MeasureParams, measure_region
from tests.api.test_wire import task
from tests.images import astronaut, encoded, image_of, noise, plain


def measured(analyze, image, type_, **params):
    return analyze(image, task(type_, **params))["results"]["t"]["data"]


@pytest.mark.parametrize("name", ["phash", "dhash", "whash", "colorhash"])
def test_hashes_are_those_of_the_package(analyze, name):
    data = measured(analyze, encoded(astronaut()), "hash_perceptual")
    assert data[name] == str(getattr(imagehash, name)(PIL.Image.fromarray(astronaut())))


def test_a_compressed_copy_has_nearly_the_same_hash(analyze):
    original = measured(analyze, encoded(astronaut()), "hash_perceptual")
    copy = measured(analyze, encoded(astronaut()[::2, ::2], "JPEG", quality=40), "hash_perceptual")
    other = measured(analyze, encoded(noise(300, 300)), "hash_perceptual")

    def bits(one, two):
        return imagehash.hex_to_hash(one["phash"]) - imagehash.hex_to_hash(two["phash"])

    assert bits(original, copy) <= 6 < 20 <= bits(original, other)


@pytest.mark.parametrize("shape", [(512, 512), (100, 700), (1, 1), (33, 1024)])
def test_the_embedding_is_a_unit_vector_of_one_length(analyze, shape):
    vector = measured(analyze, encoded(noise(*shape)), "embed_hog_hsv")
    assert len(vector) == 2020
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_the_embedding_finds_a_copy(analyze):
    original = np.array(measured(analyze, encoded(astronaut()), "embed_hog_hsv"))
    half = measured(analyze, encoded(astronaut()[::2, ::2], "JPEG", quality=60), "embed_hog_hsv")
    other = measured(analyze, encoded(noise(512, 512, seed=3)), "embed_hog_hsv")
    assert original @ half > 0.95
    assert original @ other < 0.7


def test_properties_of_the_file(analyze):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2021:05:04 10:11:12"
    exif.get_ifd(0x8825).update({1: "S", 2: (33.0, 30.0, 0.0), 3: "E", 4: (151.0, 15.0, 0.0)})
    file = io.BytesIO()
    PIL.Image.fromarray(astronaut()[:300]).save(file, "JPEG", exif=exif)
    results = analyze(
        file.getvalue(),
        task("image_properties", "plain"),
        task("image_properties", "gps", include_gps=True),
    )["results"]
    assert results["plain"]["data"]["file"] == {
        "width": 300,
        "height": 512,
        "format": "JPEG",
        "mode": "RGB",
        "bytes": len(file.getvalue()),
        "exif_orientation": 6,
        "taken_at": "2021:05:04 10:11:12",
        "latitude": None,
        "longitude": None,
    }
    gps = results["gps"]["data"]["file"]
    assert (gps["latitude"], gps["longitude"]) == (-33.5, 151.25)


@pytest.mark.parametrize(
    ("pixels", "raised"),
    [
        (plain(64, 64, (5, 5, 5)), {"too_dark", "blurred"}),
        (plain(64, 64, (250, 250, 250)), {"too_bright", "blurred"}),
        (plain(64, 64, (127, 127, 127)), {"blurred"}),
        (noise(64, 64), set()),
    ],
    ids=["dark", "bright", "plain", "sharp"],
)
def test_flags_are_raised_past_their_thresholds(analyze, pixels, raised):
    data = measured(analyze, encoded(pixels), "image_properties")
    flags = {name: data[name] for name in ("too_dark", "too_bright", "blurred")}
    assert {name for name, flag in flags.items() if flag["raised"]} == raised
    for flag in flags.values():
        assert flag["threshold"] > 0
        assert flag["measure"] in data


@pytest.mark.parametrize("box", [None, [30, 40, 130, 265], [0, 0, 1, 1]])
def test_what_is_watched_is_what_properties_tell(analyze, box):
    photo = np.tile(astronaut(), (3, 3, 1))
    target = "whole_image" if box is None else {"bbox": box}
    told = measured(analyze, encoded(photo), "image_properties", target=target)
    image = image_of(photo)
    crop = Crop.whole(image) if box is None else Crop(image, Box(*box))
    (found,) = measure_region.run([crop], MeasureParams())
    assert found.brightness == told["brightness"]
    width, height = crop.box.width, crop.box.height
    assert found.size == pytest.approx((width * height) ** 0.5, abs=0.01)
    assert measure_region.run([], MeasureParams()) == []


def test_dominant_colours_have_their_shares(analyze):
    pixels = plain(100, 100, (255, 0, 0))
    pixels[:25] = (0, 0, 255)
    data = measured(analyze, encoded(pixels), "image_properties")
    assert data["dominant_colours"] == [
        {"hex": "#ff0000", "share": 0.75},
        {"hex": "#0000ff", "share": 0.25},
    ]
    assert data["contrast"] > 0
