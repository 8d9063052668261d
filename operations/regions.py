"""The stage that turns a target into a list of regions. Every operation on regions needs it."""

from collections.abc import Sequence
from typing import Annotated, Literal

from app.core.artifacts import ImageInfo, Region, by_prominence
from app.core.errors import InvalidParams, RegionNotFound
from app.core.geometry import Box
from app.core.operation import (
    IMAGE,
    OUTSIDE_KEY,
    Needs,
    NoParams,
    Params,
    Ref,
    Selection,
    Source,
    TaskRef,
    Wanted,
    operation,
)
from app.core.target import BoxTarget, FaceContext, TargetName, TargetParams, TaskTarget
from operations.detect_faces import FaceParams, detect_faces
from operations.detect_persons import detect_persons

OnMissing = Literal["skip", "whole_image", "nothing"]

_NOUNS = {"prominent_person": "prominent person", "prominent_face": "prominent face"}


class SelectionParams(Params):
    """Which regions to select."""

    select: TargetName | Literal["bbox", "task"]
    """The target's name or form."""

    face_context: FaceContext = "whole_image"
    """Where a prominent face is looked for."""

    on_missing: OnMissing = "nothing"
    """What a prominent region that is not there gives: a skip, the whole image, or no region."""

    bbox: tuple[int, int, int, int] | None = None
    """The client's box."""

    task: Annotated[str | None, OUTSIDE_KEY] = None
    """The client's task that finds the boxes. What counts is the work behind it, not its name."""


def needs(params: SelectionParams) -> Needs:
    found: Source
    match params.select:
        case "prominent_person" | "all_persons":
            found = Ref(detect_persons, NoParams())
        case "prominent_face" | "all_faces":
            found = Ref(detect_faces, FaceParams(within=params.face_context))
        case "task":
            found = TaskRef(params.task or "", field="target.task", wanted=Wanted.BOXES)
        case _:
            return {"image": IMAGE}
    return {"image": IMAGE, "found": found}


@operation(
    params=SelectionParams,
    needs=needs,
    public=False,
    expands=True,
    example=SelectionParams(select="prominent_face"),
)
def regions(image: ImageInfo, params: SelectionParams, found: Sequence[Region] = ()) -> Selection:
    """The regions that a target names, most prominent first."""
    whole = Region(image.box, "whole_image")
    match params.select:
        case "whole_image":
            return Selection((whole,))
        case "bbox":
            return _given_box(Box(*params.bbox or image.box), image.box)
        case "task":
            return Selection(tuple(found))
        case "all_persons" | "all_faces":
            return Selection(by_prominence(found, image.box))
    best = by_prominence(found, image.box)[:1]
    if best:
        return Selection(best)
    missing = f"No {_NOUNS[params.select]} found{_where(params)}"
    match params.on_missing:
        case "skip":
            raise RegionNotFound(f"{missing}.")
        case "whole_image":
            return Selection((whole,), (f"{missing}; the whole image was used.",))
    return Selection((), (f"{missing}.",) if params.face_context == "prominent_person" else ())


def _where(params: SelectionParams) -> str:
    if params.face_context == "whole_image":
        return ""
    # Whether there was a person is not known here: this is true with one and without.
    return (
        " in the prominent person, or in the whole image where no person was found"
        ' (face_context "whole_image" always looks everywhere)'
    )


def _given_box(asked: Box, image: Box) -> Selection:
    box = asked.clip(image)
    if box is None:
        raise InvalidParams(
            f"target.bbox: {list(asked)} lies outside the image of {image.width}x{image.height} pixels"
        )
    warnings = () if box == asked else (f"target.bbox was cut to the image: {list(box)}.",)
    return Selection((Region(box, "bbox"),), warnings)


def ref(params: TargetParams, on_missing: OnMissing | None = None) -> Ref:
    """The regions that a task's params name.

    Args:
        params: of the task.
        on_missing: what a missing prominent region gives; by default what the params say, and
            failing that the whole image for a person and a skip for a face.
    """
    target = params.target
    if isinstance(target, BoxTarget):
        return Ref(regions, SelectionParams(select="bbox", bbox=target.bbox))
    if isinstance(target, TaskTarget):
        return Ref(regions, SelectionParams(select="task", task=target.task))
    if target not in _NOUNS:
        return Ref(regions, SelectionParams(select=target))
    default: OnMissing = "whole_image" if target == "prominent_person" else "skip"
    missing = on_missing or getattr(params, "on_missing", None) or default
    context: FaceContext = params.face_context if target == "prominent_face" else "whole_image"
    return Ref(
        regions,
        SelectionParams(select=target, face_context=context, on_missing=missing),
    )
