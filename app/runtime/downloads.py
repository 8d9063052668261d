"""Downloads of weights in the background, one after another, on a thread of their own."""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from app.core.errors import ModelUnavailable
from app.core.operation import EngineSpec
from app.core.weights import Store

log = logging.getLogger(__name__)

# The rate is that of the last few seconds.
_SAMPLES = 10
_SAMPLE_EVERY_SECONDS = 0.5


class Stopped(Exception):
    """The server is stopping, and the download with it; the next one goes on from there."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a download is. `bytes_per_second` is None while it is not known; `waiting` is one that others
    are fetched before."""

    done_bytes: int
    total_bytes: int
    bytes_per_second: float | None
    waiting: bool

    @property
    def percent(self) -> int:
        return 100 * self.done_bytes // self.total_bytes if self.total_bytes else 0


@dataclass(slots=True)
class _Download:
    """Written by the thread that fetches, read by the event loop's."""

    spec: EngineSpec
    done: int = 0
    total: int = 0
    begun: bool = False
    samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_SAMPLES))

    def told(self, done: int, total: int, now: float) -> None:
        self.done, self.total = done, total
        # What was here before the first sample is no part of the rate.
        if not self.samples or now - self.samples[-1][0] >= _SAMPLE_EVERY_SECONDS:
            self.samples.append((now, done))

    def standing(self, now: float) -> Standing:
        total = self.total or self.spec.weights.size_bytes
        return Standing(self.done, total, self._rate(now), waiting=not self.begun)

    def _rate(self, now: float) -> float | None:
        if not self.samples:
            return None
        since, before = self.samples[0]
        seconds = now - since
        return (self.done - before) / seconds if seconds >= _SAMPLE_EVERY_SECONDS else None


class Downloads:
    """What is being fetched, how far it is, and what could not be had. No request waits for it.

    Args:
        store: the weights on this machine.
        arrived: told of the id of weights that were fetched, on the event loop.
        clock: seconds, for the rate.
    """

    def __init__(
        self,
        store: Store,
        arrived: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._arrived = arrived
        self._clock = clock
        self._waiting: deque[_Download] = deque()
        self._by_id: dict[str, _Download] = {}
        self._problems: dict[str, str] = {}
        self._stop = threading.Event()
        self._running = False
        self._lock = threading.Lock()

    def percent(self, spec: EngineSpec) -> int | None:
        """How far the weights are; None where nothing is fetched."""
        standing = self.standing(spec)
        return None if standing is None else standing.percent

    def standing(self, spec: EngineSpec) -> Standing | None:
        """How the download of the weights stands; None where nothing is fetched."""
        download = self._by_id.get(spec.weights.id)
        return None if download is None else download.standing(self._clock())

    def problem(self, spec: EngineSpec) -> str:
        """Why the last download of these weights failed; empty where none did."""
        return self._problems.get(spec.weights.id, "")

    def start(self, specs: Iterable[EngineSpec]) -> None:
        """Fetch what is missing. Called on the event loop; returns at once."""
        self.fetch(spec for spec in specs if not self._store.present(spec))

    def fetch(self, specs: Iterable[EngineSpec]) -> None:
        """Fetch what is missing or damaged. Called on the event loop; returns at once."""
        with self._lock:
            for spec in specs:
                if spec.weights.id not in self._by_id:
                    download = _Download(spec)
                    self._by_id[spec.weights.id] = download
                    self._waiting.append(download)
            if self._waiting and not self._running:
                self._running = True
                tell = _thread_safe(asyncio.get_running_loop())
                # A daemon: a connection that hangs must not keep the process from ending.
                threading.Thread(target=self._work, args=(tell,), name="downloads", daemon=True).start()

    def close(self) -> None:
        self._stop.set()

    def _work(self, tell: Callable[[Callable[[], None]], None]) -> None:
        while download := self._next():
            problem = self._fetched(download)
            tell(partial(self._ended, download, problem))

    def _next(self) -> _Download | None:
        with self._lock:
            if self._waiting and not self._stop.is_set():
                return self._waiting.popleft()
            self._running = False
            return None

    def _fetched(self, download: _Download) -> str:
        """Fetch the weights of one engine; what went wrong, or nothing."""

        def progress(done: int, total: int) -> None:
            if self._stop.is_set():
                raise Stopped
            download.told(done, total, self._clock())

        name = download.spec.weights.id
        download.begun = True
        try:
            log.info("downloading %s", name)
            self._store.pull(download.spec, progress)
        except Stopped:
            return "The download was stopped."
        except ModelUnavailable as error:
            log.error("%s", error)
            return str(error)
        except Exception as error:
            log.exception("%s could not be downloaded", name)
            return (
                f"{name} could not be downloaded: {type(error).__name__}; the server's log has the details."
            )
        log.info("downloaded %s", name)
        return ""

    def _ended(self, download: _Download, problem: str) -> None:
        self._by_id.pop(download.spec.weights.id, None)
        self._problems[download.spec.weights.id] = problem
        if not problem:
            self._arrived(download.spec.weights.id)


def _thread_safe(loop: asyncio.AbstractEventLoop) -> Callable[[Callable[[], None]], None]:
    def tell(function: Callable[[], None]) -> None:
        # The loop may close at any moment, and then nobody asks any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(function)

    return tell
