"""Which region of an image the vectors of a training set are of."""

import re

from app.core.target import FaceContext
from app.core.wording import quoted
from classifiers.regions import PROMINENT_FACE, TARGETS, WHOLE_IMAGE
from classifiers.rows import DEFAULT_FACE_CONTEXT, SourceError

__all__ = ["PROMINENT_FACE", "TARGETS", "WHOLE_IMAGE", "face_context_of", "target_named"]

_SPELLINGS = {
    **{target: target for target in TARGETS},
    **dict.fromkeys(("whole", "image", "full", "full_image", "original"), WHOLE_IMAGE),
    **dict.fromkeys(("person", "body"), "prominent_person"),
    "face": PROMINENT_FACE,
}


def target_named(name: str, place: str) -> str:
    """The target that a source means.

    Raises:
        SourceError: it means none.
    """
    target = _SPELLINGS.get(re.sub(r"[\s-]+", "_", name.strip()).lower())
    if target is None:
        raise SourceError(f"{place}: is {quoted(name)}, and must be one of {', '.join(TARGETS)}.")
    return target


def face_context_of(target: str, stated: FaceContext | None) -> FaceContext:
    """Where the faces of a target are looked for: as is stated, if it is of faces at all."""
    return stated if stated is not None and target == PROMINENT_FACE else DEFAULT_FACE_CONTEXT
