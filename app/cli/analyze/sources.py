"""The images that a command is given: files, URLs, and the folders that hold some."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from app.cli.printing import printable
from app.core.image_url import is_url

_UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class Source:
    """An image.

    `name` is as it was given. `stem` is what files that are made of it begin with, and no other image has; it
    may have folders.
    """

    name: str
    image: Path | str
    stem: str

    @property
    def path(self) -> Path | None:
        """Its file; None where it is behind a URL."""
        return self.image if isinstance(self.image, Path) else None


@dataclass(frozen=True, slots=True)
class Sources:
    """`images`, and the folders that are `closed`, with the reason."""

    images: list[Source]
    closed: list[tuple[str, str]]


def sources_of(given: Sequence[str], *, recursive: bool) -> Sources:
    """The images, each once, in the order in which they are given.

    Args:
        given: paths and URLs.
        recursive: whether the folders in a folder belong to it.

    Raises:
        BadParameter: a path is not there, or a folder holds no image.
    """
    taken: set[str] = set()
    images: dict[Path | str, Source] = {}
    closed: list[tuple[str, str]] = []
    for text in given:
        for name, image, stem in _found(text, recursive, closed):
            if image not in images:
                images[image] = Source(name, image, _free(stem, taken))
    return Sources(list(images.values()), closed)


def is_folder(text: str) -> bool:
    return not is_url(text) and Path(text).is_dir()


def _found(
    text: str, recursive: bool, closed: list[tuple[str, str]]
) -> Iterator[tuple[str, Path | str, str]]:
    if is_url(text):
        last = unquote(urlsplit(text).path).rstrip("/").rpartition("/")[2]
        yield text, text, os.path.splitext(_UNSAFE.sub("_", last))[0].strip(".") or "image"
        return
    path = Path(text)
    if not path.exists():
        raise click.BadParameter(f"there is no file or folder '{printable(text)}'.", param_hint="IMAGE")
    if not path.is_dir():
        yield text, path, path.stem
        return
    yield from _in_folder(path, recursive, closed)


def _in_folder(
    folder: Path, recursive: bool, closed: list[tuple[str, str]]
) -> Iterator[tuple[str, Path | str, str]]:
    from app.cli.folder import contents, image_suffixes

    inside = contents(folder, image_suffixes(), recursive=recursive)
    closed += [(str(folder / path), why) for path, why in inside.closed]
    if not inside.images and not inside.closed:
        deeper = "" if recursive else " --recursive also looks into the folders in it."
        raise click.BadParameter(
            f"no images are in the folder '{printable(str(folder))}'.{deeper}", param_hint="IMAGE"
        )
    for image in inside.images:
        yield str(folder / image), folder / image, os.path.splitext(image)[0]


def _free(stem: str, taken: set[str]) -> str:
    """A stem that is not taken; itself, or with a number."""
    free, number = stem, 2
    while free in taken:
        free, number = f"{stem}-{number}", number + 1
    taken.add(free)
    return free
