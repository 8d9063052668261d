"""The two endpoints that analyse an image.

body -> tasks -> plan (core.resolver) -> run (runtime.executor) -> answer (api.answers)
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, post
from litestar.di import NamedDependency

from app.api.answers import image_facts, json_response, results
from app.api.bodies import JSON_BODY_MAX_BYTES, in_time, json_body, unique_tasks, upload_body
from app.api.connection import while_connected
from app.api.openapi import documented
from app.api.request_id import request_id
from app.api.room import Room
from app.api.schemas import AnalyzeRequest, AnalyzeResponse
from app.core.resolver import Task, resolve
from app.runtime.decode import pixels_in

# The form's own bytes and the tasks, beside the image.
FORM_OVERHEAD_BYTES = 2_000_000


@post(
    "/analyze_image/",
    status_code=200,
    request_max_body_size=JSON_BODY_MAX_BYTES,
    summary="Analyse the image behind a URL",
    tags=["analyse"],
    responses=documented(AnalyzeResponse, 400, 413, 503),
)
async def analyze_image(request: Request[Any, Any, Any], room: NamedDependency[Room]) -> Response[bytes]:
    body = await in_time(json_body(request, AnalyzeRequest), room.limits.seconds)
    tasks = unique_tasks(body.tasks)
    with room.place():
        return await while_connected(request, _fetched_and_analyzed(room, body.image_url, tasks))


@post(
    "/analyze_image_upload/",
    status_code=200,
    summary="Analyse an uploaded image",
    tags=["analyse"],
    responses=documented(AnalyzeResponse, 400, 413, 503),
)
async def analyze_image_upload(
    request: Request[Any, Any, Any], room: NamedDependency[Room]
) -> Response[bytes]:
    # A client may take its time to send: it holds no place meanwhile.
    upload = await in_time(upload_body(request, room.limits.max_image_bytes), room.limits.seconds)
    tasks = unique_tasks(upload.tasks)
    with room.place():
        work = _analyzed(room, f"uploaded:{upload.name}", upload.data, tasks, time.perf_counter(), 0.0)
        return await while_connected(request, work)


async def _fetched_and_analyzed(room: Room, url: str, tasks: Sequence[Task]) -> Response[bytes]:
    started = time.perf_counter()
    data = await room.fetcher.fetch(url)
    fetch_ms = (time.perf_counter() - started) * 1000
    return await _analyzed(room, url, data, tasks, started, fetch_ms)


async def _analyzed(
    room: Room,
    image_url: str,
    data: bytes,
    tasks: Sequence[Task],
    started: float,
    fetch_ms: float,
) -> Response[bytes]:
    pixels = await asyncio.to_thread(pixels_in, data, room.decode_limits)
    with room.memory_for(pixels):
        source = room.source(data)
        plan = resolve(tasks, room.registry, room.pool.choose, await room.resources(tasks))
        left = room.limits.seconds - (time.perf_counter() - started)
        run = await room.executor.run(plan, source, max(0.0, left))
    return json_response(
        {
            "image_url": image_url,
            "results": results(plan, run),
            "request_id": request_id(),
            "image": image_facts(run.info) if run.info else None,
            "timings_ms": {
                "fetch": round(fetch_ms, 3),
                "decode": round(source.decode_ms, 3),
                "nodes": run.node_ms,
                "total": round((time.perf_counter() - started) * 1000, 3),
            },
        }
    )
