"""Reading requests: JSON and multipart bodies to validated models, with messages that name the field."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import orjson
import pydantic
from litestar import Request
from litestar.datastructures import UploadFile
from litestar.exceptions import HTTPException

from app.api.schemas import TaskRequest, Tasks
from app.core.errors import ImageTooLarge, MalformedRequest
from app.core.resolver import Task
from app.core.wording import explain

T = TypeVar("T")
Model = TypeVar("Model", bound=pydantic.BaseModel)

_TASKS: pydantic.TypeAdapter[list[TaskRequest]] = pydantic.TypeAdapter(Tasks)
JSON_BODY_MAX_BYTES = 1_000_000
SHOWN_NAME = 255


class Upload(NamedTuple):
    """An uploaded image with its tasks."""

    name: str
    data: bytes
    tasks: list[TaskRequest]


async def in_time(reading: Coroutine[Any, Any, T], seconds: float) -> T:
    """A body that arrives within a time.

    Raises:
        MalformedRequest: it does not.
    """
    try:
        return await asyncio.wait_for(reading, seconds)
    except TimeoutError:
        raise MalformedRequest(f"body: did not arrive within {seconds:g} seconds") from None


async def json_body(request: Request[Any, Any, Any], model: type[Model]) -> Model:
    """The body of a request as a model.

    Raises:
        MalformedRequest: it is no JSON, or not of the model's form.
    """
    body = await request.body()
    if request.content_type[0] == "multipart/form-data" and body.startswith(b"--"):
        raise MalformedRequest(
            "body: JSON is needed here; images to analyse are uploaded to /analyze_image_upload/"
        )
    value = parsed(body, "body")
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as error:
        known = [*model.model_fields, *TaskRequest.model_fields]
        raise MalformedRequest(explain(error.errors(include_url=False), known=known)) from None


async def upload_body(request: Request[Any, Any, Any], max_image_bytes: int) -> Upload:
    """The form of an upload: `image_file` and `tasks_json`.

    The form is spooled to disk while it arrives.

    Raises:
        MalformedRequest: a field is missing, doubled or unknown, or the tasks are not of their form.
        ImageTooLarge: the image is over the limit.
    """
    async with form_of(request, ("image_file", "tasks_json")) as form:
        image = single(form, "image_file")
        data = await file_of(image, "image_file", max_image_bytes)
        return Upload(image.filename[:SHOWN_NAME], data, tasks_of(await text_of(form, "tasks_json")))


@asynccontextmanager
async def form_of(
    request: Request[Any, Any, Any], known: Sequence[str]
) -> AsyncIterator[dict[str, list[Any]]]:
    """The fields of a form, each with all its values; their files are closed at the end.

    The form is spooled to disk while it arrives.

    Raises:
        MalformedRequest: it is no form, or has a field that is not known.
    """
    form = {
        name: value if isinstance(value, list) else [value]
        for name, value in (await _form(request, known)).items()
    }
    try:
        unknown = sorted(form.keys() - set(known))
        if unknown:
            raise MalformedRequest(
                f"{unknown[0][:64]}: is not a known field of the form, which has {' and '.join(known)}"
            )
        yield form
    finally:
        for values in form.values():
            for part in values:
                if isinstance(part, UploadFile):
                    await part.close()


def single(form: Mapping[str, list[Any]], name: str) -> Any:
    """The one value of a field.

    Raises:
        MalformedRequest: there is none, or several.
    """
    values = form.get(name, [])
    if not values:
        raise MalformedRequest(f"{name}: is required")
    if len(values) > 1:
        raise MalformedRequest(f"{name}: was sent {len(values)} times; one is needed")
    return values[0]


async def file_of(part: Any, name: str, max_bytes: int) -> bytes:
    """The bytes of an uploaded file.

    Raises:
        MalformedRequest: the part is no file.
        ImageTooLarge: it is over the limit.
    """
    if not isinstance(part, UploadFile):
        raise MalformedRequest(
            f"{name}: must be a file part with a file name (as curl -F {name}=@photo.jpg sends it)"
        )
    data = await part.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ImageTooLarge(f"{name}: is over {max_bytes:,} bytes")
    return data


async def text_of(form: Mapping[str, list[Any]], name: str) -> str | bytes:
    """The text of a field that is sent once, also where it came as a file.

    Raises:
        MalformedRequest: there is none, or several, or it is over the limit of a JSON body.
    """
    part = single(form, name)
    text: str | bytes = await part.read(JSON_BODY_MAX_BYTES + 1) if isinstance(part, UploadFile) else part
    if len(text) > JSON_BODY_MAX_BYTES:
        raise MalformedRequest(f"{name}: is over {JSON_BODY_MAX_BYTES:,} bytes")
    return text


def unique_tasks(tasks: Sequence[TaskRequest], field: str = "tasks") -> list[Task]:
    """The tasks for the resolver; `field` is what a message calls them.

    Raises:
        MalformedRequest: two have one operation_id.
    """
    seen: set[str] = set()
    for task in tasks:
        if task.operation_id in seen:
            raise MalformedRequest(
                f"{field}: duplicate operation_id '{task.operation_id}'; each must be unique"
            )
        seen.add(task.operation_id)
    return [Task(task.operation_id, task.type, task.params or {}) for task in tasks]


async def _form(request: Request[Any, Any, Any], known: Sequence[str]) -> dict[str, Any]:
    if request.content_type[0] != "multipart/form-data":
        raise MalformedRequest(f"body: multipart/form-data is needed, with {' and '.join(known)}")
    try:
        return (await request.form()).dict()
    except HTTPException:
        raise
    except (ValueError, LookupError):
        # A part that is not text in the charset that it names.
        raise MalformedRequest(
            "body: a part of the form cannot be read as text; an image_file needs a file name"
        ) from None


def tasks_of(text: str | bytes) -> list[TaskRequest]:
    """The tasks of a form.

    Raises:
        MalformedRequest: they are not of their form.
    """
    try:
        return _TASKS.validate_python(parsed(text, "tasks_json"))
    except pydantic.ValidationError as error:
        raise MalformedRequest(
            explain(error.errors(include_url=False), root="tasks_json", known=TaskRequest.model_fields)
        ) from None


def parsed(text: str | bytes, name: str) -> Any:
    """JSON to plain values.

    Raises:
        MalformedRequest: it is none.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"{name}: is not valid JSON: {error}") from None
