"""Engines that cost nothing, for tests of what runs them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.artifacts import Crop
from app.core.errors import ModelUnavailable
from app.core.operation import IMAGE, EngineSpec, NoParams, Operation, operation
from app.core.weights import Placement, Progress, WeightsKind


@dataclass(frozen=True)
class ToyWeights:
    fingerprint: str = "0123456789abcdef"
    id: str = "toy"
    source: str = "made in a test"
    kind: WeightsKind = "hub"
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

    def commit(self, spec: EngineSpec) -> str:
        return ""

    def size_bytes(self, spec: EngineSpec) -> int:
        return spec.weights.size_bytes

    def caution(self, spec: EngineSpec) -> str:
        return ""

    def present(self, spec: EngineSpec) -> bool:
        return spec.name not in self.absent

    def remedy(self, spec: EngineSpec) -> str:
        return f"Run: sightgraph models pull {spec.weights.id}."

    def obstacle(self, spec: EngineSpec) -> str:
        return ""

    def open(self, spec: EngineSpec) -> Placement:
        if not self.present(spec):
            raise ModelUnavailable(f"{spec.name} is not here")
        return Placement(Path())

    def pull(self, spec: EngineSpec, progress: Progress) -> None:
        if self._pull is not None:
            self._pull(spec, progress)
        self.absent.discard(spec.name)


class ToyEngine:
    def __init__(self, placement: Placement) -> None:
        self.placement = placement

    def warmup(self, items: int = 1) -> None:
        pass


def toy_engine(
    name: str, load: Callable[[Placement], Any] = ToyEngine, size_bytes: int = 10, **more: Any
) -> EngineSpec:
    return EngineSpec(name, ToyWeights(id=f"toys/{name}", size_bytes=size_bytes), "MIT", load, **more)


def seeing(
    name: str, *engines: EngineSpec, batch: Callable[[Sequence[Crop]], None] = lambda _: None
) -> Operation:
    """A public operation that any of the engines serves, and that answers its own name."""

    def see(image: Sequence[Crop], params: NoParams, engine: Any) -> list[str]:
        """See."""
        batch(image)
        return [name for _ in image]

    see.__name__ = name
    return operation(needs=lambda _: {"image": IMAGE}, engine=engines)(see)
