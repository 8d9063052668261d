"""Visual search in a collection of the index."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from app.core.artifacts import Data, Vector
from app.core.collection import VECTOR, Collection, Hit
from app.core.filters import FilterJson, parsed
from app.core.operation import OUTSIDE_KEY, Needs, operation
from app.core.resource import Uses
from app.core.target import REGION_PARAMS, RegionParams, Target
from operations import encode_crop

# Its format tells forms what to offer.
CollectionName = Annotated[
    str, Field(min_length=1, max_length=64, json_schema_extra={"format": "collection"})
]


class CollectionParams(RegionParams):
    """Base of the params of an operation that looks something up in a collection."""

    collection: CollectionName
    """The name of a collection of this server's index."""

    target: Annotated[Target, OUTSIDE_KEY] = "whole_image"
    """Which part of the image to search with. Left out it is the target of the collection."""

    filter: FilterJson | None = None
    """Only items whose metadata fit: `{"kind": "cat", "year": {"gte": 2000}}`; also `in`, `and`, `or`."""


class SearchParams(CollectionParams):
    k: Annotated[int, Field(ge=1, le=100)] = 10
    """How many hits are wanted for each region; `POST /index/{collection}/search/` gives more, and pages."""

    min_score: Annotated[float, Field(ge=-1, le=1)] | None = None
    """The least cosine of a hit."""


class FoundItem(Data):
    id: str
    """The item's id."""
    score: float
    """The cosine of the two vectors: 1 for the same."""
    bbox: tuple[int, int, int, int] | None
    """The part of the item's image that was found; null for the whole of it."""
    metadata: dict[str, object]
    """The item's metadata."""
    region: int
    """Which of the item's regions, from 0 on."""

    @classmethod
    def of(cls, hit: Hit) -> "FoundItem":
        return cls(
            id=hit.id,
            score=round(hit.score, 6),
            bbox=hit.bbox,
            metadata=dict(hit.metadata),
            region=hit.region,
        )


class SimilarItems(Data):
    hits: tuple[FoundItem, ...]
    """The nearest first."""


def with_its_target(params: CollectionParams, collection: Collection) -> CollectionParams:
    """The params with the target of the collection where the client named none."""
    if "target" in params.model_fields_set:
        return params
    chosen = collection.embedding().params
    given = params.model_fields_set
    return params.model_copy(
        update={name: getattr(chosen, name) for name in REGION_PARAMS if name not in given}
    )


def embedded_alike(params: CollectionParams, collection: Collection) -> Needs:
    """The vectors of the task's regions, made as those of the collection."""
    return {VECTOR: collection.embedding(params.model_dump(mode="json", include=set(REGION_PARAMS)))}


@operation(
    params=SearchParams,
    needs=embedded_alike,
    uses=Uses("collection", lambda params: params.collection, bind=with_its_target),
    batch=64,
    crop=encode_crop.crop_of,
    model_of="vector",
    example=SearchParams(collection="photos"),
)
def search_similar(
    vector: Sequence[Vector], params: SearchParams, collection: Collection
) -> list[SimilarItems]:
    """Find the images of a collection that are most alike, or show most alike regions.

    The region is embedded as the items of the collection were, and tasks that embed it alike share that work.
    The score is the cosine; what counts as alike depends on the embedding. Collections are made and filled
    under `/index/`.
    """
    condition = None if params.filter is None else parsed(params.filter)
    found = collection.search(vector, k=params.k, min_score=params.min_score, filter=condition)
    return [SimilarItems(hits=tuple(map(FoundItem.of, hits))) for hits in found]
