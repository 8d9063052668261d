"""Images as people have them and as they are sent: a URL as it is, a file as its bytes, pixels as PNG."""

import errno
import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, Union, cast

from app.client.errors import InvalidInput
from app.client.given import text
from app.core.image_url import is_url
from app.core.wording import shortened

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

ImageLike: TypeAlias = Union[
    str, os.PathLike[str], bytes, bytearray, memoryview, "PIL.Image.Image", "NDArray[np.uint8]"
]
"""A path, an http or https URL, the bytes of a file, a PIL image, or an array of uint8: [height, width, 3] in
RGB or [height, width] in grey. What OpenCV reads is BGR: give `array[..., ::-1]`."""

# The classes of images, each by its module and its name.
_NUMPY = ("numpy", "ndarray")
_PILLOW = ("PIL.Image", "Image")
# The modes of pillow that a PNG holds as they are.
_PNG_MODES = ("1", "L", "LA", "I;16", "I;16B", "P", "RGB", "RGBA")
# Pixels go over a short way more often than a long one: little is gained by pressing them small.
_PNG_LEVEL = 1


class FilePart(NamedTuple):
    """A file to send: its bytes, or a path from which they are read while they are sent."""

    name: str
    content: Path | bytes

    @property
    def size(self) -> int:
        """In bytes.

        Raises:
            OSError: the file is gone.
        """
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def loaded(self) -> "FilePart":
        """The same with its bytes.

        Raises:
            OSError: they cannot be read.
        """
        with self.opened() as opened:
            return self._replace(content=opened.read())

    @contextmanager
    def opened(self) -> Iterator[io.BufferedIOBase]:
        """What reads its bytes.

        Raises:
            OSError: they cannot be read, or it is no file but a folder or a pipe, say.
        """
        if isinstance(self.content, bytes):
            yield io.BytesIO(self.content)
            return
        # Opening a pipe would wait for somebody to write to it.
        mode = self.content.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self.content))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(self.content))
        with self.content.open("rb") as opened:
            yield opened


def sendable(image: ImageLike) -> str | FilePart:
    """A URL, or what is uploaded.

    Raises:
        InvalidInput: it is no image that can be sent.
        OSError: the pixels of a PIL image cannot be read.
    """
    match image:
        case str() if is_url(image):
            return text("image", image)
        case str() | os.PathLike():
            path = Path(image)
            _check_path(path)
            return FilePart(_encodable(path.name), path)
        case bytes() | bytearray() | memoryview():
            return FilePart("image", bytes(image))
    if _is(image, *_NUMPY):
        return FilePart("image.png", _png_of_array(cast("NDArray[Any]", image)))
    if _is(image, *_PILLOW):
        return FilePart("image.png", _png(cast("PIL.Image.Image", image)))
    raise InvalidInput(
        f"image: a {type(image).__name__} is none; give a path, a URL, the bytes of a file, a PIL image or a "
        "NumPy array."
    )


def check_several(images: object) -> None:
    """See to it that these are images, and not one.

    Raises:
        InvalidInput: it is one.
    """
    is_one = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview)) or _is(images, *_PILLOW)
    if is_one or (_is(images, *_NUMPY) and _is_one_image(cast("NDArray[Any]", images))):
        raise InvalidInput("images: this is one; give a list, or a dict of images by their ids.")


def _is_one_image(array: "NDArray[Any]") -> bool:
    return array.ndim < 3 or (array.ndim == 3 and array.shape[-1] in (3, 4))


def _is(value: object, module: str, name: str) -> bool:
    """Whether a value is of a class, which needs no import: where nothing imported it, nothing has one."""
    return module in sys.modules and isinstance(value, getattr(sys.modules[module], name))


def _check_path(path: Path) -> None:
    try:
        is_one = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        is_one = False
    if not is_one:
        raise InvalidInput(f"image: {shortened(repr(str(path)))} has characters that no path has.")


def _encodable(name: str) -> str:
    """A name of a file as the server may be told it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "image"
    return name


def _png_of_array(array: "NDArray[Any]") -> bytes:
    import numpy as np
    import PIL.Image

    problem = _problem_of(array)
    if problem is not None:
        raise InvalidInput(f"image: the array is {array.dtype} of shape {array.shape}; {problem}")
    return _png(PIL.Image.fromarray(np.ascontiguousarray(array)))


def _problem_of(array: "NDArray[Any]") -> str | None:
    """Why an array is no image, and what to do."""
    match array.shape:
        case (_, _) | (_, _, 3):
            if array.size == 0:
                return "it has no pixels."
            return None if array.dtype == "uint8" else _REMEDIES.get(array.dtype.kind, _REMEDIES["?"])
        case (_, _, 4):
            return "leave its alpha out, `array[..., :3]`, or give a PIL image, which is laid over white."
        case (_, _, 1):
            return "give `array[..., 0]`."
        case (1 | 3 | 4, _, _):
            return "its channels go last: `array.transpose(1, 2, 0)`."
        case (_, _, _, _):
            return "give its images one by one, or to analyze_batch."
    return "an image is [height, width, 3] in RGB, or [height, width] in grey."


_REMEDIES = {
    "f": "scale it to 0..255: `(array * 255).round().astype('uint8')` where it goes from 0 to 1.",
    "u": "scale it to 8 bits: `(array >> 8).astype('uint8')` where it has 16.",
    "i": "give it as uint8, with values from 0 to 255.",
    "b": "give `array.astype('uint8') * 255`.",
    "?": "it must be uint8.",
}


def _png(image: "PIL.Image.Image") -> bytes:
    """A PIL image as a file.

    Raises:
        InvalidInput: it has no pixels, or none that can be sent.
        OSError: its file cannot be read.
    """
    if 0 in image.size:
        raise InvalidInput(f"image: a PIL image of {image.width}x{image.height} has no pixels.")
    try:
        image.load()
        return _png_of_pixels(image)
    except (InvalidInput, OSError):
        raise
    except Exception as error:
        # Every format of pillow raises what it likes; an AssertionError, say, where its file was closed.
        reason = str(error) or type(error).__name__
        raise InvalidInput(
            f"image: the pixels of a PIL image of mode {image.mode} cannot be read: {reason}. Where its file "
            "was closed meanwhile, `load()` it before; or give the path of the file."
        ) from error


def _png_of_pixels(image: "PIL.Image.Image") -> bytes:
    """Pixels as they lie: the boxes of the answer are in them, whatever the EXIF of their file said."""
    options: dict[str, Any] = {"compress_level": _PNG_LEVEL}
    if image.mode not in _PNG_MODES:
        if image.mode.startswith(("F", "I")):
            raise InvalidInput(
                f"image: a PIL image of mode {image.mode} has no fixed range; give one of mode L or RGB."
            )
        try:
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        except ValueError:
            raise InvalidInput(
                f"image: a PIL image of mode {image.mode} cannot be sent; give one of mode RGB."
            ) from None
        # A colour profile belongs to the channels that it was made for.
        options["icc_profile"] = None
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()
