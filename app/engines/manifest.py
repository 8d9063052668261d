"""The record of the weights on this machine: one JSON file, read and written by several processes.

Written when weights are pulled, or opened for the first time where another tool put them here. From then on
every file must have the size and the SHA-256 that stand in it. The same file from another machine can pin the
weights of this one.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from app.core.errors import ModelUnavailable
from app.engines.contents import FileRecord

# How long a change by another process may go unnoticed.
_LOOK_EVERY_SECONDS = 1.0
_WRITE_WITHIN_SECONDS = 10.0


class WeightsRecord(BaseModel):
    """What weights consist of. `revision` is what was asked for, `commit` what that was then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["hub", "download"]
    files: dict[str, FileRecord]
    revision: str = ""
    commit: str = ""
    recorded_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    weights: dict[str, WeightsRecord] = Field(default_factory=dict)


class ManifestDamaged(ModelUnavailable):
    """The record cannot be read, so nobody knows what the weights must be."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            f"The record of the weights, {name}, cannot be read ({why}). Put back a good copy; or move it "
            "away, and the weights on this machine are recorded anew when they are next used."
        )


class Manifest:
    """Records by the ids of the weights. Reading is quick: the file is parsed when it has changed.

    Args:
        path: the JSON file; it need not exist.
        clock: seconds, for when to look whether the file has changed.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._clock = clock
        self._looked_at = float("-inf")
        self._stamp: tuple[int, ...] | None = None
        # One attribute, because several threads read it: the records, and what is wrong with the file.
        self._parsed: tuple[dict[str, WeightsRecord], str] = {}, ""

    def get(self, weights_id: str) -> WeightsRecord | None:
        """The record of these weights, if there is one.

        Raises:
            ManifestDamaged: the file cannot be read.
        """
        if self._clock() - self._looked_at >= _LOOK_EVERY_SECONDS:
            self.refresh()
        return self._readable().get(weights_id)

    def put(self, weights_id: str, record: WeightsRecord) -> None:
        """Record weights. Files that are already recorded for the same commit stay.

        Raises:
            ManifestDamaged: the file cannot be read.
            OSError: it cannot be written.
        """
        with self._rewriting() as records:
            before = records.get(weights_id)
            if before is not None and (before.kind, before.revision, before.commit) == (
                record.kind,
                record.revision,
                record.commit,
            ):
                record = record.model_copy(update={"files": before.files | record.files})
            records[weights_id] = record

    def drop(self, weights_id: str) -> None:
        """Forget weights.

        Raises:
            ManifestDamaged: the file cannot be read.
            OSError: it cannot be written.
        """
        with self._rewriting() as records:
            records.pop(weights_id, None)

    @contextlib.contextmanager
    def _rewriting(self) -> Iterator[dict[str, WeightsRecord]]:
        """The records as they stand on the disk; what the block makes of them replaces the file at once."""
        from filelock import FileLock

        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f"{self.path.name}.lock"), timeout=_WRITE_WITHIN_SECONDS):
            self.refresh()
            before = self._readable()
            records = dict(before)
            yield records
            if records != before:
                _replace(self.path, _Document(weights=records).model_dump_json(indent=1))
                self.refresh()

    def refresh(self) -> None:
        """Read the file anew if it has changed, however short ago that was looked at."""
        self._looked_at = self._clock()
        try:
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp == self._stamp:
                return
            self._parsed = _Document.model_validate_json(self.path.read_bytes()).weights, ""
            self._stamp = stamp
        except (FileNotFoundError, NotADirectoryError):
            self._parsed, self._stamp = ({}, ""), None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(step) for step in first["loc"])
            self._parsed, self._stamp = ({}, f"{place}: {first['msg']}" if place else first["msg"]), stamp
        except OSError as error:
            self._parsed, self._stamp = ({}, error.strerror or type(error).__name__), None

    def _readable(self) -> dict[str, WeightsRecord]:
        records, problem = self._parsed
        if problem:
            raise ManifestDamaged(self.path.name, problem)
        return records


def _replace(path: Path, text: str) -> None:
    """Write a file so that it is at every moment the old one or the new one, whole. One writer at a time."""
    new = path.with_name(f"{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
