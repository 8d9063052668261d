"""The stage that chooses where a face is looked for."""

from collections.abc import Sequence

from app.core.artifacts import ImageInfo, Region, by_prominence
from app.core.operation import IMAGE, Needs, NoParams, Ref, Selection, operation
from operations.detect_persons import detect_persons


def needs(params: NoParams) -> Needs:
    return {"image": IMAGE, "found": Ref(detect_persons, NoParams())}


@operation(needs=needs, public=False, expands=True)
def face_context(image: ImageInfo, params: NoParams, found: Sequence[Region] = ()) -> Selection:
    """The prominent person, in which a prominent face is looked for, or else the whole image."""
    persons = by_prominence(found, image.box)[:1]
    return Selection(persons or (Region(image.box, "whole_image"),))
