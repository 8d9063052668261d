"""The wire of batches and of streamed answers, as pydantic models."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from app.api.schemas import AnalyzeResponse, Body, ImageFacts, TaskResult, Tasks

MAX_IMAGES = 256

ImageUrl = Annotated[str, Field(min_length=1, max_length=8192)]
ImageId = Annotated[str, Field(min_length=1, max_length=512)]


class BatchImage(Body):
    """An image of a batch."""

    id: ImageId | None = None
    """The client's name for the image, unique in the batch; by default its place, "0" being the first."""
    image_url: ImageUrl
    """An http or https URL."""
    tasks: Tasks | None = None
    """What to do with this image, in place of the shared tasks."""


def _form_of_image(value: Any) -> str | None:
    return "@url" if isinstance(value, str) else "@image" if isinstance(value, dict) else None


AnyImage = Annotated[
    Annotated[ImageUrl, Tag("@url")] | Annotated[BatchImage, Tag("@image")],
    Discriminator(
        _form_of_image,
        custom_error_type="image",
        custom_error_message="must be a URL or an object with image_url",
    ),
]


class AnalyzeBatchRequest(Body):
    images: Annotated[list[AnyImage], Field(min_length=1, max_length=MAX_IMAGES)]
    """The images: URLs, or objects with a URL and, where wanted, an id and tasks."""
    tasks: Tasks | None = None
    """What to do with every image that has no tasks of its own."""


class BatchImageAnswer(AnalyzeResponse):
    """The answer to an image of a batch."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    """The image's id."""
    index: int
    """The image's place in the request, from 0."""


class BatchImageRefusal(BaseModel):
    """An image of a batch that could not be read."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    """The image's id."""
    index: int
    """The image's place in the request, from 0."""
    detail: str
    """What is wrong."""
    status: Literal[400, 413, 500, 503]
    """The status with which a request for this image alone would be refused."""


class BatchEnd(BaseModel):
    """The last line of a batch: the only one with `done`, and without `index`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    done: int
    """How many images were analysed, whatever their tasks answered."""
    failed: int
    """How many were not."""
    request_id: str
    """As in the header X-Request-ID; the server's log names it."""
    timings_ms: dict[str, Any]
    """`total`."""


class BatchResponse(BatchEnd):
    """The answers to all images of a batch."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    images: list[BatchImageAnswer | BatchImageRefusal]
    """In the order of the request."""


class StreamedImage(BaseModel):
    """The first part of a streamed answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    image_url: str
    """The request's URL, or `uploaded:` and the file's name."""
    image: ImageFacts | None
    """The image that is analysed; null when the time was up before it was decoded."""
    request_id: str
    """As in the header X-Request-ID; the server's log names it."""


class StreamedTask(BaseModel):
    """A part of a streamed answer: a task that finished."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    operation_id: str
    """The task."""
    result: TaskResult
    """Its answer."""


class StreamedEnd(BaseModel):
    """The last part of a streamed answer; `{"detail": "..."}` in its place where the server failed."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    request_id: str
    """As in the header X-Request-ID; the server's log names it."""
    timings_ms: dict[str, Any]
    """`fetch`, `decode`, `total`, and `nodes`: the computing time of every stage that was needed."""
