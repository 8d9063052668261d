"""What the report of a run tells."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from classifiers.card import Card
from classifiers.contest import Contestant
from classifiers.judging import Judgement
from classifiers.preparation import Prepared
from classifiers.report_drift import Served
from classifiers.training import Trained
from classifiers.training_settings import TrainingSettings


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What is told.

    `served` is the version that served before the run, `winner` that which was chosen to serve after it.
    `watched` is what the former has seen, where that was kept; `seconds` are what the stages until here took.
    """

    card: Card
    prepared: Prepared
    trained: Trained
    judgement: Judgement
    baseline: Judgement
    ranked: tuple[Contestant, ...]
    served: str | None
    winner: str | None
    reason: str
    settings: TrainingSettings
    watched: Served | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
