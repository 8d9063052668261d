"""The names of what is stored: files, folders and versions."""

import hashlib
import re
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
from pydantic import Field

from classifiers.arrays import Arrays, pack

BEST = "best_models.json"
HISTORY = "history.json"
HEAD = "head.npz"
PHOTOS = "photos.npz"
CARD = "card.json"
REPORT = "report.html"

# What any of the JSON files has at the most.
MAX_JSON_BYTES = 16 * 2**20

_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
VERSION = r"\d{8}T\d{12}Z-[0-9a-f]{12}"

Version = Annotated[str, Field(pattern=rf"^{VERSION}$")]


def folder_name(collection: str) -> str:
    """A folder's name for a collection: the name itself where every file system takes it, else a digest."""
    if _PLAIN_NAME.fullmatch(collection):
        return collection
    # No plain name has a dot, so the two kinds never meet.
    readable = re.sub(r"[^a-z0-9]+", "-", collection.lower())[:32].strip("-")
    return f"{readable or 'collection'}.{sha256(collection.encode('utf-8', 'surrogatepass'))[:20]}"


def version_name(created: datetime, arrays: Arrays, threshold: float | None = None) -> str:
    """Names sort by time; the digest is of all that decides: the head's arrays and its threshold."""
    decisive = arrays if threshold is None else {**arrays, "threshold": np.array([threshold])}
    return f"{created.astimezone(UTC):%Y%m%dT%H%M%S%f}Z-{sha256(pack(decisive))[:12]}"


def are_equal(version: str, other: str) -> bool:
    """Whether two versions of a collection decide alike, whenever they were trained."""
    return version.rpartition("-")[2] == other.rpartition("-")[2]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
