"""What hinders reads, and cannot be brought about otherwise for one file alone."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def too_many_open_files(name: str) -> Iterator[list[Path]]:
    """A time in which files of a name cannot be opened to be read; gives the attempts."""
    attempts: list[Path] = []
    real = Path.open

    def full(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if path.name == name and mode.startswith("r"):
            attempts.append(path)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, mode, *rest, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "open", full)
        yield attempts
