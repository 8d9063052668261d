"""The endpoints that machines ask: is it alive, is it ready."""

from litestar import Response, get
from litestar.di import NamedDependency

from app.api.answers import json_response
from app.api.openapi import documented
from app.api.room import Room
from app.api.schemas import LiveResponse, ReadyResponse
from app.core.catalog import engines_behind
from app.core.operation import Operation
from app.runtime.pool import EngineState

# From the worst on: an operation is as ready as the least ready of its models.
_WORST_FIRST = (
    EngineState.FAILED,
    EngineState.LOADING,
    EngineState.ON_DISK,
    EngineState.READY,
)


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
    summary="Which operations are ready; 503 until all that can be are",
    tags=["health"],
    responses=documented(ReadyResponse, also={503: ReadyResponse}),
)
async def ready(room: NamedDependency[Room]) -> Response[bytes]:
    states = {name: state_of(op, room) for name, op in room.registry.public.items()}
    if set(states.values()) <= {EngineState.READY}:
        return json_response({"status": "ready", "operations": states})
    waiting = {EngineState.LOADING, EngineState.ON_DISK} & set(states.values())
    status = "loading" if waiting else "degraded"
    return json_response({"status": status, "operations": states}, 503 if waiting else 200)


def state_of(operation: Operation, room: Room) -> EngineState:
    """The state of an operation: that of the least ready model behind it."""
    states = {room.pool.state(spec) for _, spec in engines_behind(operation)}
    return next((state for state in _WORST_FIRST if state in states), EngineState.READY)
