"""Where weights come from, what identifies them and how large they are."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bundled:
    """Weights that ship inside an installed package, so that they are here whenever it is.

    `files` are paths inside the package; none where the weights are part of its code, and then the
    version identifies them.
    """

    distribution: str
    package: str
    files: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        return f"bundled in {self.distribution} {_installed_version(self.distribution)}"

    @property
    def fingerprint(self) -> str:
        """The digest of the weights; reads the files once, loads no model."""
        return _digest_of(self)

    @property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.paths)

    @property
    def paths(self) -> list[Path]:
        """The files; none where the package is not installed."""
        spec = find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return []
        folder = Path(next(iter(spec.submodule_search_locations)))
        return [folder / name for name in self.files]


@cache
def _installed_version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "(not installed)"


@cache
def _digest_of(weights: Bundled) -> str:
    """Also answers for a package that is missing: planning goes on, and loading says what is wrong."""
    installed = _installed_version(weights.distribution)
    digest = hashlib.sha256(f"{weights.distribution} {installed}".encode())
    for path in weights.paths:
        digest.update(path.read_bytes() if path.is_file() else b"missing")
    return digest.hexdigest()
