"""Which region of an image the vectors of a training set are of."""

import re

from app.core.wording import quoted
from classifiers.rows import SourceError

WHOLE_IMAGE = "whole_image"
TARGETS = (WHOLE_IMAGE, "prominent_person", "prominent_face")

_SPELLINGS = {
    **{target: target for target in TARGETS},
    **dict.fromkeys(("whole", "image", "full", "full_image", "original"), WHOLE_IMAGE),
    **dict.fromkeys(("person", "body"), "prominent_person"),
    "face": "prominent_face",
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
