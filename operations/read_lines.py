"""The stage that reads lines of text. Tasks that want lines of different confidence share it."""

import difflib
from collections.abc import Collection, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from app.core.artifacts import Crop
from app.core.operation import OUTSIDE_KEY, Needs, Ref, operation
from app.core.target import RegionParams
from app.engines.base import Engine
from app.engines.easy_text import EASYOCR_READERS, LANGUAGES, engine_for_languages
from app.engines.text import RAPIDOCR_TEXT, Line
from operations import regions


def _readable(languages: tuple[str, ...]) -> tuple[str, ...]:
    for language in languages:
        if language not in LANGUAGES:
            near = difflib.get_close_matches(language, LANGUAGES, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(LANGUAGES)}"
            raise ValueError(f"'{language}' is no language code that can be read: {hint}")
    if engine_for_languages(languages) is None:
        raise ValueError(f"no one model reads {', '.join(languages)} together: use a task for each script")
    return languages


Language = Annotated[str, Field(max_length=20), WithJsonSchema({"type": "string", "enum": list(LANGUAGES)})]
# JSON has no tuples: a list is taken for one.
Languages = Annotated[
    tuple[Language, ...], Field(min_length=1, max_length=20, strict=False), AfterValidator(_readable)
]


class LineParams(RegionParams):
    languages: Annotated[Languages | None, OUTSIDE_KEY] = None
    """Codes of the languages to read, all of one script. They choose the engine, which is in the key."""


def needs(params: LineParams) -> Needs:
    return {"crop": regions.ref(params)}


def able(params: LineParams) -> Collection[str] | None:
    if params.languages is None:
        # Latin letters are what a reader without a choice of languages is for.
        return [RAPIDOCR_TEXT.name, engine_for_languages(["en"]) or ""]
    return [engine_for_languages(params.languages) or ""]


def of(params: RegionParams, languages: tuple[str, ...] | None) -> Ref:
    """The lines in the regions that a task's params name."""
    chosen = {name: getattr(params, name) for name in ("target", "face_context", "on_missing")}
    return Ref(read_lines, LineParams(**chosen, languages=languages))


@operation(
    params=LineParams,
    needs=needs,
    engine=[RAPIDOCR_TEXT, *EASYOCR_READERS],
    engine_for=able,
    public=False,
)
def read_lines(
    crop: Sequence[Crop], params: LineParams, engine: Engine[Crop, object, object, list[Line]]
) -> list[list[Line]]:
    """Lines of text in reading order."""
    return engine(crop)
