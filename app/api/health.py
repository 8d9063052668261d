"""The endpoints that machines ask: is it alive, is it ready."""

from collections.abc import Sequence

from litestar import Response, get
from litestar.di import NamedDependency

from app.api.answers import json_response
from app.api.doors import PROBE
from app.api.openapi import documented
from app.api.readiness import readiness
from app.api.room import Room
from app.api.schemas import LiveResponse, ReadyResponse
from app.runtime.engines import EngineState

_TAKES_WORK = ("ready", "degraded")


@get(
    "/health/live",
    summary="Whether the process answers",
    tags=["health"],
    opt=PROBE,
    responses=documented(LiveResponse),
)
async def live() -> Response[bytes]:
    return json_response({"status": "ok"})


@get(
    "/health/ready",
    summary="Which operations are ready; 503 until the models of the start are loaded, and when it stops",
    tags=["health"],
    opt=PROBE,
    responses=documented(ReadyResponse, also={503: ReadyResponse}),
)
async def ready(room: NamedDependency[Room]) -> Response[bytes]:
    operations = {name: readiness(op, room.pool) for name, op in room.registry.public.items()}
    status = _status(room, [each.state for each in operations.values()])
    lanes = room.pool.lanes
    body = {
        "status": status,
        "lanes": {"count": lanes.count, "threads": room.pool.threads.usual, "lost": room.pool.lanes_lost},
        "operations": {name: each.as_json() for name, each in operations.items()},
    }
    return json_response(body, 200 if status in _TAKES_WORK else 503)


def _status(room: Room, operations: Sequence[EngineState]) -> str:
    if room.stopping:
        return "stopping"
    if room.starting:
        return "loading"
    if not room.pool.has_lanes:
        return "failed"
    if room.pool.lanes_lost or EngineState.FAILED in operations:
        return "degraded"
    return "ready"
