"""Copies of an image in a collection of the index."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from app.core.artifacts import Data, Vector
from app.core.collection import Collection, Hit
from app.core.filters import parsed
from app.core.operation import Needs, Ref, operation
from app.core.resource import Uses
from app.core.target import REGION_PARAMS
from operations import encode_crop
from operations.phash import Params as HashParams
from operations.phash import phash
from operations.search_similar import CollectionParams, embedded_alike, with_its_target


class DuplicateParams(CollectionParams):
    by: Literal["vector", "perceptual_hash"] = "vector"
    """What is compared: the vectors of the collection's embedding, or the perceptual hashes of the same
    regions, which find copies that were scaled or compressed again and nothing else."""

    min_score: Annotated[float, Field(ge=-1, le=1)] = 0.95
    """By vector: the least cosine of a duplicate. What is right depends on the embedding."""

    max_distance: Annotated[int, Field(ge=0, le=64)] = 8
    """By perceptual hash: in how many of the 64 bits a duplicate may differ."""

    k: Annotated[int, Field(ge=1, le=100)] = 100
    """How many duplicates are wanted at most."""


class Duplicate(Data):
    id: str
    """The item's id."""
    score: float | None
    """By vector: the cosine of the two vectors."""
    distance: int | None
    """By perceptual hash: the number of bits in which they differ."""
    bbox: tuple[int, int, int, int] | None
    """The part of the item's image that was found; null for the whole of it."""
    metadata: dict[str, object]
    """The item's metadata."""
    region: int
    """Which of the item's regions, from 0 on."""


class Duplicates(Data):
    duplicates: tuple[Duplicate, ...]
    """The nearest first."""


def needs(params: DuplicateParams, collection: Collection) -> Needs:
    embedded = embedded_alike(params, collection)
    if params.by == "vector":
        return embedded
    regions = {name: getattr(params, name) for name in REGION_PARAMS}
    return {"hashed": Ref(phash, HashParams(**regions))}


@operation(
    params=DuplicateParams,
    needs=needs,
    uses=Uses("collection", lambda params: params.collection, bind=with_its_target),
    batch=64,
    crop=encode_crop.crop_of,
    example=DuplicateParams(collection="photos"),
)
def find_duplicates(
    params: DuplicateParams,
    collection: Collection,
    vector: Sequence[Vector] = (),
    hashed: Sequence[int] = (),
) -> list[Duplicates]:
    """Find near-duplicates of the image, or of a region of it, in a collection.

    By vector they look alike to the collection's embedding; by perceptual hash they are the same picture,
    scaled or compressed again. Collections are made and filled under `/index/`.
    """
    condition = None if params.filter is None else parsed(params.filter)
    if params.by == "vector":
        found = collection.search(vector, k=params.k, min_score=params.min_score, filter=condition)
        return [
            Duplicates(duplicates=tuple(_duplicate(hit, score=round(hit.score, 6)) for hit in hits))
            for hits in found
        ]
    near = collection.near_hashes(hashed, k=params.k, max_distance=params.max_distance, filter=condition)
    return [
        Duplicates(duplicates=tuple(_duplicate(hit, distance=distance) for hit, distance in hits))
        for hits in near
    ]


def _duplicate(hit: Hit, *, score: float | None = None, distance: int | None = None) -> Duplicate:
    return Duplicate(
        id=hit.id,
        score=score,
        distance=distance,
        bbox=hit.bbox,
        metadata=dict(hit.metadata),
        region=hit.region,
    )
