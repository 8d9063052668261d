"""What this process may take of the machine: all of it, or what a container (a control group) leaves it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Version 1 says "no limit" by a number near the largest.
_NO_LIMIT = 2**60


@dataclass(frozen=True, slots=True)
class Limits:
    """`cores` and `memory_bytes` are those of a container's limit, None where there is none. `free_bytes` is
    what is left of the memory: of the limit, or of the machine; None where that cannot be told."""

    cores: float | None = None
    memory_bytes: int | None = None
    free_bytes: int | None = None


def container_limits(root: Path = Path("/")) -> Limits:
    """The limits that Linux keeps for this process, in either version of control groups.

    Args:
        root: where the file system of the system begins.
    """
    cores: list[float] = []
    memory: list[tuple[int, int]] = []
    for folder in _groups(root, "cpu"):
        cores += _cores(folder)
    for folder in _groups(root, "memory"):
        memory += _memory(folder)
    free = [limit - used for limit, used in memory]
    free += _available(root / "proc/meminfo")
    return Limits(
        min(cores, default=None),
        min((limit for limit, _ in memory), default=None),
        max(0, min(free)) if free else None,
    )


def most_memory(limits: Limits) -> int | None:
    """Bytes of memory that this process may take at most; None where that cannot be told."""
    total = _machine_memory()
    return total if total is None else min(total, limits.memory_bytes or total)


def _machine_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's group and of those around it, whose limits hold too."""
    tree = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, names, path = line.split(":", 2)
        if number == "0" and not names:
            top = tree
        elif controller in names.split(","):
            top = tree / controller
        else:
            continue
        inside = Path(path.lstrip("/"))
        # In a container the path may be one outside of it, and its own group is the top.
        for place in (inside, *inside.parents):
            if (top / place).is_dir():
                yield top / place


def _cores(folder: Path) -> list[float]:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota = _text(folder / "cpu.cfs_quota_us").strip()
        period = _text(folder / "cpu.cfs_period_us").strip()
    return [int(quota) / int(period)] if quota.isdecimal() and period.isdecimal() and int(period) else []


def _memory(folder: Path) -> list[tuple[int, int]]:
    """The limit and what is used of it, without the files in it that can be given back."""
    for limit_file, used_file, given_back in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _text(folder / limit_file).strip(), _text(folder / used_file).strip()
        if limit.isdecimal() and used.isdecimal() and int(limit) < _NO_LIMIT:
            return [(int(limit), int(used) - _entry(folder / "memory.stat", given_back))]
    return []


def _available(meminfo: Path) -> list[int]:
    kilobytes = _entry(meminfo, "MemAvailable:")
    return [kilobytes * 1024] if kilobytes else []


def _entry(path: Path, name: str) -> int:
    for line in _text(path).splitlines():
        words = line.split()
        if words[:1] == [name] and words[1].isdecimal():
            return int(words[1])
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
