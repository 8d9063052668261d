"""The tables of a report: figures, the bake-off, confusion, slices and mistakes."""

import numpy as np

from classifiers.card import Interval
from classifiers.judging import Judgement
from classifiers.plots import COLOURS, SHARE, around, shown, whisker
from classifiers.report import Report

_MAX_CELLS = 24
_MAX_MISTAKES = 24

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
_LOWER_IS_BETTER = ("log_loss", "brier")


def figures_section(judgement: Judgement, confidence: float) -> str:
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


def contest_section(report: Report) -> str:
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
    head = headings(
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


def confusion_section(report: Report) -> str:
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


def slices_section(report: Report) -> str:
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
    head = headings(
        "Slice", "Value", "#Rows", "#Photos", "#Accuracy", "interval", "#Macro precision", "#Macro recall"
    )
    return f"<section><h2>Slices</h2><div class=wide><table>{head}{lines}</table></div></section>"


def mistakes_section(report: Report) -> str:
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
    head = headings("Photo", "True", "Decided", "#Probability of the true label", "")
    return (
        "<section><h2>Hardest mistakes</h2><p class=sub>"
        f"{len(hardest)} of {len(wrong)} wrong decisions, the surest first. A wrong label in the training "
        f"data often shows here.</p><div class=wide><table>{head}{lines}</table></div></section>"
    )


def headings(*names: str) -> str:
    """A line of headings; those of figures begin with #."""
    cells = (f"<th class=n>{name[1:]}</th>" if name.startswith("#") else f"<th>{name}</th>" for name in names)
    return f"<tr>{''.join(cells)}</tr>"


def _ends(found: Interval) -> tuple[float, float, float]:
    return found.value, found.low, found.high
