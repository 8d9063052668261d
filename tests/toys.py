"""Engines that cost nothing, for tests of what runs them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.errors import ModelUnavailable
from app.core.operation import EngineSpec
from app.core.weights import Placement, Progress


@dataclass(frozen=True)
class ToyWeights:
    fingerprint: str = "0123456789abcdef"
    id: str = "toy"
    source: str = "made in a test"
    size_bytes: int = 0


class ToyStore:
    """Keeps toys: all are here but those that are named as absent, until they are pulled."""

    def __init__(self, *absent: str, pull: Callable[[EngineSpec, Progress], None] | None = None) -> None:
        self.absent = set(absent)
        self.fingerprints: dict[str, str] = {}
        self._pull = pull

    def fingerprint(self, spec: EngineSpec) -> str:
        weights: Any = spec.weights
        return self.fingerprints.get(spec.name, weights.fingerprint)

    def source(self, spec: EngineSpec) -> str:
        return spec.weights.source

    def caution(self, spec: EngineSpec) -> str:
        return ""

    def present(self, spec: EngineSpec) -> bool:
        return spec.name not in self.absent

    def remedy(self, spec: EngineSpec) -> str:
        return f"Run: sightgraph models pull {spec.weights.id}."

    def open(self, spec: EngineSpec) -> Placement:
        if not self.present(spec):
            raise ModelUnavailable(f"{spec.name} is not here")
        return Placement(Path())

    def pull(self, spec: EngineSpec, progress: Progress) -> None:
        if self._pull is not None:
            self._pull(spec, progress)
        self.absent.discard(spec.name)
