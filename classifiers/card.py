"""The card of a version: what it is, what it was trained on, and how good it was found."""

from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from app.core.target import REGION_PARAMS, FaceContext
from classifiers.rows import DEFAULT_FACE_CONTEXT

Share = Annotated[float, Field(ge=0, le=1)]


class Frozen(BaseModel):
    """Immutable, and strict about what it knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EmbeddingCard(Frozen):
    """An operation whose vectors a head reads, with the params that are not at their defaults."""

    operation: str
    params: dict[str, JsonValue] = {}

    @field_validator("params")
    @classmethod
    def _choose_no_region(cls, params: dict[str, JsonValue]) -> dict[str, JsonValue]:
        # A server asks for the head's region: vectors of another one would be none that it was trained on.
        chosen = [name for name in REGION_PARAMS if name in params]
        if chosen:
            raise ValueError(f"{', '.join(chosen)} choose a region, which is the head's own; train it anew")
        return params


class Interval(Frozen):
    """A figure with the interval in which it lies."""

    value: float
    low: float
    high: float


class ModelCard(Frozen):
    """What was fitted, and why this and not another."""

    kind: str
    parameters: dict[str, JsonValue]
    reason: str


class CalibrationCard(Frozen):
    """How scores become probabilities, and the log-loss of each way on held-back validation rows."""

    method: Literal["none", "platt", "isotonic"]
    losses: dict[str, float]


class ThresholdCard(Frozen):
    """From which probability on an image is in the collection, and what that was chosen for.

    Of a threshold that was taken as it is, precision and recall are not known. `least_precision` is what the
    validation rows make sure of; what was asked for is met where that reaches it.
    """

    value: Share
    aim: str
    met: bool
    precision: Share | None = None
    least_precision: Share | None = None
    recall: Share | None = None


class SliceCard(Frozen):
    """The quality on a part of the test rows."""

    key: str
    value: str
    rows: int
    photos: int
    accuracy: Interval
    macro_precision: float
    macro_recall: float


class Bin(Frozen):
    """Of predictions within a range of probability, their mean and how many came true."""

    rows: int
    predicted: float
    observed: float


class DataCard(Frozen):
    """The rows of a run. `moved` photos were kept out of the test, as earlier versions had seen them.

    No rows at all means that nobody here knows them: the version was trained elsewhere.
    """

    digest: str
    rows: int
    photos: int
    groups: int
    moved: int
    sides: dict[str, dict[str, int]]


class SampleCard(Frozen):
    """A distribution: its values in order, or evenly spaced quantiles where there were more.

    `of` counts the values that it stands for.
    """

    of: Annotated[int, Field(ge=1)]
    values: Annotated[tuple[float, ...], Field(min_length=1, max_length=512)]

    @model_validator(mode="after")
    def _is_ordered(self) -> "SampleCard":
        if any(one > other for one, other in pairwise(self.values)):
            raise ValueError("the values are not in order")
        return self


class ReferenceCard(Frozen):
    """How the images of the training and the scores of held-out rows are distributed, by measure.

    What a version is asked is compared with it.
    """

    measures: dict[str, SampleCard]


class FileCard(Frozen):
    """What a file must be."""

    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Card(Frozen):
    """All that is told of a version.

    `face_context` is where the prominent faces of its training were looked for; of other targets it says
    nothing.
    """

    format: Literal[1] = 1
    collection: str
    version: str
    created: datetime
    target: str
    face_context: FaceContext = DEFAULT_FACE_CONTEXT
    embeddings: Annotated[tuple[EmbeddingCard, ...], Field(min_length=1)]
    spaces: tuple[str | None, ...]
    dimensions: tuple[Annotated[int, Field(ge=1)], ...]
    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    positive: str | None = None
    threshold: ThresholdCard | None = None
    model: ModelCard
    calibration: CalibrationCard
    metrics: dict[str, Interval] = {}
    confusion: tuple[tuple[int, ...], ...] = ()
    calibration_error: float | None = None
    bins: tuple[Bin, ...] = ()
    slices: tuple[SliceCard, ...] = ()
    data: DataCard
    reference: ReferenceCard | None = None
    seed: int
    software: dict[str, str] = {}
    settings: dict[str, JsonValue] = {}
    files: Mapping[str, FileCard] = {}

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Card":
        if not len(self.embeddings) == len(self.spaces) == len(self.dimensions):
            raise ValueError("embeddings, spaces and dimensions differ in number")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("a label is named twice")
        if (self.positive is None) != (self.threshold is None):
            raise ValueError("a positive label and a threshold come together")
        if self.positive is not None and (len(self.labels) != 2 or self.positive not in self.labels):
            raise ValueError("the positive label is not one of two labels")
        return self
