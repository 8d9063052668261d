"""The OpenAPI document: Litestar's own, with the bodies that the handlers read themselves and with every
operation's params from the registry."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import orjson
import pydantic
from litestar import Request
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from pydantic.json_schema import models_json_schema

from app.api.schemas import AnalyzeRequest, ErrorResponse, PlanRequest, TaskRequest
from app.core.catalog import params_schema
from app.core.operation import Operation
from app.core.registry import Registry

MERMAID = "text/vnd.mermaid"

_REF = "#/components/schemas/{model}"
_DESCRIPTIONS = {
    200: "The answer",
    400: "The request cannot be read; the detail says what and where",
    413: "The body is over the limit",
    503: "Try again later",
}


def documented(
    answer: type[pydantic.BaseModel],
    *refusals: int,
    also: Mapping[int, type[pydantic.BaseModel]] | None = None,
) -> dict[int, ResponseSpec]:
    """What a handler answers, by status."""
    models: dict[int, type[pydantic.BaseModel]] = {
        200: answer,
        **dict.fromkeys(refusals, ErrorResponse),
        **(also or {}),
    }
    return {
        status: ResponseSpec(model, generate_examples=False, description=_DESCRIPTIONS.get(status, ""))
        for status, model in models.items()
    }


class RegistryDocument(JsonRenderPlugin):
    """Serves the document at `/schema/openapi.json`."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return orjson.dumps(completed(openapi_schema, self._registry))


def completed(generated: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Litestar's document with the bodies of requests and the params of operations."""
    schema = deepcopy(dict(generated))
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    _, bodies = models_json_schema(
        [(AnalyzeRequest, "validation"), (PlanRequest, "validation")], ref_template=_REF
    )
    schemas.update(bodies["$defs"])
    variants = [_add_task(operation, schemas) for operation in registry.public.values()]
    schemas["TaskRequest"] = {
        "description": TaskRequest.__doc__ or "A task: an operation with its params.",
        # Any type and any params are read: what does not fit is answered as a skipped task.
        "anyOf": [*variants, {"$ref": _add_other_task(bodies["$defs"], schemas)}],
    }
    paths = schema["paths"]
    paths["/analyze_image"]["post"]["requestBody"] = _json_body("AnalyzeRequest")
    paths["/analyze_image_upload"]["post"]["requestBody"] = _upload_body()
    paths["/plan"]["post"]["requestBody"] = _json_body("PlanRequest")
    paths["/plan"]["post"]["responses"]["200"]["content"][MERMAID] = {"schema": {"type": "string"}}
    return schema


def _add_task(operation: Operation, schemas: dict[str, Any]) -> dict[str, str]:
    params = params_schema(operation)
    text = pydantic.TypeAdapter(dict[str, Any]).dump_json(params).decode()
    prefix = f"{operation.type}."
    for name in params.get("$defs", {}):
        text = text.replace(f'"#/$defs/{name}"', f'"#/components/schemas/{prefix}{name}"')
    params = pydantic.TypeAdapter(dict[str, Any]).validate_json(text)
    for name, definition in params.pop("$defs", {}).items():
        schemas[prefix + name] = definition
    params_name, task_name = f"{prefix}params", f"{prefix}task"
    schemas[params_name] = params
    schemas[task_name] = {
        "type": "object",
        "title": operation.type,
        "description": operation.summary,
        "properties": {
            "operation_id": {"type": "string", "minLength": 1, "maxLength": 128},
            "type": {"const": operation.type},
            "params": {"anyOf": [{"$ref": _REF.format(model=params_name)}, {"type": "null"}]},
        },
        "required": ["operation_id", "type"],
        "additionalProperties": False,
    }
    return {"$ref": _REF.format(model=task_name)}


def _add_other_task(bodies: Mapping[str, Any], schemas: dict[str, Any]) -> str:
    schemas["OtherTask"] = {
        **bodies["TaskRequest"],
        "title": "OtherTask",
        "description": "What is no operation of this server is answered as a skipped task.",
    }
    return _REF.format(model="OtherTask")


def _json_body(model: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=model)}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _upload_body() -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "image_file": {
                "type": "string",
                "format": "binary",
                "description": "The image file.",
            },
            "tasks_json": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"$ref": f"{_REF.format(model='AnalyzeRequest')}/properties/tasks"},
                "description": "The `tasks` of a request, as JSON text.",
            },
        },
        "required": ["image_file", "tasks_json"],
        "additionalProperties": False,
    }
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
