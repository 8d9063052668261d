"""The installed packages: whether they are the right ones, and whether the system lets them load."""

import importlib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from app.cli.doctor.finding import Findings, listed, ok, problem, warning

# Compiled ones. They fail on what no package manager knows: a shared library that the system lacks, say.
_COMPILED = (
    "numpy",
    "PIL.Image",
    "pi_heif",
    "torch",
    "torchvision",
    "cv2",
    "onnxruntime",
    "zxingcpp",
    "hnswlib",
    "scipy.spatial",
    "psycopg",
)
_INSTALL = "Install Sightgraph anew, with its pinned packages: make clean setup, or pip install sightgraph."


def libraries() -> Findings:
    if not _has("sightgraph"):
        yield problem("packages", "Sightgraph is not installed; its files are only there.", _INSTALL)
    elif wrong := list(_unfitting()):
        yield problem("packages", f"{'; '.join(wrong)}.", _INSTALL)
    else:
        yield ok("packages", f"Sightgraph {version('sightgraph')}; what it asks for is here and fits.")
    if _has("opencv-python") and _has("opencv-python-headless"):
        yield warning(
            "packages",
            "opencv-python and opencv-python-headless are both installed, and overwrite each other's files.",
            "Uninstall both, and install opencv-python-headless again.",
        )
    failed = False
    for name in _COMPILED:
        try:
            importlib.import_module(name)
        except Exception as error:
            failed = True
            first = str(error).partition("\n")[0]
            yield problem("packages", f"{name} cannot be loaded: {type(error).__name__}: {first}", _INSTALL)
    if not failed:
        yield ok("packages", f"The compiled ones load: {listed(_COMPILED)}.")


def _unfitting() -> Iterator[str]:
    """What is said of each package that is missing or too old or new."""
    from packaging.requirements import Requirement

    for line in requires("sightgraph") or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            here = version(wanted.name)
        except PackageNotFoundError:
            yield f"{wanted.name} is not installed"
            continue
        if not wanted.specifier.contains(here, prereleases=True):
            yield f"{wanted.name} is {here}, and {wanted.specifier} is needed"


def _has(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
