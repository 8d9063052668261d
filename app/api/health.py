"""The endpoints that machines ask: is it alive, is it ready."""

from litestar import Response, get
from litestar.di import NamedDependency

from app.api.answers import json_response
from app.api.openapi import documented
from app.api.readiness import readiness
from app.api.room import Room
from app.api.schemas import LiveResponse, ReadyResponse
from app.runtime.engines import EngineState


@get(
    "/health/live",
    summary="Whether the process answers",
    tags=["health"],
    responses=documented(LiveResponse),
)
async def live() -> Response[bytes]:
    return json_response({"status": "ok"})


@get(
    "/health/ready",
    summary="Which operations are ready; 503 until the models of the start are loaded",
    tags=["health"],
    responses=documented(ReadyResponse, also={503: ReadyResponse}),
)
async def ready(room: NamedDependency[Room]) -> Response[bytes]:
    operations = {name: readiness(op, room.pool) for name, op in room.registry.public.items()}
    failed = any(each.state is EngineState.FAILED for each in operations.values())
    status = "loading" if room.starting else "degraded" if failed else "ready"
    shown = {name: each.as_json() for name, each in operations.items()}
    return json_response({"status": status, "operations": shown}, 503 if room.starting else 200)
