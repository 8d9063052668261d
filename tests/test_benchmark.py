"""The benchmark of serving: its figures, and a run of the smallest kind."""

import asyncio
import importlib
import io
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from app.cli.bench.figures import percentile, percentiles
from app.main import build_room
from app.settings import Settings
from scripts.benchmark_figures import arrivals, growth_percent, ratio, ratios
from scripts.benchmark_images import Photos
from scripts.benchmark_scenarios import SCENARIOS, Agreement
from tests.conftest import served

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"

# Figures


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 50, None),
        ([7.0], 1, 7.0),
        ([7.0], 99, 7.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([1.0, 2.0], 50, 1.0),
        (list(range(1, 101)), 95, 95),
        (list(range(1, 101)), 99, 99),
        (list(range(1, 101)), 100, 100),
        ([1.0, 2.0, 3.0], 0, 1.0),
    ],
)
def test_a_percentile_is_the_nearest_rank(values, percent, expected):
    assert percentile(values, percent) == expected


def test_percentiles_of_nothing_are_none():
    assert percentiles([]) == {"count": 0, "p50_ms": None, "p95_ms": None, "p99_ms": None}


def test_arrivals_are_those_of_their_seed_and_rate():
    times = arrivals(50, 100, seed=1)
    assert times == arrivals(50, 100, seed=1) != arrivals(50, 100, seed=2)
    assert times == sorted(times)
    assert all(0 < at < 100 for at in times)
    # Of a Poisson process: 5000 give or take 71, and gaps that spread as much as they are long.
    assert 4700 < len(times) < 5300
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert 0.9 < np.std(gaps) / np.mean(gaps) < 1.1


@pytest.mark.parametrize(
    ("part", "whole", "expected"), [(3.0, 2.0, 1.5), (None, 2.0, None), (3.0, None, None), (3.0, 0.0, None)]
)
def test_a_ratio_needs_both_parts(part, whole, expected):
    assert ratio(part, whole) == expected


def test_growth_is_in_percent():
    assert growth_percent(200, 203) == 1.5
    assert growth_percent(200, 190) == -5.0
    assert growth_percent(0, 1) is None


def load(p50_ms: float, throughput: float, light_p99_ms: float) -> dict[str, Any]:
    return {"p50_ms": p50_ms, "throughput": throughput, "light": {"p99_ms": light_p99_ms}}


def test_ratios_name_scenario_and_concurrency():
    ours = {"load": {"1": load(110, 9, 5), "8": load(500, 18, 6)}, "overload": {"goodput_share": 0.9}}
    plain = {"load": {"1": load(120, 8, 100), "8": load(900, 9, 800)}, "overload": {"goodput_share": 0.0}}
    cached = {"load": {"1": load(7.5, 130, 3)}, "probe": {"p50_ms": 2.5}}
    found = ratios(
        {
            "face": {"servers": {"ours": ours, "plain": plain}, "bound": {"one_thread": {"p50_ms": 100}}},
            "cached": {"servers": {"ours": cached, "plain": {"load": {"1": load(150, 6, 150)}}}},
            "mixed": {"memory": {"growth_percent": 1.2}},
        }
    )
    assert found == {
        "throughput_vs_plain": {"face": {"1": 1.125, "8": 2.0}, "cached": {"1": 21.6667}},
        "wall_vs_bound": {"face": 1.1},
        "light_p99_ms": {"face": {"1": 5, "8": 6}, "cached": {"1": 3}},
        "plain_light_p99_ms": {"face": {"1": 100, "8": 800}, "cached": {"1": 150}},
        "cached_overhead_ms": 2.5,
        "memory_growth": 1.2,
        "goodput_at_4x": {"face": 0.9},
    }


def test_ratios_of_nothing_have_their_names():
    assert set(ratios({})) == {
        "throughput_vs_plain",
        "wall_vs_bound",
        "light_p99_ms",
        "plain_light_p99_ms",
        "cached_overhead_ms",
        "memory_growth",
        "goodput_at_4x",
    }


# Images and answers


def test_photos_differ_in_their_pixels_and_are_those_of_their_seed():
    photos = Photos(seed=1)
    assert photos.jpeg(3) == Photos(seed=1).jpeg(3)
    files = [photos.jpeg(0), photos.jpeg(1), Photos(seed=2).jpeg(0)]
    decoded = {PIL.Image.open(io.BytesIO(file)).tobytes() for file in files}
    assert len(decoded) == 3
    assert 100_000 <= len(photos.of_100_kb) < 130_000


def answer(vector: list[float], box: list[int] | None, text: str = "a") -> dict[str, Any]:
    return {"vector": vector, "box": box, "text": text}


TASKS = [
    {"operation_id": "vector", "type": "embed_clip_vit_b_32"},
    {"operation_id": "box", "type": "detect_bounding_box"},
    {"operation_id": "text", "type": "describe_image"},
]


@pytest.mark.parametrize(
    ("theirs", "holds"),
    [
        (answer([1.0, 2.0], [0, 0, 9, 9]), True),
        (answer([1.0, 2.000001], [1, 0, 9, 9], "b"), True),
        (answer([2.0, 1.0], [0, 0, 9, 9]), False),
        (answer([1.0], [0, 0, 9, 9]), False),
        (answer([1.0, 2.0], [2, 0, 9, 9]), False),
        (answer([1.0, 2.0], None), False),
    ],
)
def test_answers_agree_within_a_tolerance(theirs, holds):
    agreement = Agreement()
    agreement.compare(answer([1.0, 2.0], [0, 0, 9, 9]), theirs, TASKS)
    assert agreement.images == 1
    assert agreement.holds is holds


def test_scenarios_name_the_engines_that_they_need():
    assert SCENARIOS["face"].engines == ["mtcnn"]
    assert set(SCENARIOS["full"].engines) == {"opencv-hog-people", "mtcnn", "ViT-B-32", "dinov2-base"}


# Runs


# It starts three processes, each with torch, on a machine that may be busy.
@pytest.mark.timeout(600)
def test_a_run_writes_figures_and_a_picture(tmp_path):
    figures_file, picture = tmp_path / "figures.json", tmp_path / "figures.png"
    command = [sys.executable, SCRIPTS / "benchmark.py", "serve", "--scenario", "face", "--concurrency", "1"]
    options = ["--no-overload", "--duration", "1", "--json", figures_file, "--plot", picture]
    # Said, how the cores are divided need not be measured.
    environment = {**os.environ, "SIGHTGRAPH_LANES": "2"}
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "cores" in done.stdout

    figures = json.loads(figures_file.read_text())
    face = figures["scenarios"]["face"]
    for server in ("ours", "plain"):
        (level, found), *others = face["servers"][server]["load"].items()
        assert (level, others) == ("1", [])
        assert found["count"] > 0
        assert found["failed"] == 0
        assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"]
        assert found["throughput"] > 0
        assert found["light"]["count"] > 0
        if sys.platform == "linux":
            assert found["cpu_seconds"] > 0
            assert face["servers"][server]["peak_memory_bytes"] > 100e6
    assert face["bound"]["one_thread"]["count"] == face["bound"]["all_threads"]["count"] > 0
    assert face["agreement"]["images"] > 0
    assert face["agreement"]["holds"]
    assert figures["ratios"] == ratios(figures["scenarios"])
    assert figures["ratios"]["throughput_vs_plain"]["face"]["1"] > 0
    assert figures["ratios"]["wall_vs_bound"]["face"] > 0
    with PIL.Image.open(picture) as image:
        assert image.format == "PNG"


def test_under_overload_every_arrival_is_counted_once(server_url, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    of_load = importlib.import_module("benchmark_load")
    client = of_load.Client(of_load.Server("ours", server_url), SCENARIOS["face"], Photos(seed=1))
    seen = of_load.Seen()
    times = arrivals(20, 0.5, seed=1)

    async def scenario() -> list[float]:
        await client.warm_up(1)
        return await client.flood(times, 50, seen)

    good = asyncio.run(scenario())
    assert len(good) == len(seen.ms) == len(times) - seen.refused - seen.failed
    assert seen.failed == 0, seen.problem
    assert all(at > times[0] for at in good)
    assert seen.light_ms


def test_requests_of_every_kind_are_answered_as_they_should(registry, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    benchmark, of_load = (
        importlib.import_module("benchmark_memory"),
        importlib.import_module("benchmark_load"),
    )
    for name, value in benchmark.environment_of_mixed().items():
        monkeypatch.setenv(name, value)
    room = build_room(Settings(lanes=2, offline=True, data=tmp_path), registry)
    try:
        with served(room) as url:
            found = asyncio.run(benchmark.mixed(of_load.Server("ours", url, os.getpid()), 1, total=100))
    finally:
        room.pool.close()
        room.index.close()
        room.classifiers.close()
    benchmark.require_right(found)
    assert all(found["statuses"].values())
    assert sum(sum(seen.values()) for seen in found["statuses"].values()) == 100
    assert found["memory"]["requests"] == 100
    assert found["memory"]["warm_up"] == 50
