"""How far a command is with its images."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from app.cli.printing import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """Shows the progress on a terminal, and what failed everywhere."""

    def __init__(self, bars: "Progress", task: "TaskID") -> None:
        self._bars = bars
        self._task = task

    def expect(self, total: int) -> None:
        """Say how many there are, where that was not known before."""
        self._bars.update(self._task, total=total)

    def seen(self) -> None:
        self._bars.advance(self._task)

    def failed(self, path: str, why: str) -> None:
        self.say(f"{path}: {why}")

    def say(self, line: str) -> None:
        from rich.text import Text

        self._bars.console.print(Text(printable(line)), soft_wrap=True)


def image_bars() -> "Progress":
    """Bars with the count of images, their rate and the time that is left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(
                "" if task.speed is None else f"{task.speed:.1f} images/s", style="progress.data.speed"
            )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def waiting(what: str) -> AbstractContextManager[object]:
    """Shows on a terminal what is waited for. Nothing is printed meanwhile."""
    from rich.console import Console

    console = Console(stderr=True)
    return console.status(what) if console.is_terminal else nullcontext()
