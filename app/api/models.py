"""The endpoints of the models: how each stands, and fetching, loading and unloading it."""

import difflib
from collections.abc import Mapping
from typing import Any

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from app.api.answers import json_response
from app.api.auth import permits
from app.api.model_schemas import ModelFacts, ModelsResponse
from app.api.openapi import documented
from app.api.readiness import chosen_engines
from app.api.room import Room
from app.core.catalog import operations_of
from app.core.errors import ModelNotFound, WrongState
from app.core.operation import EngineSpec
from app.core.wording import shortened
from app.runtime.downloads import Standing
from app.runtime.engines import EngineState


@get(
    "/models/",
    summary="List the models with their weights and states",
    tags=["models"],
    opt={"scope": "analyze"},
    responses=documented(ModelsResponse),
)
async def list_models(room: NamedDependency[Room]) -> Response[bytes]:
    chosen_for = _chosen_for(room)
    return json_response(
        {
            "models": [_facts(spec, chosen_for, room) for _, spec in sorted(room.registry.engines.items())],
            "memory_bytes": room.pool.models_bytes,
            "memory_budget_bytes": room.pool.memory.budget_bytes,
            "may_change": permits("admin"),
        }
    )


@get(
    "/models/{name:str}/",
    summary="Describe a model",
    tags=["models"],
    opt={"scope": "analyze"},
    responses=documented(ModelFacts, 404),
)
async def show_model(name: FromPath[str], room: NamedDependency[Room]) -> Response[bytes]:
    return _described(_found(name, room), room)


@post(
    "/models/{name:str}/pull/",
    status_code=202,
    summary="Download the weights of a model in the background; `GET` tells how far they are",
    tags=["models"],
    opt={"scope": "admin"},
    responses=documented(ModelFacts, 404, 409, success=202),
)
async def pull_model(name: FromPath[str], room: NamedDependency[Room]) -> Response[bytes]:
    spec = _found(name, room)
    state, store = room.pool.state(spec), room.pool.store
    if state is EngineState.DOWNLOADING:
        raise WrongState(room.pool.problem(spec))
    if obstacle := store.obstacle(spec):
        raise WrongState(obstacle)
    # Those that cannot be loaded may be damaged, which a pull finds out and mends.
    if state is not EngineState.FAILED and store.present(spec):
        raise WrongState(f"The weights of '{spec.name}' are on this machine already.")
    room.pool.downloads.fetch([spec])
    return _described(spec, room, 202)


@post(
    "/models/{name:str}/load/",
    status_code=202,
    summary="Load a model before a request needs it",
    tags=["models"],
    opt={"scope": "admin"},
    responses=documented(ModelFacts, 404, 409, success=202),
)
async def load_model(name: FromPath[str], room: NamedDependency[Room]) -> Response[bytes]:
    spec = _found(name, room)
    room.pool.load_now(spec)
    return _described(spec, room, 202)


@post(
    "/models/{name:str}/unload/",
    status_code=200,
    summary="Free the memory of a model that nobody uses",
    tags=["models"],
    opt={"scope": "admin"},
    responses=documented(ModelFacts, 404, 409),
)
async def unload_model(name: FromPath[str], room: NamedDependency[Room]) -> Response[bytes]:
    spec = _found(name, room)
    room.pool.unload(spec)
    return _described(spec, room)


def _found(name: str, room: Room) -> EngineSpec:
    engines = room.registry.engines
    if name in engines:
        return engines[name]
    near = difflib.get_close_matches(name[:64], engines, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else "GET /models/ lists those that there are."
    raise ModelNotFound(f"There is no model '{shortened(name)}'. {hint}")


def _described(spec: EngineSpec, room: Room, status: int = 200) -> Response[bytes]:
    return json_response(_facts(spec, _chosen_for(room), room), status)


def _chosen_for(room: Room) -> Mapping[str, list[str]]:
    """By engine, the public operations whose data it would make now."""
    by_engine: dict[str, list[str]] = {}
    for name, operation in room.registry.public.items():
        for spec in chosen_engines(operation, room.pool):
            by_engine.setdefault(spec.name, []).append(name)
    return by_engine


def _facts(spec: EngineSpec, chosen_for: Mapping[str, list[str]], room: Room) -> dict[str, Any]:
    """A model as `ModelFacts` describes it."""
    pool, store = room.pool, room.pool.store
    standing = pool.downloads.standing(spec)
    return {
        "engine": spec.name,
        "weights": spec.weights.id,
        "operations": operations_of(spec, room.registry),
        "chosen_for": chosen_for.get(spec.name, []),
        "state": pool.state(spec),
        "problem": pool.problem(spec),
        "download": None if standing is None else _download(standing),
        "obstacle": store.obstacle(spec),
        "kind": spec.weights.kind,
        "source": store.source(spec),
        "commit": store.commit(spec),
        "size_bytes": store.size_bytes(spec),
        "memory_bytes": spec.bytes_when_loaded,
        "in_use": pool.in_use(spec),
        "licence": spec.licence,
        "input_size": spec.input_size,
        "cost_ms": spec.cost_ms,
        "limits": spec.limits,
    }


def _download(standing: Standing) -> dict[str, Any]:
    rate = standing.bytes_per_second
    return {
        "percent": standing.percent,
        "done_bytes": standing.done_bytes,
        "total_bytes": standing.total_bytes,
        "bytes_per_second": None if rate is None else round(rate),
        "waiting": standing.waiting,
    }
