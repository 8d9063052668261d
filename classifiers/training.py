"""Training: from rows to a network, a calibration and a threshold."""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, JsonValue, model_validator
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.utils.class_weight import compute_sample_weight

from app.core.key import digest
from classifiers.calibration import calibrate, folds, probabilities
from classifiers.card import CalibrationCard, DataCard, Frozen, ModelCard, ThresholdCard
from classifiers.estimates import difference
from classifiers.figures import Labels, Outcome, decide
from classifiers.head import Calibration, Floats, Network
from classifiers.rows import Row, TrainingSet
from classifiers.split import SIDES, Seen, Side, Split, split
from classifiers.threshold import Aim, Curve, LeastCost, choose, curve

Challenger = Literal["tuned_logistic", "mlp"]

# So many photos of each label, on each side, are the least that any figure can be taken from.
LEAST: Mapping[Side, int] = {"train": 4, "validation": 2, "test": 2}
# With so many in all, 19 of 20 draws of the sides have the least of each, at the default shares.
_ENOUGH = 22

_PENALTIES = (0.001, 0.01, 0.1, 1.0)
_DECAYS = (0.01, 1.0)
_HIDDEN = 32
_MOST_STEPS = 1000


class TrainingRefused(Exception):
    """Nothing can be learned from these rows, or not be judged; the message tells what is needed."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows as arrays: vectors [n, d] of all embeddings side by side, numbers of labels [n], groups [n]."""

    rows: tuple[Row, ...]
    vectors: Floats
    labels: Labels
    groups: Labels


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The sides of a split, and what they are."""

    dimensions: tuple[int, ...]
    train: Table
    validation: Table
    test: Table
    data: DataCard


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What was fitted, and how it was chosen."""

    model_card: ModelCard
    chosen: "Finished"
    baseline: "Finished"


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A network with all that was chosen for it on the validation rows."""

    network: Network
    calibration: Calibration
    calibration_card: CalibrationCard
    threshold: ThresholdCard | None
    threshold_curve: Curve | None


def prepare(training_set: TrainingSet, seen: Seen, settings: TrainingSettings) -> Prepared:
    """Check and split the rows of a collection. Their order does not matter.

    Raises:
        TrainingRefused: they cannot be used, or are too few.
    """
    _check_declaration(training_set)
    dimensions = _checked_dimensions(training_set)
    rows = sorted(training_set.rows, key=_identity)
    drawn = split(
        rows,
        seen,
        validation=settings.validation,
        test=settings.test,
        max_distance=settings.phash_distance,
    )
    _check_counts(training_set, rows, drawn)
    vectors = np.array([np.concatenate(row.vectors) for row in rows], np.float64)
    number = {label: number for number, label in enumerate(training_set.labels)}
    labels = np.array([number[row.label] for row in rows], np.int64)

    def side(name: Side) -> Table:
        places = np.flatnonzero(np.array(drawn.sides) == name)
        kept = tuple(rows[place] for place in places)
        return Table(kept, vectors[places], labels[places], drawn.groups[places])

    train, validation, test = (side(name) for name in SIDES)
    return Prepared(dimensions, train, validation, test, _data_card(training_set, rows, drawn))


def positive_number(training_set: TrainingSet) -> int | None:
    """The number of the label that means "is in the collection"."""
    return None if training_set.positive is None else training_set.labels.index(training_set.positive)


def train(prepared: Prepared, training_set: TrainingSet, settings: TrainingSettings) -> Trained:
    """Fit the baseline and what may replace it, calibrate the winner and choose its threshold.

    Of the challengers the one that does best in cross-validation on the training rows stands against the
    baseline once, on the validation rows: it replaces it where the interval of the difference in macro
    precision, by which versions are ranked, lies above zero. So each step is judged on rows that it did not
    choose on.
    """
    validation = prepared.validation
    count = len(training_set.labels)
    positive = positive_number(training_set)
    baseline = _fit_logistic(prepared.train, penalty=1.0, standardise=False, seed=settings.seed)
    network, model_card = baseline, _BASELINE_CARD
    best = _best_challenger(prepared.train, count, settings)
    if best is not None:
        challenger = best.fit(prepared.train)
        gain = difference(
            _uncalibrated(challenger, validation, positive),
            _uncalibrated(baseline, validation, positive),
            validation.groups,
            "macro_precision",
            rounds=settings.rounds,
            confidence=settings.confidence,
            seed=settings.seed,
        )
        told = (
            f"on the validation rows its macro precision is {gain.value:+.3f} against the baseline's, "
            f"{settings.confidence:.0%} interval {gain.low:+.3f} to {gain.high:+.3f}"
        )
        if gain.low > 0:
            network = challenger
            reason = f"It replaces the baseline: {told}."
            model_card = ModelCard(kind=best.kind, parameters=best.parameters, reason=reason)
        else:
            reason = f"The baseline stays; the best challenger, {best.kind}, does not surely beat it: {told}."
            model_card = _BASELINE_CARD.model_copy(update={"reason": reason})
    finished = _finished(baseline, validation, positive, settings)
    if network is baseline:
        return Trained(model_card, finished, finished)
    return Trained(model_card, _finished(network, validation, positive, settings), finished)


def _finished(
    network: Network, validation: Table, positive: int | None, settings: TrainingSettings
) -> Finished:
    scores = scored(network, validation.vectors)
    calibration, card = calibrate(scores, validation.labels, validation.groups, settings.seed)
    if positive is None:
        return Finished(network, calibration, card, None, None)
    # No part is held back for the threshold: calibration keeps the order of the scores, and so which rows a
    # threshold may accept.
    chances = probabilities(calibration, scores)[:, positive]
    found = curve(chances, validation.labels == positive, validation.groups)
    return Finished(network, calibration, card, choose(found, settings.aim), found)


def scored(network: Network, vectors: Floats) -> Floats:
    """[n, d] to [n, 1] or [n, classes]."""
    return np.array([network.scores(row) for row in vectors])


def outcome(
    network: Network,
    calibration: Calibration,
    table: Table,
    positive: int | None,
    threshold: float | None,
    order: Sequence[int] | None = None,
) -> Outcome:
    """What a network says of rows; `order` are the places of the labels among those that it knows."""
    found = probabilities(calibration, scored(network, table.vectors))
    if order is not None:
        found = found[:, order]
    return Outcome(table.labels, found, decide(found, positive, threshold), positive)


def _uncalibrated(network: Network, table: Table, positive: int | None) -> Outcome:
    return outcome(network, Calibration(), table, positive, None if positive is None else 0.5)


_BASELINE_CARD = ModelCard(
    kind="logistic", parameters={"C": 1.0, "class_weight": "balanced"}, reason="It is the baseline, alone."
)


@dataclass(frozen=True, slots=True)
class _Candidate:
    kind: Challenger
    parameters: dict[str, JsonValue]
    fit: Callable[[Table], Network]


def _candidates(settings: TrainingSettings) -> list[_Candidate]:
    found = []
    if "tuned_logistic" in settings.challengers:
        for penalty in _PENALTIES:
            found.append(
                _Candidate(
                    "tuned_logistic",
                    {"C": penalty, "class_weight": "balanced", "standardised": True},
                    partial(_fit_logistic, penalty=penalty, standardise=True, seed=settings.seed),
                )
            )
    if "mlp" in settings.challengers:
        for decay in _DECAYS:
            found.append(
                _Candidate(
                    "mlp",
                    {"hidden": _HIDDEN, "alpha": decay, "class_weight": "balanced", "standardised": True},
                    partial(_fit_mlp, decay=decay, seed=settings.seed),
                )
            )
    return found


def _best_challenger(table: Table, count: int, settings: TrainingSettings) -> _Candidate | None:
    """By log-loss in cross-validation on the training rows, grouped."""
    candidates = _candidates(settings)
    parts = list(folds(table.labels, table.groups, settings.seed)) if candidates else []
    if not parts:
        return None

    def loss(candidate: _Candidate) -> float:
        truth, given = [], []
        for fitted, held in parts:
            network = candidate.fit(_part(table, fitted))
            truth.append(table.labels[held])
            given.append(probabilities(Calibration(), scored(network, table.vectors[held])))
        return float(log_loss(np.concatenate(truth), np.concatenate(given), labels=range(count)))

    return min(candidates, key=loss, default=None)


def _part(table: Table, places: Labels) -> Table:
    rows = tuple(table.rows[place] for place in places)
    return Table(rows, table.vectors[places], table.labels[places], table.groups[places])


def _standard(vectors: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of each value; one that never changes is left as it is."""
    deviation = vectors.std(axis=0)
    return vectors.mean(axis=0), np.where(deviation > 1e-12, deviation, 1.0)


def _fit_logistic(table: Table, *, penalty: float, standardise: bool, seed: int) -> Network:
    width = table.vectors.shape[1]
    mean, scale = _standard(table.vectors) if standardise else (np.zeros(width), np.ones(width))
    model = LogisticRegression(C=penalty, class_weight="balanced", max_iter=_MOST_STEPS, random_state=seed)
    with warnings.catch_warnings():
        # Where it does not converge, what it has come to is judged like any other.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((table.vectors - mean) / scale, table.labels)
    return Network(mean, scale, ((np.ascontiguousarray(model.coef_.T), model.intercept_),))


def _fit_mlp(table: Table, *, decay: float, seed: int) -> Network:
    mean, scale = _standard(table.vectors)
    model = MLPClassifier((_HIDDEN,), alpha=decay, max_iter=60, tol=1e-3, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(
            (table.vectors - mean) / scale,
            table.labels,
            sample_weight=compute_sample_weight("balanced", table.labels),
        )
    layers = zip(model.coefs_, model.intercepts_, strict=True)
    return Network(mean, scale, tuple((np.ascontiguousarray(weights), bias) for weights, bias in layers))


def _check_declaration(training_set: TrainingSet) -> None:
    name, labels = training_set.name, training_set.labels
    slices = {text for row in training_set.rows for pair in row.slices.items() for text in pair}
    for text in (name, training_set.target, *labels, *sorted(slices)):
        if not text.isascii() and text != text.encode("utf-8", "replace").decode():
            raise TrainingRefused(f"{text!r} is no text: half a character cannot be written. Rename it.")
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise TrainingRefused(
            f"Collection '{name}' has the labels {_listed(labels)}: two different ones are needed at least, "
            f"each with about {_ENOUGH} photos."
        )
    if training_set.positive is not None and (len(labels) != 2 or training_set.positive not in labels):
        raise TrainingRefused(
            f"Collection '{name}' names '{training_set.positive}' as the positive one of the labels "
            f"{_listed(labels)}; it must be one of two."
        )
    if not training_set.embeddings or len(training_set.spaces) != len(training_set.embeddings):
        raise TrainingRefused(
            f"Collection '{name}' has {len(training_set.embeddings)} embeddings and "
            f"{len(training_set.spaces)} spaces; it needs one at least, and as many of both."
        )


def _checked_dimensions(training_set: TrainingSet) -> tuple[int, ...]:
    """How long the vectors are; all of one embedding are as long."""
    wanted: tuple[int, ...] | None = None
    labels = frozenset(training_set.labels)
    for number, row in enumerate(training_set.rows, 1):
        where = f"Row {number} of collection '{training_set.name}' (photo '{row.photo_id}')"
        if row.label not in labels:
            raise TrainingRefused(
                f"{where} has the label '{row.label}', which is not among {_listed(training_set.labels)}."
            )
        if row.phash is not None and not 0 <= row.phash < 2**64:
            raise TrainingRefused(f"{where} has the perceptual hash {row.phash}; it must have 64 bits.")
        if any(vector.ndim != 1 or not len(vector) for vector in row.vectors):
            raise TrainingRefused(f"{where} has a vector that is no list of numbers.")
        lengths = tuple(len(vector) for vector in row.vectors)
        wanted = wanted or lengths
        if lengths != wanted or len(lengths) != len(training_set.embeddings):
            raise TrainingRefused(
                f"{where} has vectors of {list(lengths)} values, and those before it have {list(wanted)}, "
                f"for {len(training_set.embeddings)} embeddings. All rows must come from the same embeddings."
            )
        if not all(np.isfinite(vector).all() for vector in row.vectors):
            raise TrainingRefused(f"{where} has a vector with values that are not finite.")
    if wanted is None:
        raise TrainingRefused(
            f"Collection '{training_set.name}' has no rows; about {_ENOUGH} photos of each label are needed."
        )
    return wanted


def _check_counts(training_set: TrainingSet, rows: Sequence[Row], drawn: Split) -> None:
    """Groups are counted, and not rows: copies of a photo are no more evidence than the photo."""
    short = []
    seen = {
        (row.label, side, group)
        for row, side, group in zip(rows, drawn.sides, drawn.groups.tolist(), strict=True)
    }
    groups = Counter((label, side) for label, side, _ in seen)
    for label in training_set.labels:
        counts = {side: groups[label, side] for side in SIDES}
        if any(counts[side] < LEAST[side] for side in SIDES):
            parts = ", ".join(f"{counts[side]} for {side} (of {LEAST[side]})" for side in SIDES)
            lacking = max(_ENOUGH - sum(counts.values()), *(LEAST[side] - counts[side] for side in SIDES))
            short.append(f"'{label}' has {parts}: add about {lacking}")
    if not short:
        return
    moved = (
        f" {drawn.moved} photos are not for test: versions that are kept were trained on them or on copies."
        if drawn.moved
        else ""
    )
    raise TrainingRefused(
        f"Collection '{training_set.name}' has too few photos that differ. The label "
        f"{'; the label '.join(short)}. The side of a photo is drawn by its id: about {_ENOUGH} photos of "
        f"each label are mostly enough.{moved}"
    )


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(f"'{label}'" for label in labels) or "none"


def _identity(row: Row) -> tuple[str, str, bytes, tuple[tuple[str, str], ...], int]:
    """Equal for equal rows alone; measures, of which nothing is learned, do not count."""
    whole = b"".join(np.asarray(vector, "<f4").tobytes() for vector in row.vectors)
    return (
        row.photo_id,
        row.label,
        whole,
        tuple(sorted(row.slices.items())),
        -1 if row.phash is None else row.phash,
    )


def _data_card(training_set: TrainingSet, rows: Sequence[Row], drawn: Split) -> DataCard:
    parts = [
        (photo, label, digest(whole.hex()), slices, phash)
        for photo, label, whole, slices, phash in map(_identity, rows)
    ]
    counts = Counter((side, row.label) for side, row in zip(drawn.sides, rows, strict=True))
    sides = {side: {label: counts[side, label] for label in training_set.labels} for side in SIDES}
    return DataCard(
        digest=digest(training_set.target, training_set.labels, parts),
        rows=len(rows),
        photos=len({row.photo_id for row in rows}),
        groups=len(np.unique(drawn.groups)),
        moved=drawn.moved,
        sides=sides,
    )
