"""Classifiers as image_embed trains and stores them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression

CLIP = "embed_clip_vit_b_32"
FILE = "collection_{}_classifier_2025-10-07_023202.pkl"


def fitted(width: int = 512, *, seed: int = 0, rows: int = 60) -> LogisticRegression:
    """Fitted on lists of floats, labelled true and false."""
    vectors, labels = drawn(width, seed=seed, rows=rows)
    model = LogisticRegression(class_weight="balanced", C=0.1, solver="liblinear", random_state=42)
    return model.fit(vectors.tolist(), labels)


def drawn(width: int, *, seed: int = 0, rows: int = 60) -> tuple[np.ndarray, list[bool]]:
    rng = np.random.default_rng(seed)
    labels = [number % 3 == 0 for number in range(rows)]
    vectors = rng.normal(size=(rows, width)).astype(np.float32) / np.sqrt(width)
    vectors[:, 0] += labels
    return vectors, labels


def entry(
    collection: int = 7, embedding: str = CLIP, width: int | None = 512, **fields: Any
) -> dict[str, Any]:
    return {
        "model_file": FILE.format(collection),
        "derivative_type": "prominent_face",
        "embedding_type": embedding,
        "dimensionality": width,
        **fields,
    }


def put(folder: Path, entries: Mapping[str, Any], models: Mapping[str, Any]) -> Path:
    """A folder with `best_models.json` and pickles of these models by the names of their files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "best_models.json").write_text(json.dumps(entries))
    for name, model in models.items():
        joblib.dump(model, folder / name)
    return folder
