"""Where the server keeps things: rights and room in the data folder and the models' cache, and the index."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from app.cli.doctor.finding import Findings, ok, problem, size, warning
from app.settings import Settings

# For the index, thumbnails and records; what they take grows with use.
LEAST_ROOM = 1_000_000_000
_DATABASE_SECONDS = 5


def places(settings: Settings, coming_bytes: int) -> Findings:
    """Args:
    settings: name the folders.
    coming_bytes: the weights that are yet to be downloaded.
    """
    from huggingface_hub import constants

    yield from folder("data folder", settings.data, LEAST_ROOM, "SIGHTGRAPH_DATA")
    cache = Path(constants.HF_HUB_CACHE)
    # A part of them goes to other libraries' caches, on the same disk as a rule.
    yield from folder("model cache", cache, coming_bytes, "HF_HOME")
    yield from index(settings)


def folder(topic: str, path: Path, needed: int, setting: str) -> Findings:
    """Whether files can be written there, and whether they find room."""
    place = next(place for place in (path, *path.parents) if place.exists())
    if not place.is_dir():
        yield problem(topic, f"{path}: {place} is a file.", f"Name a folder by {setting}.")
        return
    try:
        # Really written: rights, read-only mounts and quotas are told in many ways.
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield problem(
            topic,
            f"{path} cannot be written ({error.strerror}).",
            f"Give this user the right to write there, or name another folder by {setting}.",
        )
        return
    free = shutil.disk_usage(place).free
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
        yield from _database(settings.index_url.get_secret_value())
        return
    from app.index.local import DATABASE, holder_of

    kept = settings.data / "index"
    file = kept / DATABASE
    if not file.is_file():
        yield ok("index", "None yet; it is made at its first use, in the data folder.")
        return
    try:
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
        yield ok("index", f"In the data folder, {size(file.stat().st_size)}.")


def _database(url: str) -> Findings:
    """Looked at and not changed: the tables are made by the server."""
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=_DATABASE_SECONDS) as connection:
            found = connection.execute(
                "select installed_version from pg_available_extensions where name = 'vector'"
            ).fetchone()
    except psycopg.Error as error:
        first = str(error).strip().partition("\n")[0]
        yield problem(
            "index",
            f"The database of SIGHTGRAPH_INDEX_URL cannot be used: {first}",
            "See whether it runs, is reached from here, and knows this user and password.",
        )
        return
    if found is None:
        yield problem(
            "index",
            "The database of SIGHTGRAPH_INDEX_URL has no pgvector.",
            "Install the extension `vector` on the database server.",
        )
    else:
        installed = f"pgvector {found[0]}" if found[0] else "pgvector ready to be created"
        yield ok("index", f"PostgreSQL answers, {installed}.")
