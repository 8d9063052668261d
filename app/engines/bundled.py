"""Weights that ship inside an installed package."""

import hashlib
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from app.engines.weights import Bundled


def is_installed(weights: Bundled) -> bool:
    return _spec(weights.package) is not None and all(path.is_file() for path in paths(weights))


def folder_of(weights: Bundled) -> Path:
    """The package's folder; of a package that is one module, the folder around it.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    spec = _spec(weights.package)
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named '{weights.package}'", name=weights.package)
    return Path(spec.origin).parent


def paths(weights: Bundled) -> list[Path]:
    """The files; none where the package is not installed."""
    if _spec(weights.package) is None:
        return []
    return [folder_of(weights) / name for name in weights.files]


def source(weights: Bundled) -> str:
    return f"{weights.source} {_installed_version(weights.distribution)}"


@cache
def fingerprint(weights: Bundled) -> str:
    """The digest of the weights; reads the files once, loads no model.

    Also answers for a package that is missing: planning goes on, and loading says what is wrong.
    """
    installed = _installed_version(weights.distribution)
    digest = hashlib.sha256(f"{weights.distribution} {installed}".encode())
    for path in paths(weights):
        digest.update(path.read_bytes() if path.is_file() else b"missing")
    return digest.hexdigest()


def _spec(package: str) -> ModuleSpec | None:
    try:
        return find_spec(package)
    except ValueError:
        # Another thread is importing it, and its module has no spec yet.
        return PathFinder.find_spec(package)


@cache
def _installed_version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "(not installed)"
