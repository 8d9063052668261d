"""How a training run goes."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from classifiers.card import Frozen
from classifiers.threshold import Aim, LeastCost

Challenger = Literal["tuned_logistic", "mlp"]


class TrainingSettings(Frozen):
    """How a run goes; every default is right for most collections.

    Args:
        seed: of all that is drawn, but for the sides of photos, which no seed changes.
        validation: the share of photos which choose calibration and threshold.
        test: the share of photos which judge.
        phash_distance: in how many of 64 bits the perceptual hashes of copies differ at most.
        challengers: what may replace the baseline, a balanced logistic regression.
        aim: what the threshold of a label "is in the collection" is chosen for.
        rounds: of the bootstrap.
        confidence: of intervals.
        keep: how many versions are kept.
        promote: whether the best version is put in service, or a person does it.
    """

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    phash_distance: Annotated[int, Field(ge=0, le=16)] = 6
    challengers: tuple[Challenger, ...] = ("tuned_logistic", "mlp")
    aim: Aim = LeastCost()
    rounds: Annotated[int, Field(ge=100, le=100_000)] = 1000
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    keep: Annotated[int, Field(ge=1, le=1000)] = 10
    promote: Literal["best", "never"] = "best"

    @model_validator(mode="after")
    def _leaves_rows_to_train(self) -> "TrainingSettings":
        if self.validation + self.test > 0.8:
            raise ValueError("validation and test together take more than 0.8 of the photos")
        return self
