"""The endpoint that lists the operations."""

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency

from app.api.answers import json_response
from app.api.openapi import documented
from app.api.room import Room
from app.api.schemas import CatalogResponse
from app.core import catalog
from app.core.operation import Operation
from app.runtime.pool import EngineState


@get(
    "/available_operations/",
    summary="List the operations with their params and states",
    tags=["discover"],
    responses=documented(CatalogResponse),
)
async def available_operations(room: NamedDependency[Room]) -> Response[bytes]:
    return json_response(
        {"operations": {name: _facts(op, room) for name, op in room.registry.public.items()}}
    )


def _facts(operation: Operation, room: Room) -> dict[str, Any]:
    engines = catalog.engines_behind(operation)
    return {
        "description": operation.summary,
        "allowed_targets": catalog.allowed_targets(operation),
        "default_target": catalog.default_target(operation),
        "details": operation.description,
        "other_targets": catalog.other_targets(operation),
        "ready": all(room.pool.state(spec) is EngineState.READY for _, spec in engines),
        "engines": [
            {
                "name": spec.name,
                "operation": stage.type,
                "state": room.pool.state(spec),
                "problem": room.pool.problem(spec),
                "weights": spec.weights.source,
                "size_bytes": spec.weights.size_bytes,
                "licence": spec.licence,
                "limits": spec.limits,
            }
            for stage, spec in engines
        ],
        "params": catalog.params_schema(operation),
        "data": catalog.data_schema(operation),
    }
