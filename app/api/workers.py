"""What the workers of one server tell of each other: one scrape shows all of them."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from app.index.answering import Answering, connected

# A worker that hangs is left out of a scrape.
_SECONDS = 2.0
_PREFIX = "metrics-"
_SUFFIX = ".sock"


class Workers:
    """The workers of one server, as one of them sees them.

    Args:
        number: of this one.
        folder: of them all, and of their owner alone.
    """

    def __init__(self, number: int, folder: Path) -> None:
        self._number = number
        self._folder = folder
        self._answering: Answering | None = None

    def open(self, standing: Callable[[], Sequence[Metric]], counted: Collector) -> None:
        """Tell the others how things stand from now on.

        Args:
            standing: called on this event loop's thread.
            counted: collected on another one.
        """
        path = self._folder / f"{_PREFIX}{self._number}{_SUFFIX}"
        self._answering = Answering(_Collecting(standing, counted, asyncio.get_running_loop()), path)

    def close(self) -> None:
        if self._answering is not None:
            self._answering.close()

    def joined(self, own: Sequence[Metric]) -> list[Metric]:
        """The families of all workers, each sample labelled with its worker's number."""
        by_worker = {self._number: own}
        for path in self._folder.glob(f"{_PREFIX}*{_SUFFIX}"):
            number = int(path.stem.removeprefix(_PREFIX))
            # One that was just killed leaves its socket.
            with suppress(OSError, EOFError):
                if number != self._number and (told := _told(path)) is not None:
                    by_worker[number] = told
        return list(_labelled(dict(sorted(by_worker.items()))).values())


class _Collecting:
    """What a worker answers to the others."""

    def __init__(
        self,
        standing: Callable[[], Sequence[Metric]],
        counted: Collector,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._standing = standing
        self._counted = counted
        self._loop = loop

    def collect(self) -> list[Metric]:
        async def now() -> Sequence[Metric]:
            return self._standing()

        standing = asyncio.run_coroutine_threadsafe(now(), self._loop).result(_SECONDS)
        return [*standing, *self._counted.collect()]


def _told(path: Path) -> Sequence[Metric] | None:
    with connected(path) as connection:
        connection.send((_Collecting.collect.__name__, (), {}))
        if not connection.poll(_SECONDS):
            return None
        succeeded, given = connection.recv()
        return given if succeeded else None


def _labelled(by_worker: Mapping[int, Sequence[Metric]]) -> dict[str, Metric]:
    families: dict[str, Metric] = {}
    for number, told in by_worker.items():
        for each in told:
            family = families.setdefault(
                each.name, Metric(each.name, each.documentation, each.type, each.unit)
            )
            family.samples += _samples(each, number)
    return families


def _samples(family: Metric, number: int) -> Iterator[Sample]:
    for sample in family.samples:
        yield sample._replace(labels={**sample.labels, "worker": str(number)})
