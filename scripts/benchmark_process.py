"""What the system tells of another process; None where it is no Linux, or the process is not known."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def cpu_seconds(pid: int | None) -> float | None:
    """The processor time that a process has taken, on all cores together."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return None
    # Behind its name, which may hold anything.
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(pid: int | None) -> int | None:
    return _status(pid, "VmRSS")


def peak_resident_bytes(pid: int | None) -> int | None:
    return _status(pid, "VmHWM")


def _status(pid: int | None, name: str) -> int | None:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    lines = [line for line in status.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(lines[0].split()[1]) * 1024 if lines else None
