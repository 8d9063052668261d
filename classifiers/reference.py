"""The reference of a version: what its images and scores looked like when it was trained."""

import math
from collections.abc import Iterable

import numpy as np

from classifiers.calibration import probabilities
from classifiers.card import ReferenceCard, SampleCard
from classifiers.head import Head
from classifiers.measures import INPUTS, SCORE, rounded, scores
from classifiers.preparation import Prepared
from classifiers.scoring import scored

MOST_VALUES = 512


def reference_of(head: Head, prepared: Prepared) -> ReferenceCard:
    """Measures are of all rows that have them; scores of those that were held out, by this head."""
    rows = [row for side in (prepared.train, prepared.validation, prepared.test) for row in side.rows]
    vectors = np.concatenate([prepared.validation.vectors, prepared.test.vectors])
    found = probabilities(head.calibration, scored(head.network, vectors))
    samples = {name: sample(row.measures[name] for row in rows if name in row.measures) for name in INPUTS}
    samples[SCORE] = sample(scores(head.card, found).tolist())
    return ReferenceCard(measures={name: kept for name, kept in samples.items() if kept is not None})


def sample(values: Iterable[float]) -> SampleCard | None:
    """The distribution of values, of which those that are no numbers do not count."""
    ordered = sorted(rounded(value) for value in values if math.isfinite(value))
    if not ordered:
        return None
    count = len(ordered)
    # The middles of as many equal parts: the quantiles of the sample are those of the whole.
    places = (np.arange(MOST_VALUES) + 0.5) * count / MOST_VALUES
    kept = ordered if count <= MOST_VALUES else [ordered[place] for place in places.astype(int)]
    return SampleCard(of=count, values=tuple(kept))
