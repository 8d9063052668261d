"""The doors in the OpenAPI document: how a key is shown, what each operation needs, and how it refuses."""

from typing import Any

from litestar import Litestar

from app.api.doors import OPEN, declared, doors_of

_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key: `Authorization: Bearer KEY`.",
    },
    "api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same API key in a header of its own.",
    },
}
_REFUSALS = {
    400: "The request is not of its form, or shows two different API keys",
    401: "The API key is missing or wrong; only where the server has keys",
    403: "The API key lacks the scope, or a web page of another site asks",
    429: "The rate limit is reached; Retry-After says when to come back",
}

_RATE_HEADERS = {
    "Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "In seconds."},
    "RateLimit-Policy": {
        "schema": {"type": "string"},
        "description": "Also of other answers: the requests (`q`) in a window of seconds (`w`).",
    },
    "RateLimit": {
        "schema": {"type": "string"},
        "description": "Also of other answers: the requests left (`r`), and seconds (`t`) until one more is.",
    },
}


def add_doors(schema: dict[str, Any], app: Litestar, *, keyed: bool) -> None:
    """Write the doors of every operation into a document.

    Args:
        schema: the document.
        app: whose routes declare them.
        keyed: whether the server has keys; else showing one is optional.
    """
    schema.setdefault("components", {})["securitySchemes"] = _SCHEMES
    for path, method, handler in doors_of(app):
        operation = schema["paths"].get(path, {}).get(method.lower())
        if operation is None:
            continue
        opt = declared(handler, method)
        needed = opt["scope"]
        refusals = [403]
        if opt.get("rate_limit", True):
            refusals.append(429)
        if needed == OPEN:
            operation["security"] = []
        else:
            refusals += [400, 401]
            shown: list[dict[str, list[str]]] = [{name: [needed]} for name in _SCHEMES]
            operation["security"] = shown if keyed else [{}, *shown]
            words = f"Where the server has API keys, one with the scope `{needed}` is needed."
            operation["description"] = "\n\n".join(filter(None, [operation.get("description"), words]))
        for status in refusals:
            # Litestar's own words for a parameter of another form are not those that are answered.
            if status not in (getattr(handler, "responses", None) or {}):
                operation["responses"][str(status)] = _refusal(status)


def _refusal(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ErrorResponse"}
    answer: dict[str, Any] = {
        "description": _REFUSALS[status],
        "content": {"application/json": {"schema": schema}},
    }
    if status == 429:
        answer["headers"] = _RATE_HEADERS
    return answer
