"""Training sets for tests: made up, or scikit-learn's digits."""

from collections.abc import Iterable

import numpy as np
from sklearn.datasets import load_digits

from classifiers.rows import Embedding, Row, TrainingSet


def two_labels(
    count: int = 400, seed: int = 0, *, gap: float = 1.5, name: str = "two", photos: int | None = None
) -> TrainingSet:
    """A quarter of the rows is positive; of `photos` photos there are several rows each."""
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < 0.25
    vectors = rng.normal(size=(count, 8)).astype(np.float32)
    vectors[:, :2] += gap * labels[:, None]
    return of_rows(
        (
            Row(
                f"{name}-{seed}-{number % (photos or count)}",
                "positive" if label else "negative",
                (vector,),
                slices={"camera": "abc"[number % 3]},
            )
            for number, (label, vector) in enumerate(zip(labels, vectors, strict=True))
        ),
        name=name,
    )


def of_rows(rows: Iterable[Row], *, name: str = "two") -> TrainingSet:
    return TrainingSet(
        name=name,
        target="whole_image",
        embeddings=(Embedding("embed_hog_hsv"),),
        spaces=("space",),
        labels=("negative", "positive"),
        rows=tuple(rows),
        positive="positive",
    )


def digits() -> TrainingSet:
    data = load_digits()
    return TrainingSet(
        name="digits",
        target="whole_image",
        embeddings=(Embedding("embed_hog_hsv"),),
        spaces=("space",),
        labels=tuple("0123456789"),
        rows=tuple(
            Row(f"digit-{number}", str(label), (vector.astype(np.float32),))
            for number, (vector, label) in enumerate(zip(data.data, data.target, strict=True))
        ),
    )
