"""Lanes: what hangs is given up and replaced, and keeps no process from ending."""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from app.core.errors import Internal
from app.runtime.batcher import Batcher
from app.runtime.lanes import LaneLost, Lanes

T = TypeVar("T")


def with_lanes(scenario: Callable[[Lanes], Awaitable[T]], count: int = 1, **options: float) -> T:
    async def run() -> T:
        lanes = Lanes(count, "lane", **options)
        try:
            return await scenario(lanes)
        finally:
            lanes.close()

    return asyncio.run(run())


def fail() -> None:
    raise ValueError("no")


def test_a_lane_gives_what_is_returned_and_what_is_raised():
    async def scenario(lanes: Lanes) -> int:
        assert await lanes.run(lambda: 1) == 1
        with pytest.raises(ValueError, match="no"):
            await lanes.run(fail)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await lanes.run(lambda: next(iter(())))
        return lanes.free

    assert with_lanes(scenario) == 1


def test_a_lane_is_free_again_before_who_waited_goes_on():
    async def scenario(lanes: Lanes) -> None:
        for _ in range(20):
            assert lanes.free == 1
            answer = lanes.run(lambda: None)
            assert lanes.free == 0
            await answer

    with_lanes(scenario)


def test_a_lane_that_hangs_is_replaced(caplog):
    gate = threading.Event()

    async def scenario(lanes: Lanes) -> tuple[int, int, int]:
        with pytest.raises(LaneLost, match=r"0\.05 s"):
            await lanes.run(lambda: gate.wait(30))
        assert await lanes.run(lambda: threading.current_thread().name) == "lane-2"
        gate.set()
        return lanes.free, lanes.lost, lanes.count

    with caplog.at_level(logging.ERROR):
        assert with_lanes(scenario, hung_after=0.05) == (1, 1, 1)
    assert "lane-1 has not answered" in caplog.text


def test_one_that_comes_back_after_all_changes_nothing():
    gate, back = threading.Event(), threading.Event()

    def hang() -> str:
        gate.wait(30)
        back.set()
        return "late"

    async def scenario(lanes: Lanes) -> int:
        with pytest.raises(LaneLost):
            await lanes.run(hang)
        gate.set()
        await asyncio.to_thread(back.wait, 30)
        assert await lanes.run(lambda: "new") == "new"
        return lanes.free

    assert with_lanes(scenario, hung_after=0.05) == 1


def test_a_lane_is_free_again_where_nobody_waited_for_it():
    async def scenario(lanes: Lanes) -> int:
        lanes.run(lambda: None).cancel()
        for _ in range(1000):
            if lanes.free:
                break
            await asyncio.sleep(0.005)
        return await lanes.run(lambda: 7)

    assert with_lanes(scenario) == 7


def test_only_so_many_are_replaced():
    gate = threading.Event()

    async def scenario(lanes: Lanes) -> list[tuple[int, int]]:
        seen = []
        for _ in range(2):
            with pytest.raises(LaneLost):
                await lanes.run(lambda: gate.wait(30))
            seen.append((lanes.count, lanes.free))
        gate.set()
        return seen

    assert with_lanes(scenario, hung_after=0.05, most_lost=1) == [(1, 1), (0, 0)]


def test_the_items_of_a_lost_lane_are_answered_and_the_next_ones_computed():
    gate = threading.Event()

    async def run() -> None:
        batcher = Batcher(Lanes(1, "lane", hung_after=0.05))
        hanging = [batcher.submit("a", lambda items: [gate.wait(30)], n, largest=8) for n in range(3)]
        lost = await asyncio.gather(*hanging)
        assert all(isinstance(each.value, Internal) for each in lost)
        assert all(isinstance(each.value.__cause__, LaneLost) for each in lost)
        assert (await batcher.submit("b", lambda items: [item * 2 for item in items], 2)).value == 4
        gate.set()
        batcher.close()

    asyncio.run(run())


def test_the_end_of_a_loop_ends_the_lanes():
    async def run() -> None:
        lanes = Lanes(1, "ended", hung_after=60)
        answer = lanes.run(lambda: gate.wait(30))
        lanes.close()
        answer.cancel()

    gate = threading.Event()
    asyncio.run(run())
    gate.set()
    for thread in [each for each in threading.enumerate() if each.name.startswith("ended")]:
        thread.join(10)
        assert not thread.is_alive()


def test_a_lane_that_hangs_does_not_keep_the_process():
    code = """
import asyncio, threading
from app.runtime.lanes import Lanes, LaneLost

async def main():
    lanes = Lanes(1, "lane", hung_after=0.05)
    try:
        await lanes.run(threading.Event().wait)
    except LaneLost:
        print("given up")

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "given up\n")
