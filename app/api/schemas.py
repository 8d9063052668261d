"""The wire, as pydantic models: what clients send is validated by them, what they read is documented."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.core.classifier import ClassifierFacts
from app.core.drift import Health

MAX_TASKS = 64


class Body(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)


class TaskRequest(Body):
    operation_id: Annotated[str, Field(min_length=1, max_length=128)]
    """The client's name for the task, unique in the request."""
    type: Annotated[str, Field(min_length=1, max_length=128)]
    """An operation of `GET /available_operations/`."""
    params: dict[str, Any] | None = None
    """The operation's params; what is left out has its default."""


Tasks = Annotated[list[TaskRequest], Field(min_length=1, max_length=MAX_TASKS)]


class AnalyzeRequest(Body):
    image_url: Annotated[str, Field(min_length=1, max_length=8192)]
    """An http or https URL."""
    tasks: Tasks
    """What to do with the image."""


class PlanRequest(Body):
    tasks: Tasks
    """What would be done with the image."""
    image_url: Annotated[str, Field(max_length=8192)] | None = None
    """As in a request to analyse; not fetched, since the graph does not depend on it."""
    image_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The `image.sha256` of an earlier answer; then the plan tells what of it is cached."""


class Cause(BaseModel):
    """The stage at which a task failed first."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    stage: str | None
    """An operation or a task of the request."""
    code: str
    """As `error_code`."""
    message: str
    """What happened there."""


class Model(BaseModel):
    """What made the data."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    engine: str | None
    """The engine; null where none is needed."""
    weights: str | None
    """Where the engine's weights come from."""
    space: str | None
    """For vectors: two of them can be compared only when their spaces are equal."""


class ItemResult(BaseModel):
    """One region's part of the answer to a task on several regions."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    bbox: list[int]
    """[xmin, ymin, xmax, ymax] of the region."""
    confidence: float | None
    """How sure the detector was."""
    label: str | None
    """What the detector took it for."""
    landmarks: list[list[float]] | None
    """A face's five points [x, y]: left eye, right eye, nose, left and right corner of the mouth."""
    data: Any
    """The operation's result for the region."""
    cropped_image_base64: str | None
    """The region's pixels as an image file."""
    error_code: str | None
    """Why this region has no result."""
    error_message: str | None
    """The same in words."""


class TaskResult(BaseModel):
    """The answer to a task."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    status: Literal["success", "error", "skipped"]
    """Done; tried and failed; or not done because of what was asked or what the image holds."""
    data: Any
    """The operation's result; null for tasks on several regions, whose results are in `items`."""
    cropped_image_bbox: list[int] | None
    """The region that was worked on, when that is a part of the image."""
    cropped_image_base64: str | None
    """Its pixels as an image file, PNG unless the task says otherwise."""
    error_message: str | None
    """What went wrong and what to do, when the status is not success."""
    error_code: str | None
    """The same as a code."""
    caused_by: Cause | None
    """The stage that failed first, when it is another than the task's own."""
    warnings: list[str]
    """What the client should know about the result."""
    items: list[ItemResult] | None
    """For tasks on several regions: one entry a region, most prominent first."""
    model: Model | None
    """What made the data."""
    timing_ms: float
    """Computing time of the stage that made the data; 0 when it came from the cache."""


class ImageFacts(BaseModel):
    """The image that was analysed."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    width: int
    """Of the upright image."""
    height: int
    """Of the upright image."""
    format: str
    """The file's format."""
    sha256: str
    """Of the file's bytes."""


class AnalyzeResponse(BaseModel):
    """The answers to all tasks of a request."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    image_url: str
    """The request's URL, or `uploaded:` and the file's name."""
    results: dict[str, TaskResult]
    """The answers by operation_id, in the order of the tasks."""
    request_id: str
    """As in the header X-Request-ID; the server's log names it."""
    image: ImageFacts | None
    """The image that was analysed; null when the time was up before it was decoded."""
    timings_ms: dict[str, Any]
    """`fetch`, `decode`, `total`, and `nodes`: the computing time of every stage that was needed, once
    each, however many tasks share it."""


class PlannedNode(BaseModel):
    """A stage that a request would run once."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    """Unique in the plan."""
    operation: str
    """The operation or stage."""
    params: dict[str, Any]
    """What its result depends on, beside the defaults."""
    needs: dict[str, str]
    """Its inputs: the name, and the id of the node or `image`."""
    given: dict[str, list[str]]
    """Its inputs that are the client's own values."""
    tasks: list[str]
    """The operation_ids of the tasks that share it."""
    engine: str | None
    """The model that serves it."""
    state: str | None
    """The model's state; anything but `ready` is loaded first."""
    cached: bool | None
    """Whether its result is in the cache; null without `image_sha256`."""
    estimate_ms: float | None
    """The median of its last computations, an item; null before the first."""


class PlannedTaskResult(BaseModel):
    """How a task would be answered."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    operation_id: str
    """As in the request."""
    type: str
    """As in the request."""
    node: str | None
    """The node whose result is the task's data."""
    crop: str | None
    """The node whose result is the task's crop."""
    error_code: str | None
    """Why the task would be skipped."""
    error_message: str | None
    """The same in words."""


class PlanResponse(BaseModel):
    """The graph that a request would run."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    nodes: list[PlannedNode]
    """In an order in which every node follows its inputs."""
    tasks: list[PlannedTaskResult]
    """In the order of the request."""
    cold_models: list[str]
    """Models that would be loaded first."""
    estimate_ms: float | None
    """The sum over the nodes that are not cached; null while one of them was never measured."""


class EngineFacts(BaseModel):
    """A model behind an operation."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    """The engine."""
    operation: str
    """The stage that runs it."""
    state: str
    """`absent`, `downloading`, `on_disk`, `loading`, `ready`, `unloaded` or `failed`."""
    progress: int | None
    """Of a download, in percent."""
    problem: str
    """Why it cannot serve, with the remedy; empty while it can."""
    weights: str
    """Where its weights come from."""
    size_bytes: int
    """The size of its weights."""
    licence: str
    """Of the weights."""
    input_size: str
    """What an image is scaled to before the model sees it."""
    limits: str
    """What it cannot do."""


class OperationReadiness(BaseModel):
    """How ready an operation is."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    state: str
    """Of the least ready model behind it: `absent`, `downloading`, `on_disk`, `loading`, `ready`,
    `unloaded` or `failed`. Those on disk or unloaded are loaded by the next request."""
    progress: int | None
    """Of a download that it waits for, in percent."""
    engine: str | None
    """The model that would make the data now; null where none does."""
    licence: str | None
    """Of that model's weights."""
    size_bytes: int | None
    """Of that model's weights."""


class OperationFacts(OperationReadiness):
    """An operation that tasks may ask for."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    description: str
    """What it does."""
    allowed_targets: list[str]
    """The named targets that it takes."""
    default_target: str | None
    """The target of a task that names none."""
    details: str
    """What its data holds."""
    other_targets: list[str]
    """The forms of target beyond the named ones."""
    ready: bool
    """Whether every model that it needs is loaded."""
    engines: list[EngineFacts]
    """The models that it may need, its own and those of the stages before it."""
    example: dict[str, Any] | None
    """Params of a typical task."""
    params: dict[str, Any]
    """JSON schema of its params."""
    data: dict[str, Any]
    """JSON schema of its data."""


class CatalogResponse(BaseModel):
    """The operations of this server."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    operations: dict[str, OperationFacts]
    """By type."""


class LiveResponse(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Lanes(BaseModel):
    """What computes."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    count: int
    """How many computations run at once."""
    threads: int
    """On how many threads each of them computes."""
    lost: int
    """How many hung and were given up, also of those that decode or wait for disks and databases; they are
    replaced until too many are lost."""


class ReadyResponse(BaseModel):
    """Which operations are ready."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    status: Literal["ready", "loading", "degraded", "failed", "stopping"]
    """`loading` until the models of the start are loaded; `degraded` where a model failed to load or a lane
    was lost; `failed` where no lane is left that computes or decodes; `stopping` once the server was told to
    stop."""
    lanes: Lanes
    """What computes."""
    operations: dict[str, OperationReadiness]
    """Every operation by its type."""


class ListedClassifier(BaseModel):
    """A collection and what serves it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    collection: str
    """The id or name by which `classify` asks for it."""
    classifier: ClassifierFacts | None
    """The version that serves; null where it cannot be read."""
    problem: str | None
    """Why it cannot be read, or why an earlier version goes on serving."""


class ClassifiersAnswer(BaseModel):
    """The classifiers of this server."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    classifiers: list[ListedClassifier]
    """In the order of their names."""


class ClassifierHealthAnswer(BaseModel):
    """Whether what a classifier is asked has drifted."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    collection: str
    """The id or name."""
    watched: bool
    """Whether this server watches for drift."""
    drift: Health | None
    """What it saw; null where it does not watch."""


class ErrorResponse(BaseModel):
    """Why the whole request was refused."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    detail: str
    """What is wrong and where."""
