"""The endpoint that lists the operations."""

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency

from app.api.answers import json_response
from app.api.openapi import documented
from app.api.readiness import engines_of, readiness
from app.api.room import Room
from app.api.schemas import CatalogResponse
from app.core import catalog
from app.core.operation import Operation
from app.runtime.engines import EngineState


@get(
    "/available_operations/",
    summary="List the operations with their params and states",
    tags=["discover"],
    opt={"scope": "analyze"},
    responses=documented(CatalogResponse),
)
async def available_operations(room: NamedDependency[Room]) -> Response[bytes]:
    return json_response(
        {"operations": {name: _facts(op, room) for name, op in room.registry.public.items()}}
    )


def _facts(operation: Operation, room: Room) -> dict[str, Any]:
    now = readiness(operation, room.pool)
    example = operation.example_params
    return {
        "description": operation.summary,
        "allowed_targets": catalog.allowed_targets(operation),
        "default_target": catalog.default_target(operation),
        "details": operation.description,
        "other_targets": catalog.other_targets(operation),
        "ready": now.state is EngineState.READY,
        **now.as_json(),
        "engines": [
            {
                "name": spec.name,
                "operation": stage.type,
                "state": room.pool.state(spec),
                "progress": room.pool.downloads.percent(spec),
                "problem": room.pool.problem(spec),
                "weights": room.pool.store.source(spec),
                "size_bytes": spec.weights.size_bytes,
                "licence": spec.licence,
                "input_size": spec.input_size,
                "limits": spec.limits,
            }
            for stage, spec in engines_of(operation, room.pool)
        ],
        "example": None if example is None else example.model_dump(mode="json", exclude_defaults=True),
        "params": catalog.params_schema(operation),
        "data": catalog.data_schema(operation),
    }
