"""From photos to a classifier that serves, without a network, and watched for drift."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner
from litestar.testing import TestClient
from sklearn.datasets import load_digits

from app.api.app import build_app
from app.cli import main
from app.core.artifacts import Pixels
from app.core.registry import Registry
from app.main import build_room
from app.settings import Settings
from tests.conftest import ask, nothing_to_load
from tests.images import encoded

Serve = Callable[[Path], TestClient[Any]]


@pytest.fixture(scope="module")
def faces() -> tuple[list[Pixels], list[Pixels]]:
    """A hundred faces, and as many parts of photos that show none (skimage.data.lfw_subset)."""
    from skimage import data

    images = [upscaled(each * 255) for each in data.lfw_subset()]
    return images[:100], images[100:]


@pytest.fixture(scope="module")
def served(registry: Registry) -> Iterator[Serve]:
    """A server over a data folder."""
    opened: list[Any] = []

    def serve(data: Path) -> TestClient[Any]:
        room = build_room(Settings(lanes=2, offline=True, data=data), registry)
        client = TestClient(build_app(room, "0", nothing_to_load), raise_server_exceptions=False)
        opened.append((room, client.__enter__()))
        return opened[-1][1]

    yield serve
    for room, client in opened:
        client.__exit__(None, None, None)
        room.pool.close()
        room.index.close()
        room.classifiers.close()


def upscaled(grey: np.ndarray, side: int = 100) -> Pixels:
    image = PIL.Image.fromarray(grey.clip(0, 255).astype(np.uint8)).resize((side, side))
    return np.asarray(image.convert("RGB"))


def put(folder: Path, images: Sequence[Pixels]) -> None:
    folder.mkdir(parents=True)
    for number, pixels in enumerate(images):
        (folder / f"{number:04d}.png").write_bytes(encoded(pixels))


def trained(source: Path, data: Path) -> dict[str, Any]:
    """Train by the command; the card of the only version."""
    environment = {"SIGHTGRAPH_DATA": str(data)}
    done = CliRunner().invoke(
        main, ["classifiers", "train", "--source", str(source), "--offline"], env=environment
    )
    assert done.exit_code == 0, done.output
    shown = CliRunner().invoke(main, ["classifiers", "show", source.name, "--json"], env=environment)
    (version,) = json.loads(shown.stdout)
    assert version["serves"]
    card: dict[str, Any] = version["card"]
    return card


def classified(client: TestClient[Any], collection: str, pixels: Pixels) -> dict[str, Any]:
    task = {"operation_id": "c", "type": "classify", "params": {"collection_id": collection}}
    result = ask(client, encoded(pixels), task)["results"]["c"]
    assert result["status"] == "success", result
    data: dict[str, Any] = result["data"]
    return data


def drift_of(client: TestClient[Any], collection: str) -> dict[str, Any]:
    drift: dict[str, Any] = client.get(f"/classifiers/{collection}/health").json()["drift"]
    return drift


def test_faces_are_told_from_other_photos(faces, served, tmp_path):
    positive, negative = faces
    put(tmp_path / "faces" / "positive", positive)
    put(tmp_path / "faces" / "negative", negative)
    card = trained(tmp_path / "faces", tmp_path / "data")
    assert card["metrics"]["balanced_accuracy"]["value"] >= 0.9
    client = served(tmp_path / "data")
    answers = [classified(client, "faces", each) for each in (*positive[:20], *negative[:20])]
    assert {answer["version"] for answer in answers} == {card["version"]}
    right = [answer["is_in_collection"] == (number < 20) for number, answer in enumerate(answers)]
    assert sum(right) >= 36


def test_ten_digits_are_told_apart(served, tmp_path):
    digits = load_digits()
    images = [upscaled(each * 16, 64) for each in digits.images[:400]]
    for label in range(10):
        of_label = [image for image, each in zip(images, digits.target, strict=False) if each == label]
        put(tmp_path / "digits" / str(label), of_label)
    card = trained(tmp_path / "digits", tmp_path / "data")
    assert card["metrics"]["balanced_accuracy"]["value"] >= 0.85
    client = served(tmp_path / "data")
    answer = classified(client, "digits", images[0])
    assert set(answer["labels"]) == set("0123456789")
    assert answer["label"] == str(digits.target[0])
    assert answer["is_in_collection"] is None


def test_drift_fires_on_darkened_images_and_is_quiet_on_fresh_ones(faces, served, tmp_path):
    positive, negative = faces
    rng = np.random.default_rng(0)
    mixed = [*positive, *negative]
    order = rng.permutation(len(mixed))
    known, fresh = order[: len(order) // 2], order[len(order) // 2 :]
    for number in known:
        folder = tmp_path / "faces" / ("positive" if number < len(positive) else "negative")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:04d}.png").write_bytes(encoded(mixed[number]))
    trained(tmp_path / "faces", tmp_path / "data")
    client = served(tmp_path / "data")
    for number in fresh:
        classified(client, "faces", mixed[number])
    quiet = drift_of(client, "faces")
    assert quiet["seen"] == len(fresh)
    assert quiet["state"] == "steady", quiet
    for number in fresh:
        classified(client, "faces", (mixed[number] * 0.4).astype(np.uint8))
    fired = drift_of(client, "faces")
    assert fired["state"] == "drifting", fired
    assert fired["measures"]["brightness"]["state"] == "drifting"
    assert (
        fired["measures"]["brightness"]["window_median"] < fired["measures"]["brightness"]["reference_median"]
    )
