"""Files that are there wholly or not at all, also after the power went."""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp

PARTIAL = ".partial-"


def write_new(path: Path, data: bytes) -> None:
    """Write a file into a folder that nobody reads yet."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, data: bytes) -> None:
    """Put a file in the place of another one; a reader sees the one or the other.

    Its time is always later than the other's, so that who looks at it alone sees that it changed.
    """
    descriptor, name = mkstemp(prefix=PARTIAL, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            with suppress(FileNotFoundError):
                before, found = path.stat(), os.fstat(descriptor)
                os.utime(name, ns=(found.st_atime_ns, max(found.st_mtime_ns, before.st_mtime_ns + 1)))
            os.fsync(descriptor)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, limit: int) -> bytes:
    """A file of at most so many bytes.

    Raises:
        OSError: it cannot be read, or is larger.
    """
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"{path.name} is larger than {limit} bytes")
    return data
