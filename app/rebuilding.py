"""Tells how far a rebuild of the index's search structure has come: a bar on a terminal, lines in a log."""

import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

log = logging.getLogger(__name__)

_TOLD_EVERY = 0.1


class RebuildProgress:
    """Called with a collection, how many vectors its structure has by now, and of how many. By one thread."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, float] = {}

    def __call__(self, collection: str, done: int, total: int) -> None:
        if sys.stderr.isatty():
            self._show(collection, done, total)
        share = done / total if total else 1.0
        told = self._told.get(collection)
        if told is None or share >= 1.0 or share - told >= _TOLD_EVERY:
            self._told[collection] = share
            log.info("the search structure of %s is rebuilt: %d of %d vectors", collection, done, total)
        if done >= total:
            self._told.pop(collection, None)

    def _show(self, collection: str, done: int, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        if self._bars is None:
            self._bars = Progress(console=Console(stderr=True), transient=True)
            self._bars.start()
        if collection not in self._tasks:
            self._tasks[collection] = self._bars.add_task(f"rebuilding {collection}", total=total)
        self._bars.update(self._tasks[collection], completed=done, total=total)
        if done >= total:
            self._bars.remove_task(self._tasks.pop(collection))
        if not self._tasks:
            self._bars.stop()
            self._bars = None
