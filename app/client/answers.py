"""What a server answers, typed.

The JSON is kept as it came, in `raw`. What a newer server adds to it is no fault, and what an older one lacks
has a default.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import Field

from app.client.errors import SightgraphError
from app.client.results import Part, TaskResult

K = TypeVar("K")


class ImageFacts(Part):
    """The image that was analysed, upright. `sha256` is that of the file that was sent."""

    width: int
    height: int
    format: str
    sha256: str


class _Fields(Part):
    """An answer but for its results, each of which is read by itself."""

    image_url: str
    image: ImageFacts | None = None
    request_id: str | None = None
    timings_ms: dict[str, Any] = Field(default_factory=dict)
    results: dict[str, dict[str, Any]]


class Answer(Mapping[str, TaskResult]):
    """The answers to the tasks on an image, by the tasks' ids and in their order.

    >>> answer["face"].box
    Box(xmin=181, ymin=62, xmax=268, ymax=172)

    `image` are the facts of the image, None when the time was up before it was decoded. `timings_ms` has
    `fetch`, `decode`, `total`, and `nodes` with the computing time of every stage.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        fields = _Fields.model_validate(raw)
        self.raw = raw
        self.image_url = fields.image_url
        self.image = fields.image
        self.request_id = fields.request_id
        self.timings_ms = fields.timings_ms
        self._results = {id_: TaskResult.of_json(id_, each) for id_, each in fields.results.items()}

    def __getitem__(self, id_: str) -> TaskResult:
        try:
            return self._results[id_]
        except KeyError:
            raise KeyError(f"{id_!r} is no task of this answer, which has {', '.join(self)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def __repr__(self) -> str:
        image = self.image
        told = [] if image is None else [f"{image.width}x{image.height} {image.format}"]
        told += [f"{id_}: {result.error_code or result.status}" for id_, result in self.items()]
        return f"Answer({', '.join(told)})"

    @property
    def ok(self) -> bool:
        """Whether every task was done."""
        return all(result.ok for result in self.values())

    def require(self) -> "Answer":
        """Itself, when every task was done.

        Raises:
            TaskFailed: one was not; the message tells which and why.
        """
        for result in self.values():
            result.require()
        return self


@dataclass(frozen=True)
class BatchResult(Generic[K]):
    """What became of an image of a batch: its answer, or why it has none.

    `id` is its key where the images were given by keys, else its place, from 0 on. `error` is an OSError
    where its file cannot be read here.
    """

    id: K
    answer: Answer | None = None
    error: SightgraphError | OSError | None = None

    @property
    def ok(self) -> bool:
        """Whether the image was analysed, whatever its tasks answered."""
        return self.error is None

    def require(self) -> Answer:
        """The answer.

        Raises:
            SightgraphError, OSError: there is none.
        """
        if self.answer is None:
            raise self.error or SightgraphError(f"{self.id}: there is no answer")
        return self.answer


class Readiness(Part):
    """How ready a server is; true where it takes work."""

    status: str
    """`ready`, `loading`, `degraded`, `failed` or `stopping`."""
    lanes: dict[str, int] = Field(default_factory=dict)
    """`count`: how many computations run at once; `threads`: on how many threads each of them computes;
    `lost`: how many hung and were given up."""
    operations: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Every operation by its type: its `state`, `progress`, `engine`, `licence` and `size_bytes`."""

    def __bool__(self) -> bool:
        return self.status in ("ready", "degraded")
