"""The two endpoints that analyse an image.

body -> tasks -> analysis -> answer, as one document or task by task
"""

from collections.abc import Sequence
from typing import Any

from litestar import MediaType, Request, Response, post
from litestar.di import NamedDependency

from app.api.accept import preferred
from app.api.analysis import Sent, begun, behind, uploaded
from app.api.answers import json_bytes, json_response
from app.api.bodies import JSON_BODY_MAX_BYTES, in_time, json_body, unique_tasks, upload_body
from app.api.connection import while_connected
from app.api.openapi import documented
from app.api.room import Room
from app.api.schemas import AnalyzeRequest, AnalyzeResponse
from app.api.streaming import EVENT_STREAM, NDJSON, Events, Lines, Part, Parts, Streamed
from app.core.resolver import Task

# The form's own bytes and the tasks, beside the image.
FORM_OVERHEAD_BYTES = 2_000_000


@post(
    "/analyze_image/",
    status_code=200,
    request_max_body_size=JSON_BODY_MAX_BYTES,
    summary="Analyse the image behind a URL",
    tags=["analyse"],
    opt={"scope": "analyze"},
    responses=documented(AnalyzeResponse, 400, 413, 503),
)
async def analyze_image(
    request: Request[Any, Any, Any], room: NamedDependency[Room], seconds: NamedDependency[float]
) -> Response[bytes]:
    body = await in_time(json_body(request, AnalyzeRequest), room.limits.seconds)
    tasks = unique_tasks(body.tasks)
    return await _answered(request, room, behind(room, body.image_url), tasks, seconds)


@post(
    "/analyze_image_upload/",
    status_code=200,
    summary="Analyse an uploaded image",
    tags=["analyse"],
    opt={"scope": "analyze"},
    responses=documented(AnalyzeResponse, 400, 413, 503),
)
async def analyze_image_upload(
    request: Request[Any, Any, Any], room: NamedDependency[Room], seconds: NamedDependency[float]
) -> Response[bytes]:
    # A client may take its time to send: it holds no place meanwhile.
    upload = await in_time(upload_body(request, room.limits.max_image_bytes), room.limits.seconds)
    tasks = unique_tasks(upload.tasks)

    async def read() -> bytes:
        return upload.data

    return await _answered(request, room, uploaded(upload.name, read), tasks, seconds)


async def _answered(
    request: Request[Any, Any, Any], room: Room, sent: Sent, tasks: Sequence[Task], seconds: float
) -> Response[bytes]:
    wanted = preferred(request, [MediaType.JSON, NDJSON, EVENT_STREAM])
    if wanted == MediaType.JSON:
        with room.place():
            return await while_connected(request, _whole(room, sent, tasks, seconds))
    framing = Lines() if wanted == NDJSON else Events()
    parts = _parts(room, sent, tasks, seconds)
    # What is not read yet lies in memory, as an answer that is sent whole does; its image does not.
    return Streamed(request, parts, framing, ahead=0, stall_seconds=room.limits.seconds)


async def _whole(room: Room, sent: Sent, tasks: Sequence[Task], seconds: float) -> Response[bytes]:
    async with begun(room, sent, tasks, seconds) as analysis:
        return json_response(await analysis.answered())


async def _parts(room: Room, sent: Sent, tasks: Sequence[Task], seconds: float) -> Parts:
    """First the image's facts, then every task as it finishes, last the times."""
    with room.place():
        async with begun(room, sent, tasks, seconds) as analysis:
            yield Part("image", json_bytes(analysis.beginning()))
            async for answer in analysis.task_answers():
                yield Part("task", json_bytes(answer))
            yield Part("done", json_bytes(analysis.end()))
