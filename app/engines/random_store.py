"""Random weights in place of downloaded ones, for measurements on machines that reach no hub.

Random weights of the full architecture cost what trained ones cost, and answer nonsense.
"""

import shutil
from pathlib import Path
from urllib.parse import quote

from app.core.errors import ModelUnavailable
from app.core.key import digest
from app.core.operation import EngineSpec
from app.core.weights import Placement, Progress, Store
from app.engines.store import LocalStore


class RandomStore(Store):
    """Writes the files of an engine when it is first opened. Those that cannot write any keep the real ones.

    Args:
        real: the weights on this machine.
        folder: where the random ones are kept, each under its engine's name.
    """

    def __init__(self, real: LocalStore, folder: Path) -> None:
        self._real = real
        self._folder = folder

    def fingerprint(self, spec: EngineSpec) -> str:
        if spec.write_random is None:
            return self._real.fingerprint(spec)
        return f"random-{digest(spec.name, spec.weights.id)}"

    def source(self, spec: EngineSpec) -> str:
        if spec.write_random is None:
            return self._real.source(spec)
        return "seeded random weights, for measurements"

    def commit(self, spec: EngineSpec) -> str:
        return self._real.commit(spec) if spec.write_random is None else ""

    def size_bytes(self, spec: EngineSpec) -> int:
        return self._real.size_bytes(spec) if spec.write_random is None else spec.weights.size_bytes

    def caution(self, spec: EngineSpec) -> str:
        if spec.write_random is None:
            return self._real.caution(spec)
        return "Made with random weights: for measurements, not a real answer."

    def present(self, spec: EngineSpec) -> bool:
        return spec.write_random is not None or self._real.present(spec)

    def remedy(self, spec: EngineSpec) -> str:
        if spec.write_random is None:
            return self._real.remedy(spec)
        return "Delete the folder of random weights, so that they are written anew."

    def obstacle(self, spec: EngineSpec) -> str:
        if spec.write_random is None:
            return self._real.obstacle(spec)
        return "This server works with random weights, which it writes itself."

    def open(self, spec: EngineSpec) -> Placement:
        if spec.write_random is None:
            return self._real.open(spec)
        files = self._folder / quote(spec.name, safe="")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write(spec, files)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise ModelUnavailable(
                f"The random weights of '{spec.name}' cannot be written ({why})."
            ) from error
        return self._real.place(files)

    def pull(self, spec: EngineSpec, progress: Progress) -> None:
        if spec.write_random is None:
            self._real.pull(spec, progress)

    def _write(self, spec: EngineSpec, files: Path) -> None:
        """Write a folder so that it is there whole or not at all, whichever process is first."""
        from filelock import FileLock

        assert spec.write_random is not None
        with FileLock(files.with_name(f"{files.name}.lock")):
            if files.is_dir():
                return
            half = files.with_name(f"{files.name}.half")
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            spec.write_random(half)
            half.replace(files)
