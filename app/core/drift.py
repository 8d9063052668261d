"""Drift: whether what a classifier is asked still looks like what it was trained on."""

from datetime import datetime
from typing import Literal

from app.core.artifacts import Data

DriftState = Literal["steady", "drifting", "collecting", "unknown"]


class MeasureDrift(Data):
    state: DriftState
    """`drifting` where both tests tell the window from the training; `collecting` while the window is small;
    `unknown` where the training did not measure it."""
    psi: float | None
    """The population stability index between the training and the window."""
    psi_threshold: float
    """From which index on the test tells them apart."""
    ks: float | None
    """The Kolmogorov-Smirnov statistic: the largest distance between the two distributions."""
    p_value: float | None
    """How likely so large a distance is by chance."""
    p_threshold: float
    """Below which probability the test tells them apart."""
    reference_median: float | None
    """In the training."""
    window_median: float | None
    """In the window."""


class Health(Data):
    state: DriftState
    """`drifting` where a measure is, else `steady` where one is, else `collecting`, else `unknown`."""
    version: str
    """The version of the classifier."""
    spaces: tuple[str | None, ...]
    """The spaces of the embeddings that it reads."""
    since: datetime | None
    """When the first item of the version was seen; null before it."""
    seen: int
    """How many items were seen since then."""
    window: int
    """How many of them, the last ones, are compared."""
    measures: dict[str, MeasureDrift]
    """`brightness` (mean luma, 0 to 255), `size` (square root of the area in pixels) and `score` (the
    probability that was answered)."""
