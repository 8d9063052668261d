"""The last values that a version saw, as they are kept between two runs of a server.

They lie beside the versions of the collection. No image, no id and no address is among them.
"""

import logging
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from app.core.drift import Health, MeasureDrift
from classifiers.card import Card, Frozen
from classifiers.drift import compared, of_all
from classifiers.durable import read_bounded, replace
from classifiers.measures import MEASURES, Measure
from classifiers.stored import Version, folder_name

logger = logging.getLogger(__name__)

WATCH = "watch.json"
WINDOW = 500
_MAX_BYTES = 2**20


class Windows(Frozen):
    """What a version has seen.

    `since` is when it saw the first, `seen` counts them, and `values` are the last ones by measure.
    """

    format: Literal[1] = 1
    collection: str
    version: Version
    spaces: tuple[str | None, ...]
    since: datetime
    seen: Annotated[int, Field(ge=1)]
    values: dict[Measure, Annotated[tuple[float, ...], Field(max_length=WINDOW)]]


def read_windows(folder: Path, card: Card) -> Windows | None:
    """What was kept of a version; None where that is nothing, or cannot be read.

    Args:
        folder: of the shelf.
        card: of the version.
    """
    path = _path(folder, card.collection)
    try:
        found = Windows.model_validate_json(read_bounded(path, _MAX_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        logger.warning(
            "What '%s' was asked lately cannot be read, and is counted anew (%s: %s).",
            card.collection,
            WATCH,
            type(error).__name__,
        )
        return None
    known = (found.collection, found.version, found.spaces)
    return found if known == (card.collection, card.version, card.spaces) else None


def write_windows(folder: Path, windows: Windows) -> None:
    """Raises OSError."""
    replace(_path(folder, windows.collection), windows.model_dump_json().encode())


def health_of(card: Card, windows: Windows | None) -> Health:
    """How what a version has seen compares with its training."""
    references = {} if card.reference is None else card.reference.measures
    values = {} if windows is None else windows.values
    measures: dict[str, MeasureDrift] = {}
    for name in MEASURES:
        reference = references.get(name)
        measures[name] = compared(None if reference is None else reference.values, values.get(name, ()))
    return Health(
        state=of_all([measure.state for measure in measures.values()]),
        version=card.version,
        spaces=card.spaces,
        since=None if windows is None else windows.since,
        seen=0 if windows is None else windows.seen,
        window=max(map(len, values.values()), default=0),
        measures=measures,
    )


def _path(folder: Path, collection: str) -> Path:
    return folder / folder_name(collection) / WATCH
