"""The files of weights as they lie on this machine, by names and sizes. Quick: no file is read."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

from app.engines.contents import FileRecord
from app.engines.weights import Download, Hub

Kept = Hub | Download
"""Weights that come from elsewhere and are kept on this machine."""


class WeightsState(StrEnum):
    BUNDLED = "bundled"
    ABSENT = "absent"
    PARTIAL = "partial"
    ON_DISK = "on disk"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file, as the rest of a sentence that begins with its name."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file} {self.what}"


@dataclass(frozen=True, slots=True)
class Files:
    """The files that are here, the names and patterns of those that are not, and whether a size is wrong."""

    here: tuple[str, ...]
    missing: tuple[str, ...]
    resized: bool = False

    @property
    def state(self) -> WeightsState:
        if self.resized:
            return WeightsState.DAMAGED
        if self.missing:
            return WeightsState.PARTIAL if self.here else WeightsState.ABSENT
        return WeightsState.ON_DISK


def needed(weights: Kept) -> tuple[str, ...]:
    """The names of the needed files; of one with `*`, at least one file must exist."""
    return weights.files if isinstance(weights, Hub) else tuple(file.name for file in weights.files)


def used(weights: Kept, names: Iterable[str]) -> list[str]:
    """Those of the names that these weights use: in one repository there may be more."""
    patterns = (*needed(weights), *_optional(weights))
    return sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def look(weights: Kept, folder: Path, recorded: Mapping[str, FileRecord]) -> Files:
    """What lies in a folder, where all recorded files must be, and those that are needed anyway."""
    names = set(used(weights, recorded))
    missing = []
    for pattern in (*needed(weights), *(() if recorded else _optional(weights))):
        if not _match(names, pattern):
            found = _on_disk(folder, pattern)
            names.update(found)
            if not found and pattern in needed(weights):
                missing.append(pattern)
    here, resized = [], False
    for name in sorted(names):
        try:
            size = (folder / name).stat().st_size
        except OSError:
            missing.append(name)
            continue
        here.append(name)
        resized = resized or (name in recorded and size != recorded[name].size)
    return Files(tuple(here), tuple(missing), resized)


def _optional(weights: Kept) -> tuple[str, ...]:
    return weights.optional if isinstance(weights, Hub) else ()


def _match(names: Collection[str], pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def _on_disk(folder: Path, pattern: str) -> list[str]:
    if "*" not in pattern:
        return [pattern] if (folder / pattern).is_file() else []
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [name for name in names if fnmatchcase(name, pattern)]
