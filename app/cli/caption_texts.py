"""The texts beside images: each is there whole or not at all, and what somebody else wrote is not lost."""

import errno
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

# What disks say that cannot give a file a second name, such as cards of cameras.
_NO_SECOND_NAMES = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


class NotWritten(Exception):
    """A text cannot be written; that of another image may be."""


def text_of(path: str) -> str:
    """The path of an image's text: in one folder with it, and of one name but for the ending."""
    return os.path.splitext(path)[0] + ".txt"


def is_there(text: Path) -> bool:
    """Whether there is something that must not be lost; a link counts that leads nowhere."""
    return os.path.lexists(text) and not text.is_dir()


def check_writable(text: Path, *, force: bool) -> None:
    """Whether a text can be kept, as far as that is known before it is written.

    Raises:
        NotWritten: it cannot.
    """
    if not os.access(text.parent, os.W_OK | os.X_OK):
        raise NotWritten("its folder cannot be written")
    if force and _is_read_only(text):
        raise NotWritten(f"{text.name} is read-only, and is left as it is")


def write(text: Path, content: str, *, force: bool) -> None:
    """Write a text so that it is there whole or not at all.

    Args:
        text: its path. A link stays one.
        content: of it.
        force: whether it may be in another one's place, whose rights it takes over.

    Raises:
        NotWritten: another one appeared meanwhile, or a folder is in its place.
        OSError: it cannot be written.
    """
    place = Path(os.path.realpath(text))
    if place.is_dir():
        raise NotWritten(f"{text.name} is a folder")
    if is_there(text) and not force:
        raise _appeared(text)
    # Short, since the image's own name may be as long as names can be.
    part = place.with_name(f".{uuid4().hex}.part")
    try:
        with part.open("x", encoding="utf-8", newline="") as file:
            with suppress(FileNotFoundError):
                # Before there is something to read: what was closed to others stays so.
                shutil.copymode(place, part)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if force or not _is_named(part, text):
            part.replace(place)
    finally:
        with suppress(OSError):
            part.unlink()


def _is_named(part: Path, text: Path) -> bool:
    """Give a whole file its name, unless that is taken. False where the disk cannot.

    Raises:
        NotWritten: something of that name appeared meanwhile.
    """
    try:
        os.link(part, text)
    except FileExistsError:
        raise _appeared(text) from None
    except OSError as error:
        if error.errno in _NO_SECOND_NAMES:
            return False
        raise
    return True


def _appeared(text: Path) -> NotWritten:
    return NotWritten(f"{text.name} appeared meanwhile, and is left as it is")


def _is_read_only(text: Path) -> bool:
    """Whether somebody protected a text. Who may write everything must not take that for leave."""
    try:
        mode = text.stat().st_mode
    except FileNotFoundError:
        return False
    return not (mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) and os.access(text, os.W_OK))
