"""What planning and running need to know of engines' files: a declaration, and the store that keeps them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from app.core.operation import EngineSpec

Precision = Literal["float32", "bfloat16", "float16"]
WeightsKind = Literal["bundled", "hub", "download"]
"""Inside an installed package, in a repository of a model hub, or files at fixed addresses."""

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes in all. What it raises ends the download."""


class Weights(Protocol):
    """The declaration of an engine's files; it reads nothing."""

    @property
    def id(self) -> str:
        """What `sightgraph models` calls them; engines of equal ids share their files."""

    @property
    def kind(self) -> WeightsKind:
        """How they come to this machine."""

    @property
    def source(self) -> str:
        """Where they come from, for people."""

    @property
    def size_bytes(self) -> int:
        """About how large they are."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What an engine is loaded from and onto.

    `files` is the folder of its weights. `device` is torch's name for where it computes, and `precision` what
    it computes in. On a CPU a call computes on so many `threads`.
    """

    files: Path
    device: str = "cpu"
    precision: Precision = "float32"
    threads: int = 1


class Store(Protocol):
    """The weights on this machine. All but `open` and `pull` are quick enough for the event loop."""

    def fingerprint(self, spec: "EngineSpec") -> str:
        """What identifies the weights: the digest of their files as recorded, or while nothing is recorded,
        of their declaration."""

    def source(self, spec: "EngineSpec") -> str:
        """Where the weights come from and in which revision, for people."""

    def commit(self, spec: "EngineSpec") -> str:
        """The commit of a repository's files; empty where there is none, or none is known yet."""

    def size_bytes(self, spec: "EngineSpec") -> int:
        """What the weights take, as recorded; about, where nothing is recorded."""

    def caution(self, spec: "EngineSpec") -> str:
        """What every result made with these weights must say; empty for real ones."""

    def present(self, spec: "EngineSpec") -> bool:
        """Whether every file is here. Looks at names and sizes, not into the files."""

    def remedy(self, spec: "EngineSpec") -> str:
        """What to do about missing or damaged weights, as a sentence for people."""

    def obstacle(self, spec: "EngineSpec") -> str:
        """Why the weights cannot be downloaded from here, as a sentence for people; empty where they can."""

    def open(self, spec: "EngineSpec") -> Placement:
        """Check the files against what is recorded, and say where they are. Blocks.

        Raises:
            ModelUnavailable: a file is missing or is not what was recorded; the message names it.
        """

    def pull(self, spec: "EngineSpec", progress: Progress) -> None:
        """Download what is missing. Blocks; goes on where an earlier one stopped.

        Raises:
            ModelUnavailable: it cannot be had; the message says why.
        """
