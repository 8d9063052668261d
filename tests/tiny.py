"""Tiny checkpoints in the real on-disk formats, loaded by the real engines."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

from app.core.operation import EngineSpec
from app.core.weights import Placement, Progress, Store


class TinyStore:
    """Every downloaded model is here, as a tiny one with random weights, written when it is first loaded.

    What ships in packages stays what it is. `only` names the engines that are here; the others are absent.
    """

    def __init__(self, installed: Store, folder: Path, only: frozenset[str] | None = None) -> None:
        self._installed = installed
        self._folder = folder
        self._only = only

    def fingerprint(self, spec: EngineSpec) -> str:
        return f"tiny {spec.name}" if spec.write_random else self._installed.fingerprint(spec)

    def source(self, spec: EngineSpec) -> str:
        return "made in a test" if spec.write_random else self._installed.source(spec)

    def commit(self, spec: EngineSpec) -> str:
        return "" if spec.write_random else self._installed.commit(spec)

    def size_bytes(self, spec: EngineSpec) -> int:
        return spec.weights.size_bytes

    def caution(self, spec: EngineSpec) -> str:
        return ""

    def present(self, spec: EngineSpec) -> bool:
        if spec.write_random is None:
            return self._installed.present(spec)
        return self._only is None or spec.name in self._only

    def remedy(self, spec: EngineSpec) -> str:
        return f"Run: sightgraph models pull {spec.name}."

    def obstacle(self, spec: EngineSpec) -> str:
        return "No test downloads."

    def open(self, spec: EngineSpec) -> Placement:
        if spec.write_random is None:
            return self._installed.open(spec)
        folder = self._folder / spec.name
        if not folder.exists():
            folder.mkdir(parents=True)
            write_tiny(spec, folder)
        return Placement(folder)

    def pull(self, spec: EngineSpec, progress: Progress) -> None:
        raise AssertionError("no test downloads")


def write_tiny(spec: EngineSpec, folder: Path) -> None:
    write: Any = spec.write_random
    function = write.func if isinstance(write, partial) else write
    write(folder, **({"tiny": True} if "tiny" in inspect.signature(function).parameters else {}))
