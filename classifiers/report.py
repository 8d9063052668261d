"""The report of a run: one HTML page that needs nothing else, and runs no script."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from sklearn import metrics

from classifiers.card import Card, Interval
from classifiers.contest import Contestant
from classifiers.figures import Outcome
from classifiers.judging import Judgement
from classifiers.plots import COLOURS, SHARE, Plot, around, shown, whisker
from classifiers.report_drift import Served, drift_section
from classifiers.split import SIDES
from classifiers.threshold import SURE, LeastCost, LeastPrecision, told
from classifiers.training import Prepared, Trained, TrainingSettings

_MAX_LINES = 10
_MAX_CELLS = 24
_MAX_MISTAKES = 24
_MAX_POINTS = 240
_BARS = 20

_NAMES = {
    "macro_precision": "Macro precision",
    "average_precision": "Average precision",
    "macro_recall": "Macro recall",
    "macro_f1": "Macro F1",
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "precision": "Precision of positives",
    "recall": "Recall of positives",
    "log_loss": "Log-loss",
    "brier": "Brier score",
}
# The page is written before a version is put in service, and stays when a person decides otherwise.
_AS_OF_THE_RUN = "This is as of the run; best_models.json tells what serves now."
_LOWER_IS_BETTER = ("log_loss", "brier")


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


def page(report: Report) -> str:
    card = report.card
    wins = report.winner == card.version
    sections = [
        _summary(report),
        _figures(report.judgement, report.settings.confidence),
        _contest(report),
        _plots(report),
        _confusion(report),
        _slices(report),
        _mistakes(report),
        drift_section(card, report.watched),
        _data(report),
    ]
    badge = '<b class="badge good">chosen</b>' if wins else '<b class="badge">stored</b>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{shown(card.collection)}: training report</title><style>{_STYLE}</style></head><body><main>"
        f"<header><p class=over>Training report</p><h1>{shown(card.collection)} {badge}</h1>"
        f"<p class=sub>Version <code>{shown(card.version)}</code> · {card.created:%Y-%m-%d %H:%M:%S} UTC · "
        f"target {shown(card.target)} · "
        f"{shown(' + '.join(one.operation for one in card.embeddings))} ({sum(card.dimensions)} values)"
        "</p></header>"
        f"{''.join(sections)}</main></body></html>\n"
    )


def _summary(report: Report) -> str:
    card = report.card
    calibration = {
        "none": "Scores are used as they are: no calibration lowered the log-loss",
        "platt": "Scores are calibrated by Platt scaling",
        "isotonic": "Scores are calibrated by isotonic regression",
    }[card.calibration.method]
    losses = ", ".join(f"{name} {loss:.3f}" for name, loss in card.calibration.losses.items())
    points = [
        ("Decision", f"{report.reason} {_AS_OF_THE_RUN}"),
        ("Model", f"{card.model.kind}. {card.model.reason}"),
        (
            "Calibration",
            f"{calibration} (log-loss on held-back validation rows: {losses or 'too few rows'}).",
        ),
    ]
    if card.threshold is not None:
        points.append(("Threshold", told(card.threshold, card.positive or "", card.metrics)))
    rows = "".join(f"<dt>{name}</dt><dd>{shown(text)}</dd>" for name, text in points)
    return f'<section class="lead"><dl>{rows}</dl></section>'


def _figures(judgement: Judgement, confidence: float) -> str:
    tiles = [
        _tile(_NAMES[name], found, name in _LOWER_IS_BETTER) for name, found in judgement.metrics.items()
    ]
    error = judgement.calibration_error
    tiles.append(
        f'<div class="tile"><h3>Calibration error</h3><strong>{error:.3f}</strong>'
        "<p>expected, in 10 bins; lower is better</p></div>"
    )
    return (
        f"<section><h2>Quality on the test rows</h2><p class=sub>{len(judgement.outcome.truth)} rows of "
        f"photos that no version compared here has seen. {confidence:.0%} intervals: by bootstrap over "
        "photos, and where these are wider exact ones, as few photos do not show every mistake.</p>"
        f'<div class="tiles">{"".join(tiles)}</div></section>'
    )


def _tile(name: str, found: Interval, lower: bool) -> str:
    note = "; lower is better" if lower else ""
    return (
        f'<div class="tile"><h3>{name}</h3><strong>{found.value:.3f}</strong>'
        f"<p>{found.low:.3f} to {found.high:.3f}{note}</p></div>"
    )


def _contest(report: Report) -> str:
    judged = [("baseline of this run", "logistic", report.baseline)]
    judged = [(one.version, one.kind, one.judgement) for one in report.ranked if one.judgement] + judged
    of = around([place for *_, found in judged for place in _ends(found.metrics["macro_precision"])])
    lines = []
    for place, (name, kind, found) in enumerate(judged, 1):
        own = name == report.card.version
        notes = [
            word
            for word, holds in (
                ("new", own),
                ("served", name == report.served),
                ("chosen", name == report.winner),
            )
            if holds
        ]
        first = found.metrics["macro_precision"]
        lines.append(
            f"<tr{' class=own' if own else ''}><td>{place if place < len(judged) else ''}</td>"
            f"<td><code>{shown(name)}</code> {''.join(f'<b class=badge>{note}</b>' for note in notes)}</td>"
            f"<td>{shown(kind)}</td><td class=n>{first.value:.3f}</td>"
            f"<td class=n>{first.low:.3f} to {first.high:.3f}</td>"
            f"<td>{whisker(first.value, first.low, first.high, of, COLOURS[0 if own else 8])}</td>"
            f"<td class=n>{found.metrics['average_precision'].value:.3f}</td>"
            f"<td class=n>{found.metrics['macro_recall'].value:.3f}</td>"
            f"<td class=n>{found.metrics['log_loss'].value:.3f}</td></tr>"
        )
    excluded = "".join(
        f"<tr class=out><td></td><td><code>{shown(one.version)}</code></td>"
        f"<td colspan=7>does not compete: {shown(one.excluded or '')}</td></tr>"
        for one in report.ranked
        if one.judgement is None
    )
    head = _heads(
        "",
        "Version",
        "Model",
        "#Macro precision",
        "#interval",
        "",
        "#Average precision",
        "#Macro recall",
        "#Log-loss",
    )
    return (
        "<section><h2>Bake-off</h2><p class=sub>Every stored version on the same test rows, ranked by "
        "macro precision and then by average precision. The first of many is a little flattered by being the "
        "first.</p>"
        f"<div class=wide><table>{head}{''.join(lines)}{excluded}</table></div></section>"
    )


def _plots(report: Report) -> str:
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


def _confusion(report: Report) -> str:
    matrix = np.array(report.judgement.confusion)
    names = report.card.labels
    wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diag(matrix)
    kept = sorted(np.argsort(-wrong, kind="stable")[:_MAX_CELLS].tolist())
    left = f" Only the {len(kept)} labels with the most mistakes are shown." if len(kept) < len(names) else ""
    lines = []
    for true in kept:
        cells = []
        for said in kept:
            share = matrix[true, said] / max(matrix[true].sum(), 1)
            hue = "0,114,178" if true == said else "213,94,0"
            strength = share if true == said else min(1.0, share * 2)
            cells.append(
                f'<td style="background:rgba({hue},{0.75 * strength:.2f})" '
                f'title="{share:.1%} of {shown(names[true])}">'
                f"{matrix[true, said] or ''}</td>"
            )
        total = int(matrix[true].sum())
        recall = matrix[true, true] / total if total else 0.0
        lines.append(f"<tr><th>{shown(names[true])}</th>{''.join(cells)}<td class=sum>{recall:.3f}</td></tr>")
    precisions = "".join(
        f"<td class=sum>{matrix[said, said] / max(matrix[:, said].sum(), 1):.3f}</td>" for said in kept
    )
    head = "".join(f"<th>{shown(names[said])}</th>" for said in kept)
    return (
        f"<section><h2>Confusion</h2><p class=sub>Rows are what is true, columns what was decided.{left}</p>"
        f'<div class=wide><table class="confusion"><tr><th></th>{head}<th class=sum>recall</th></tr>'
        f"{''.join(lines)}"
        f"<tr><th class=sum>precision</th>{precisions}<td></td></tr></table></div></section>"
    )


def _slices(report: Report) -> str:
    slices = report.judgement.slices
    if not slices:
        return ""
    of = around([place for one in slices for place in _ends(one.accuracy)])
    lines = "".join(
        f"<tr><td>{shown(one.key)}</td><td>{shown(one.value)}</td><td class=n>{one.rows}</td>"
        f"<td class=n>{one.photos}</td><td class=n>{one.accuracy.value:.3f}</td>"
        f"<td>{whisker(one.accuracy.value, one.accuracy.low, one.accuracy.high, of, COLOURS[0])}</td>"
        f"<td class=n>{one.macro_precision:.3f}</td><td class=n>{one.macro_recall:.3f}</td></tr>"
        for one in slices
    )
    head = _heads(
        "Slice", "Value", "#Rows", "#Photos", "#Accuracy", "interval", "#Macro precision", "#Macro recall"
    )
    return f"<section><h2>Slices</h2><div class=wide><table>{head}{lines}</table></div></section>"


def _mistakes(report: Report) -> str:
    """The wrong decisions that were made with the least doubt."""
    outcome, names = report.judgement.outcome, report.card.labels
    own = outcome.probabilities[np.arange(len(outcome.truth)), outcome.truth]
    wrong = np.flatnonzero(~outcome.hits)
    hardest = wrong[np.argsort(own[wrong], kind="stable")][:_MAX_MISTAKES]
    if not len(hardest):
        return "<section><h2>Hardest mistakes</h2><p class=sub>There are none on the test rows.</p></section>"
    lines = "".join(
        f"<tr><td><code>{shown(report.prepared.test.rows[place].photo_id)}</code></td>"
        f"<td>{shown(names[outcome.truth[place]])}</td><td>{shown(names[outcome.decided[place]])}</td>"
        f"<td class=n>{own[place]:.3f}</td>"
        f"<td>{whisker(own[place], 0.0, own[place], SHARE, COLOURS[1])}</td></tr>"
        for place in hardest
    )
    head = _heads("Photo", "True", "Decided", "#Probability of the true label", "")
    return (
        "<section><h2>Hardest mistakes</h2><p class=sub>"
        f"{len(hardest)} of {len(wrong)} wrong decisions, the surest first. A wrong label in the training "
        f"data often shows here.</p><div class=wide><table>{head}{lines}</table></div></section>"
    )


def _data(report: Report) -> str:
    card = report.card
    data = card.data
    counts = "".join(
        f"<tr><td>{shown(label)}</td>"
        f"{''.join(f'<td class=n>{data.sides[side][label]}</td>' for side in SIDES)}"
        f"<td class=n>{sum(data.sides[side][label] for side in SIDES)}</td></tr>"
        for label in card.labels
    )
    moved = (
        f" {data.moved} photos were moved from test to train: earlier versions had seen them or copies."
        if data.moved
        else ""
    )
    facts = {
        "Data digest": data.digest,
        "Spaces": ", ".join(space or "not told" for space in card.spaces),
        "Parameters": _listed(card.model.parameters),
        "Settings": _listed(card.settings),
        "Software": _listed(card.software),
        "Seconds": ", ".join(f"{stage} {taken:.1f}" for stage, taken in report.seconds.items()) or "not told",
    }
    told = "".join(f"<dt>{name}</dt><dd><code>{shown(text)}</code></dd>" for name, text in facts.items())
    return (
        f"<section><h2>Data and settings</h2><p class=sub>{data.rows} rows of {data.photos} photos, "
        f"{data.groups} of which differ.{moved}</p><div class=wide><table>"
        f"{_heads('Label', '#Train', '#Validation', '#Test', '#Rows')}{counts}</table></div>"
        f'<dl class="facts">{told}</dl></section>'
    )


def _heads(*names: str) -> str:
    """A line of headings; those of figures begin with #."""
    cells = (f"<th class=n>{name[1:]}</th>" if name.startswith("#") else f"<th>{name}</th>" for name in names)
    return f"<tr>{''.join(cells)}</tr>"


def _ends(found: Interval) -> tuple[float, float, float]:
    return found.value, found.low, found.high


def _listed(values: object) -> str:
    assert isinstance(values, dict)
    return ", ".join(f"{name} = {value}" for name, value in values.items()) or "none"


_STYLE = """
:root{--ink:#1c2430;--soft:#5c6878;--line:#e3e7ed;--paper:#fff;--back:#f4f6f9;--good:#00734f;--own:#eaf3fb}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa5b4;--line:#323a46;--paper:#1b2028;
  --back:#12161c;--good:#3fc193;--own:#1f2d3b}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 20px 64px}
header{margin-bottom:20px}
h1{margin:0;font-size:30px;line-height:1.2;overflow-wrap:anywhere}
h2{margin:0 0 4px;font-size:19px}
h3{margin:0;font-size:13px;font-weight:600;color:var(--soft)}
.over{margin:0;color:var(--soft);text-transform:uppercase;letter-spacing:.08em;font-size:12px}
.sub{margin:2px 0 12px;color:var(--soft)}
code{font:13px ui-monospace,SFMono-Regular,Menlo,monospace;overflow-wrap:anywhere}
section{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:20px 22px;
  margin:16px 0}
.lead{border-left:5px solid #0072b2}
dl{display:grid;grid-template-columns:110px 1fr;gap:8px 14px;margin:0}
dt{font-weight:600;color:var(--soft)}
dd{margin:0}
.facts{margin-top:18px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px}
.tile{border:1px solid var(--line);border-radius:10px;padding:12px 14px}
.tile strong{font-size:26px;line-height:1.3;font-variant-numeric:tabular-nums}
.tile p{margin:0;font-size:12.5px;color:var(--soft)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(400px,1fr));gap:22px}
figure{margin:0;min-width:0}
figcaption{font-weight:600;margin-bottom:2px}
.plots svg{width:100%;height:auto;display:block}
svg text{fill:var(--soft);font-size:11px}
svg .name{font-size:12px;fill:var(--ink)}
svg .note{fill:var(--ink)}
svg .grid{stroke:var(--line);stroke-width:1}
svg .mark{stroke:var(--ink);stroke-width:1.2;stroke-dasharray:2 3}
.keys{margin:2px 0 0 14px;font-size:12.5px;color:var(--soft)}
.keys span{display:inline-block;margin-right:14px}
.keys i{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:5px}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th{text-align:left;color:var(--soft);font-size:12.5px;font-weight:600}
th,td{padding:6px 9px;border-bottom:1px solid var(--line)}
.n{text-align:right;font-variant-numeric:tabular-nums}
tr.own{background:var(--own)}
tr.out{color:var(--soft)}
.whisker{width:180px;height:18px;display:block}
.badge{display:inline-block;font-size:11.5px;font-weight:600;padding:1px 9px;border-radius:99px;
  background:var(--line);color:var(--ink);vertical-align:middle;margin-left:4px}
.badge.good{background:var(--good);color:var(--paper)}
.confusion{width:auto}
.confusion td,.confusion th{text-align:center;min-width:44px;border:1px solid var(--paper)}
.confusion td{font-variant-numeric:tabular-nums}
.confusion .sum{color:var(--soft);font-size:12.5px}
.confusion tr>th:first-child{text-align:right}
@media(max-width:520px){.plots{grid-template-columns:1fr}
dl{grid-template-columns:1fr}}
"""
