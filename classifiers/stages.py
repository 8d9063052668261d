"""How long a run took, stage by stage."""

from collections.abc import Callable, Mapping


class Stages:
    """What is done now, and how long everything before it took.

    Args:
        spent: seconds of stages before the run.
        stopwatch: seconds.
        progress: is told each stage.
    """

    def __init__(
        self, spent: Mapping[str, float], stopwatch: Callable[[], float], progress: Callable[[str], None]
    ) -> None:
        self.seconds = dict(spent)
        self._stopwatch = stopwatch
        self._progress = progress
        self._stage: str | None = None
        self._since = 0.0

    def begin(self, stage: str) -> None:
        self.end()
        self._stage = stage
        self._progress(stage)

    def end(self) -> None:
        now = self._stopwatch()
        if self._stage is not None:
            self.seconds[self._stage] = now - self._since
        self._since = now
