"""The part of a report that shows the reference of a version, and the drift of the one that served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.core.drift import MeasureDrift
from classifiers.card import Card
from classifiers.drift import P_DRIFT, PSI_DRIFT, deserves_a_look
from classifiers.measures import BRIGHTNESS, MEASURES, SCORE, SIZE
from classifiers.plots import COLOURS, SHARE, Plot, Range, around, shown
from classifiers.windows import Windows, health_of

_BARS = 20
_AXES = {BRIGHTNESS: "mean luma", SIZE: "square root of the area, in pixels", SCORE: "probability"}
_HEADS = (
    "<tr><th>Measure</th><th>State</th><th class=n>Median in training</th><th class=n>Median lately</th>"
    "<th class=n>PSI</th><th class=n>KS</th><th class=n>p</th></tr>"
)


@dataclass(frozen=True, slots=True)
class Served:
    """The version that served until the run, and what it has seen."""

    card: Card
    windows: Windows


def drift_section(card: Card, served: Served | None) -> str:
    """Nothing where there is neither a reference nor anything that was seen."""
    parts = []
    if card.reference is not None:
        plots = [
            _plot(name, {f"training ({kept.of} values)": kept.values})
            for name in MEASURES
            if (kept := card.reference.measures.get(name)) is not None
        ]
        parts.append(
            "<section><h2>Reference</h2><p class=sub>What the images of the training looked like, and what "
            "this version says of rows that it was not trained on. What it is asked is compared with this."
            f'</p><div class="plots">{"".join(plots)}</div></section>'
        )
    if served is not None:
        parts.append(_drift(served))
    return "".join(parts)


def _drift(served: Served) -> str:
    card, windows = served.card, served.windows
    health = health_of(card, windows)
    references = {} if card.reference is None else card.reference.measures
    lines = "".join(_line(name, measure) for name, measure in health.measures.items())
    plots = []
    for name, values in windows.values.items():
        if values:
            kept = references.get(name)
            training = {} if kept is None else {"training": kept.values}
            plots.append(_plot(name, {**training, f"the last {len(values)}": values}))
    return (
        f"<section><h2>Drift of the version that served</h2><p class=sub><code>{shown(card.version)}</code> "
        f"was asked {windows.seen:,} times since {windows.since:%Y-%m-%d %H:%M} UTC: "
        f"<b class=badge>{health.state}</b> over the last {health.window}. A measure drifts where its "
        f"population stability index reaches {PSI_DRIFT:g} and the Kolmogorov-Smirnov test has p under "
        f"{P_DRIFT:g}.</p><div class=wide><table>{_HEADS}{lines}</table></div>"
        f'<div class="plots">{"".join(plots)}</div></section>'
    )


def _line(name: str, measure: MeasureDrift) -> str:
    state = f"{measure.state}, but worth a look" if deserves_a_look(measure) else measure.state
    figures = (
        (measure.reference_median, ".2f"),
        (measure.window_median, ".2f"),
        (measure.psi, ".3f"),
        (measure.ks, ".3f"),
        (measure.p_value, ".2g"),
    )
    cells = "".join(
        f"<td class=n>{'' if value is None else format(value, form)}</td>" for value, form in figures
    )
    return f"<tr><td>{name}</td><td>{state}</td>{cells}</tr>"


def _plot(name: str, samples: Mapping[str, Sequence[float]]) -> str:
    x = _range(name, [value for values in samples.values() for value in values])
    edges = np.linspace(x.low, x.high, _BARS + 1)
    shares = [np.histogram(values, edges)[0] / len(values) for values in samples.values()]
    highest = max(float(share.max()) for share in shares)
    plot = Plot(name.capitalize(), _AXES[name], "share", x=x, y=around([highest], floor=0.0))
    for colour, told, share in zip(COLOURS, samples, shares, strict=False):
        plot.bars(edges.tolist(), share.tolist(), colour, told)
    return plot.svg()


def _range(name: str, values: Sequence[float]) -> Range:
    match name:
        case "score":
            return SHARE
        case "brightness":
            return Range(0.0, 255.0)
    return around(values, floor=0.0)
