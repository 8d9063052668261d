"""What happens while requests are worked on, told to whoever wants to know."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Literal

from app.core.errors import Fault
from app.runtime.outcomes import Outcome


@dataclass(slots=True)
class Work:
    """A stretch of work for a request: a download, the decoding of an image, or a node of its plan.

    What the work turns out to be is filled in while it is done: `items` are a node's regions, of which
    `cached` came from the cache, and `batch` is the largest number of items that a lane computed at once.
    """

    kind: Literal["fetch", "decode", "node"]
    operation: str | None = None
    engine: str | None = None
    items: int = 0
    cached: int = 0
    batch: int = 0
    fault: Fault | None = None


_NOTHING: AbstractContextManager[object] = nullcontext()


class Observer:
    """Listens to nothing; those who want to know override what they want to know of.

    Told on the event loop's thread, by code that waits meanwhile.
    """

    def span(self, work: Work) -> AbstractContextManager[object]:
        """Entered before a stretch of work and left after it."""
        return _NOTHING

    def fetched(self, seconds: float) -> None:
        """An image was downloaded, or could not be."""

    def decoded(self, seconds: float) -> None:
        """A lane decoded an image."""

    def computed(self, operation: str, engine: str | None, items: int, seconds: float) -> None:
        """A lane computed a batch."""

    def ran(self, outcomes: Sequence[Outcome]) -> None:
        """A plan was run; these are its tasks."""


SILENT = Observer()


class Observers(Observer):
    """Tells several."""

    def __init__(self, *each: Observer) -> None:
        self._each = each

    def span(self, work: Work) -> AbstractContextManager[object]:
        spans = ExitStack()
        for observer in self._each:
            spans.enter_context(observer.span(work))
        return spans

    def fetched(self, seconds: float) -> None:
        for observer in self._each:
            observer.fetched(seconds)

    def decoded(self, seconds: float) -> None:
        for observer in self._each:
            observer.decoded(seconds)

    def computed(self, operation: str, engine: str | None, items: int, seconds: float) -> None:
        for observer in self._each:
            observer.computed(operation, engine, items, seconds)

    def ran(self, outcomes: Sequence[Outcome]) -> None:
        for observer in self._each:
            observer.ran(outcomes)
