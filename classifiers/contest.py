"""The bake-off: all versions on the newest rows that none of them has seen."""

from collections.abc import Sequence
from dataclasses import dataclass

from classifiers.card import Card
from classifiers.head import Head
from classifiers.judging import Judgement, judge
from classifiers.rows import TrainingSet
from classifiers.shelf import Shelf, ShelfError
from classifiers.split import Seen
from classifiers.threshold import LeastCost, LeastPrecision
from classifiers.training import Table, TrainingSettings, outcome, positive_number


@dataclass(frozen=True, slots=True, eq=False)
class Contestant:
    """A version in the bake-off; one that cannot be judged has a reason instead of a judgement."""

    version: str
    kind: str
    judgement: Judgement | None
    excluded: str | None = None

    @property
    def rank(self) -> tuple[float, float]:
        """By macro precision, equal ones by average precision."""
        if self.judgement is None:
            return (-1.0, -1.0)
        metrics = self.judgement.metrics
        return metrics["macro_precision"].value, metrics["average_precision"].value


@dataclass(frozen=True, slots=True, eq=False)
class Rival:
    """A stored version, before the rows are split. One that cannot compete has a reason instead of a head."""

    version: str
    head: Head | None
    seen: Seen | None
    excluded: str | None = None


def rivals(shelf: Shelf, training_set: TrainingSet, settings: TrainingSettings) -> list[Rival]:
    """All stored versions. Those with a head can be compared with a new one of these rows.

    Raises:
        ShelfError: the shelf cannot be read; a version that cannot is excluded.
    """
    withdrawn = shelf.history(training_set.name).withdrawn
    found = []
    for version in shelf.versions(training_set.name):
        try:
            head, seen = shelf.load(training_set.name, version), shelf.seen(training_set.name, version)
        except ShelfError as error:
            found.append(Rival(version, None, None, str(error)))
            continue
        excluded = (
            "it was withdrawn" if version in withdrawn else _clash(head.card, training_set, settings.aim)
        )
        found.append(Rival(version, None if excluded else head, seen, excluded))
    return found


def _clash(card: Card, training_set: TrainingSet, aim: LeastCost | LeastPrecision) -> str | None:
    """Why a version cannot be compared with a new one."""
    if not card.data.rows:
        return "it was trained elsewhere, on photos that are not known: the test rows may be among them"
    if card.target != training_set.target:
        return f"it is for the target '{card.target}'"
    embeddings = [(embedding.operation, dict(embedding.params)) for embedding in training_set.embeddings]
    if [(embedding.operation, embedding.params) for embedding in card.embeddings] != embeddings:
        return "it reads other embeddings"
    if any(
        one and other and one != other for one, other in zip(card.spaces, training_set.spaces, strict=True)
    ):
        return "it reads vectors of another space"
    lengths = tuple(len(vector) for vector in training_set.rows[0].vectors) if training_set.rows else ()
    if card.dimensions != lengths:
        return "it reads vectors of other lengths"
    if (set(card.labels), card.positive) != (set(training_set.labels), training_set.positive):
        return "it knows other labels"
    if card.threshold is not None and card.threshold.aim != str(aim):
        return f"its threshold was chosen for another aim: {card.threshold.aim}"
    return None


def judged(head: Head, test: Table, training_set: TrainingSet, settings: TrainingSettings) -> Judgement:
    """How good a head is on the test rows, its labels in the order of the training set."""
    positive = positive_number(training_set)
    threshold = None if head.card.threshold is None else head.card.threshold.value
    order = [head.card.labels.index(label) for label in training_set.labels]
    return judge(
        outcome(head.network, head.calibration, test, positive, threshold, order),
        test.groups,
        [row.slices for row in test.rows],
        rounds=settings.rounds,
        confidence=settings.confidence,
        seed=settings.seed,
    )


def bake_off(
    new: Contestant,
    others: Sequence[Rival],
    test: Table,
    training_set: TrainingSet,
    settings: TrainingSettings,
    serves: str | None,
) -> list[Contestant]:
    """All contestants, the best first; of equal ones that which serves, then the older one."""
    contestants = [new]
    for rival in others:
        if rival.head is None:
            contestants.append(Contestant(rival.version, "", None, rival.excluded))
        else:
            judgement = judged(rival.head, test, training_set, settings)
            contestants.append(Contestant(rival.version, rival.head.card.model.kind, judgement))
    return sorted(
        contestants,
        key=lambda one: (-one.rank[0], -one.rank[1], one.version != serves, one.version),
    )
