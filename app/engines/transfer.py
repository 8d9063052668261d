"""Downloading one file over HTTP, so that a later attempt goes on where an earlier one stopped.

Transient failures are tried again, a bounded number of times. `httpx2` is what huggingface_hub uses, so that
both make the same use of proxies and certificates.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from app.core.weights import Progress
from app.engines.contents import Damaged, Expected, FileRecord, examined

if TYPE_CHECKING:
    from httpx2 import Client, Response

Answer = TypeVar("Answer")

# Attempts in a row that bring nothing, and attempts in all.
ATTEMPTS_WITHOUT_GAIN = 4
ATTEMPTS = 20
# Doubles with every attempt in a row that brings nothing.
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
# For connecting, and for every read.
TIMEOUT_SECONDS = 20.0

TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


class TransferFailed(Exception):
    """A download did not succeed. The message says why, as a sentence for people."""


class Refused(TransferFailed):
    """The server said no."""

    def __init__(self, status: int) -> None:
        super().__init__(f"The server answered {status}.")
        self.status = status


class TryAgain(Exception):
    """One attempt failed in a way that passes; `wait` is what the server asks for."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass(slots=True)
class Tally:
    """Tells the progress of several files as one, and never goes back."""

    progress: Progress
    total: int
    done: int = 0
    told: int = field(default=-1, init=False)

    def add(self, size: int) -> None:
        """So many bytes came; with a negative number they must be fetched again."""
        self.done += size
        self.told = max(self.told, min(self.done, self.total))
        self.progress(self.told, self.total)


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a file is fetched from.

    Args:
        name: what messages call it.
        url: where it is.
        headers: what is sent along.
        at_most: the number of bytes beyond which it is not what was asked for.
        fixed: whether the same URL always gives the same bytes; else its entity tag tells.
    """

    name: str
    url: str
    at_most: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fixed: bool = False


def obtain(
    client: "Client",
    remote: Remote,
    part: Path,
    expected: Expected,
    tally: Tally,
    unpack: Callable[[Path], Path] = lambda part: part,
) -> tuple[Path, FileRecord]:
    """Fetch into the file `part`, unpack and check it.

    Raises:
        TransferFailed: it cannot be had, or is not what is expected even after starting over.
    """
    for resumed in (part.exists(), False):
        fetch(client, remote, part, tally)
        size = part.stat().st_size
        try:
            unpacked = unpack(part)
            return unpacked, examined(unpacked, expected)
        except Damaged as error:
            _discard(part)
            tally.add(-size)
            if not resumed:
                raise TransferFailed(f"What the server sent as {remote.name} {error}.") from error
    raise AssertionError("unreachable")


def fetch(client: "Client", remote: Remote, part: Path, tally: Tally) -> None:
    """Bring the file `part` to its full length.

    Raises:
        TransferFailed: it cannot be had.
    """
    tally.add(_size(part))
    if not (remote.fixed and _size(part) == remote.at_most):
        patiently(lambda: _stream(client, remote, part, tally), gained=lambda: _size(part))


def check_room(folder: Path, size: int) -> None:
    """Whether so many bytes find room.

    Raises:
        TransferFailed: they do not.
    """
    place = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(place).free
    if size > free:
        raise TransferFailed(f"The disk is too full: {size:,} bytes are to come, and {free:,} are free.")


def patiently(attempt: Callable[[], Answer], gained: Callable[[], int] = lambda: 0) -> Answer:
    """Try until it succeeds, as long as that makes sense.

    Args:
        attempt: what raises `TryAgain`, or an error of the connection, while trying again may help.
        gained: how much the attempts have brought so far.

    Raises:
        TransferFailed: it failed too often.
    """
    from httpx2 import RequestError

    failures = 0
    for _ in range(ATTEMPTS):
        before = gained()
        try:
            return attempt()
        except (RequestError, TryAgain) as error:
            failures = 0 if gained() > before else failures + 1
            why, asked = str(error) or type(error).__name__, getattr(error, "wait", 0.0)
        if failures >= ATTEMPTS_WITHOUT_GAIN:
            break
        time.sleep(min(max(asked, FIRST_WAIT_SECONDS * 2**failures / 2), LONGEST_WAIT_SECONDS))
    raise TransferFailed(
        f"The server cannot be reached, or breaks off ({why}). Check the network and its settings "
        "(HTTPS_PROXY, and HF_ENDPOINT for the hub); the next attempt goes on where this one stopped."
    )


def _stream(client: "Client", remote: Remote, part: Path, tally: Tally) -> None:
    offset = _size(part)
    tag_file = _tag_file(part)
    tag = tag_file.read_text("utf-8") if tag_file.exists() else ""
    # Compressed, the length and the ranges would be those of something else.
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    if offset and (remote.fixed or tag):
        headers["Range"] = f"bytes={offset}-"
        headers |= {} if remote.fixed else {"If-Range": tag}
    with client.stream(
        "GET", remote.url, headers=headers, timeout=TIMEOUT_SECONDS, follow_redirects=True
    ) as response:
        if response.status_code == 416:
            if _total_stated(response) == offset:
                return
            # The part is longer than the file, so it belongs to another one.
            _discard(part)
            tally.add(-offset)
            raise TryAgain("what was there before did not fit")
        start, total = _extent(response, offset)
        if start != offset:
            _discard(part)
            tally.add(-offset)
        if total is not None and total > remote.at_most:
            raise TransferFailed(f"The server has {total:,} bytes; {remote.at_most:,} are the most expected.")
        if not remote.fixed:
            tag_file.write_text(_strong_tag(response), "utf-8")
        size = start
        with part.open("ab") as file:
            # As it comes: what would be held back for larger chunks is lost when the connection breaks.
            for chunk in response.iter_raw():
                size += len(chunk)
                if size > remote.at_most:
                    raise TransferFailed(f"The server sends more than {remote.at_most:,} bytes.")
                file.write(chunk)
                tally.add(len(chunk))
    if total is not None and size < total:
        raise TryAgain(f"it ended after {size:,} of {total:,} bytes")
    tag_file.unlink(missing_ok=True)


def _extent(response: "Response", offset: int) -> tuple[int, int | None]:
    """Where the bytes of an answer begin, and how many the file has, where that is told."""
    status = response.status_code
    if status in TRANSIENT:
        wait = response.headers.get("Retry-After", "")
        raise TryAgain(f"the server answered {status}", float(wait) if wait.isdigit() else 0.0)
    if status not in (200, 206):
        raise Refused(status)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise TransferFailed("The server compresses what must come as it is.")
    if status == 206:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            raise TransferFailed("The server sent another part of the file than was asked for.")
        return offset, _total_stated(response)
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _total_stated(response: "Response") -> int | None:
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _strong_tag(response: "Response") -> str:
    """The entity tag that proves equal bytes; a weak one proves nothing."""
    tag: str = response.headers.get("ETag", "")
    return "" if tag.startswith("W/") else tag


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)
