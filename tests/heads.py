"""Heads for tests: small ones with seeded weights, stored as a training run stores them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from classifiers.card import Card
from classifiers.head import Calibration as NoCalibration
from classifiers.head import Network, arrays_of
from classifiers.shelf import Shelf, version_name
from classifiers.split import Seen

HOG = ("embed_hog_hsv", 2020)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def put_head(
    shelf: Shelf,
    collection: str,
    embeddings: Sequence[tuple[str, int]] = (HOG,),
    *,
    spaces: Sequence[str | None] | None = None,
    labels: Sequence[str] = ("negative", "positive"),
    target: str = "whole_image",
    threshold: float = 0.5,
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
    **more: Any,
) -> Card:
    """Store a head over embeddings with their dimensions, and put it in service."""
    rng = np.random.default_rng(seed)
    width = sum(length for _, length in embeddings)
    scores = 1 if len(labels) == 2 else len(labels)
    layer = (rng.normal(size=(width, scores)), rng.normal(size=scores))
    network = Network(np.zeros(width), np.ones(width), (layer,))
    arrays = arrays_of(network, NoCalibration())
    at = BEGIN + timedelta(seconds=seed)
    two = len(labels) == 2
    aim = {"value": threshold, "aim": "", "met": True, "precision": 1.0, "recall": 1.0}
    card = Card.model_validate(
        {
            "collection": collection,
            "version": version_name(at, arrays),
            "created": at,
            "target": target,
            "embeddings": [{"operation": name, "params": dict(params or {})} for name, _ in embeddings],
            "spaces": spaces or [None] * len(embeddings),
            "dimensions": [length for _, length in embeddings],
            "labels": tuple(labels),
            "positive": labels[1] if two else None,
            "threshold": aim if two else None,
            "model": {"kind": "logistic_regression", "parameters": {}, "reason": ""},
            "calibration": {"method": "none", "losses": {}},
            "data": {"digest": "", "rows": 0, "photos": 0, "groups": 0, "moved": 0, "sides": {}},
            "seed": seed,
            **more,
        }
    )
    with shelf.training(collection):
        card = shelf.store(card, arrays, Seen.of([]), "<p>report")
        assert shelf.promote(collection, card.version)
    return card
