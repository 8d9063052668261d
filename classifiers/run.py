"""A whole training run: from training rows to a stored, judged and perhaps promoted version."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path

from threadpoolctl import threadpool_limits

from classifiers.card import Card, EmbeddingCard
from classifiers.contest import bake_off, contestant, judged, rivals
from classifiers.decision import decided
from classifiers.head import Head, arrays_of
from classifiers.judging import Judgement
from classifiers.preparation import Prepared, TrainingRefused, prepare
from classifiers.reference import reference_of
from classifiers.report import Report
from classifiers.report_drift import Served
from classifiers.report_page import page
from classifiers.rows import TrainingSet
from classifiers.shelf import Shelf, ShelfBusy, ShelfError, version_name
from classifiers.split import Seen
from classifiers.stages import Stages
from classifiers.stored import REPORT
from classifiers.training import Finished, Trained, train
from classifiers.training_settings import TrainingSettings
from classifiers.windows import read_windows

__all__ = ["RunSummary", "ShelfBusy", "ShelfError", "TrainingRefused", "TrainingSettings", "run_training"]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run came to.

    `current` is the version that serves now: the new one where `promoted`. `reason` says why, in a sentence.
    `report` is the path of the HTML report in `folder`; `deleted` are old versions that were not among the
    best. `seconds` are what each stage took.
    """

    collection: str
    version: str
    card: Card
    folder: Path
    report: Path
    promoted: bool
    current: str | None
    reason: str
    deleted: tuple[str, ...]
    seconds: Mapping[str, float]


_LEFT_TO_PEOPLE = "The version is stored, and a person decides: promotion is turned off for this run."


def now() -> datetime:
    return datetime.now(UTC)


def _silent(stage: str) -> None:
    """The progress of what has none."""


def run_training(
    training_set: TrainingSet,
    shelf: Shelf,
    settings: TrainingSettings | None = None,
    *,
    clock: Callable[[], datetime] = now,
    progress: Callable[[str], None] = _silent,
    spent: Mapping[str, float] | None = None,
    stopwatch: Callable[[], float] = time.monotonic,
) -> RunSummary:
    """Split, train, calibrate, choose the threshold, judge, hold the bake-off, report, store, and promote.

    Equal rows, settings and times give an equal version.

    Args:
        training_set: the rows of one collection, as a source gives them.
        shelf: `classifiers.shelf.Shelf(data / "classifiers")`, where versions are kept.
        settings: how.
        clock: the time.
        progress: is told the name of each stage as it begins, such as `splitting` and `training`.
        spent: the seconds of what was done before, such as embedding the images, by its name.
        stopwatch: seconds, by which the stages are timed.

    Raises:
        TrainingRefused: (classifiers.preparation) there are too few rows, or they cannot be used; the message
            tells what is needed. Nothing was stored.
        ShelfBusy: (classifiers.shelf) another process trains this collection.
        ShelfError: (classifiers.shelf; ShelfBusy is one) the versions cannot be read or written.
    """
    settings = settings or TrainingSettings()
    name = training_set.name
    stages = Stages(spent or {}, stopwatch, progress)
    # Matrices are small: several threads are up to a hundred times slower on a busy machine, and round
    # differently.
    with shelf.training(name), threadpool_limits(1):
        stages.begin("reading earlier versions")
        others = rivals(shelf, training_set)
        serves, history = shelf.best(name), shelf.history(name)
        stages.begin("splitting")
        seen = Seen.union(rival.seen for rival in others if rival.seen is not None)
        prepared = prepare(training_set, seen, settings)
        stages.begin("training")
        trained = train(prepared, training_set, settings)
        stages.begin("judging")
        head = _head(trained.chosen, trained, prepared, training_set, settings, clock())
        judgement = judged(head, prepared.test, training_set, settings)
        baseline = (
            judgement
            if trained.baseline is trained.chosen
            else judged(
                _head(trained.baseline, trained, prepared, training_set, settings, clock()),
                prepared.test,
                training_set,
                settings,
            )
        )
        version = head.card.version
        ranked = bake_off(contestant(head, judgement), others, prepared.test, training_set, settings, serves)
        if settings.promote == "never":
            winner, reason = serves, _LEFT_TO_PEOPLE
        else:
            winner, reason = decided(ranked, version, serves, history.is_withdrawn)
        stages.begin("reporting")
        card = _judged_card(head, judgement, prepared)
        report = page(
            Report(
                card,
                prepared,
                trained,
                judgement,
                baseline,
                tuple(ranked),
                serves,
                winner,
                reason,
                settings,
                _watched(shelf, name, serves),
                dict(stages.seconds),
            )
        )
        stages.begin("storing")
        own = Seen.of([*prepared.train.rows, *prepared.validation.rows])
        card = shelf.store(card, head.arrays, own, report)
        if winner is not None and winner != serves:
            shelf.promote(name, winner, reason, instead_of=serves, at=card.created)
        current = shelf.best(name)
        if current != winner:
            reason = f"Somebody put {current} in service meanwhile, and it stays."
        deleted = shelf.prune(name, [one.version for one in ranked if one.judgement], settings.keep)
        folder = shelf.path(name, version)
        stages.end()
        return RunSummary(
            collection=name,
            version=version,
            card=card,
            folder=folder,
            report=folder / REPORT,
            promoted=current == version,
            current=current,
            reason=reason,
            deleted=tuple(deleted),
            seconds=stages.seconds,
        )


def _head(
    finished: Finished,
    trained: Trained,
    prepared: Prepared,
    training_set: TrainingSet,
    settings: TrainingSettings,
    at: datetime,
) -> Head:
    card = Card(
        collection=training_set.name,
        version=version_name(
            at,
            arrays_of(finished.network, finished.calibration),
            None if finished.threshold is None else finished.threshold.value,
        ),
        created=at,
        target=training_set.target,
        face_context=training_set.face_context,
        embeddings=tuple(
            EmbeddingCard.model_validate({"operation": one.operation, "params": dict(one.params)})
            for one in training_set.embeddings
        ),
        spaces=training_set.spaces,
        dimensions=prepared.dimensions,
        labels=training_set.labels,
        positive=training_set.positive,
        threshold=finished.threshold,
        model=trained.model_card,
        calibration=finished.calibration_card,
        data=prepared.data,
        seed=settings.seed,
        software={
            "python": platform.python_version(),
            **{package: installed(package) for package in ("numpy", "scikit-learn")},
        },
        settings=settings.model_dump(mode="json"),
    )
    return Head(card, finished.network, finished.calibration)


def _judged_card(head: Head, judgement: Judgement, prepared: Prepared) -> Card:
    return head.card.model_copy(
        update={
            "metrics": dict(judgement.metrics),
            "confusion": judgement.confusion,
            "calibration_error": judgement.calibration_error,
            "bins": judgement.bins,
            "slices": judgement.slices,
            "reference": reference_of(head, prepared),
        }
    )


def _watched(shelf: Shelf, name: str, serves: str | None) -> Served | None:
    """What the version that serves has seen, where it was watched and can be read."""
    if serves is None:
        return None
    try:
        card = shelf.load(name, serves).card
    except ShelfError:
        # The bake-off tells of it.
        return None
    windows = read_windows(shelf.folder, card)
    return None if windows is None else Served(card, windows)
