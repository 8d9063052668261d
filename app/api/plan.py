"""The endpoint that shows the graph of a request without running it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from litestar import MediaType, Request, Response, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from app.api.accept import preferred
from app.api.answers import json_response
from app.api.bodies import JSON_BODY_MAX_BYTES, in_time, json_body, unique_tasks
from app.api.mermaid import flowchart
from app.api.openapi import MERMAID, documented
from app.api.room import Room
from app.api.schemas import PlanRequest, PlanResponse
from app.core.plan import Node, Plan
from app.core.resolver import resolve
from app.runtime.engines import EngineState


@post(
    "/plan/",
    status_code=200,
    request_max_body_size=JSON_BODY_MAX_BYTES,
    summary="Show the graph that a request would run",
    tags=["analyse"],
    opt={"scope": "analyze"},
    responses=documented(PlanResponse, 400, 413),
)
async def show_plan(
    request: Request[Any, Any, Any],
    room: NamedDependency[Room],
    format_: Annotated[
        Literal["json", "mermaid"] | None,
        QueryParameter(name="format", description="The form of the answer; else by Accept."),
    ] = None,
) -> Response[Any]:
    body = await in_time(json_body(request, PlanRequest), room.limits.seconds)
    tasks = unique_tasks(body.tasks)
    plan = resolve(tasks, room.registry, room.pool.choose, await room.resources(tasks))
    shown = described(plan, room, body.image_sha256)
    preferred_form = preferred(request, [MediaType.JSON, MERMAID])
    if format_ == "mermaid" or (format_ is None and preferred_form == MERMAID):
        return Response(flowchart(shown), media_type=MERMAID)
    return json_response(shown)


def described(plan: Plan, room: Room, image_sha256: str | None) -> dict[str, Any]:
    """A plan as `PlanResponse` describes it."""
    users = plan.users()
    cached = _cached(plan, room, image_sha256)
    nodes = [
        _node(node, users, None if cached is None else node.id in cached, room)
        for node in plan.nodes.values()
    ]
    computing = [
        shown
        for shown, node in zip(nodes, plan.nodes.values(), strict=True)
        if not shown["cached"] and not node.operation.expands
    ]
    estimates = [shown["estimate_ms"] for shown in computing]
    return {
        "nodes": nodes,
        "tasks": [
            {
                "operation_id": task.operation_id,
                "type": task.type,
                "node": task.node,
                "crop": task.crop,
                "error_code": task.fault.code if task.fault else None,
                "error_message": task.fault.message if task.fault else None,
            }
            for task in plan.tasks
        ],
        "cold_models": sorted(
            {
                shown["engine"]
                for shown in computing
                if shown["engine"] and shown["state"] != EngineState.READY
            }
        ),
        "estimate_ms": None if None in estimates else round(sum(estimates), 3),
    }


def _cached(plan: Plan, room: Room, image_sha256: str | None) -> frozenset[str] | None:
    if image_sha256 is None:
        return None
    info = room.known_image(image_sha256)
    return frozenset() if info is None else room.executor.cached_nodes(plan, info)


def _node(node: Node, users: Mapping[str, list[str]], cached: bool | None, room: Room) -> dict[str, Any]:
    return {
        "id": node.id,
        "operation": node.operation.type,
        "params": node.params.chosen(),
        "needs": dict(node.inputs),
        "given": {name: list(values) for name, values in node.given.items()},
        "tasks": users[node.id],
        "engine": node.engine.name if node.engine else None,
        "state": room.pool.state(node.engine.spec) if node.engine else None,
        "cached": cached,
        "estimate_ms": None if node.operation.expands else room.pool.cost_ms(node.operation, node.engine),
    }
