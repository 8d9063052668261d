"""`sightgraph serve --workers N`: processes that serve on one port, and the one that keeps them running.

All accept connections from one socket: one that is stuck takes none. What they have in common is on the disk,
and in the index, which one of them holds for all.
"""

import logging
import logging.config
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from app.cli.logs import logging_config
from app.core.seat import Seat

if TYPE_CHECKING:
    import socket

    import uvicorn

    from app.settings import Settings

    Build = Callable[[Settings, str, Seat], uvicorn.Server]

log = logging.getLogger(__name__)

# Until a worker that ended is started anew; twice as long each time, unless it had served for a while.
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_A_WHILE_SECONDS = 60.0
# Workers in a row that end before they serve, while no other one serves.
_MOST_FAILURES = 3
# An event loop that says nothing for so long hangs. Writing the snapshot of a large graph takes some of it.
_SILENT_SECONDS = 120.0
_TICK_SECONDS = 0.1
# After the time to stop, a worker ends by itself in less.
_CLOSING_SECONDS = 1.5
# What uvicorn ends with where it cannot start.
_STARTUP_FAILURE = 3

_spawn = multiprocessing.get_context("spawn")


def serve_by_workers(settings: "Settings", host: str, port: int, count: int) -> None:
    """Serve until a signal ends it.

    Raises:
        ClickException: the workers cannot start.
    """
    from app.cli.serve import bound, build_server

    settings = shared_among(settings, count)
    log.info("%d workers of %d lanes each", count, settings.lanes)
    # Only its owner may enter a temporary folder.
    with bound(host, port) as listener, tempfile.TemporaryDirectory(prefix="sightgraph-workers-") as folder:
        Workers(settings, build_server, host, listener, Path(folder), count).run()


def shared_among(settings: "Settings", count: int) -> "Settings":
    """The settings of each worker: its share of the cores, where the lanes were not set."""
    if "lanes" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"lanes": max(1, settings.lanes // count)})


@dataclass(slots=True)
class _Place:
    """A place, and the worker that has it."""

    number: int
    process: BaseProcess | None = None
    beat: Any = None
    """When the worker's event loop last said that it runs; 0 until it serves."""
    began: float = 0.0
    due: float = 0.0
    """When a worker is started here, while there is none."""
    pause: float = 0.0

    @property
    def serves(self) -> bool:
        return self.process is not None and self.process.is_alive() and self.served

    @property
    def served(self) -> bool:
        return bool(self.beat.value)

    @property
    def is_silent(self) -> bool:
        return time.monotonic() - max(self.began, float(self.beat.value)) > _SILENT_SECONDS


@dataclass(slots=True)
class Workers:
    """Starts workers, starts those anew that end, and stops them.

    Args:
        settings: of each.
        build: makes the server of one.
        host: the address that they listen on.
        listener: the socket there.
        folder: of the workers, and of their owner alone.
        count: how many there are.
    """

    settings: "Settings"
    build: "Build"
    host: str
    listener: "socket.socket"
    folder: Path
    count: int
    _places: list[_Place] = field(init=False)
    _signals: list[int] = field(default_factory=list, init=False)
    _failures: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._places = [_Place(number) for number in range(self.count)]

    def run(self) -> None:
        """Until SIGTERM or SIGINT.

        Raises:
            ClickException: the workers cannot start.
        """
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._noted)
        try:
            while not self._signals:
                for place in self._places:
                    self._attend(place)
                wait([each.process.sentinel for each in self._places if each.process], _TICK_SECONDS)
        finally:
            self._stop()

    def _noted(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _attend(self, place: _Place) -> None:
        if place.process is None:
            if time.monotonic() >= place.due:
                self._start(place)
        elif not place.process.is_alive():
            self._ended(place, place.process)
        elif place.is_silent:
            log.error("worker %d (process %s) hangs and is ended", place.number, place.process.pid)
            place.process.kill()

    def _start(self, place: _Place) -> None:
        seat = Seat(place.number, self.folder)
        place.beat, place.began = _spawn.RawValue("d", 0.0), time.monotonic()
        place.process = _spawn.Process(
            target=work,
            args=(
                self.settings,
                partial(self.build, self.settings, self.host, seat),
                self.listener,
                place.beat,
            ),
            name=f"worker-{place.number}",
        )
        place.process.start()
        log.info("worker %d is process %s", place.number, place.process.pid)

    def _ended(self, place: _Place, process: BaseProcess) -> None:
        """Plan when the next one starts.

        Raises:
            ClickException: none serves, and it would end as this one did.
        """
        now, code = time.monotonic(), process.exitcode or 0
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        place.process = None
        self._failures = 0 if place.served else self._failures + 1
        gives_up = code == _STARTUP_FAILURE or self._failures >= _MOST_FAILURES
        if gives_up and self._failures and not any(each.serves for each in self._places):
            raise click.ClickException(
                f"The workers end before they serve, the last one with {how}; the log tells why."
            )
        served_long = now - place.began > _A_WHILE_SECONDS
        pause = _FIRST_PAUSE_SECONDS if served_long else max(_FIRST_PAUSE_SECONDS, 2 * place.pause)
        place.pause = min(pause, _LONGEST_PAUSE_SECONDS)
        place.due = now + place.pause
        log.error(
            "worker %d (process %s) ended: %s; another one starts in %.1f s",
            place.number,
            process.pid,
            how,
            place.pause,
        )

    def _stop(self) -> None:
        """Tell all, wait for them, and end those that have not ended in time."""
        # Once every worker has closed it nobody listens.
        self.listener.close()
        left = [place.process for place in self._places if place.process is not None]
        for process in left:
            process.terminate()
        until = time.monotonic() + self.settings.stop_within + _CLOSING_SECONDS
        hurried = len(self._signals)
        while left and time.monotonic() < until:
            if len(self._signals) > hurried:
                hurried = len(self._signals)
                for process in left:
                    _interrupt(process)
            wait([process.sentinel for process in left], _TICK_SECONDS)
            left = [process for process in left if process.is_alive()]
        for process in left:
            log.error("process %s does not end, and is ended", process.pid)
            process.kill()
            process.join()


def _interrupt(process: BaseProcess) -> None:
    """As a second Ctrl-C does: it waits for nothing any more."""
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, signal.SIGINT)


def work(
    settings: "Settings", build: "Callable[[], uvicorn.Server]", listener: "socket.socket", beat: Any
) -> None:
    """What a worker does until it is told to stop, or the process that started it has ended."""
    # Ctrl-C reaches every process; who started this one tells it to stop. The server sets its own handler.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.config.dictConfig(logging_config(settings.log_format, settings.log_level))
    threading.Thread(target=_stop_with_parent, name="parent", daemon=True).start()
    try:
        server = build()
    except click.ClickException as error:
        error.show()
        sys.exit(_STARTUP_FAILURE)

    async def tell() -> None:
        beat.value = time.monotonic()

    server.config.callback_notify, server.config.timeout_notify = tell, 1
    server.run(sockets=[listener])


def _stop_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
