"""How ready an operation is: the state of the engines that would serve it now."""

from dataclasses import dataclass
from typing import Any

from app.core.catalog import makers, stages_behind
from app.core.errors import InvalidParams
from app.core.operation import EngineSpec, Operation, Params
from app.runtime.engines import EngineState
from app.runtime.pool import Pool

# From the worst on: an operation is as ready as the least ready of the stages behind it.
_WORST_FIRST = (
    EngineState.FAILED,
    EngineState.ABSENT,
    EngineState.DOWNLOADING,
    EngineState.LOADING,
    EngineState.ON_DISK,
    EngineState.UNLOADED,
    EngineState.READY,
)


@dataclass(frozen=True, slots=True)
class Readiness:
    """`engine` is the one that makes the data, None where no model does. `percent` is how far the download
    is on which the operation waits."""

    state: EngineState
    engine: EngineSpec | None
    percent: int | None

    def as_json(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "progress": self.percent,
            "engine": self.engine.name if self.engine else None,
            "licence": self.engine.licence if self.engine else None,
            "size_bytes": self.engine.weights.size_bytes if self.engine else None,
        }


def readiness(operation: Operation, pool: Pool) -> Readiness:
    """Of every stage the engine that would serve it; of their states the worst."""
    serving = [spec for stage, params in stages_behind(operation) if (spec := _serving(stage, params, pool))]
    states = {pool.state(spec): spec for spec in serving}
    state = next((state for state in _WORST_FIRST if state in states), EngineState.READY)
    percent = pool.downloads.percent(states[state]) if state is EngineState.DOWNLOADING else None
    making = chosen_engines(operation, pool)
    if makers(operation) and not making:
        # A setting leaves it no engine.
        state = EngineState.ABSENT
    return Readiness(state, making[0] if making else None, percent)


def chosen_engines(operation: Operation, pool: Pool) -> list[EngineSpec]:
    """The engines that would make an operation's data now, each once."""
    serving = [spec for stage, params in makers(operation) if (spec := _serving(stage, params, pool))]
    return list(dict.fromkeys(serving))


def engines_of(operation: Operation, pool: Pool) -> list[tuple[Operation, EngineSpec]]:
    """The engines that may make an operation's data, and of the stages that only find its regions the one
    that would serve now; each with its stage."""
    making = {stage.type for stage, _ in makers(operation)}
    pairs: list[tuple[Operation, EngineSpec]] = []
    for stage, params in stages_behind(operation):
        serving = _serving(stage, params, pool)
        specs = pool.candidates(stage, params) if stage.type in making else [serving] if serving else []
        pairs.extend((stage, spec) for spec in specs)
    return list(dict.fromkeys(pairs))


def _serving(stage: Operation, params: Params, pool: Pool) -> EngineSpec | None:
    try:
        chosen = pool.choose(stage, params)
    except InvalidParams:
        # A setting leaves this stage no engine for its default params.
        return None
    return chosen.spec if chosen else None
