"""What a server answers to a task, typed."""

import base64
import io
import reprlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from app.client.errors import TaskFailed
from app.core.geometry import Box, Point

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray


class Part(BaseModel):
    """A part of an answer, shown without what is empty and never at full length."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        for name, value in super().__repr_args__():
            if name is not None and value not in (None, [], ()):
                yield name, _Shown(value)

    def __str__(self) -> str:
        return repr(self)


_short = reprlib.Repr()
# As long as most messages.
_short.maxstring = _short.maxother = 160


class _Shown:
    """Shows a value shortened."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        value = self._value
        if isinstance(value, list) and len(value) > _short.maxlist:
            return f"<{len(value)} values>"
        return repr(value) if isinstance(value, (Part, Box)) else _short.repr(value)


class Model(Part):
    """What made the data."""

    engine: str | None = None
    """The engine; None where none is needed."""
    weights: str | None = None
    """Where the engine's weights come from."""
    space: str | None = None
    """For vectors: two of them can be compared only when their spaces are equal."""


class Cause(Part):
    """The stage at which a task failed first."""

    stage: str | None = None
    code: str
    message: str


class _OfRegion(Part):
    """What was made of one region."""

    data: Any = None
    """The operation's result."""
    cropped_image_base64: str | None = Field(None, repr=False)
    """The region's pixels as an image file; `crop` has them decoded."""
    error_code: str | None = None
    """Why there is no result, as a code."""
    error_message: str | None = None
    """The same in words, with what to do about it."""

    _space: str | None = PrivateAttr(None)

    @property
    def vector(self) -> "NDArray[np.float32] | None":
        """The embedding, where the data is one."""
        if self._space is None or not isinstance(self.data, list):
            return None
        import numpy as np

        return np.asarray(self.data, np.float32)

    @property
    def text(self) -> str | None:
        """The caption, the answer to a question or the text that was read, where the data is or has one."""
        text = self.data.get("text") if isinstance(self.data, dict) else self.data
        return text if isinstance(text, str) else None

    @cached_property
    def crop(self) -> "PIL.Image.Image | None":
        """The pixels of the region, where the task shows them."""
        if self.cropped_image_base64 is None:
            return None
        import PIL.Image

        with PIL.Image.open(io.BytesIO(base64.b64decode(self.cropped_image_base64))) as opened:
            opened.load()
            return opened


class Item(_OfRegion):
    """What a task on several regions made of one of them."""

    bbox: Box
    """[xmin, ymin, xmax, ymax] of the region, in pixels of the upright image."""
    confidence: float | None = None
    """How sure the detector was."""
    label: str | None = None
    """What the detector took it for."""
    landmarks: list[Point] | None = None
    """A face's five points: left eye, right eye, nose, left and right corner of the mouth."""

    @property
    def ok(self) -> bool:
        """Whether there is a result."""
        return self.error_code is None

    @property
    def box(self) -> Box:
        """The region."""
        return self.bbox


class TaskResult(_OfRegion):
    """The answer to a task.

    `data`, `box`, `crop`, `vector` and `text` are those of a task on one region; one on several regions has
    `items` instead, the most prominent first.
    """

    id: str
    """The task."""
    status: Literal["success", "error", "skipped"]
    """Done; tried and failed; or not done because of what was asked or what the image holds."""
    cropped_image_bbox: Box | None = None
    """The region that was worked on, when that is a part of the image."""
    caused_by: Cause | None = None
    """The stage that failed first, when it is another than the task's own."""
    warnings: list[str] = Field(default_factory=list)
    """What to know about the result."""
    items: list[Item] | None = None
    """For a task on several regions: what was made of each."""
    model: Model | None = None
    """What made the data."""
    timing_ms: float = 0.0
    """Computing time of the stage that made the data; 0 when it came from the cache."""

    _raw: Mapping[str, Any] = PrivateAttr()

    @classmethod
    def of_json(cls, id_: str, raw: Mapping[str, Any]) -> "TaskResult":
        """The answer to a task from its JSON.

        Raises:
            ValidationError: it is none.
        """
        result = cls.model_validate({**raw, "id": id_})
        result._raw = raw
        if result.model is not None:
            for each in (result, *(result.items or ())):
                each._space = result.model.space
        return result

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        # Which it is comes before what it holds.
        yield from sorted(super().__repr_args__(), key=lambda each: each[0] not in ("id", "status"))

    @property
    def raw(self) -> Mapping[str, Any]:
        """The JSON."""
        return self._raw

    @property
    def ok(self) -> bool:
        """Whether the task was done."""
        return self.status == "success"

    @property
    def box(self) -> Box | None:
        """The region that was worked on, or of a detection the one that was found."""
        if self.cropped_image_bbox is not None:
            return self.cropped_image_bbox
        # On this wire four integers are a box: the values of vectors have a point.
        data = self.data
        if isinstance(data, list) and len(data) == 4 and all(type(value) is int for value in data):
            return Box(*data)
        return None

    def require(self) -> "TaskResult":
        """Itself, when the task was done.

        Raises:
            TaskFailed: it was not; the message tells why.
        """
        if not self.ok:
            raise TaskFailed(self)
        return self
