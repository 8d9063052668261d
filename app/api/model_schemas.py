"""The wire of the models, as pydantic models."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from app.core.weights import WeightsKind


class DownloadFacts(BaseModel):
    """A download under way."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    percent: int
    """How far it is."""
    done_bytes: int
    """The bytes that are here, those of an earlier download that was interrupted among them."""
    total_bytes: int
    """The bytes in all; about, until the download has begun."""
    bytes_per_second: float | None
    """What came lately; null while that is not known."""
    waiting: bool
    """Whether others are downloaded before it."""


class ModelFacts(BaseModel):
    """A model of this server: its engine, its weights and how they stand."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    engine: str
    """Its name."""
    weights: str
    """What `sightgraph models` calls its weights; models with equal ones share their files."""
    operations: list[str]
    """The operations whose data it may make; of a model that a param must choose, the stages."""
    chosen_for: list[str]
    """Those of the operations for which it would be taken now."""
    state: Literal["absent", "downloading", "on_disk", "loading", "ready", "unloaded", "failed"]
    """`on_disk` and `unloaded` ones are loaded by the next request that needs them."""
    problem: str
    """Why it cannot serve, with the remedy; empty while it can."""
    download: DownloadFacts | None
    """How far its weights are, while they are downloaded."""
    obstacle: str
    """Why this server does not download its weights; empty where it would."""
    kind: WeightsKind
    """Whether its weights ship in an installed package, lie on a model hub or at fixed addresses."""
    source: str
    """Where its weights come from, in words."""
    commit: str
    """The revision of a hub's repository; empty where there is none, or none is known yet."""
    size_bytes: int
    """Of its weights; about, until they are here."""
    memory_bytes: int
    """About what it takes when it is loaded."""
    in_use: bool
    """Whether something is computed with it, or waits for it."""
    licence: str
    """Of the weights."""
    input_size: str
    """What an image is scaled to before the model sees it."""
    cost_ms: int | None
    """For one item on two cores without a GPU; null where it was not measured."""
    limits: str
    """What it cannot do."""


class ModelsResponse(BaseModel):
    """The models of this server; of several workers, as the one that answers has them."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    models: list[ModelFacts]
    """By name."""
    memory_bytes: int
    """About what the loaded ones take together."""
    memory_budget_bytes: int | None
    """What they may take together; null where nothing bounds it."""
    may_change: bool
    """Whether who asks may pull, load and unload: without API keys everybody, else a key with `admin`."""
