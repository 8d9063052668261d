"""The wire of the index, as pydantic models."""

import unicodedata
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticSerializationError, to_json

from app.api.schemas import Body
from app.core.filters import FilterJson
from app.core.geometry import Box
from app.index.storage import MAX_DIMENSIONS, MAX_HITS

MAX_ITEMS = 256
MAX_METADATA_BYTES = 16_384


def _addressable(item_id: str) -> str:
    # Control characters, halves of characters, and separators of lines and paragraphs.
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in item_id):
        raise ValueError("has control characters or line breaks")
    if item_id in (".", "..") or not item_id.strip("/"):
        # Clients and servers take these out of a path.
        raise ValueError("must not be '.' or '..', or slashes alone")
    return item_id


def _bounded(metadata: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(to_json(metadata))
    except PydanticSerializationError:
        raise ValueError("is nested too deeply") from None
    if size > MAX_METADATA_BYTES:
        raise ValueError(f"has {size:,} bytes as JSON; at most {MAX_METADATA_BYTES:,} are kept")
    return metadata


Metadata = Annotated[dict[str, Any], AfterValidator(_bounded)]
ItemId = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_addressable)]
Coordinate = Annotated[int, Field(ge=0, le=2**31 - 1)]
BoundingBox = Annotated[list[Coordinate], Field(min_length=4, max_length=4)]
VectorValues = Annotated[list[float], Field(min_length=1, max_length=MAX_DIMENSIONS)]
ImageUrl = Annotated[str, Field(min_length=1, max_length=8192)]
Cosine = Annotated[float, Field(ge=-1, le=1)]
By = Literal["vector", "perceptual_hash"]


class NewCollection(Body):
    name: str
    """1 to 64 letters, digits and `. _ -`, beginning with a letter or a digit."""
    operation: Annotated[str, Field(min_length=1, max_length=128)]
    """An operation that embeds."""
    target: str | None = None
    """Which part of every image is embedded: a named target of that operation; by default its own."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Further params of the operation."""


class ItemBody(Body):
    """An item to add: an image to embed, or a vector that was embedded before."""

    id: ItemId | None = None
    """By default the SHA-256 of an image's file; a random one for a vector. The same id again replaces."""
    metadata: Metadata = Field(default_factory=dict)
    """Any JSON object; what searches filter by are the values of its first level."""
    image_url: ImageUrl | None = None
    """An http or https URL."""
    vector: VectorValues | None = None
    """As this server's tasks answer it."""
    space: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Of the vector: the `model.space` of that answer."""
    bbox: BoundingBox | None = None
    """Of the vector: the part of an image that it stands for, [xmin, ymin, xmax, ymax]."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.image_url is None) == (self.vector is None):
            raise ValueError("needs either image_url or vector")
        if (self.space is None) != (self.vector is None):
            raise ValueError("vector and space go together: without its space a vector compares to nothing")
        if self.bbox is not None and (self.vector is None or Box(*self.bbox).area == 0):
            raise ValueError("bbox goes with a vector, and encloses at least a pixel")
        return self


class ItemsBody(Body):
    items: Annotated[list[ItemBody], Field(min_length=1, max_length=MAX_ITEMS)]
    """The items, each id once."""
    thumbnails: bool = False
    """Whether a small JPEG of every image is kept."""


class SingleItemBody(ItemBody):
    thumbnails: bool = False
    """Whether a small JPEG of the image is kept."""


class QueryBody(Body):
    """What is wanted of a collection."""

    k: Annotated[int, Field(ge=1, le=MAX_HITS)] = 10
    """How many hits."""
    offset: Annotated[int, Field(ge=0, le=MAX_HITS)] = 0
    """How many of the best are left out: those of earlier pages."""
    min_score: Cosine | None = None
    """The least cosine of a hit."""
    filter: FilterJson | None = None
    """Only items whose metadata fit: `{"kind": "cat", "year": {"gte": 2000}}`; also `in`, `and`, `or`."""
    params: dict[str, Any] = Field(default_factory=dict)
    """For an image: params of the embedding that differ from the collection's, its target say."""

    @model_validator(mode="after")
    def _within_reach(self) -> Self:
        if self.offset + self.k > MAX_HITS:
            raise ValueError(f"offset + k must be at most {MAX_HITS}")
        return self


class SearchBody(QueryBody):
    """A search with one of an image, a text, an item or a vector."""

    image_url: ImageUrl | None = None
    """An http or https URL."""
    text: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    """In collections whose embedding also embeds texts."""
    id: ItemId | None = None
    """An item of the collection, which is itself left out."""
    vector: VectorValues | None = None
    """In the collection's space."""
    space: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Of the vector; where it is given, it must be the collection's."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [self.image_url, self.text, self.id, self.vector]
        if sum(each is not None for each in given) != 1:
            raise ValueError("needs exactly one of image_url, text, id and vector")
        if self.space is not None and self.vector is None:
            raise ValueError("space goes with vector")
        if self.params and self.image_url is None:
            raise ValueError("params go with an image")
        return self


class DuplicatesBody(Body):
    by: By = "vector"
    """What is compared: the vectors, or the perceptual hashes of the same regions."""
    min_score: Annotated[float, Field(ge=0.5, le=1)] = 0.95
    """By vector: the least cosine of two duplicates."""
    max_distance: Annotated[int, Field(ge=0, le=16)] = 8
    """By perceptual hash: in how many of the 64 bits they may differ; beyond 16 nearly all are alike."""


class SetBody(DuplicatesBody):
    by: By = "perceptual_hash"
    """What is compared: the vectors of an operation, or perceptual hashes."""
    operation: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """By vector: an operation that embeds; the whole images are compared."""

    @model_validator(mode="after")
    def _operation_for_vectors(self) -> Self:
        if (self.operation is None) == (self.by == "vector"):
            raise ValueError("operation is needed by vector, and only then")
        return self


class _Answer(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class CollectionAnswer(_Answer):
    """A collection as it stands."""

    name: str
    operation: str
    """What embeds its items."""
    params: dict[str, Any]
    """Of the operation."""
    target: str
    """Which part of an image is embedded."""
    space: str | None
    """Of its vectors; null until the first one fixes it."""
    dimensions: int | None
    """Of its vectors."""
    items: int
    """How many there are."""
    vectors: int
    """How many they have together: an image with three faces has three."""
    created_at: str
    """ISO 8601, in UTC."""
    pending: int
    """Vectors that are searched one by one until the search structure has them."""
    rebuilt: float | None
    """How far a rebuild of the search structure has come, 0 to 1; null when none runs."""
    takes_text: bool
    """Whether it is searched by text too: its operation embeds texts in the same space."""


class CollectionsAnswer(_Answer):
    collections: list[CollectionAnswer]
    """By name."""


class DeletedAnswer(_Answer):
    deleted: str | int
    """The name of the collection, or how many items."""


class AddedItem(_Answer):
    id: str | None
    """Null where the image could not be read and no id was given."""
    status: Literal["success", "error", "skipped"]
    replaced: bool | None
    """Whether an item of this id was there before."""
    regions: int
    """How many vectors it has now."""
    sha256: str | None
    """Of the image's file."""
    warnings: list[str]
    error_code: str | None
    error_message: str | None


class AddedAnswer(_Answer):
    items: list[AddedItem]
    """In the order in which they were sent."""
    added: int
    """How many were added."""
    failed: int
    """How many were not."""
    request_id: str


class ItemRegionAnswer(_Answer):
    bbox: list[int] | None
    """Null for the whole image."""
    phash: str | None
    """The perceptual hash of its pixels, 16 hex digits."""
    vector: list[float] | None
    """With `vectors=true`."""


class ListedItem(_Answer):
    id: str
    metadata: dict[str, Any]
    sha256: str | None
    width: int | None
    height: int | None
    regions: int
    """How many vectors it has."""
    added_at: str
    vectors: list[ItemRegionAnswer] | None
    """With `vectors=true`, each with what it stands for; else null."""


class ItemsAnswer(_Answer):
    items: list[ListedItem]
    """In order of their ids."""
    next: str | None
    """The `after` of the next page; null on the last one."""
    space: str | None
    """With `vectors=true`, that of the vectors."""


class ItemAnswer(_Answer):
    id: str
    metadata: dict[str, Any]
    sha256: str | None
    width: int | None
    height: int | None
    added_at: str
    thumbnail_base64: str | None
    """A small JPEG of the whole image, where one is kept."""
    regions: list[ItemRegionAnswer]


class HitAnswer(_Answer):
    id: str
    score: float
    """The cosine of the two vectors."""
    bbox: list[int] | None
    """The part of the item's image that was found; null for the whole of it."""
    metadata: dict[str, Any]
    region: int
    """Which of the item's regions, from 0 on."""
    query_bbox: list[int] | None
    """The part of the query's image that found it; null for the whole of it."""


class SearchAnswer(_Answer):
    hits: list[HitAnswer]
    """The best first."""
    warnings: list[str]
    request_id: str


class DuplicateMember(_Answer):
    id: str
    """Of an uploaded set: the name of the file."""
    number: int | None
    """Of an uploaded set: the file's place, from 0 on."""
    region: int
    """Which of the item's regions, from 0 on."""
    bbox: list[int] | None


class DuplicateGroup(_Answer):
    items: list[DuplicateMember]
    """Two or more that are alike, each with at least one of the others."""


class FailedImage(_Answer):
    id: str
    """The name of the file."""
    number: int
    """Its place, from 0 on."""
    error_code: str
    error_message: str


class DuplicatesAnswer(_Answer):
    groups: list[DuplicateGroup]
    """The largest first."""
    failed: list[FailedImage]
    """Of an uploaded set: the images that could not be compared."""
    request_id: str
