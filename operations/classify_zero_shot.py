"""Classification by labels that the client makes up."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from app.core.artifacts import Data, Vector
from app.core.operation import Gathered, Needs, operation
from app.core.target import RegionParams
from app.engines.clip import CLIP_MODELS, ClipEmbedder
from operations import encode_clip, encode_crop
from operations.encode_clip import ClipModel

# What a label is weighed against where each stands alone and the model knows no probability of its own.
NEUTRAL_LABEL = "thing"


def _distinct(labels: list[str]) -> list[str]:
    if len(set(labels)) < len(labels):
        raise ValueError("names a label twice")
    return labels


def _with_a_gap(template: str) -> str:
    if template.count("{}") != 1:
        raise ValueError("needs {} once, where the label goes")
    return template


class Params(RegionParams):
    labels: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200)]],
        Field(min_length=2, max_length=256),
        AfterValidator(_distinct),
    ]
    """What the region may show, 2 to 256 words or phrases."""

    template: Annotated[str, Field(max_length=200), AfterValidator(_with_a_gap)] = "a photo of a {}"
    """The sentence that is made of each label, which goes where `{}` stands."""

    multi_label: bool = False
    """Whether each label is judged on its own; by default the probabilities add up to 1."""

    model: ClipModel = "ViT-B-32"
    """Which model; a server may offer fewer."""

    def prompts(self) -> list[str]:
        """A sentence for each label, and one for the neutral label."""
        return [self.template.replace("{}", label) for label in [*self.labels, NEUTRAL_LABEL]]


class LabelProbability(Data):
    label: str
    """As the task gave it."""
    probability: float
    """0 to 1."""


class Labels(Data):
    labels: list[LabelProbability]
    """The most probable first."""


def needs(params: Params) -> Needs:
    return {
        "image": encode_clip.of_image(params, params.model),
        "texts": Gathered(encode_clip.of_texts(params.prompts(), params.model)),
    }


@operation(
    params=Params,
    needs=needs,
    engine=CLIP_MODELS,
    engine_for=lambda params: (params.model,),
    crop=encode_crop.crop_of,
    example=Params(labels=["cat", "dog", "person"]),
)
def classify_zero_shot(
    image: Sequence[Vector], texts: Sequence[Sequence[Vector]], params: Params, engine: ClipEmbedder
) -> list[Labels]:
    """Tell which of your own labels fits a region best, without any training.

    The probabilities compare the given labels with each other: where none of them fits, one still comes
    first. With `multi_label` each is judged alone: by SigLIP's own probability, or with CLIP against the same
    sentence about a "thing".
    """
    return [_judged(one, sentences, params, engine) for one, sentences in zip(image, texts, strict=True)]


def _judged(image: Vector, sentences: Sequence[Vector], params: Params, engine: ClipEmbedder) -> Labels:
    towards = image.normalized().values
    cosines = np.array([text.normalized().values @ towards for text in sentences], np.float64)
    logits = engine.logit_scale * cosines + engine.logit_bias
    of_labels, neutral = logits[:-1], logits[-1]
    if not params.multi_label:
        probabilities = _softmax(of_labels)
    elif engine.is_sigmoid:
        probabilities = 1 / (1 + np.exp(-of_labels))
    else:
        probabilities = 1 / (1 + np.exp(neutral - of_labels))
    ranked = sorted(
        zip(params.labels, probabilities.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0])
    )
    return Labels(
        labels=[LabelProbability(label=label, probability=round(value, 6)) for label, value in ranked]
    )


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponents = np.exp(logits - logits.max())
    return np.asarray(exponents / exponents.sum())
