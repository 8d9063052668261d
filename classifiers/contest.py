"""The bake-off: all versions on the newest rows that none of them has seen."""

from collections.abc import Sequence
from dataclasses import dataclass

from classifiers.card import Card
from classifiers.head import Head
from classifiers.judging import Judgement, judge
from classifiers.preparation import Table
from classifiers.promotions import History
from classifiers.rows import TrainingSet
from classifiers.scoring import outcome
from classifiers.shelf import Shelf, ShelfError, ShelfHindered
from classifiers.split import Seen
from classifiers.training_settings import TrainingSettings


@dataclass(frozen=True, slots=True, eq=False)
class Contestant:
    """A version in the bake-off; one that cannot be judged has a reason instead of a judgement.

    `aim` is what its threshold was chosen for. One that `gives_way` is no reason to keep others from serving.
    """

    version: str
    kind: str
    judgement: Judgement | None
    aim: str | None = None
    excluded: str | None = None
    gives_way: bool = False

    @property
    def rank(self) -> tuple[float, float]:
        """By macro precision, equal ones by average precision."""
        if self.judgement is None:
            return (-1.0, -1.0)
        metrics = self.judgement.metrics
        return metrics["macro_precision"].value, metrics["average_precision"].value


@dataclass(frozen=True, slots=True, eq=False)
class Rival:
    """A stored version, before the rows are split. One that cannot compete has a reason instead of a head.

    Where that is because it cannot serve, or can never be judged, it `gives_way`: else it might be the best,
    and nobody but a person can tell.
    """

    version: str
    head: Head | None = None
    seen: Seen | None = None
    excluded: str | None = None
    gives_way: bool = False


def rivals(shelf: Shelf, training_set: TrainingSet) -> list[Rival]:
    """All stored versions. Those with a head can be compared with a new one of these rows.

    Raises:
        ShelfError: the shelf cannot be read; a version that cannot is excluded.
    """
    history = shelf.history(training_set.name)
    return [_rival(shelf, version, training_set, history) for version in shelf.versions(training_set.name)]


def _rival(shelf: Shelf, version: str, training_set: TrainingSet, history: History) -> Rival:
    try:
        head = shelf.load(training_set.name, version)
    except ShelfHindered as error:
        return Rival(version, excluded=str(error))
    except ShelfError as error:
        return Rival(version, excluded=str(error), gives_way=True)
    try:
        seen = shelf.seen(training_set.name, version)
    except ShelfError as error:
        return Rival(version, excluded=f"what it was trained on is not known: {error}")
    if history.is_withdrawn(version):
        return Rival(version, None, seen, "it was withdrawn", gives_way=True)
    clash = _clash(head.card, training_set)
    if clash is not None:
        return Rival(version, None, seen, clash)
    if not head.card.data.rows:
        # No run puts it in service: where others served before, a person did, and a person decides again.
        by_person = any(event.version != version for event in history.events)
        return Rival(version, None, seen, _TRAINED_ELSEWHERE, gives_way=not by_person)
    return Rival(version, head, seen)


_TRAINED_ELSEWHERE = (
    "it was trained elsewhere, on photos that are not known, and can never be judged: the test rows may be "
    "among them"
)


def _clash(card: Card, training_set: TrainingSet) -> str | None:
    """Why a version cannot be judged on these rows."""
    if card.target != training_set.target:
        return f"it is for the target '{card.target}'"
    if card.face_context != training_set.face_context:
        return f"it looks for faces in the {card.face_context.replace('_', ' ')}"
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
    return None


def judged(head: Head, test: Table, training_set: TrainingSet, settings: TrainingSettings) -> Judgement:
    """How good a head is on the test rows, its labels in the order of the training set."""
    threshold = None if head.card.threshold is None else head.card.threshold.value
    order = [head.card.labels.index(label) for label in training_set.labels]
    return judge(
        outcome(head.network, head.calibration, test, training_set.positive_number, threshold, order),
        test.groups,
        [row.slices for row in test.rows],
        rounds=settings.rounds,
        confidence=settings.confidence,
        seed=settings.seed,
    )


def contestant(head: Head, judgement: Judgement) -> Contestant:
    card = head.card
    return Contestant(
        card.version, card.model.kind, judgement, None if card.threshold is None else card.threshold.aim
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
            contestants.append(
                Contestant(rival.version, "", None, excluded=rival.excluded, gives_way=rival.gives_way)
            )
        else:
            contestants.append(contestant(rival.head, judged(rival.head, test, training_set, settings)))
    return sorted(
        contestants,
        key=lambda one: (-one.rank[0], -one.rank[1], one.version != serves, one.version),
    )
