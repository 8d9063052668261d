"""The curves of a report: reliability, precision and recall, ROC, scores, and what thresholds would do."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from sklearn import metrics

from classifiers.card import Card
from classifiers.figures import Outcome
from classifiers.plots import COLOURS, Plot, around
from classifiers.report import Report
from classifiers.threshold import SURE, LeastCost, LeastPrecision

_MAX_LINES = 10
_MAX_POINTS = 240
_BARS = 20


def curves_section(report: Report) -> str:
    outcome, card = report.judgement.outcome, report.card
    labels = _worst_labels(outcome)
    plots = [_reliability(report), *_curves(outcome, card.labels, labels), _histogram(outcome, card)]
    cost = _threshold_plot(report)
    if cost:
        plots.append(cost)
    return f'<section><h2>Curves</h2><div class="plots">{"".join(plots)}</div></section>'


def _worst_labels(outcome: Outcome) -> list[int]:
    """Those that are drawn: all that fit, else the ones with the least average precision."""

    def quality(label: int) -> float:
        return float(metrics.average_precision_score(outcome.truth == label, outcome.probabilities[:, label]))

    labels = outcome.ranked
    return labels if len(labels) <= _MAX_LINES else sorted(sorted(labels, key=quality)[:_MAX_LINES])


def _reliability(report: Report) -> str:
    bins = report.judgement.bins
    plot = Plot("Reliability", "said probability", "how often it came true")
    plot.line([(0, 0), (1, 1)], "#888", "perfect", dashed=True)
    points = [(one.predicted, one.observed) for one in bins]
    plot.line(points, COLOURS[0], "this version; dots grow with their rows")
    most = max(one.rows for one in bins)
    plot.dots(
        points,
        COLOURS[0],
        [3 + 6 * (one.rows / most) ** 0.5 for one in bins],
        [
            f"{one.rows} row{'' if one.rows == 1 else 's'}: said {one.predicted:.3f}, "
            f"came true {one.observed:.3f}"
            for one in bins
        ],
    )
    return plot.svg()


def _curves(outcome: Outcome, names: Sequence[str], labels: Sequence[int]) -> Iterable[str]:
    recall = Plot("Precision and recall", "recall", "precision")
    roc = Plot("Receiver operating characteristic", "false positive rate", "true positive rate")
    roc.line([(0, 0), (1, 1)], "#888", dashed=True)
    for colour, label in zip(COLOURS, labels, strict=False):
        truth, scores = outcome.truth == label, outcome.probabilities[:, label]
        precisions, recalls, _ = metrics.precision_recall_curve(truth, scores)
        quality = metrics.average_precision_score(truth, scores)
        recall.line(_thinned(recalls, precisions), colour, f"{names[label]} ({quality:.3f})")
        if truth.all():
            continue
        wrong, right, _ = metrics.roc_curve(truth, scores)
        roc.line(_thinned(wrong, right), colour, f"{names[label]} ({metrics.auc(wrong, right):.3f})")
    return recall.svg(), roc.svg()


def _thinned(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    places = np.unique(np.linspace(0, len(xs) - 1, min(len(xs), _MAX_POINTS)).astype(int))
    return [(float(xs[place]), float(ys[place])) for place in places]


def _histogram(outcome: Outcome, card: Card) -> str:
    """Of a label with a threshold its probability; else that of what is likeliest, right or wrong."""
    edges = np.linspace(0, 1, _BARS + 1)
    if outcome.positive is None:
        values, parts = outcome.probabilities.max(axis=1), (outcome.hits, ~outcome.hits)
        title, names, axis = "Scores, right and wrong", ("right", "wrong"), "probability of the decided label"
    else:
        is_positive = outcome.truth == outcome.positive
        values, parts = outcome.probabilities[:, outcome.positive], (is_positive, ~is_positive)
        names = (card.labels[outcome.positive], card.labels[1 - outcome.positive])
        title, axis = "Scores of both labels", f"probability of {card.labels[outcome.positive]}"
    heights = []
    for part in parts:
        counts, _ = np.histogram(values[part], edges)
        heights.append(counts / max(int(part.sum()), 1))
    plot = Plot(title, axis, "share of its rows", y=around([float(max(map(max, heights)))], floor=0.0))
    for colour, name, part, of_part in zip((COLOURS[2], COLOURS[1]), names, parts, heights, strict=True):
        plot.bars(edges.tolist(), of_part.tolist(), colour, f"{name} ({int(part.sum())} rows)")
    if card.threshold is not None:
        plot.mark(card.threshold.value, f"threshold {card.threshold.value:.3f}")
    return plot.svg()


def _threshold_plot(report: Report) -> str:
    """What other thresholds would do on the validation rows, by which this one was chosen."""
    found, threshold, aim = report.trained.chosen.threshold_curve, report.card.threshold, report.settings.aim
    if found is None or threshold is None:
        return ""
    if isinstance(aim, LeastCost):
        costs = found.cost(aim) / max(len(report.prepared.validation.labels), 1)
        plot = Plot(
            "Cost by threshold (validation)", "threshold", "cost a row", y=around(costs.tolist(), floor=0.0)
        )
        plot.line(_stepped(found.thresholds.tolist(), costs.tolist()), COLOURS[0], str(aim))
    else:
        assert isinstance(aim, LeastPrecision)
        plot = Plot("Precision and recall by threshold (validation)", "threshold", "share")
        plot.line(_stepped(found.thresholds.tolist(), found.precision.tolist()), COLOURS[0], "precision")
        surely = _stepped(found.thresholds.tolist(), found.least_precision.tolist())
        plot.line(surely, COLOURS[5], f"precision that is {SURE:.0%} sure")
        plot.line(_stepped(found.thresholds.tolist(), found.recall.tolist()), COLOURS[1], "recall")
        plot.line([(0, aim.precision), (1, aim.precision)], "#888", str(aim), dashed=True)
    plot.mark(threshold.value, f"{threshold.value:.3f}")
    return plot.svg()


def _stepped(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    points = _thinned(xs, ys)
    return [
        points[0],
        *((x, y) for before, now in pairwise(points) for x, y in ((now[0], before[1]), now)),
    ]
