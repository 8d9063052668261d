"""The report of a run: one HTML page that needs nothing else, and runs no script."""

from classifiers.plots import shown
from classifiers.report import Report
from classifiers.report_curves import curves_section
from classifiers.report_drift import drift_section
from classifiers.report_tables import (
    confusion_section,
    contest_section,
    figures_section,
    headings,
    mistakes_section,
    slices_section,
)
from classifiers.split import SIDES
from classifiers.threshold import told

# The page is written before a version is put in service, and stays when a person decides otherwise.
_AS_OF_THE_RUN = "This is as of the run; best_models.json tells what serves now."


def page(report: Report) -> str:
    card = report.card
    wins = report.winner == card.version
    sections = [
        _summary(report),
        figures_section(report.judgement, report.settings.confidence),
        contest_section(report),
        curves_section(report),
        confusion_section(report),
        slices_section(report),
        mistakes_section(report),
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
        f"{headings('Label', '#Train', '#Validation', '#Test', '#Rows')}{counts}</table></div>"
        f'<dl class="facts">{told}</dl></section>'
    )


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
