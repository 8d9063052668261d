"""Where the server keeps things: rights and room in the data folder and the models' cache, and the index."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.cli.doctor.database import database
from app.cli.doctor.finding import Examination, Findings, ok, problem, size, warning
from app.settings import Settings

# For the index, thumbnails and records; what they take grows with use.
LEAST_ROOM = 1_000_000_000


def places(settings: Settings, coming_bytes: int) -> Iterator[tuple[str, Examination]]:
    """One after another, by topic.

    Args:
        settings: name the folders.
        coming_bytes: the weights that are yet to be downloaded.
    """
    from huggingface_hub import constants

    data, cache = settings.data, Path(constants.HF_HUB_CACHE)
    yield "data folder", lambda: folder("data folder", data, LEAST_ROOM, "SIGHTGRAPH_DATA")
    # A part of them goes to other libraries' caches, on the same disk as a rule.
    yield "model cache", lambda: folder("model cache", cache, coming_bytes, "HF_HOME")
    yield "index", lambda: index(settings)


def folder(topic: str, path: Path, needed: int, setting: str) -> Findings:
    """Whether files can be written there, and whether they find room."""
    try:
        # Below a folder that is closed to this user even what exists is not known.
        place = next(place for place in (path, *path.parents) if place.exists())
        if not place.is_dir():
            yield problem(topic, f"{path}: {place} is a file.", f"Name a folder by {setting}.")
            return
        # Really written: rights, read-only mounts and quotas are told in many ways.
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(place).free
    except OSError as error:
        yield problem(
            topic,
            f"{path} cannot be written ({error.strerror}).",
            f"Give this user the right to write there, or name another folder by {setting}.",
        )
        return
    if free < needed:
        yield problem(
            topic,
            f"{path}: {size(free)} are free on its disk, and {size(needed)} are needed.",
            f"Make room, or name a folder on another disk by {setting}.",
        )
    else:
        made = "" if place == path else ", is made when it is needed"
        yield ok(topic, f"{path}{made}: writable, {size(free)} free.")


def index(settings: Settings) -> Findings:
    if settings.index_url is not None:
        yield from database(settings.index_url.get_secret_value())
        return
    from app.index.local import DATABASE, holder_of

    kept = settings.data / "index"
    file = kept / DATABASE
    try:
        if not file.is_file():
            yield ok("index", "None yet; it is made at its first use, in the data folder.")
            return
        kept_bytes = file.stat().st_size
        holder = holder_of(kept)
        # Only read: a server may bring it into the form of its own version.
        with contextlib.closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as opened:
            opened.execute("select count(*) from sqlite_master").fetchone()
    except (OSError, sqlite3.Error) as error:
        yield problem(
            "index", f"{file} cannot be read ({error}).", "See to its rights, or put back a good copy of it."
        )
        return
    if holder:
        yield warning("index", holder, "Where that is a server of yours, all is well.")
    else:
        yield ok("index", f"In the data folder, {size(kept_bytes)}.")
