"""The engine pool: loads engines once, keeps them, and computes nodes on its lanes.

The executor talks to engines through `submit` alone, so that a pool on other machines can stand in.
"""

import asyncio
import contextvars
import logging
import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from app.core.errors import Internal, ModelUnavailable
from app.core.operation import EngineSpec, Operation, engine_key
from app.core.plan import Node
from app.runtime.batcher import Batcher, Computed

log = logging.getLogger(__name__)

T = TypeVar("T")

_REMEMBERED_COSTS = 64


class EngineState(StrEnum):
    ON_DISK = "on_disk"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(slots=True)
class _Slot:
    state: EngineState = EngineState.ON_DISK
    engine: Any = None
    problem: str = ""
    failed_at: float = 0.0
    loading: "asyncio.Task[Any] | None" = None


class Pool:
    """Engines and compute lanes. Used from the event loop's thread only.

    Args:
        lanes: how many computations run at once, each on one thread.
        retry_load_after: seconds for which an engine that could not be loaded is not tried again.
    """

    def __init__(self, lanes: int, retry_load_after: float = 30.0) -> None:
        self._retry_load_after = retry_load_after
        self._batcher = Batcher(lanes)
        # Loading takes seconds, and must hold up neither a lane nor another engine that is ready.
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._slots: dict[str | None, _Slot] = {}
        self._costs: dict[str, deque[float]] = {}

    def choose(self, operation: Operation) -> EngineSpec | None:
        """The engine that serves an operation now: the first of its preference list that is ready, else the
        first that may become so, else the first."""
        rank = {EngineState.READY: 0, EngineState.FAILED: 2}
        return min(operation.engines, key=lambda spec: rank.get(self.state(spec), 1), default=None)

    def state(self, spec: EngineSpec) -> EngineState:
        return self._slot(spec).state

    def problem(self, spec: EngineSpec) -> str:
        """Why an engine could not be loaded; empty while it can."""
        return self._slot(spec).problem

    @property
    def waiting(self) -> int:
        """The number of items that no lane has taken yet."""
        return self._batcher.waiting

    def cost_ms(self, operation: Operation) -> float | None:
        """The median time of the operation's last items; None before the first."""
        costs = self._costs.get(operation.type)
        return round(statistics.median(costs), 3) if costs else None

    async def submit(self, node: Node, inputs: Mapping[str, Any]) -> Computed:
        """Compute one item of a node.

        Args:
            node: of a plan.
            inputs: a value for every need of the node's operation.

        Returns:
            The value, or the TaskError in its place.
        """
        operation, params = node.operation, node.params
        fixed: dict[str, Any] = {"params": params}
        if node.engine is not None:
            try:
                fixed["engine"] = await self.load(node.engine)
            except ModelUnavailable as error:
                return Computed(error, 0.0)

        def compute(items: Sequence[Any]) -> Sequence[Any]:
            columns = {name: [item[name] for item in items] for name in inputs}
            answer: Sequence[Any] = operation.run(**columns, **fixed)
            return answer

        computed = await self._batcher.submit(node.work, compute, inputs, largest=operation.batch)
        costs = self._costs.setdefault(operation.type, deque(maxlen=_REMEMBERED_COSTS))
        costs.append(computed.ms)
        return computed

    async def call(self, function: Callable[[], T]) -> T:
        """Run a function on a lane. What it raises is raised here."""

        # What it logs belongs to the request that asked.
        context = contextvars.copy_context()

        def compute(items: Sequence[Any]) -> Sequence[Any]:
            try:
                return [(context.run(function), None)]
            except Exception as error:
                return [(None, error)]

        answer = (await self._batcher.submit(object(), compute, None)).value
        if isinstance(answer, Internal):
            raise answer
        result, error = answer
        if error is not None:
            raise error
        value: T = result
        return value

    async def load(self, spec: EngineSpec) -> Any:
        """The loaded engine; loads it once, however many ask.

        Raises:
            ModelUnavailable: it cannot be loaded; the message says why.
        """
        slot = self._slot(spec)
        if slot.state is EngineState.READY:
            return slot.engine
        retry_at = slot.failed_at + self._retry_load_after
        if slot.state is EngineState.FAILED and time.monotonic() < retry_at:
            raise ModelUnavailable(slot.problem)
        if slot.loading is None:
            slot.loading = asyncio.create_task(self._load(spec, slot))
        # Whoever stops waiting leaves the load to those who come later.
        return await asyncio.shield(slot.loading)

    def close(self) -> None:
        self._batcher.close()
        self._loader.shutdown(wait=False, cancel_futures=True)

    async def _load(self, spec: EngineSpec, slot: _Slot) -> Any:
        slot.state = EngineState.LOADING
        try:
            engine = await asyncio.get_running_loop().run_in_executor(self._loader, _loaded_and_warm, spec)
        except Exception as error:
            log.exception("engine %s cannot be loaded", spec.name)
            slot.state, slot.failed_at = EngineState.FAILED, time.monotonic()
            reason = f"{type(error).__name__}; the server's log has the details"
            if isinstance(error, ImportError):
                reason = f"the package {error.name or spec.weights.source} is not installed"
            slot.problem = f"The model '{spec.name}' cannot be loaded: {reason}."
            raise ModelUnavailable(slot.problem) from error
        finally:
            slot.loading = None
        slot.state, slot.engine, slot.problem = EngineState.READY, engine, ""
        return engine

    def _slot(self, spec: EngineSpec) -> _Slot:
        return self._slots.setdefault(engine_key(spec), _Slot())


def _loaded_and_warm(spec: EngineSpec) -> Any:
    started = time.perf_counter()
    try:
        engine = spec.load()
        engine.warmup()
    except Exception:
        raise
    except BaseException as error:
        # A panic of a library in Rust, or one that leaves the process: here it is a failed load.
        raise RuntimeError(f"loading {spec.name} raised {type(error).__name__}") from error
    log.info("engine %s ready in %.1f s", spec.name, time.perf_counter() - started)
    return engine
