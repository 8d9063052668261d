"""Watching what versions are asked: counted, bounded, kept over a restart, and nothing but numbers."""

import json
import logging
import math
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core.artifacts import Crop
from app.core.geometry import Box
from classifiers import watch as watching
from classifiers.card import Card
from classifiers.reference import sample
from classifiers.watch import Watch
from classifiers.windows import WINDOW, read_windows
from operations.measure_region import MeasureParams, measure_region
from tests.classifiers.test_head import card as plain_card
from tests.images import astronaut, image_of

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = "20260101T000000000000Z-0123456789ab", "20260102T000000000000Z-0123456789ab"


class Clock:
    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a shelf with the collection `test`."""
    (tmp_path / "test").mkdir()
    return tmp_path


def card(version: str = OLD, **more: Any) -> Card:
    rng = np.random.default_rng(0)
    spread = {"brightness": rng.normal(120, 30, 300), "size": np.full(300, 640.0), "score": rng.random(300)}
    measures = {name: sample(values.tolist()) for name, values in spread.items()}
    return plain_card(version=version, **{"reference": {"measures": measures}, **more})


def ask(watch: Watch, card: Card, count: int, *, brightness: float = 120, seed: int = 1) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        watch.observe(card, {"brightness": rng.normal(brightness, 30), "size": 640.0}, rng.random())


def file_of(folder: Path) -> Path:
    return folder / "test" / "watch.json"


def test_what_is_as_in_training_is_steady(clock):
    watch, one = Watch(None, clock), card()
    assert watch.health(one).state == "collecting"
    ask(watch, one, 99)
    assert watch.health(one).state == "collecting"
    ask(watch, one, 301, seed=2)
    health = watch.health(one)
    assert health.state == "steady"
    assert {measure.state for measure in health.measures.values()} == {"steady"}
    assert (health.version, health.spaces, health.since) == (OLD, one.spaces, BEGIN)
    assert (health.seen, health.window) == (400, 400)


def test_what_has_changed_drifts_and_comes_back(clock):
    watch, one = Watch(None, clock), card()
    ask(watch, one, 300)
    ask(watch, one, WINDOW, brightness=60, seed=2)
    health = watch.health(one)
    assert health.state == health.measures["brightness"].state == "drifting"
    assert health.measures["size"].state == health.measures["score"].state == "steady"
    assert health.measures["brightness"].window_median == pytest.approx(60, abs=5)
    assert (health.seen, health.window) == (800, WINDOW)
    ask(watch, one, WINDOW, seed=3)
    assert watch.health(one).state == "steady"


def crops(count: int, seed: int, light: float = 1.0) -> list[Crop]:
    """Parts of a photo, as a camera sees a scene."""
    rng = np.random.default_rng(seed)
    image = image_of((astronaut() * light).astype(np.uint8))
    places = rng.integers(0, 384, (count, 2)).tolist()
    return [Crop(image, Box(x, y, x + 128, y + 128)) for x, y in places]


def test_darkened_images_drift_and_fresh_ones_do_not(clock):
    """As the operation measures them."""

    def measured(count: int, seed: int, light: float = 1.0) -> list[dict[str, float]]:
        found = measure_region.run(crops(count, seed, light), MeasureParams())
        return [each.model_dump() for each in found]

    training = measured(250, 0)
    one = card(
        reference={
            "measures": {
                name: sample(row[name] for row in training).model_dump() for name in ("brightness", "size")
            }
        }
    )
    for light, state in ((1.0, "steady"), (0.5, "drifting")):
        watch = Watch(None, clock)
        for row in measured(150, 1, light):
            watch.observe(one, row, 0.5)
        health = watch.health(one)
        assert health.state == health.measures["brightness"].state == state
        assert health.measures["size"].state == "steady"
        assert health.measures["score"].state == "unknown"


def test_a_new_version_begins_anew(clock):
    watch, old, new = Watch(None, clock), card(), card(NEW)
    ask(watch, old, 200)
    clock.wait(60)
    ask(watch, new, 1)
    assert (watch.health(new).seen, watch.health(new).since) == (1, BEGIN + timedelta(minutes=1))
    # Requests that were under way go on to count for the old one.
    ask(watch, old, 1)
    assert watch.health(old).seen == 201
    spaces = card(spaces=("a", "b"))
    assert watch.health(spaces).seen == 0
    assert watch.health(card(collection="other")).seen == 0


def test_a_version_without_a_reference_is_unknown(clock):
    watch, one = Watch(None, clock), card(reference=None)
    ask(watch, one, 150)
    health = watch.health(one)
    assert (health.state, health.seen) == ("unknown", 150)
    assert health.measures["brightness"].window_median == pytest.approx(120, abs=10)


def test_what_is_no_measure_does_not_count(clock):
    watch, one = Watch(None, clock), card()
    for value in (math.nan, math.inf, -math.inf):
        watch.observe(one, {"brightness": value, "photo": 7.0}, value)
    health = watch.health(one)
    assert (health.seen, health.window) == (3, 0)
    assert set(health.measures) == {"brightness", "size", "score"}


def test_heads_are_bounded(clock, folder, monkeypatch):
    monkeypatch.setattr(watching, "MOST_HEADS", 2)
    for home in "abc":
        (folder / home).mkdir()
    a, b, c = (card(collection=name) for name in "abc")
    watch = Watch(folder, clock)
    for each in (a, b, a):
        ask(watch, each, 1)
    # To look at one that nobody asks takes no place from those that are asked.
    assert watch.health(c).seen == 0
    assert watch.health(a).seen == 2
    clock.wait(30)
    ask(watch, c, 1)
    ask(watch, b, 1)
    assert watch.health(c).seen == 1
    watch.close()
    assert watch.health(a).seen == 2


def test_a_restart_goes_on(clock, folder):
    one = card()
    watch = Watch(folder, clock)
    ask(watch, one, 600)
    watch.close()
    clock.wait(3600)
    again = Watch(folder, clock)
    assert again.health(one) == watch.health(one)
    ask(again, one, 1)
    assert (again.health(one).seen, again.health(one).since) == (601, BEGIN)
    again.close()
    again.close()
    assert Watch(folder, clock).health(one).seen == 601
    assert Watch(folder, clock).health(card(NEW)).seen == 0


def test_nothing_of_an_image_is_kept(clock, folder):
    watch = Watch(folder, clock)
    watch.observe(card(), {"brightness": 1 / 3, "size": 2.0, "photo": 7.0}, 0.123456789)
    watch.close()
    assert json.loads(file_of(folder).read_bytes()) == {
        "format": 1,
        "collection": "test",
        "version": OLD,
        "spaces": [None, None],
        "since": "2026-01-01T00:00:00Z",
        "seen": 1,
        "values": {"brightness": [0.3333], "size": [2.0], "score": [0.1235]},
    }
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["watch.json"]


def test_it_is_written_now_and_then(clock, folder):
    watch, one = Watch(folder, clock), card()

    def kept() -> int:
        windows = read_windows(folder, one)
        return 0 if windows is None else windows.seen

    ask(watch, one, 1)
    clock.wait(29)
    ask(watch, one, 1)
    assert kept() == 0
    clock.wait(1)
    ask(watch, one, 1)
    assert kept() == 3
    ask(watch, one, 1)
    assert kept() == 3
    # A clock that is set back does not stop it for years.
    clock.wait(-10_000)
    ask(watch, one, 1)
    assert kept() == 5
    before = file_of(folder).stat().st_mtime_ns
    watch.close()
    assert file_of(folder).stat().st_mtime_ns == before


def test_the_version_that_was_asked_last_is_written(clock, folder):
    watch = Watch(folder, clock)
    for version in (NEW, OLD):
        ask(watch, card(version), 2)
    watch.close()
    assert read_windows(folder, card(OLD)) is not None
    assert read_windows(folder, card(NEW)) is None


def test_without_a_folder_nothing_is_written(clock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watch = Watch(None, clock)
    clock.wait(60)
    ask(watch, card(), 1)
    watch.close()
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_kept(clock, tmp_path, caplog):
    watch, one = Watch(tmp_path, clock), card()
    clock.wait(60)
    with caplog.at_level(logging.WARNING):
        ask(watch, one, 2)
    assert [each.getMessage() for each in caplog.records] == [
        "What 'test' was asked lately cannot be kept (No such file or directory)."
    ]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "test").mkdir()
    clock.wait(30)
    ask(watch, one, 1)
    windows = read_windows(tmp_path, one)
    assert windows is not None
    assert windows.seen == 3


DAMAGES = {
    "empty": b"",
    "half": b'{"format": 1, "collection": "test"',
    "list": b"[]",
    "deep": b"[" * 100_000,
    "large": b" " * 2_000_000,
    "binary": b"\xff\x00",
}


@pytest.mark.parametrize("content", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_ignored(clock, folder, caplog, content):
    file_of(folder).write_bytes(content)
    watch, one = Watch(folder, clock), card()
    with caplog.at_level(logging.WARNING):
        assert watch.health(one).seen == 0
    assert "is counted anew" in caplog.text
    ask(watch, one, 2)
    watch.close()
    assert Watch(folder, clock).health(one).seen == 2


@pytest.mark.parametrize(
    "change",
    [
        {"seen": 0},
        {"seen": "many"},
        {"values": {"photo": [1.0]}},
        {"values": {"score": [None]}},
        {"values": {"score": [0.5] * (WINDOW + 1)}},
        {"since": None},
        {"version": "../up"},
        {"url": "http://x"},
    ],
)
def test_a_file_with_wrong_fields_is_ignored(clock, folder, change):
    one = card()
    watch = Watch(folder, clock)
    ask(watch, one, 2)
    watch.close()
    fields = json.loads(file_of(folder).read_bytes())
    file_of(folder).write_text(json.dumps({**fields, **change}))
    assert Watch(folder, clock).health(one).seen == 0


def test_a_file_of_another_collection_is_ignored(clock, folder, caplog):
    watch = Watch(folder, clock)
    ask(watch, card(), 2)
    watch.close()
    (folder / "other").mkdir()
    file_of(folder).rename(folder / "other" / "watch.json")
    assert Watch(folder, clock).health(card(collection="other")).seen == 0
    assert caplog.text == ""


def test_many_threads(folder):
    # Every look at the clock is a minute later, so that each one wants to write.
    ticks = iter(range(10_000_000))
    ticking = threading.Lock()

    def clock() -> datetime:
        with ticking:
            return BEGIN + timedelta(minutes=next(ticks))

    watch, one = Watch(folder, clock), card()
    failures: list[Exception] = []
    done = threading.Event()

    def observe(seed: int) -> None:
        try:
            ask(watch, one, 50, seed=seed)
        except Exception as error:
            failures.append(error)

    def look() -> None:
        try:
            while not done.is_set():
                health = watch.health(one)
                assert health.window == min(health.seen, WINDOW)
                windows = read_windows(folder, one)
                assert windows is None or {len(values) for values in windows.values.values()} == {
                    min(windows.seen, WINDOW)
                }
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=observe, args=(seed,)) for seed in range(8)]
    looking = threading.Thread(target=look)
    for thread in (looking, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    looking.join()
    assert failures == []
    assert watch.health(one).seen == 400
    watch.close()
    assert Watch(folder, clock).health(one).seen == 400
