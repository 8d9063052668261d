"""The image files of a folder, as items of a collection."""

import hashlib
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Contents:
    """What lies in a folder and below it.

    `images` are paths relative to the folder, with `/`, in order of code points. `ignored` counts the other
    files and links to folders. `closed` are the folders that cannot be read, with the reason.
    """

    images: list[str]
    ignored: int
    closed: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file as it is now. `metadata` is what its item is given."""

    size: int
    sha256: str
    metadata: dict[str, Any]


def contents(folder: Path, suffixes: frozenset[str], *, recursive: bool = True) -> Contents:
    """Walk a folder. Hidden files and folders are left out, and links to folders are not followed.

    Args:
        folder: the folder.
        suffixes: of image files, in lower case.
        recursive: whether the folders in it belong to it.
    """
    images: list[str] = []
    closed: list[tuple[str, str]] = []
    ignored = 0

    def refused(error: OSError) -> None:
        closed.append((os.path.relpath(error.filename, folder), reason(error)))

    for parent, folders, files in os.walk(folder, onerror=refused):
        inside = Path(parent).relative_to(folder)
        folders[:] = _shown(folders) if recursive else []
        ignored += sum(os.path.islink(os.path.join(parent, name)) for name in folders)
        for name in _shown(files):
            if os.path.splitext(name)[1].lower() in suffixes:
                images.append((inside / name).as_posix())
            else:
                ignored += 1
    return Contents(sorted(images), ignored, closed)


def image_suffixes() -> frozenset[str]:
    """Of files in the formats that the server decodes."""
    import PIL.Image

    from app.runtime.decode import FORMATS

    # MPO is a JPEG with further frames.
    formats = {*FORMATS, "MPO"}
    return frozenset(suffix for suffix, name in PIL.Image.registered_extensions().items() if name in formats)


def read(folder: Path, path: str) -> ImageFile:
    """Read a file for its hash.

    Raises:
        OSError: it cannot be read, or is no file but a pipe, say.
    """
    file = folder / path
    # Opening a pipe would wait for somebody to write to it.
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError(0, "Not a regular file")
    with file.open("rb") as opened:
        facts = os.fstat(opened.fileno())
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    first, separator, _ = path.partition("/")
    metadata = {"path": path, "folder": first if separator else "", "name": file.name}
    return ImageFile(facts.st_size, sha256, {**metadata, **_modified(facts.st_mtime)})


def is_gone(folder: Path, path: str) -> bool:
    """Whether nothing is at a path any more. Where that cannot be told, it is not."""
    try:
        os.lstat(folder / path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def reason(error: OSError) -> str:
    """Why a file cannot be read, without its path."""
    return error.strerror or str(error) or type(error).__name__


def _shown(names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith(".")]


def _modified(mtime: float) -> dict[str, str]:
    try:
        return {"modified": datetime.fromtimestamp(mtime, UTC).isoformat(timespec="seconds")}
    except (ValueError, OverflowError, OSError):
        # Outside the years 1 to 9999.
        return {}
