"""What goes wrong with stored versions, as messages for people."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError


class ShelfError(Exception):
    """Versions cannot be read or written."""


class ShelfBusy(ShelfError):
    """Another process trains the same collection, or holds the shelf."""


class ShelfHindered(ShelfError):
    """Files could not be read just now, as with too many open files: nothing says that they are damaged."""


def unreadable(what: str, error: Exception, remedy: str) -> ShelfError:
    """A file that is missing or is not what was written stays so; what else hinders a read may pass."""
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.ENOTDIR):
        return ShelfHindered(f"{what} cannot be read just now ({_first_line(error)}).")
    return ShelfError(f"{what} cannot be read ({_first_line(error)}). {remedy}")


@contextmanager
def writing(what: str) -> Iterator[None]:
    """The time in which something is written.

    Raises:
        ShelfError: it cannot be.
    """
    try:
        yield
    except OSError as error:
        raise ShelfError(f"{what} cannot be written ({_first_line(error)}).") from error


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    if isinstance(error, OSError):
        # Without the path, which is nobody's business.
        return error.strerror or str(error) or type(error).__name__
    return str(error)
