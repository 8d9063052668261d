"""Tasks as people write them, and as a server reads them."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from app.client.errors import InvalidInput


class Task:
    """A computation to ask for: the type of an operation, and its params.

    >>> Task("detect_bounding_box", target="all_faces")
    Task('detect_bounding_box', target='all_faces')
    >>> Task("embed_hog_hsv", id="vector", target={"task": "face"})
    Task('embed_hog_hsv', id='vector', target={'task': 'face'})

    Args:
        type: an operation of the server; `server.operations()` lists them.
        id: by what the answer names it; by default the type, numbered where several tasks have it.
        params: those of the operation; what is left out has its default.
    """

    def __init__(self, type: str, /, id: str | None = None, **params: Any) -> None:
        self.type = type
        self.id = id
        self.params = params

    def __repr__(self) -> str:
        named = ({} if self.id is None else {"id": self.id}) | self.params
        told = [repr(self.type), *(f"{name}={value!r}" for name, value in named.items())]
        return f"Task({', '.join(told)})"

    # Which leaves it without a hash: the params can be changed.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and vars(self) == vars(other)


AnyTask: TypeAlias = Task | str | Mapping[str, Any]
"""A task, the type of one without params, or `{"operation_id": ..., "type": ..., "params": ...}`."""

Tasks: TypeAlias = AnyTask | Sequence[AnyTask] | Mapping[str, AnyTask]
"""One task, several, or several by their ids."""


def tasks_json(tasks: Tasks) -> bytes:
    """Tasks as a server reads them.

    Raises:
        InvalidInput: there are none, or one is none or has params that JSON cannot hold.
    """
    return json_bytes("tasks", wire_tasks(tasks))


def wire_tasks(tasks: Tasks) -> list[dict[str, Any]]:
    """Tasks as JSON objects, each with an id.

    Raises:
        InvalidInput: there are none, or one is none.
    """
    given = _as_dicts(tasks)
    if not given:
        raise InvalidInput("tasks: there are none; give at least one, such as 'detect_bounding_box'.")
    taken = {task["operation_id"] for task in given if task.get("operation_id") is not None}
    for task in given:
        if task.get("operation_id") is None:
            task["operation_id"] = _free(str(task["type"]), taken)
            taken.add(task["operation_id"])
    return given


def json_bytes(name: str, value: Any) -> bytes:
    """JSON of what a user gave; NumPy's numbers and arrays, and named tuples, among it.

    Raises:
        InvalidInput: something of it cannot be written; `name` is what the message calls it.
    """
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise InvalidInput(f"{name}: cannot be written as JSON: {error.__cause__ or error}") from None


def _as_dicts(tasks: Tasks) -> list[dict[str, Any]]:
    if isinstance(tasks, Mapping) and not _is_wire_task(tasks):
        return [_as_dict(task) | {"operation_id": id_} for id_, task in tasks.items()]
    if isinstance(tasks, (Task, str, Mapping)):
        return [_as_dict(tasks)]
    return [_as_dict(task) for task in tasks]


def _as_dict(task: AnyTask) -> dict[str, Any]:
    match task:
        case Task():
            return {"operation_id": task.id, "type": task.type, "params": task.params}
        case str():
            return {"operation_id": None, "type": task}
        case Mapping() if "type" in task:
            return dict(task)
    raise InvalidInput(
        f"tasks: {_shown(task)} is no task; give a Task, the type of an operation, or a dict with 'type'."
    )


def _is_wire_task(tasks: Mapping[str, Any]) -> bool:
    """A single one as on the wire, and not tasks by their ids."""
    return "type" in tasks and tasks.keys() <= {"operation_id", "type", "params"}


def _free(name: str, taken: set[str]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        # A named one, such as the box of an answer.
        return list(value)
    raise TypeError(f"{_shown(value)} is no JSON value")


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 64 else f"a {type(value).__name__}"
