"""The OpenAPI document: Litestar's own, with the bodies that the handlers read themselves and with every
operation's params from the registry."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import orjson
import pydantic
from litestar import Request
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from pydantic.json_schema import models_json_schema

from app.api.batch_schemas import (
    AnalyzeBatchRequest,
    BatchEnd,
    BatchImageAnswer,
    BatchImageRefusal,
    StreamedEnd,
    StreamedImage,
    StreamedTask,
)
from app.api.doors_document import add_doors
from app.api.index_schemas import (
    MAX_ITEMS,
    DuplicatesBody,
    ItemsBody,
    NewCollection,
    QueryBody,
    SearchBody,
    SetBody,
    SingleItemBody,
)
from app.api.schemas import AnalyzeRequest, ErrorResponse, PlanRequest, TaskRequest
from app.api.streaming import EVENT_STREAM, NDJSON
from app.core.catalog import params_schema
from app.core.operation import Operation
from app.core.registry import Registry

_BODIES: tuple[type[pydantic.BaseModel], ...] = (
    AnalyzeRequest,
    AnalyzeBatchRequest,
    PlanRequest,
    NewCollection,
    SingleItemBody,
    ItemsBody,
    QueryBody,
    SearchBody,
    DuplicatesBody,
    SetBody,
)

_LINES: tuple[type[pydantic.BaseModel], ...] = (
    StreamedImage,
    StreamedTask,
    StreamedEnd,
    BatchImageAnswer,
    BatchImageRefusal,
    BatchEnd,
)

MERMAID = "text/vnd.mermaid"
OPENMETRICS = "application/openmetrics-text"

_REF = "#/components/schemas/{model}"
_DESCRIPTIONS = {
    200: "The answer",
    400: "The request cannot be read; the detail says what and where",
    404: "There is no such collection, item, classifier or model",
    409: "The name is taken, vectors of two spaces would be mixed, or a model does not stand so",
    413: "The body is over the limit",
    503: "Try again later",
}


def documented(
    answer: type[pydantic.BaseModel],
    *refusals: int,
    also: Mapping[int, type[pydantic.BaseModel]] | None = None,
    success: int = 200,
) -> dict[int, ResponseSpec]:
    """What a handler answers, by status."""
    models: dict[int, type[pydantic.BaseModel]] = {
        success: answer,
        **dict.fromkeys(refusals, ErrorResponse),
        **(also or {}),
    }
    return {
        status: ResponseSpec(model, generate_examples=False, description=_DESCRIPTIONS.get(status, ""))
        for status, model in models.items()
    }


class RegistryDocument(JsonRenderPlugin):
    """Serves the document at `/schema/openapi.json`."""

    def __init__(self, registry: Registry, *, keyed: bool = False) -> None:
        super().__init__()
        self._registry = registry
        self._keyed = keyed

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        document = completed(openapi_schema, self._registry)
        add_doors(document, request.app, keyed=self._keyed)
        return orjson.dumps(document)


def completed(generated: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Litestar's document with the bodies of requests and the params of operations."""
    schema = deepcopy(dict(generated))
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    _, bodies = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_REF)
    schemas.update(bodies["$defs"])
    variants = [_add_task(operation, schemas) for operation in registry.public.values()]
    schemas["TaskRequest"] = {
        "description": TaskRequest.__doc__ or "A task: an operation with its params.",
        # Any type and any params are read: what does not fit is answered as a skipped task.
        "anyOf": [*variants, {"$ref": _add_other_task(bodies["$defs"], schemas)}],
    }
    _, lines = models_json_schema([(model, "serialization") for model in _LINES], ref_template=_REF)
    schemas.update({name: line for name, line in lines["$defs"].items() if name not in schemas})
    paths = schema["paths"]
    for path, content in _contents().items():
        paths[path]["post"]["requestBody"] = {"required": True, "content": content}
    for path, answers in _other_answers().items():
        paths[path]["post"]["responses"]["200"]["content"].update(answers)
    paths["/metrics"]["get"]["responses"]["200"]["content"][OPENMETRICS] = {"schema": {"type": "string"}}
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


def _contents() -> dict[str, dict[str, Any]]:
    """By path, the bodies that the handlers of POST read themselves, by their media types."""
    tasks = f"{_REF.format(model='AnalyzeRequest')}/properties/tasks"
    texts = {"by": "SetBody", "operation": "SetBody", "min_score": "SetBody", "max_distance": "SetBody"}
    return {
        "/analyze_image": _json("AnalyzeRequest"),
        "/analyze_image_upload": _form(
            image_file=_FILE, tasks_json=_text_of("The `tasks` of a request, as JSON text.", tasks)
        ),
        "/analyze_batch": _json("AnalyzeBatchRequest")
        | _form(
            image_file=_several(_FILE),
            tasks_json=_text_of("The `tasks` for every image, as JSON text.", tasks),
            id=_several({"type": "string", "minLength": 1, "maxLength": 512}),
            required=["image_file", "tasks_json"],
        ),
        "/plan": _json("PlanRequest"),
        "/index": _json("NewCollection"),
        "/index/{collection}/items": _json("SingleItemBody", "ItemsBody")
        | _form(
            image_file=_several(_FILE),
            id=_several({"type": "string"}),
            metadata=_several(_text_of("A JSON object, one for each file.")),
            thumbnails={"type": "string", "enum": ["true", "false"]},
            required=["image_file"],
        ),
        "/index/{collection}/search": _json("SearchBody")
        | _form(
            image_file=_FILE,
            query_json=_text_of("What is wanted, as JSON text.", _REF.format(model="QueryBody")),
            required=["image_file"],
        ),
        "/index/{collection}/duplicates": _json("DuplicatesBody"),
        "/find_duplicates": _form(
            image_file=_several(_FILE, least=2),
            **{
                name: {"$ref": f"{_REF.format(model=model)}/properties/{name}"}
                for name, model in texts.items()
            },
            required=["image_file"],
        ),
    }


def _other_answers() -> dict[str, dict[str, Any]]:
    """By path, what is answered beside JSON where `Accept` asks for it, by its media type."""
    image = (StreamedImage, StreamedTask, StreamedEnd, ErrorResponse)
    streamed = {
        NDJSON: _text("One JSON object a line: the image, every task as it finishes, the times.", image),
        EVENT_STREAM: _text("The same objects as the events `image`, `task`, `done` and `error`.", image),
    }
    batch = _text(
        "One JSON object a line: every image as it finishes, and last the totals. The answer by default.",
        (BatchImageAnswer, BatchImageRefusal, BatchEnd, ErrorResponse),
    )
    return {
        "/analyze_image": streamed,
        "/analyze_image_upload": streamed,
        "/analyze_batch": {NDJSON: batch},
        "/plan": {MERMAID: {"schema": {"type": "string"}}},
    }


def _text(description: str, parts: Sequence[type[pydantic.BaseModel]]) -> dict[str, Any]:
    """A text of JSON objects; the schema of each is a note, since it is not that of the whole."""
    content = {"anyOf": [{"$ref": _REF.format(model=part.__name__)} for part in parts]}
    return {"schema": {"type": "string", "description": description, "contentSchema": content}}


_FILE = {"type": "string", "format": "binary", "description": "The image file."}


def _json(*models: str) -> dict[str, Any]:
    schemas = [{"$ref": _REF.format(model=model)} for model in models]
    return {"application/json": {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}


def _form(required: list[str] | None = None, **fields: Any) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": fields,
        "required": list(fields) if required is None else required,
        "additionalProperties": False,
    }
    return {"multipart/form-data": {"schema": schema}}


def _text_of(description: str, ref: str | None = None) -> dict[str, Any]:
    schema = {"type": "string", "contentMediaType": "application/json", "description": description}
    return schema if ref is None else {**schema, "contentSchema": {"$ref": ref}}


def _several(schema: Mapping[str, Any], least: int = 1) -> dict[str, Any]:
    return {"type": "array", "items": schema, "minItems": least, "maxItems": MAX_ITEMS}
