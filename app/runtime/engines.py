"""The engines of a process: which are here, which are loaded, and which must make room.

An engine loads once, however many ask, on a thread that holds up no lane. One that is in use is pinned; those
that are not make room for another, the one that was used longest ago first, or leave after a time.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from app.core.errors import ModelUnavailable, WrongState
from app.core.operation import Chosen, EngineSpec
from app.core.weights import Store
from app.runtime import garbage
from app.runtime.call_cost import CallCost, Measured, measured
from app.runtime.downloads import Downloads

log = logging.getLogger(__name__)

# For which calls with several items are timed when an engine is loaded.
_MEASURING_SECONDS = 1.5


class EngineState(StrEnum):
    ABSENT = "absent"
    DOWNLOADING = "downloading"
    ON_DISK = "on_disk"
    LOADING = "loading"
    READY = "ready"
    UNLOADED = "unloaded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class MemoryPolicy:
    """How many bytes loaded engines may occupy together, and after how many idle seconds one is unloaded.

    None bounds nothing and unloads nothing.
    """

    budget_bytes: int | None = None
    idle_seconds: float | None = None


@dataclass(slots=True)
class _Slot:
    spec: EngineSpec
    engine: Any = None
    chosen: Chosen | None = None
    measured: Measured = ()
    device: str = "cpu"
    served_before: bool = False
    problem: str = ""
    failed_at: float = 0.0
    loading: "asyncio.Task[None] | None" = None
    reserved: bool = False
    pins: int = 0
    used_at: float = 0.0
    idle_timer: asyncio.TimerHandle | None = None

    @property
    def memory_bytes(self) -> int:
        return self.spec.bytes_when_loaded


class Engines:
    """Used from the event loop's thread only.

    Args:
        store: the weights on this machine.
        memory: what bounds the loaded engines.
        retry_load_after: seconds for which an engine that could not be loaded is not tried again.
    """

    def __init__(self, store: Store, memory: MemoryPolicy, retry_load_after: float) -> None:
        self.store = store
        self.downloads = Downloads(store, self._weights_arrived)
        self.memory = memory
        self._retry_load_after = retry_load_after
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._slots: dict[tuple[str, str], _Slot] = {}
        self._waiting_for_room: list[asyncio.Future[None]] = []

    def state(self, spec: EngineSpec) -> EngineState:
        slot = self._slot(spec)
        if slot.engine is not None:
            return EngineState.READY
        if slot.loading is not None:
            return EngineState.LOADING
        if self.downloads.percent(spec) is not None:
            return EngineState.DOWNLOADING
        if slot.problem:
            return EngineState.FAILED
        if not self.store.present(spec):
            return EngineState.ABSENT
        return EngineState.UNLOADED if slot.served_before else EngineState.ON_DISK

    def problem(self, spec: EngineSpec) -> str:
        """Why an engine cannot serve, with the remedy; empty while it can."""
        match self.state(spec):
            case EngineState.DOWNLOADING:
                percent = self.downloads.percent(spec)
                return (
                    f"The weights of '{spec.name}' are being downloaded, {percent} % so far. Try again later."
                )
            case EngineState.FAILED:
                told = self._slot(spec).problem
            case EngineState.ABSENT:
                told = f"The weights of '{spec.name}' are not on this machine. {self.store.remedy(spec)}"
            case _:
                return ""
        failed = self.downloads.problem(spec)
        return f"{told} The last download failed: {failed}" if failed else told

    def chosen(self, spec: EngineSpec) -> Chosen:
        """An engine with the weights that serve: those that are loaded, or else those that would be."""
        slot = self._slot(spec)
        return slot.chosen if slot.chosen is not None else _as_stored(spec, self.store)

    def call_cost(self, spec: EngineSpec) -> CallCost:
        """What calls of an engine cost, as known from its loading."""
        slot = self._slot(spec)
        return CallCost(slot.measured, side_by_side=slot.device == "cpu")

    @property
    def bytes_in_memory(self) -> int:
        """What the engines that are loaded, or have room to load into, take together."""
        return sum(slot.memory_bytes for slot in self._in_memory())

    def may_load(self, spec: EngineSpec) -> bool:
        """Whether it is worth while to load an engine that is not loaded."""
        slot = self._slot(spec)
        if slot.engine is not None or slot.loading is not None or not self._may_be_opened(spec):
            return False
        return not slot.problem or time.monotonic() >= slot.failed_at + self._retry_load_after

    def rank(self, spec: EngineSpec) -> int:
        """How soon an engine could serve: 0 at once, or again after it was unloaded; 1 once it has loaded;
        2 not at all."""
        state = self.state(spec)
        if state is EngineState.READY:
            return 0
        if state in (EngineState.LOADING, EngineState.ON_DISK, EngineState.UNLOADED):
            return 0 if self._slot(spec).served_before else 1
        return 2

    async def load(self, spec: EngineSpec) -> Any:
        """The loaded engine. It may be unloaded again; whoever computes with it uses `pinned`.

        Raises:
            ModelUnavailable: it cannot be loaded; the message says why.
        """
        async with self.pinned(spec) as engine:
            return engine

    @asynccontextmanager
    async def pinned(self, spec: EngineSpec) -> AsyncIterator[Any]:
        """The loaded engine, which stays loaded until the end of the block.

        Raises:
            ModelUnavailable: it cannot be loaded; the message says why.
        """
        slot = self._slot(spec)
        slot.pins += 1
        self._stop_idle_timer(slot)
        try:
            if slot.engine is None:
                await self._loaded(slot)
            yield slot.engine
        finally:
            slot.pins -= 1
            slot.used_at = time.monotonic()
            if slot.pins == 0:
                self._start_idle_timer(slot)
                self._tell_those_who_wait_for_room()

    def refusal(self, spec: EngineSpec) -> ModelUnavailable | None:
        """Why an engine cannot serve, and will not by being asked; None where it can or may."""
        slot = self._slot(spec)
        if slot.engine is not None or slot.loading is not None or self.may_load(spec):
            return None
        return ModelUnavailable(self.problem(spec))

    def in_use(self, spec: EngineSpec) -> bool:
        """Whether something is computed with an engine, or waits for it to load."""
        slot = self._slot(spec)
        return slot.pins > 0 or slot.loading is not None

    def start_loading(self, spec: EngineSpec) -> None:
        """Load an engine in the background, for those who come later."""
        if self.may_load(spec):
            slot = self._slot(spec)
            slot.loading = self._loading(slot)

    def load_now(self, spec: EngineSpec) -> None:
        """The same because somebody wants it, also where it could not be loaded a moment ago.

        Raises:
            WrongState: it is loaded or being loaded already, or its weights are not here or being downloaded.
        """
        slot = self._slot(spec)
        if slot.engine is not None:
            raise WrongState(f"The model '{spec.name}' is loaded already.")
        if slot.loading is not None:
            raise WrongState(f"The model '{spec.name}' is being loaded already.")
        if not self._may_be_opened(spec):
            raise WrongState(self.problem(spec))
        slot.loading = self._loading(slot)

    def unload(self, spec: EngineSpec) -> None:
        """Free the memory of an engine that nobody uses. The next request that needs it loads it again.

        Raises:
            WrongState: it is in use, being loaded or not loaded.
        """
        slot = self._slot(spec)
        if slot.loading is not None:
            raise WrongState(f"The model '{spec.name}' is being loaded. Unload it when it is ready.")
        if slot.engine is None:
            raise WrongState(f"The model '{spec.name}' is not loaded.")
        if slot.pins:
            raise WrongState(f"The model '{spec.name}' is in use. Try again when its requests are answered.")
        self._stop_idle_timer(slot)
        self._unload(slot)
        self._tell_those_who_wait_for_room()

    def close(self) -> None:
        self.downloads.close()
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _may_be_opened(self, spec: EngineSpec) -> bool:
        """Whether the weights are here and stay as they are: a download also mends those that are damaged."""
        return self.store.present(spec) and self.downloads.standing(spec) is None

    async def _loaded(self, slot: _Slot) -> None:
        if slot.loading is None:
            refusal = self.refusal(slot.spec)
            if refusal is not None:
                raise refusal
            slot.loading = self._loading(slot)
        # Whoever stops waiting leaves the load to those who come later.
        await asyncio.shield(slot.loading)

    def _loading(self, slot: _Slot) -> "asyncio.Task[None]":
        loading = asyncio.create_task(self._load(slot))
        loading.add_done_callback(_outcome_is_in_the_slot)
        return loading

    def _weights_arrived(self, weights_id: str) -> None:
        """What was wrong with files is mended by new ones."""
        for slot in self._slots.values():
            if slot.spec.weights.id == weights_id:
                slot.problem = ""

    async def _load(self, slot: _Slot) -> None:
        spec = slot.spec
        try:
            await self._make_room(slot)
            loop = asyncio.get_running_loop()
            loaded = await loop.run_in_executor(self._loader, _loaded_and_warm, spec, self.store)
        except Exception as error:
            slot.failed_at = time.monotonic()
            slot.problem = self._why(spec, error)
            raise ModelUnavailable(slot.problem) from error
        finally:
            slot.loading, slot.reserved = None, False
            self._tell_those_who_wait_for_room()
        slot.engine, slot.chosen, slot.measured, slot.device = loaded
        slot.problem = ""
        slot.served_before, slot.used_at = True, time.monotonic()
        if slot.pins == 0:
            self._start_idle_timer(slot)

    def _why(self, spec: EngineSpec, error: Exception) -> str:
        if isinstance(error, ModelUnavailable):
            log.error("%s", error)
            return str(error)
        log.error("engine %s cannot be loaded", spec.name, exc_info=error)
        if isinstance(error, ImportError):
            reason = f"the package {error.name or spec.weights.source} is not installed"
            return f"The model '{spec.name}' cannot be loaded: {reason}."
        reason = f"{type(error).__name__}; the server's log has the details"
        return f"The model '{spec.name}' cannot be loaded: {reason}. {self.store.remedy(spec)}".strip()

    async def _make_room(self, slot: _Slot) -> None:
        """Unload what is not in use until the engine fits, the one that was used longest ago first."""
        budget = self.memory.budget_bytes
        if budget is None:
            return
        if slot.memory_bytes > budget:
            raise ModelUnavailable(
                f"The model '{slot.spec.name}' takes about {_megabytes(slot.memory_bytes)}, and "
                f"SIGHTGRAPH_MEMORY_BUDGET allows {_megabytes(budget)}."
            )
        while sum(other.memory_bytes for other in self._in_memory()) + slot.memory_bytes > budget:
            idle = [other for other in self._in_memory() if other.engine is not None and other.pins == 0]
            idle = [other for other in idle if other.memory_bytes > 0]
            if idle:
                self._unload(min(idle, key=lambda other: other.used_at))
            else:
                released = asyncio.get_running_loop().create_future()
                self._waiting_for_room.append(released)
                await released
        slot.reserved = True

    def _tell_those_who_wait_for_room(self) -> None:
        for released in self._waiting_for_room:
            if not released.done():
                released.set_result(None)
        self._waiting_for_room.clear()

    def _in_memory(self) -> Sequence[_Slot]:
        return [slot for slot in self._slots.values() if slot.engine is not None or slot.reserved]

    def _unload(self, slot: _Slot) -> None:
        log.info("engine %s unloaded", slot.spec.name)
        slot.engine = slot.chosen = None
        # Models hold cycles: without this their memory would stay until some later collection.
        self._loader.submit(garbage.collect_unloaded)

    def _start_idle_timer(self, slot: _Slot) -> None:
        seconds = self.memory.idle_seconds
        self._stop_idle_timer(slot)
        if seconds is not None and slot.engine is not None and slot.memory_bytes > 0:
            slot.idle_timer = asyncio.get_running_loop().call_later(seconds, self._unload_if_idle, slot)

    def _stop_idle_timer(self, slot: _Slot) -> None:
        if slot.idle_timer is not None:
            slot.idle_timer.cancel()
            slot.idle_timer = None

    def _unload_if_idle(self, slot: _Slot) -> None:
        slot.idle_timer = None
        if slot.engine is not None and slot.pins == 0:
            self._unload(slot)
            self._tell_those_who_wait_for_room()

    def _slot(self, spec: EngineSpec) -> _Slot:
        key = spec.name, spec.weights.id
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = _Slot(spec)
        return slot


def _told(took: Measured, most: int) -> str:
    if len(took) < 2:
        return ""
    cost = CallCost(took)
    per_call, per_item = cost.line
    return (
        f"; a call takes {per_call * 1e3:.0f} + n x {per_item * 1e3:.0f} ms, at most {cost.best(most)} items"
    )


def _outcome_is_in_the_slot(loading: "asyncio.Task[None]") -> None:
    """A load that nobody waits for any more must not end as an exception that nobody saw."""
    if not loading.cancelled():
        loading.exception()


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _as_stored(spec: EngineSpec, store: Store) -> Chosen:
    return Chosen(spec, store.fingerprint(spec), store.source(spec), store.caution(spec))


class _Loaded(NamedTuple):
    """An engine, what its files were when they were opened, what its calls take, and where it computes."""

    engine: Any
    chosen: Chosen
    measured: Measured
    device: str


def _loaded_and_warm(spec: EngineSpec, store: Store) -> _Loaded:
    started = time.perf_counter()
    try:
        placement = store.open(spec)
        chosen = _as_stored(spec, store)
        engine = spec.load(placement)
        engine.warmup()
        garbage.freeze_loaded()
        took = measured(engine.warmup, spec.batch, _MEASURING_SECONDS) if spec.batch > 1 else ()
    except Exception:
        raise
    except BaseException as error:
        # A panic of a library in Rust, or one that leaves the process: here it is a failed load.
        raise RuntimeError(f"loading {spec.name} raised {type(error).__name__}") from error
    log.info("engine %s ready in %.1f s%s", spec.name, time.perf_counter() - started, _told(took, spec.batch))
    return _Loaded(engine, chosen, took, placement.device)
