"""How the cores are divided between lanes."""

import logging
import multiprocessing
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest
import torch

from app.cli.serve import divided
from app.engines import device, division
from app.engines.device import compute_from_now_on, compute_on
from app.engines.division import Division, best_division, divisions, fastest_call, measured_divisions
from app.settings import Settings


@pytest.mark.parametrize(
    ("cores", "lanes"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 3, 6]), (7, [1, 7]), (16, [1, 2, 4, 8, 16])]
)
def test_every_division_uses_all_cores(cores, lanes):
    found = divisions(cores)
    assert [each.lanes for each in found] == lanes
    assert all(each.lanes * each.threads == cores for each in found)


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        pytest.param([100, 180], (2, 1), id="many lanes"),
        pytest.param([200, 100], (1, 2), id="one lane"),
        pytest.param([105, 100], (2, 1), id="nothing to speak of"),
        pytest.param([0, 0], (2, 1), id="nothing at all"),
        pytest.param([10, 300, 100], (2, 2), id="between them"),
    ],
)
def test_the_one_with_the_most_calls_is_taken_where_it_is_clearly_better(rates, best):
    found = divisions(2 ** (len(rates) - 1))
    # A call alone on few threads leaves cores idle, and is no division of all.
    alone = {Division(1, 1): 1000.0}
    assert best_division(alone | dict(zip(found, rates, strict=True))) == best


@pytest.mark.parametrize(
    ("rates", "threads"),
    [
        pytest.param({1: 100, 2: 140}, 2, id="sooner than on one"),
        pytest.param({1: 100, 2: 95}, 2, id="as soon, for all that can be told"),
        pytest.param({1: 100, 2: 85}, 2, id="a little later, as where something else runs"),
        pytest.param({1: 100, 2: 70}, 1, id="later, as where a container has one core"),
        pytest.param({1: 100, 2: 180, 4: 300}, 4, id="the more the sooner"),
        pytest.param({1: 100, 2: 190, 4: 150}, 2, id="more threads are in each other's way"),
        pytest.param({1: 100, 8: 400, 16: 600}, 8, id="of very many each lane would keep its own"),
        pytest.param({1: 0, 2: 0}, 1, id="nothing at all"),
    ],
)
def test_one_call_has_the_threads_on_which_it_takes_least(rates, threads):
    together = {Division(max(rates), 1): 1000.0}
    assert fastest_call({Division(1, each): rate for each, rate in rates.items()} | together) == threads


def test_what_is_found_is_taken():
    found = divided(Settings())
    assert found.lanes * found.threads == Settings().lanes
    assert found.threads <= found.threads_alone <= Settings().lanes


def test_threads_are_those_of_the_thread_that_asks():
    def on_two() -> int:
        compute_from_now_on(2)
        return torch.get_num_threads()

    before = torch.get_num_threads()
    try:
        compute_on(1)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(on_two).result() == 2
            assert torch.get_num_threads() == 1
            assert pool.submit(torch.get_num_threads).result() == 2
    finally:
        # Also what new threads begin with.
        torch.set_num_threads(before)


def test_a_lane_computes_while_another_thread_imports_torch(monkeypatch):
    monkeypatch.setattr(device, "_torch", None)
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    compute_from_now_on(2)


def test_each_is_measured_and_the_threads_are_as_before():
    before = torch.get_num_threads()
    rates = measured_divisions(2)
    assert list(rates) == [Division(1, 2), Division(2, 1), Division(1, 1)]
    assert all(rate > 0 for rate in rates.values())
    assert torch.get_num_threads() == before


def test_what_is_set_is_not_measured(monkeypatch):
    for name, value in (
        ("SIGHTGRAPH_LANES", "3"),
        ("SIGHTGRAPH_THREADS", "3"),
        ("SIGHTGRAPH_THREADS_ALONE", "3"),
    ):
        with monkeypatch.context() as environment:
            environment.setenv(name, value)
            settings = Settings()
            assert divided(settings) is settings


def ends(cores, to):
    """In place of what measures."""
    raise SystemExit(3)


def hangs(cores, to):
    """In place of what measures."""
    time.sleep(60)


@pytest.mark.parametrize("fails", [ends, hangs])
def test_a_server_starts_where_nothing_can_be_measured(monkeypatch, caplog, fails):
    monkeypatch.setattr(division, "_send_rates", fails)
    if fails is hangs:
        monkeypatch.setattr(division, "_PATIENCE_SECONDS", 0.01)
    settings, others = Settings(), multiprocessing.active_children()
    caplog.set_level(logging.WARNING)
    assert divided(settings) is settings
    assert settings.threads == settings.threads_alone == 1
    assert "cannot be measured" in caplog.text
    assert set(multiprocessing.active_children()) <= set(others)
