"""Files at fixed URLs, kept where the library that they belong to looks for them."""

import os
import shutil
import zipfile
import zlib
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.weights import Progress
from app.engines.contents import Damaged, Expected, FileRecord, examined
from app.engines.transfer import Remote, Tally, TransferFailed, check_room, obtain
from app.engines.weights import Download, RemoteFile

if TYPE_CHECKING:
    import httpx2

# Declared sizes are round figures.
_LARGER_AT_MOST = 4
_PART, _ARCHIVE = ".part", ".zip.part"


def folder_of(weights: Download) -> Path:
    """The library's own folder for its files."""
    match weights.cache:
        case "torch":
            return _torch_home() / "hub" / "checkpoints"
        case "facenet":
            return _torch_home() / "checkpoints"
        case "easyocr":
            chosen = os.environ.get("EASYOCR_MODULE_PATH") or os.environ.get("MODULE_PATH")
            return Path(chosen or Path("~/.EasyOCR").expanduser()) / "model"


def expected_of(weights: Download, name: str) -> Expected:
    """What its publisher tells of a file."""
    file = next(file for file in weights.files if file.name == name)
    return Expected(sha256=file.sha256_prefix, md5=file.md5)


def pull(
    weights: Download, pinned: Mapping[str, FileRecord] | None, progress: Progress
) -> dict[str, FileRecord]:
    """Fetch what is missing or damaged.

    Args:
        weights: the files and their URLs.
        pinned: what the files must be; None accepts what their publisher tells.
        progress: told of the bytes of all files together.

    Raises:
        TransferFailed: they cannot be had; the message says why.
        OSError: they cannot be written.
    """
    import httpx2

    folder, tally = folder_of(weights), Tally(progress, weights.size_bytes)
    records: dict[str, FileRecord] = {}
    missing: list[tuple[RemoteFile, Expected]] = []
    for file in weights.files:
        expected = expected_of(weights, file.name)
        if pinned is not None:
            if file.name not in pinned:
                raise TransferFailed(f"The file {file.name} is not pinned.")
            expected = Expected(pinned[file.name].size, pinned[file.name].sha256, expected.md5)
        try:
            records[file.name] = examined(folder / file.name, expected)
            tally.add(file.size_bytes)
        except (Damaged, FileNotFoundError):
            missing.append((file, expected))
    folder.mkdir(parents=True, exist_ok=True)
    # An archive and what it unpacks to are there at the same time.
    check_room(folder, sum(file.size_bytes * (2 if file.archived else 1) for file, _ in missing))
    with httpx2.Client() as client:
        for file, expected in missing:
            records[file.name] = _fetch(client, folder, file, expected, tally)
    progress(tally.total, tally.total)
    return records


def remove(weights: Download, keep: Collection[str]) -> int:
    """Delete the files, and what an interrupted download left of them.

    Args:
        weights: whose files.
        keep: names that other weights in the same folder need.

    Returns:
        The bytes that became free.
    """
    freed = 0
    for file in weights.files:
        for suffix in ("", _PART, f"{_PART}.etag", _ARCHIVE, f"{_ARCHIVE}.etag"):
            path = folder_of(weights) / f"{file.name}{suffix}"
            if file.name not in keep and path.is_file():
                freed += path.stat().st_size
                path.unlink()
    return freed


def _fetch(
    client: "httpx2.Client", folder: Path, file: RemoteFile, expected: Expected, tally: Tally
) -> FileRecord:
    target, at_most = folder / file.name, _LARGER_AT_MOST * file.size_bytes
    part = target.with_name(f"{target.name}{_ARCHIVE if file.archived else _PART}")
    remote = Remote(file.name, file.url, at_most)
    if file.archived:
        unpack = partial(_unpacked, target=target, at_most=at_most)
        ready, record = obtain(client, remote, part, expected, tally, unpack)
        part.unlink()
    else:
        ready, record = obtain(client, remote, part, expected, tally)
    ready.replace(target)
    return record


def _unpacked(archive: Path, target: Path, at_most: int) -> Path:
    """The one member that is wanted, beside its place."""
    ready = target.with_name(f"{target.name}{_PART}")
    try:
        with zipfile.ZipFile(archive) as opened:
            member = opened.getinfo(target.name)
            if member.file_size > at_most:
                raise TransferFailed(f"The archive's {target.name} unpacks to {member.file_size:,} bytes.")
            with opened.open(member) as packed, ready.open("wb") as file:
                shutil.copyfileobj(packed, file)
    except KeyError as error:
        raise TransferFailed(f"The archive has no {target.name}.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Damaged("cannot be unpacked") from error
    return ready


def _torch_home() -> Path:
    """As torch and facenet-pytorch have it."""
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{caches}/torch")).expanduser()
