"""Training: from the sides of a split to a network, a calibration and a threshold."""

from dataclasses import dataclass

from classifiers.calibration import calibrate, probabilities
from classifiers.card import CalibrationCard, ModelCard, ThresholdCard
from classifiers.challengers import BASELINE_CARD, best_challenger, fit_baseline
from classifiers.estimates import difference
from classifiers.figures import Outcome
from classifiers.head import Calibration, Network
from classifiers.preparation import Prepared, Table
from classifiers.rows import TrainingSet
from classifiers.scoring import outcome, scored
from classifiers.threshold import Curve, choose, curve
from classifiers.training_settings import TrainingSettings


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A network with all that was chosen for it on the validation rows."""

    network: Network
    calibration: Calibration
    calibration_card: CalibrationCard
    threshold: ThresholdCard | None
    threshold_curve: Curve | None


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What was fitted, and how it was chosen."""

    model_card: ModelCard
    chosen: Finished
    baseline: Finished


def train(prepared: Prepared, training_set: TrainingSet, settings: TrainingSettings) -> Trained:
    """Fit the baseline and what may replace it, calibrate the winner and choose its threshold.

    Of the challengers the one that does best in cross-validation on the training rows stands against the
    baseline once, on the validation rows: it replaces it where the interval of the difference in macro
    precision, by which versions are ranked, lies above zero. So each step is judged on rows that it did not
    choose on.
    """
    validation = prepared.validation
    count = len(training_set.labels)
    positive = training_set.positive_number
    baseline = fit_baseline(prepared.train, settings)
    network, model_card = baseline, BASELINE_CARD
    best = best_challenger(prepared.train, count, settings)
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
            model_card = BASELINE_CARD.model_copy(update={"reason": reason})
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


def _uncalibrated(network: Network, table: Table, positive: int | None) -> Outcome:
    return outcome(network, Calibration(), table, positive, None if positive is None else 0.5)
