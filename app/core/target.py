"""Targets: the param that chooses the regions of the image which an operation works on."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator

from app.core.geometry import Box
from app.core.operation import OUTSIDE_KEY, Params, TaskId

PersonOrFace = Literal["prominent_person", "prominent_face", "all_persons", "all_faces"]
TargetName = Literal["whole_image", "prominent_person", "prominent_face", "all_persons", "all_faces"]
FaceContext = Literal["prominent_person", "whole_image"]
OnMissing = Literal["skip", "whole_image"]
CropFormat = Literal["png", "jpeg", "webp", "none"]

_PLURAL_NAMES = frozenset({"all_persons", "all_faces"})
# Far beyond any image; keeps a client's number inside what every later step can hold.
_FARTHEST = 2**31 - 1

Coordinate = Annotated[int, Field(ge=-_FARTHEST, le=_FARTHEST)]


class _TargetShape(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)


class BoxTarget(_TargetShape):
    """A box given by the client."""

    bbox: tuple[Coordinate, Coordinate, Coordinate, Coordinate]
    """[xmin, ymin, xmax, ymax] in pixels of the upright image; xmax and ymax are exclusive."""

    @field_validator("bbox")
    @classmethod
    def _encloses_pixels(cls, bbox: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        if Box(*bbox).area == 0:
            raise ValueError("encloses no pixel: xmin < xmax and ymin < ymax are needed")
        return bbox

    @property
    def box(self) -> Box:
        return Box(*self.bbox)


class TaskTarget(_TargetShape):
    """The boxes that another task of the same request found."""

    task: TaskId
    """The operation_id of that task."""


def _kind(target: Any) -> str | None:
    """The tag of a target's form; messages leave out steps that begin with @."""
    match target:
        case str():
            return "@name"
        case BoxTarget() | {"bbox": _}:
            return "@bbox"
        case TaskTarget() | {"task": _}:
            return "@task"
    return None


Target = Annotated[
    Annotated[TargetName, Tag("@name")]
    | Annotated[BoxTarget, Tag("@bbox")]
    | Annotated[TaskTarget, Tag("@task")],
    Discriminator(_kind),
]


class TargetParams(Params):
    """Base of the params of an operation that works on regions.

    An operation that takes fewer targets declares its own `target` field over this one.
    """

    target: Annotated[Target, OUTSIDE_KEY] = "whole_image"
    """Which part of the image: a named region, `{"bbox": [xmin, ymin, xmax, ymax]}`, or
    `{"task": "<operation_id>"}` for the boxes which that task found."""

    face_context: Annotated[FaceContext, OUTSIDE_KEY] = "prominent_person"
    """Where `prominent_face` is looked for: in the prominent person (in the whole image when there is
    none), or in the whole image."""

    @property
    def is_plural(self) -> bool:
        return isinstance(self.target, TaskTarget) or self.target in _PLURAL_NAMES


# What says which regions of an image an operation works on.
REGION_PARAMS = ("target", "face_context", "on_missing")


class RegionParams(TargetParams):
    """Params of an operation that looks at the pixels of its regions and can show them."""

    on_missing: Annotated[OnMissing | None, OUTSIDE_KEY] = None
    """What to do when a prominent person or face is not there: skip the task or use the whole image.
    By default a missing person gives the whole image and a missing face skips."""

    crop_format: Annotated[CropFormat, OUTSIDE_KEY] = "png"
    """How the crop in the answer is encoded; `none` leaves it out."""


@cache
def target_names(params: type[Params]) -> tuple[str, ...]:
    """The named targets that these params take, in the order of their declaration."""
    return tuple(name for variant in _variants(params) for name in _names(variant))


@cache
def target_forms(params: type[Params]) -> tuple[str, ...]:
    """Every form of target that these params take, for people."""
    forms = [f'{{"{field}": ...}}' for variant in _variants(params) for field in variant.get("required", [])]
    return (*target_names(params), *forms)


def _names(variant: dict[str, Any]) -> list[str]:
    return [variant["const"]] if "const" in variant else list(variant.get("enum", []))


def _variants(params: type[Params]) -> list[dict[str, Any]]:
    """The JSON schemas of the alternatives of the `target` field."""
    schema = params.model_json_schema()
    target = schema.get("properties", {}).get("target", {})
    alternatives = target.get("oneOf") or target.get("anyOf") or [target]
    return [schema["$defs"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in alternatives]
