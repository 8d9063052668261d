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
        Annotated[int, Field(ge=0, le=2**63 - 1)]
        | Annotated[str, Field(min_length=1, max_length=500, json_schema_extra={"format": "classifier"})]
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
        changes |= {"target": classifier.target, "face_context": classifier.face_context}
    return params.model_copy(update=changes)


def cautions(params: Params, classifier: Classifier) -> tuple[str, ...]:
    """What a client should know of how far the numbers can be trusted."""
    told = []
    if "target" in params.model_fields_set and params.target != classifier.target:
        trained = f"The classifier was trained on {classifier.target}"
        if _gives_way(params):
            told.append(f"{trained} and was asked about that; the target {params.target} was not used.")
        else:
            told.append(f"{trained}; how good it is on other regions is not known.")
    if classifier.unproven:
        told.append(
            f"Nobody knows whether the vectors of {', '.join(classifier.unproven)} that the classifier was "
            "trained on were made as this server makes them; where they were not, its numbers mean nothing."
        )
    return tuple(told)


def _gives_way(params: Params) -> bool:
    return isinstance(params.target, str) and not params.is_plural


def needs(params: Params, classifier: Classifier) -> Needs:
    chosen = params.model_dump(mode="json", include={*REGION_PARAMS})
    embeddings = classifier.embeddings({**chosen, "crop_format": "none"})
    named: dict[str, Ref] = {embedding_need(number): ref for number, ref in enumerate(embeddings)}
    if classifier.is_watched and params.target == classifier.target:
        # What it was not trained on would look like drift.
        regions = {name: getattr(params, name) for name in REGION_PARAMS}
        named["measures"] = Ref(measure_region, MeasureParams(**regions))
    return named


@operation(
    params=Params,
    needs=needs,
    uses=Uses("classifier", lambda params: str(params.collection_id), bind=as_trained, warn=cautions),
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
