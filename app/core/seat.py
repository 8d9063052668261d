"""Where a worker stands among those that serve on one port."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Seat:
    """The place of a worker among those that serve on one port.

    Args:
        number: of the place; who replaces a worker takes its place.
        folder: of all the workers, and of their owner alone.
    """

    number: int
    folder: Path
