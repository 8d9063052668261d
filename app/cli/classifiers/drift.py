"""What a command tells of drift: as of when a server last wrote down what it was asked."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.core.drift import Health, MeasureDrift
    from classifiers.card import Card
    from classifiers.shelf import Shelf


def drift_of(shelf: "Shelf", card: "Card") -> "Health":
    from classifiers.windows import health_of, read_windows

    return health_of(card, read_windows(shelf.folder, card))


def told_drift(health: "Health") -> str:
    """In a line."""
    from classifiers.drift import LEAST_VALUES, deserves_a_look

    if not health.seen or health.since is None:
        return f"{health.state}; no server has told yet what the version was asked"
    over = f"the last {health.window:,} of {health.seen:,} images since {health.since:%Y-%m-%d %H:%M} UTC"
    match health.state:
        case "unknown":
            return f"unknown over {over}: the version keeps nothing of its training to compare with"
        case "collecting":
            return f"collecting: {health.window:,} of the {LEAST_VALUES} images that are needed"
    named = {
        "": [name for name, measure in health.measures.items() if measure.state == "drifting"],
        "worth a look: ": [name for name, measure in health.measures.items() if deserves_a_look(measure)],
    }
    parts = [
        lead + ", ".join(f"{name} {_moved(health.measures[name])}" for name in names)
        for lead, names in named.items()
        if names
    ]
    return f"{health.state} over {over}{''.join(f'; {part}' for part in parts)}"


def _moved(measure: "MeasureDrift") -> str:
    return (
        f"was {measure.reference_median:.4g} and is {measure.window_median:.4g} in the middle "
        f"(PSI {measure.psi:.2f}, p {measure.p_value:.1g})"
    )
