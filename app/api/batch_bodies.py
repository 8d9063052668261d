"""Reading batches: JSON with URLs, and forms with files."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pydantic
from litestar import Request
from litestar.datastructures import UploadFile

from app.api.analysis import Sent, behind, uploaded
from app.api.batch_schemas import MAX_IMAGES, AnalyzeBatchRequest, BatchImage, ImageId
from app.api.bodies import SHOWN_NAME, file_of, form_of, parsed, tasks_of, text_of, unique_tasks
from app.api.index_bodies import limited_body, one_a_file
from app.api.room import Room
from app.api.schemas import TaskRequest
from app.core.errors import MalformedRequest
from app.core.resolver import Task
from app.core.wording import explain

_IDS: pydantic.TypeAdapter[list[str]] = pydantic.TypeAdapter(list[ImageId])
_FIELDS = ("image_file", "tasks_json", "id")
_KNOWN = (*AnalyzeBatchRequest.model_fields, *BatchImage.model_fields, *TaskRequest.model_fields)


@dataclass(frozen=True)
class Arrived:
    """An image of a batch, with what to do with it."""

    id: str
    sent: Sent
    tasks: Sequence[Task]


@asynccontextmanager
async def arriving_images(request: Request[Any, Any, Any], room: Room) -> AsyncIterator[list[Arrived]]:
    """The images of a batch; uploaded files stay open meanwhile.

    Raises:
        MalformedRequest: the body is not of its form.
        ImageTooLarge: JSON over its limit.
    """
    if request.content_type[0] != "multipart/form-data":
        yield _behind_urls(parsed(await limited_body(request), "body"), room)
        return
    async with form_of(request, _FIELDS) as form:
        yield await _uploads(form, room.limits.max_image_bytes)


def _behind_urls(raw: Any, room: Room) -> list[Arrived]:
    try:
        body = AnalyzeBatchRequest.model_validate(raw)
    except pydantic.ValidationError as error:
        raise MalformedRequest(explain(error.errors(include_url=False), known=_KNOWN)) from None
    images = [BatchImage(image_url=each) if isinstance(each, str) else each for each in body.images]
    shared = None if body.tasks is None else unique_tasks(body.tasks)
    ids = _unique([image.id for image in images], "images[{}].id")
    return [
        Arrived(image_id, behind(room, image.image_url), _tasks_for(image, place, shared))
        for place, (image_id, image) in enumerate(zip(ids, images, strict=True))
    ]


def _tasks_for(image: BatchImage, place: int, shared: list[Task] | None) -> list[Task]:
    if image.tasks is not None:
        return unique_tasks(image.tasks, f"images[{place}].tasks")
    if shared is None:
        raise MalformedRequest(f"images[{place}].tasks: is required where the batch has no tasks to share")
    return shared


async def _uploads(form: Mapping[str, list[Any]], max_image_bytes: int) -> list[Arrived]:
    files = form.get("image_file", [])
    if not files:
        raise MalformedRequest("image_file: is required")
    if len(files) > MAX_IMAGES:
        raise MalformedRequest(f"image_file: was sent {len(files)} times; at most {MAX_IMAGES} are taken")
    if not all(isinstance(file, UploadFile) for file in files):
        raise MalformedRequest("image_file: must be a file part with a file name")
    tasks = unique_tasks(tasks_of(await text_of(form, "tasks_json")), "tasks_json")
    try:
        named = _IDS.validate_python(one_a_file(form, "id", len(files)))
    except pydantic.ValidationError as error:
        raise MalformedRequest(explain(error.errors(include_url=False), root="id")) from None
    ids = _unique(named or [None] * len(files), "id[{}]")
    return [
        Arrived(
            image_id,
            uploaded(file.filename[:SHOWN_NAME], partial(file_of, file, "image_file", max_image_bytes)),
            tasks,
        )
        for image_id, file in zip(ids, files, strict=True)
    ]


def _unique(ids: Sequence[str | None], field: str) -> list[str]:
    """The ids of images, where one has none its place.

    Raises:
        MalformedRequest: two have one id; `field` tells which, from its place.
    """
    places: dict[str, int] = {}
    for place, sent in enumerate(ids):
        image_id = str(place) if sent is None else sent
        if image_id in places:
            first = places[image_id]
            # The one that was sent can be changed.
            shown = place if sent is not None else first
            raise MalformedRequest(
                f"{field.format(shown)}: '{image_id[:64]}' is the id of the images at {first} and {place}; "
                f"each must be unique, and an image without one has its place"
            )
        places[image_id] = place
    return list(places)
