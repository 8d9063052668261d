"""Classifiers that people train themselves, over the embeddings of the server."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from app.core.artifacts import Data, Vector
from app.core.classifier import Classifier, embedding_need
from app.core.operation import Needs, Ref, operation
from app.core.resource import Uses
from app.core.target import REGION_PARAMS, RegionParams
from operations import encode_crop
from operations.measure_region import MeasureParams, RegionMeasures, measure_region


class Params(RegionParams):
    collection_id: (
        Annotated[int, Field(ge=0, le=2**63 - 1)] | Annotated[str, Field(min_length=1, max_length=500)]
    )
    """The id or the name of the collection for which a classifier was trained."""


class Classification(Data):
    is_in_collection: bool | None
    """Whether the probability reaches the threshold; null where the classifier tells several classes
    apart."""
    probability: float
    """That the region is in the collection; of several classes that of the most probable one."""
    threshold: float | None
    """From which probability on it is in the collection; null for several classes."""
    label: str | None
    """Of several classes the most probable one."""
    labels: dict[str, float] | None
    """Of several classes the probability of each; their sum is 1."""
    version: str
    """The version of the classifier that answered."""


def as_trained(params: Params, classifier: Classifier) -> Params:
    """The params with the region on which the classifier was trained.

    Lists, boxes and boxes of other tasks stay as they were asked for.
    """
    changes: dict[str, object] = {"collection_id": classifier.collection}
    if _gives_way(params):
        changes["target"] = classifier.target
    return params.model_copy(update=changes)


def told_of_the_target(params: Params, classifier: Classifier) -> tuple[str, ...]:
    asked = "target" in params.model_fields_set and _gives_way(params)
    if not asked or params.target == classifier.target:
        return ()
    return (
        f"The classifier was trained on {classifier.target} and was asked about that; the target "
        f"{params.target} was not used.",
    )


def _gives_way(params: Params) -> bool:
    return isinstance(params.target, str) and not params.is_plural


def needs(params: Params, classifier: Classifier) -> Needs:
    chosen = params.model_dump(mode="json", include={*REGION_PARAMS})
    embeddings = classifier.embeddings({**chosen, "crop_format": "none"})
    named: dict[str, Ref] = {embedding_need(number): ref for number, ref in enumerate(embeddings)}
    if classifier.is_watched:
        regions = {name: getattr(params, name) for name in REGION_PARAMS}
        named["measures"] = Ref(measure_region, MeasureParams(**regions))
    return named


@operation(
    params=Params,
    needs=needs,
    uses=Uses(
        "classifier", lambda params: str(params.collection_id), bind=as_trained, warn=told_of_the_target
    ),
    batch=64,
    crop=encode_crop.crop_of,
    model_of=embedding_need(0),
    example=Params(collection_id="photos"),
)
def classify(
    params: Params,
    classifier: Classifier,
    measures: Sequence[RegionMeasures] = (),
    **embeddings: Sequence[Vector],
) -> list[Classification]:
    """Tell whether the image is in a collection, by a classifier that was trained for it.

    Which region and which embeddings it looks at is the classifier's own; tasks that embed the same region
    alike share that work. Classifiers are trained by `sightgraph classifiers train`, and a running server
    takes a new one at its next request.
    """
    vectors = [embeddings[embedding_need(number)] for number in range(len(embeddings))]
    found = [_classification(row, classifier) for row in classifier.probabilities(vectors)]
    for each, seen in zip(found, measures, strict=False):
        classifier.observe({"brightness": seen.brightness, "size": seen.size}, each.probability)
    return found


def _classification(row: Sequence[float], classifier: Classifier) -> Classification:
    named: Mapping[str, float] = dict(zip(classifier.labels, row, strict=True))
    if classifier.positive is None or classifier.threshold is None:
        label = max(named, key=lambda name: named[name])
        return Classification(
            is_in_collection=None,
            probability=named[label],
            threshold=None,
            label=label,
            labels=dict(named),
            version=classifier.version,
        )
    probability = named[classifier.positive]
    return Classification(
        is_in_collection=probability >= classifier.threshold,
        probability=probability,
        threshold=classifier.threshold,
        label=None,
        labels=None,
        version=classifier.version,
    )
