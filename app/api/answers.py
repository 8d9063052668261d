"""Answers: outcomes to the JSON that clients read."""

from collections.abc import Mapping
from typing import Any

import orjson
from litestar import MediaType, Response

from app.core.artifacts import ImageInfo, Region, jsonable
from app.core.errors import Fault
from app.core.operation import Chosen
from app.core.plan import Node, Plan, PlannedTask
from app.runtime.outcomes import Outcome, Run, TaskItem


def json_response(
    content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    return Response(
        json_bytes(content),
        status_code=status_code,
        media_type=MediaType.JSON,
        headers=dict(headers or {}),
    )


def json_bytes(content: Any) -> bytes:
    """orjson writes float32 arrays as they are; NaN and infinity, which JSON lacks, become null."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def results(plan: Plan, run: Run) -> dict[str, Any]:
    """Every task's answer by its operation_id."""
    return {outcome.planned.operation_id: task_result(outcome, plan, run.made_by) for outcome in run.outcomes}


def task_result(outcome: Outcome, plan: Plan, made_by: Mapping[str, Chosen]) -> dict[str, Any]:
    """A task's answer; `made_by` names the engines that computed nodes now."""
    fault = outcome.fault
    root = fault.root if fault is not None and fault.caused_by is not None else None
    answer: dict[str, Any] = {
        "status": "success" if fault is None else fault.status,
        "data": None,
        "cropped_image_bbox": None,
        "cropped_image_base64": None,
        "error_message": None if fault is None else fault.message,
        "error_code": None if fault is None else fault.code,
        "caused_by": None if root is None else _cause(root),
        "warnings": _warnings(outcome, plan),
        "items": None,
        "model": _model(outcome.planned, plan, made_by),
        "timing_ms": round(outcome.ms, 3),
    }
    if fault is not None:
        return answer
    if outcome.planned.is_plural:
        answer["items"] = [_item(item) for item in outcome.items]
    elif outcome.items:
        item = outcome.items[0]
        answer["data"] = jsonable(item.value)
        answer["cropped_image_base64"] = item.crop.base64 if item.crop else None
        if _worked_on_a_crop(outcome.planned, item):
            answer["cropped_image_bbox"] = list(item.region.box)
    return answer


def image_facts(info: ImageInfo) -> dict[str, Any]:
    return {
        "width": info.width,
        "height": info.height,
        "format": info.format,
        "sha256": info.sha256,
    }


def _worked_on_a_crop(planned: PlannedTask, item: TaskItem) -> bool:
    if planned.operation is None or planned.operation.crop is None:
        return False
    shown = item.crop is not None and item.crop.base64 is not None
    return shown or not item.region.is_whole_image


def _item(item: TaskItem) -> dict[str, Any]:
    return {
        **_region(item.region),
        "data": jsonable(item.value),
        "cropped_image_base64": item.crop.base64 if item.crop else None,
        "error_code": item.fault.code if item.fault else None,
        "error_message": item.fault.message if item.fault else None,
    }


def _region(region: Region) -> dict[str, Any]:
    return {
        "bbox": list(region.box),
        "confidence": region.confidence,
        "label": region.label,
        "landmarks": [list(point) for point in region.landmarks] if region.landmarks else None,
    }


def _cause(fault: Fault) -> dict[str, Any]:
    return {"stage": fault.stage, "code": fault.code, "message": fault.message}


def _warnings(outcome: Outcome, plan: Plan) -> list[str]:
    """What the run says, and what the weights behind the answer demand to be said."""
    if outcome.planned.node is None or outcome.fault is not None:
        return list(outcome.warnings)
    behind = plan.upstream(outcome.planned.node)
    cautions = [node.engine.caution for node in plan.nodes.values() if node.id in behind and node.engine]
    return list(dict.fromkeys([*outcome.warnings, *filter(None, cautions)]))


def _space_compared(node: Node) -> str | None:
    """The space in which an operation compared vectors with those of a resource."""
    spaces = {} if node.resource is None else node.resource.spaces
    return " + ".join(space for name, space in spaces.items() if name in node.inputs) or None


def _model(planned: PlannedTask, plan: Plan, made_by: Mapping[str, Chosen]) -> dict[str, Any] | None:
    if planned.node is None:
        return None
    maker = plan.maker_of(planned.node)
    engine = made_by.get(maker.id, maker.engine)
    space = plan.space(planned.node, engine) or _space_compared(plan.nodes[planned.node])
    if engine is None and space is None:
        return None
    return {
        "engine": engine.name if engine else None,
        "weights": engine.source if engine else None,
        "space": space,
    }
