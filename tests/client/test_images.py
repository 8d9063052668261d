"""Every way of giving an image, and what is refused before anything is sent."""

import io
import os

import numpy as np
import PIL.Image
import pytest

from app.client import InvalidInput
from app.client.images import FilePart, sendable
from tests.images import encoded, noise
from tests.site import site

PIXELS = noise(40, 30)
TASK = {"whole": {"type": "crop", "params": {"target": "whole_image"}}}


def same(answer, pixels=PIXELS):
    """Whether the server saw exactly these pixels."""
    return np.array_equal(np.asarray(answer["whole"].crop.convert("RGB")), pixels)


class TestGiven:
    @pytest.mark.parametrize("as_given", [str, lambda path: path], ids=["text", "path"])
    def test_a_file(self, ask, tmp_path, as_given):
        path = tmp_path / 'a "quoted" ☃.png'
        path.write_bytes(encoded(PIXELS))
        answer = ask("analyze", as_given(path), TASK)
        assert same(answer)
        assert answer.image_url == f"uploaded:{path.name}"

    def test_a_file_whose_name_is_no_text(self, ask, tmp_path):
        path = tmp_path / os.fsdecode(b"\xff.png")
        path.write_bytes(encoded(PIXELS))
        assert same(ask("analyze", path, TASK))

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_bytes(self, ask, kind):
        assert same(ask("analyze", kind(encoded(PIXELS)), TASK))

    def test_a_url(self, ask):
        with site({"a.png": encoded(PIXELS)}) as url:
            answer = ask("analyze", f"{url}/a.png", TASK)
        assert same(answer)
        assert answer.image_url == f"{url}/a.png"

    def test_an_array(self, ask):
        assert same(ask("analyze", PIXELS, TASK))
        # What lies in memory otherwise is the same image.
        assert same(ask("analyze", np.asfortranarray(PIXELS), TASK))

    def test_a_grey_array(self, ask):
        grey = PIXELS[..., 0]
        assert same(ask("analyze", grey, TASK), np.dstack([grey] * 3))

    def test_an_image_of_pillow(self, ask):
        assert same(ask("analyze", PIL.Image.fromarray(PIXELS), TASK))

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK", "YCbCr"])
    def test_the_modes_of_pillow(self, ask, mode):
        image = PIL.Image.fromarray(PIXELS).convert(mode)
        assert same(ask("analyze", image, TASK), np.asarray(image.convert("RGB")))

    def test_16_bits_are_scaled(self, ask):
        image = PIL.Image.fromarray((PIXELS[..., 0].astype(np.uint16) << 8) | 0xFF)
        assert image.mode == "I;16"
        assert same(ask("analyze", image, TASK), np.dstack([PIXELS[..., 0]] * 3))

    @pytest.mark.parametrize("mode", ["RGBA", "RGBa", "LA"])
    def test_transparency_lies_over_white(self, ask, mode):
        image = PIL.Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
        assert same(ask("analyze", image, TASK), np.full((8, 8, 3), 255))

    def test_pixels_lie_as_they_are_seen(self, ask):
        """A photo that was opened and not turned: the boxes of the answer are in its pixels."""
        exif = PIL.Image.Exif()
        exif[0x0112] = 6
        with PIL.Image.open(io.BytesIO(encoded(PIXELS, exif=exif))) as opened:
            assert opened.getexif()[0x0112] == 6
            answer = ask("analyze", opened, TASK)
        assert same(answer)
        assert (answer.image.width, answer.image.height) == (40, 30)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((8, 8, 4), np.uint8), r"shape \(8, 8, 4\); leave its alpha out, `array\[..., :3\]`"),
        (np.zeros((8, 8, 1), np.uint8), r"give `array\[..., 0\]`"),
        (np.zeros((3, 8, 8), np.uint8), r"`array.transpose\(1, 2, 0\)`"),
        (np.zeros((2, 8, 8, 3), np.uint8), "give its images one by one, or to analyze_batch"),
        (np.zeros(8, np.uint8), r"an image is \[height, width, 3\] in RGB"),
        (np.zeros((0, 8, 3), np.uint8), "it has no pixels"),
        (np.zeros((8, 8, 3), np.uint16), "the array is uint16 .*scale it to 8 bits"),
        (np.zeros((8, 8), np.float32), r"\(array \* 255\)"),
        (np.zeros((8, 8), np.int64), "give it as uint8, with values from 0 to 255"),
        (np.zeros((8, 8), bool), r"array.astype\('uint8'\) \* 255"),
        (np.zeros((8, 8), complex), "it must be uint8"),
        (PIL.Image.new("F", (8, 8)), "mode F has no fixed range"),
        (PIL.Image.new("La", (8, 8)), "mode La cannot be sent"),
        (PIL.Image.new("RGB", (0, 5)), "a PIL image of 0x5 has no pixels"),
        ("a\0b.png", r"image: 'a\\x00b.png' has characters that no path has"),
        ("a\ud800.png", r"image: 'a\\ud800.png' has characters that no path has"),
        ("http://a/\udcff", r"image: 'http://a/\\udcff' has characters that UTF-8 has not"),
        (None, "a NoneType is none; give a path, a URL"),
        ([1, 2], "a list is none"),
    ],
)
def test_what_is_no_image_is_told_with_the_remedy(image, told):
    with pytest.raises(InvalidInput, match=told):
        sendable(image)


def test_an_image_whose_file_was_closed_is_told_with_the_remedy(tmp_path):
    PIL.Image.fromarray(PIXELS).save(tmp_path / "a.png")
    with PIL.Image.open(tmp_path / "a.png") as closed:
        pass
    with pytest.raises(InvalidInput, match=r"its file was closed meanwhile, `load\(\)` it before"):
        sendable(closed)


class TestFiles:
    def test_a_path_without_a_file(self, ask, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"gone\.png"):
            ask("analyze", tmp_path / "gone.png", TASK)

    def test_a_folder(self, ask, tmp_path):
        with pytest.raises(IsADirectoryError, match=tmp_path.name):
            ask("analyze", tmp_path, TASK)

    def test_a_pipe_is_not_waited_for(self, ask, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(OSError, match=r"Not a regular file.*pipe\.png"):
            ask("analyze", tmp_path / "pipe.png", TASK)

    def test_a_part_is_read_when_it_is_sent(self, tmp_path):
        path = tmp_path / "a.png"
        part = sendable(path)
        path.write_bytes(b"later")
        assert isinstance(part, FilePart)
        assert (part.size, part.loaded().content) == (5, b"later")
