"""What a network says of rows."""

from collections.abc import Sequence

import numpy as np

from classifiers.calibration import probabilities
from classifiers.figures import Outcome, decide
from classifiers.head import Calibration, Floats, Network
from classifiers.preparation import Table


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
