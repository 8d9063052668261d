"""The kinds of weights: inside an installed package, in a repository of the Hugging Face hub, or at an URL.

These are declarations; `app.engines.store` looks for the files, fetches and checks them.
"""

from dataclasses import dataclass
from typing import Literal

from app.core.weights import WeightsKind


@dataclass(frozen=True, slots=True)
class Bundled:
    """Weights that ship inside an installed package, so that they are here whenever it is.

    `files` are paths inside the package; none where the weights are part of its code, and then the
    version identifies them.
    """

    distribution: str
    package: str
    files: tuple[str, ...] = ()
    size_bytes: int = 0

    @property
    def id(self) -> str:
        return self.distribution

    @property
    def kind(self) -> WeightsKind:
        return "bundled"

    @property
    def source(self) -> str:
        return f"bundled in {self.distribution}"


@dataclass(frozen=True, slots=True)
class Hub:
    """A repository of the Hugging Face hub, kept in that hub's own cache.

    `files` are the names that are needed; one with `*` is a pattern, of which at least one file must exist.
    `optional` ones are taken where the repository has them. `size_bytes` is about what they take together.
    `revision` is a branch, tag or commit; what was really pulled is recorded by its commit.
    """

    repository: str
    files: tuple[str, ...]
    size_bytes: int
    revision: str = "main"
    optional: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.repository

    @property
    def kind(self) -> WeightsKind:
        return "hub"

    @property
    def source(self) -> str:
        return f"Hugging Face hub, {self.repository}"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at an URL.

    `sha256_prefix` and `md5` are what its publisher says of it: of the file `name` that is kept, which is a
    member of the archive where the URL leads to one (`archived`).
    """

    url: str
    name: str
    size_bytes: int
    sha256_prefix: str = ""
    md5: str = ""
    archived: bool = False


@dataclass(frozen=True, slots=True)
class Download:
    """Files at fixed URLs, kept where the library that they belong to keeps them, under its own names.

    `cache` is that library: `torch` for `$TORCH_HOME/hub/checkpoints` or `facenet` for
    `$TORCH_HOME/checkpoints` (both under `~/.cache/torch` by default), `easyocr` for
    `$EASYOCR_MODULE_PATH/model` (`~/.EasyOCR/model`).
    """

    id: str
    files: tuple[RemoteFile, ...]
    cache: Literal["torch", "facenet", "easyocr"]

    @property
    def kind(self) -> WeightsKind:
        return "download"

    @property
    def source(self) -> str:
        return f"download, {self.id}"

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)
