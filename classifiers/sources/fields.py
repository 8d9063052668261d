"""The fields of a row in JSON, and what messages say of wrong ones."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PlainValidator,
    ValidationError,
    field_validator,
)

from app.core.wording import explain
from classifiers.rows import Embedding, SourceError
from classifiers.sources.labels import Label

# As the names of operations are.
OPERATION_NAME = r"^[a-z][a-z0-9_]*$"
_HEX_DIGITS_OF_64_BITS = 16
# Params that a server sets itself when it asks a head: what was trained with others would be asked wrongly.
_NOT_OF_ONE_EMBEDDING = {
    "target": "all embeddings look at one region: give --target, or `target` beside `embeddings` in a file",
    "face_context": "all embeddings look at one face: give --face-context, or `face_context` beside "
    "`embeddings` in a file",
    "on_missing": "images without the region are left out where it is a face, and taken whole where it is a "
    "person; leave it out",
    "crop_format": "training shows no crops; leave it out",
}


class Fields(BaseModel):
    """Base of what is read: nothing is taken for another type than it is."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


def _label(value: Any) -> Label:
    if not isinstance(value, bool | int | str):
        raise ValueError("must be the name of a class, true, false, 1 or 0")
    return value


def _name(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip():
        raise ValueError("must be an integer or a string that is not empty")
    return str(value)


def _phash(value: Any) -> int:
    if not isinstance(value, str) or len(value) != _HEX_DIGITS_OF_64_BITS:
        raise ValueError("must be 16 hexadecimal digits, as `hash_perceptual` gives them")
    try:
        return int(value, 16)
    except ValueError:
        raise ValueError("must be hexadecimal digits") from None


def _slices(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("must be an object of keys and plain values")
    slices = {}
    for key, part in value.items():
        if isinstance(part, bool):
            slices[key] = "true" if part else "false"
        elif isinstance(part, str | int | float):
            slices[key] = str(part)
        elif part is not None:
            raise ValueError(f"'{key}' must be a string, a number, true, false or null")
    return slices


AnyLabel = Annotated[Label, PlainValidator(_label)]
Name = Annotated[str, PlainValidator(_name)]
# A list of a million wrong numbers has one message.
Numbers = Annotated[list[FiniteFloat], Field(min_length=1, fail_fast=True)]
PerceptualHash = Annotated[int, PlainValidator(_phash)]
Slices = Annotated[dict[str, str], PlainValidator(_slices)]
OperationName = Annotated[str, Field(pattern=OPERATION_NAME)]


class MeasureFields(Fields):
    """What was measured of a row's region."""

    model_config = ConfigDict(extra="forbid")

    brightness: Annotated[float, Field(ge=0, le=255)] | None = None
    size: Annotated[FiniteFloat, Field(gt=0)] | None = None

    def measures(self) -> dict[str, float]:
        return self.model_dump(exclude_none=True)


class EmbeddingFields(Fields):
    """An operation, with params that are not at their defaults and do not choose the region."""

    model_config = ConfigDict(extra="forbid")

    operation: OperationName
    params: dict[str, Any] = {}

    @field_validator("params")
    @classmethod
    def _leave_the_region(cls, params: dict[str, Any]) -> dict[str, Any]:
        for name, remedy in _NOT_OF_ONE_EMBEDDING.items():
            if name in params:
                raise ValueError(f"{name} is no param of one embedding: {remedy}")
        return params

    def embedding(self) -> Embedding:
        return Embedding(self.operation, self.params)


def wrong_fields(
    error: ValidationError, place: str, *, root: str = "", known: Iterable[str] = ()
) -> SourceError:
    """pydantic's error as one line that names each field, the rule and the value.

    Args:
        error: what it says.
        place: of what was read.
        root: the name that stands before every path of a field.
        known: the fields that there are.
    """
    told = explain(error.errors(include_url=False), root=root, whole="content", known=known)
    return SourceError(f"{place}: {told}.")
