"""Image files that `sightgraph analyze` writes: crops, and images with what was found drawn on them."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click
import PIL.Image

from app.cli.analyze.annotating import Annotation
from app.cli.analyze.marks import marks_of
from app.cli.analyze.rendering import inline
from app.cli.contact_sheet import picture_of_bytes, picture_of_file
from app.cli.printing import printable
from app.cli.tasks.json_schema import Schema

if TYPE_CHECKING:
    from app.cli.analyze.sources import Source
    from app.client import Answer, TaskResult

_JPEG_QUALITY = 92
# Those that a photo is kept in stay small in this one.
_LOSSY = ("JPEG", "HEIF", "AVIF")
# Of crops, by what their files begin with.
_SUFFIXES = {b"\xff\xd8": "jpg", b"RIFF": "webp"}
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


@dataclass(slots=True)
class Crops:
    """Keeps the crops of all results: `STEM.TASK.png`, of several regions `STEM.TASK.0.png` and so on."""

    folder: Path
    count: int = 0

    def keep(self, source: "Source", answer: "Answer") -> None:
        """Write those of an answer.

        Raises:
            ClickException: one cannot be written.
        """
        for name, encoded in _crops(answer):
            content = base64.b64decode(encoded)
            write(self.folder / f"{source.stem}.{name}.{_suffix(content)}", content)
            self.count += 1


@dataclass(slots=True)
class Annotated:
    """Draws what was found on the images.

    Args:
        place: a file, or the folder of `STEM.annotated.png`.
        schemas: of the data of each task.
    """

    place: Path
    schemas: Mapping[str, Schema]
    count: int = 0

    @property
    def told(self) -> str:
        """What was written."""
        return f"{self.place}" if is_image_file(self.place) else f"{self.count} images in {self.place}"

    def draw(self, source: "Source", answer: "Answer", picture: PIL.Image.Image) -> None:
        """Draw the results on a picture, which is upright.

        Raises:
            OSError: a file of its format cannot hold the drawing.
            ClickException: the file cannot be written.
        """
        marks = marks_of(answer, self.schemas)
        legend = {name: _told(result, len(marks[name])) for name, result in answer.items()}
        drawn = Annotation(picture).draw(marks, legend)
        form = answer.image.format if answer.image is not None else "PNG"
        path = self.place
        if not is_image_file(self.place):
            path = self.place / f"{source.stem}.annotated.{'jpg' if form in _LOSSY else 'png'}"
        write(path, _encoded(drawn, _FORMATS[path.suffix.lower()]))
        self.count += 1


def is_image_file(place: Path) -> bool:
    """Whether a place to draw to is a file, and not a folder."""
    return place.suffix.lower() in _FORMATS and not place.is_dir()


def check_place(place: Path, sources: "Sequence[Source]", several: bool) -> None:
    """Check where images are drawn to.

    Raises:
        BadParameter: they cannot be.
    """
    problem = _problem_of(place, sources, several)
    if problem is not None:
        raise click.BadParameter(f"'{printable(str(place))}' {problem}", param_hint="--annotate")


def _problem_of(place: Path, sources: "Sequence[Source]", several: bool) -> str | None:
    if not is_image_file(place):
        if place.exists() and not place.is_dir():
            return f"is a file that holds no image; name a folder, or a file with {', '.join(_FORMATS)}."
        if not place.exists() and place.suffix.lower() in PIL.Image.registered_extensions():
            return (
                f"is of a format that is not drawn in; name a folder, or a file with {', '.join(_FORMATS)}."
            )
        return None
    if several:
        return "is one file, and there may be several images; name a folder."
    files = [source.path for source in sources if source.path is not None]
    if place.exists() and any(place.samefile(file) for file in files):
        return "is the image itself, and would be lost; name another file."
    return None


def picture_of(source: "Source", encoded: str | None) -> PIL.Image.Image | None:
    """An image, upright; None where it cannot be decoded here.

    Args:
        source: the image.
        encoded: of one behind a URL, what the server saw there.

    Raises:
        OSError: its file cannot be read.
    """
    if encoded is not None:
        return picture_of_bytes(base64.b64decode(encoded))
    return None if source.path is None else picture_of_file(source.path)


def write(path: Path, content: bytes) -> None:
    """Write a file, and make its folder.

    Raises:
        ClickException: it cannot be.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise click.FileError(str(path), error.strerror) from None


def _encoded(drawn: PIL.Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    try:
        drawn.save(file, form, quality=_JPEG_QUALITY)
    except (OSError, ValueError) as error:
        # Most formats have a largest size, and Pillow has two errors for that.
        size = f"{drawn.width}x{drawn.height}"
        raise OSError(f"the drawing, {size}, cannot be written as {form}: {error}") from None
    return file.getvalue()


def _suffix(content: bytes) -> str:
    return next((suffix for mark, suffix in _SUFFIXES.items() if content.startswith(mark)), "png")


def _crops(answer: "Answer") -> Iterator[tuple[str, str]]:
    for task, result in answer.items():
        # As a part of a name, whatever the client called its task; after a dot the number of a region stands.
        name = quote(task, safe=" ").replace(".", "%2E")
        if result.cropped_image_base64 is not None:
            yield name, result.cropped_image_base64
        for number, item in enumerate(result.items or ()):
            if item.cropped_image_base64 is not None:
                yield f"{name}.{number}", item.cropped_image_base64


def _told(result: "TaskResult", marks: int) -> str:
    """What the legend says of a result."""
    if not result.ok:
        return f"{result.status}, {result.error_code}"
    if result.text:
        return inline(result.text)
    if result.items is not None:
        count = len(result.items)
        return f"{count} region{'s' * (count != 1)}" if count else "nothing found"
    if marks and result.cropped_image_bbox is None:
        return f"{marks} found"
    said = list(result.data.values()) if isinstance(result.data, dict) else [result.data]
    return "nothing found" if all(each in (None, "", []) for each in said) else inline(result.data)
