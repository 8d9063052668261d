"""What the contents of a weight file must be, and whether they are."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_CHUNK = 1 << 20


class FileRecord(BaseModel):
    """What is recorded of a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Damaged(Exception):
    """A file is not what it must be. The message goes on after the file's name."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a file's contents; nothing where a field is empty.

    `sha256` is the digest in hex or how it begins. `git_id` is Git's object id, which is what the Hugging
    Face hub tells of small files.
    """

    size: int | None = None
    sha256: str = ""
    md5: str = ""
    git_id: str = ""


def examined(path: Path, expected: Expected) -> FileRecord:
    """Read a file and compare it with what is expected.

    Raises:
        Damaged: it differs.
        FileNotFoundError: there is none.
    """
    size = path.stat().st_size
    if expected.size is not None and size < expected.size:
        raise Damaged(f"is truncated ({size:,} of {expected.size:,} bytes)")
    if expected.size is not None and size > expected.size:
        raise Damaged(f"has {size:,} bytes instead of {expected.size:,}")
    sha256 = hashlib.sha256()
    digests = [sha256]
    # MD5 and SHA-1 are what publishers state; against an attacker they hold nothing.
    md5 = hashlib.md5(usedforsecurity=False)
    git_id = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    digests += [md5] if expected.md5 else []
    digests += [git_id] if expected.git_id else []
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for digest in digests:
                digest.update(chunk)
    for name, found, wanted in (
        ("SHA-256", sha256.hexdigest(), expected.sha256),
        ("MD5", md5.hexdigest(), expected.md5),
        ("Git id", git_id.hexdigest(), expected.git_id),
    ):
        if wanted and not found.startswith(wanted):
            raise Damaged(f"has other contents ({name} {found[:12]}... instead of {wanted[:12]}...)")
    return FileRecord(size=size, sha256=sha256.hexdigest())
