"""Batches on lanes: who goes together, in which order, who fails alone, and what survives a failure."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import Internal, InvalidParams, TaskError
from app.runtime.batcher import Batcher, CallThreads, Computed, bisected
from app.runtime.call_cost import CallCost
from app.runtime.lanes import Lanes

# Only a failing test waits as long as this.
PATIENCE_SECONDS = 10


class Recorder:
    """A computation that keeps the batches which it was given."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        self.batches.append(list(items))
        return [f"{item} done" for item in items]


class Gate:
    """A computation that holds its lane until it is opened."""

    def __init__(self) -> None:
        self._entered, self._open = threading.Event(), threading.Event()

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        self._entered.set()
        assert self._open.wait(PATIENCE_SECONDS)
        return list(items)

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, PATIENCE_SECONDS)

    def open(self) -> None:
        self._open.set()


@asynccontextmanager
async def held(batcher: Batcher) -> AsyncIterator[Gate]:
    """A batcher whose one lane is busy; the lane is free again at the end."""
    gate = Gate()
    holding = asyncio.create_task(batcher.submit("gate", gate, "gate"))
    await gate.entered()
    try:
        yield gate
    finally:
        gate.open()
        await holding


def in_loop(scenario: Callable[[Batcher], Coroutine[Any, Any, Any]], lanes: int = 1) -> Any:
    """Run a scenario over a batcher and close it."""

    async def whole() -> Any:
        batcher = Batcher(Lanes(lanes, "lane"))
        try:
            return await scenario(batcher)
        finally:
            batcher.close()

    return asyncio.run(whole())


def double(items: Sequence[int]) -> list[int]:
    return [2 * item for item in items]


def refuse_negative(items: Sequence[int]) -> list[int]:
    for item in items:
        if item < 0:
            raise ValueError(f"/secret/path holds {item}")
    return double(items)


# Together


@pytest.mark.parametrize(
    ("count", "largest", "sizes"),
    [(1, 8, [1]), (5, 8, [5]), (8, 8, [8]), (9, 8, [8, 1]), (5, 2, [2, 2, 1]), (3, 1, [1, 1, 1])],
)
def test_items_of_one_turn_form_batches_up_to_the_largest(count, largest, sizes):
    record = Recorder()

    async def scenario(batcher: Batcher) -> list[Computed]:
        return await asyncio.gather(*(batcher.submit("a", record, n, largest=largest) for n in range(count)))

    answers = in_loop(scenario)
    assert [answer.value for answer in answers] == [f"{n} done" for n in range(count)]
    assert [len(batch) for batch in record.batches] == sizes
    assert [item for batch in record.batches for item in batch] == list(range(count))


def test_what_gathers_while_the_lane_is_busy_goes_together():
    record = Recorder()

    async def scenario(batcher: Batcher) -> None:
        async with held(batcher):
            tasks = []
            for item in "abc":
                tasks.append(asyncio.create_task(batcher.submit("late", record, item, largest=8)))
                await asyncio.sleep(0)
            assert batcher.waiting == 3
        await asyncio.gather(*tasks)
        assert batcher.waiting == 0

    in_loop(scenario)
    assert record.batches == [["a", "b", "c"]]


@pytest.mark.parametrize(
    ("costs", "first"),
    [
        pytest.param([(0.5, 1)], [3, 3], id="one kind, in halves"),
        pytest.param([(0.5, 1), (1, 2)], [6, 5], id="of the longer kind a part goes after the shorter one"),
        pytest.param([(1, 2), (0.5, 1)], [5, 1], id="the first kind goes first"),
        pytest.param([(0.5, 1), (50, 100)], [6, 3], id="a long kind is halved"),
        pytest.param([(10, 0.5)], [3, 3], id="a call that costs much itself"),
    ],
)
def test_what_waits_is_divided_so_that_all_lanes_finish_together(costs, first):
    # Both lanes hold a batch before either goes on.
    both = threading.Barrier(2)
    record = Recorder()

    def hold(items: Sequence[Any]) -> list[Any]:
        answers = record(items)
        if len(record.batches) <= 2:
            both.wait(PATIENCE_SECONDS)
        return answers

    async def scenario(batcher: Batcher) -> None:
        tasks = []
        for per_call, per_item in costs:
            cost = CallCost(((1, per_call + per_item), (2, per_call + 2 * per_item)))
            tasks += [
                asyncio.create_task(batcher.submit(per_call, hold, n, largest=8, cost=cost)) for n in range(6)
            ]
        await asyncio.gather(*tasks)

    in_loop(scenario, lanes=2)
    assert sorted(map(len, record.batches[:2])) == sorted(first)


def test_calls_on_a_device_of_all_lanes_are_not_divided():
    record = Recorder()

    async def scenario(batcher: Batcher) -> None:
        cost = CallCost(((1, 1.5), (2, 2.5)), side_by_side=False)
        await asyncio.gather(*(batcher.submit("a", record, n, largest=8, cost=cost) for n in range(6)))

    in_loop(scenario, lanes=2)
    assert [len(batch) for batch in record.batches] == [6]


def test_a_call_that_costs_nothing_itself_takes_few_items():
    record = Recorder()

    async def scenario(batcher: Batcher) -> None:
        cost = CallCost(((1, 1.0), (2, 2.0)))
        await asyncio.gather(*(batcher.submit("a", record, n, largest=8, cost=cost) for n in range(4)))

    in_loop(scenario)
    assert [len(batch) for batch in record.batches] == [2, 2]


def test_calls_tell_what_they_cost_but_not_those_that_fail():
    done, failed = CallCost(), CallCost()

    async def scenario(batcher: Batcher) -> None:
        await batcher.submit("a", double, 1, cost=done)
        await batcher.submit("b", refuse_negative, -1, cost=failed)

    in_loop(scenario)
    assert done.seconds(1) > 0
    assert failed.seconds(1) == 0


def test_items_of_different_groups_are_not_mixed():
    record = Recorder()

    async def scenario(batcher: Batcher) -> None:
        await asyncio.gather(*(batcher.submit(n % 2, record, n, largest=8) for n in range(6)))

    in_loop(scenario)
    assert record.batches == [[0, 2, 4], [1, 3, 5]]


def test_what_is_done_of_a_call_that_runs_counts_for_each_of_its_requests():
    async def scenario(batcher: Batcher) -> None:
        gate = Gate()
        places = [batcher.next_place() for _ in range(2)]
        async with held(batcher):
            # Three items of two requests, in one call.
            running = [
                asyncio.create_task(
                    batcher.submit("a", gate, n, place=places[n % 2], largest=8, cost=CallCost(((3, 0.02),)))
                )
                for n in range(3)
            ]
            await asyncio.sleep(0)
        await gate.entered()
        assert 0 < batcher.requests_done("a") <= 2
        await asyncio.sleep(0.03)
        # No more is done than the call is expected to take.
        assert batcher.requests_done("a") == 2
        assert batcher.requests_done("b") == 0
        gate.open()
        await asyncio.gather(*running)
        assert batcher.requests_done("a") == 0

    in_loop(scenario)


@pytest.mark.parametrize(
    ("lanes", "most", "asked", "threads"),
    [
        pytest.param(1, 4, 1, [1], id="one lane has no cores but its own"),
        pytest.param(4, 4, 1, [4], id="alone"),
        pytest.param(4, 2, 1, [2], id="alone, and more would gain nothing"),
        pytest.param(4, 4, 2, [2, 2], id="two share the cores"),
        pytest.param(4, 4, 3, [1, 1, 1], id="what cannot be shared evenly is not"),
        pytest.param(4, 4, 6, [1, 1, 1, 1, 1, 1], id="all lanes have work"),
    ],
)
def test_calls_have_the_cores_of_lanes_without_work(lanes, most, asked, threads):
    used: list[int] = []

    async def scenario() -> None:
        batcher = Batcher(Lanes(lanes, "lane"), CallThreads(1, most, used.append))
        try:
            # They run side by side: whoever comes first waits for the others.
            together = threading.Barrier(min(lanes, asked))

            def meet(items: Sequence[int]) -> Sequence[int]:
                if items[0] < lanes:
                    together.wait(PATIENCE_SECONDS)
                return items

            await asyncio.gather(*(batcher.submit(n, meet, n) for n in range(asked)))
        finally:
            batcher.close()

    asyncio.run(scenario())
    assert sorted(used[:lanes]) == threads[:lanes]


def test_who_comes_while_a_call_has_all_cores_has_one():
    used: list[int] = []
    cost = CallCost()

    async def scenario() -> None:
        batcher = Batcher(Lanes(2, "lane"), CallThreads(1, 2, used.append))
        try:
            async with held(batcher):
                await batcher.submit("late", double, 1, cost=cost)
            assert used == [2, 1]
            assert cost.seconds(1) > 0
            # A call on more threads than usual tells nothing of the others.
            other = CallCost(((1, 50.0),))
            alone = await batcher.submit("alone", double, 1, cost=other)
            assert used == [2, 1, 2]
            assert other == CallCost(((1, 50.0),))
            assert alone.ms < 50_000 == alone.lane_ms
        finally:
            batcher.close()

    asyncio.run(scenario())


def test_what_a_request_asks_for_later_keeps_its_place_in_the_line():
    record = Recorder()

    async def scenario(batcher: Batcher) -> None:
        first, second, third = (batcher.next_place() for _ in range(3))
        asked = [("crop", second), ("embed", third), ("embed", first), ("crop", first), ("embed", second)]
        async with held(batcher):
            tasks = []
            for group, place in asked:
                item = f"{group} {place}"
                tasks.append(asyncio.create_task(batcher.submit(group, record, item, place=place, largest=2)))
                await asyncio.sleep(0)
            tasks.append(asyncio.create_task(batcher.submit("crop", record, "crop of nobody")))
        await asyncio.gather(*tasks)

    in_loop(scenario)
    assert record.batches == [["embed 1", "embed 2"], ["crop 1", "crop 2"], ["embed 3"], ["crop of nobody"]]


@pytest.mark.parametrize(
    ("largest", "order"),
    [
        pytest.param(1, ["a1", "b1", "a2", "c1", "b2"], id="one by one"),
        pytest.param(2, ["a1 a2", "b1 b2", "c1"], id="in batches, by their first item"),
    ],
)
def test_first_come_first_served_across_groups(largest, order):
    record = Recorder()

    async def scenario(batcher: Batcher) -> None:
        async with held(batcher):
            tasks = []
            for item in ["a1", "b1", "a2", "c1", "b2"]:
                tasks.append(asyncio.create_task(batcher.submit(item[0], record, item, largest=largest)))
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    in_loop(scenario)
    assert [" ".join(batch) for batch in record.batches] == order


def test_every_item_has_its_share_of_the_time():
    async def scenario(batcher: Batcher) -> list[Computed]:
        return await asyncio.gather(*(batcher.submit("a", double, n, largest=4) for n in range(4)))

    times = [answer.ms for answer in in_loop(scenario)]
    assert len(set(times)) == 1
    assert times[0] > 0


# Failing alone


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("where", ["first", "last"])
def test_the_failing_item_fails_alone(size, where):
    bad = 0 if where == "first" else size - 1
    items = [-1 if number == bad else number for number in range(size)]

    async def scenario(batcher: Batcher) -> list[Computed]:
        return await asyncio.gather(*(batcher.submit("a", refuse_negative, n, largest=8) for n in items))

    values = [answer.value for answer in in_loop(scenario)]
    failure = values.pop(bad)
    assert values == [2 * item for item in items if item >= 0]
    assert isinstance(failure, Internal)


def test_the_message_of_a_failure_keeps_what_the_log_may_know():
    (failure,) = bisected(refuse_negative, [-1])
    assert "secret" not in str(failure)
    assert isinstance(failure.__cause__, ValueError)
    assert "secret" in str(failure.__cause__)


@pytest.mark.parametrize("raised", [InvalidParams("too large"), Internal("told")], ids=repr)
def test_a_task_error_that_is_raised_is_the_answer_of_its_item(raised):
    def compute(items: Sequence[int]) -> list[int]:
        if 3 in items:
            raise raised
        return double(items)

    assert bisected(compute, [1, 2, 3, 4]) == [2, 4, raised, 8]


def test_a_task_error_in_place_of_an_item_costs_no_second_try():
    calls = []

    def compute(items: Sequence[int]) -> list[int | TaskError]:
        calls.append(items)
        return [refusal if item == 3 else item for item in items]

    refusal = InvalidParams("too large")
    assert bisected(compute, [1, 2, 3, 4]) == [1, 2, refusal, 4]
    assert len(calls) == 1


@given(st.lists(st.integers(-3, 20), max_size=40))
def test_whatever_fails_the_others_do_not(items):
    values = bisected(refuse_negative, items)
    assert len(values) == len(items)
    for item, value in zip(items, values, strict=True):
        assert isinstance(value, Internal) if item < 0 else value == 2 * item


def test_one_failing_item_is_found_by_halves():
    calls = []

    def compute(items: Sequence[int]) -> list[int]:
        calls.append(items)
        return refuse_negative(items)

    bisected(compute, [*range(63), -1])
    # The whole, and two halves on each of six levels.
    assert len(calls) == 1 + 2 * 6


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda items: [], id="nothing"),
        pytest.param(lambda items: [*items, 0], id="one more"),
        pytest.param(lambda items: None, id="no list"),
        pytest.param(lambda items: 7, id="a number"),
    ],
)
@pytest.mark.parametrize("size", [1, 3])
def test_an_answer_of_another_length_is_a_failure(answer, size):
    async def scenario(batcher: Batcher) -> list[Computed]:
        return await asyncio.gather(*(batcher.submit("a", answer, n, largest=8) for n in range(size)))

    assert all(isinstance(one.value, Internal) for one in in_loop(scenario))


def test_one_short_for_a_batch_is_right_for_one():
    """Which of two items has no answer cannot be known, so they are asked one by one."""

    def forgetful(items: Sequence[int]) -> list[int]:
        return double(items)[:1]

    assert bisected(forgetful, [1, 2, 3]) == [2, 4, 6]


def test_any_sequence_is_an_answer():
    assert bisected(lambda items: tuple(items), [1, 2]) == [1, 2]
    assert bisected(double, []) == []


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, BaseException])
def test_a_lane_outlives_what_is_no_exception(kind):
    def leave(items: Sequence[int]) -> list[int]:
        raise kind

    async def scenario(batcher: Batcher) -> tuple[list[Computed], list[Computed]]:
        failed = await asyncio.gather(*(batcher.submit("a", leave, n, largest=8) for n in range(3)))
        return failed, [await batcher.submit("b", double, n) for n in range(3)]

    failed, done = in_loop(scenario)
    assert all(isinstance(answer.value, Internal) for answer in failed)
    assert all(isinstance(answer.value.__cause__, kind) for answer in failed)
    assert [answer.value for answer in done] == [0, 2, 4]


# Lanes


@pytest.mark.parametrize("lanes", [2, 3])
def test_lanes_run_in_parallel(lanes):
    meeting = threading.Barrier(lanes)

    def meet(items: Sequence[int]) -> list[int]:
        meeting.wait(PATIENCE_SECONDS)
        return list(items)

    async def scenario(batcher: Batcher) -> list[Computed]:
        return await asyncio.gather(*(batcher.submit(n, meet, n) for n in range(lanes)))

    assert [answer.value for answer in in_loop(scenario, lanes)] == list(range(lanes))


def test_no_more_run_at_once_than_there_are_lanes():
    lock, running, most = threading.Lock(), [0], [0]
    pair = threading.Barrier(2)

    def count(items: Sequence[int]) -> list[int]:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        pair.wait(PATIENCE_SECONDS)
        with lock:
            running[0] -= 1
        pair.wait(PATIENCE_SECONDS)
        return list(items)

    async def scenario(batcher: Batcher) -> None:
        await asyncio.gather(*(batcher.submit(n, count, n) for n in range(8)))

    in_loop(scenario, lanes=2)
    assert most == [2]


# Items that nobody waits for


@pytest.mark.parametrize("cancelled", ["a", "c", "e", "abc", "bd", "abcde"])
@pytest.mark.parametrize("largest", [1, 8])
def test_cancelled_items_are_dropped_before_a_lane_takes_them(cancelled, largest):
    record = Recorder()

    async def scenario(batcher: Batcher) -> None:
        async with held(batcher):
            tasks = {
                item: asyncio.create_task(batcher.submit("late", record, item, largest=largest))
                for item in "abcde"
            }
            await asyncio.sleep(0)
            for item in cancelled:
                tasks[item].cancel()
        await asyncio.wait(tasks.values())
        assert {item for item, task in tasks.items() if task.cancelled()} == set(cancelled)
        assert batcher.waiting == 0

    in_loop(scenario)
    assert [item for batch in record.batches for item in batch] == sorted(set("abcde") - set(cancelled))
    assert all(record.batches)


def test_an_item_that_is_cancelled_while_it_runs_spares_the_rest_of_its_batch():
    gate = Gate()

    async def scenario(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher.submit("a", gate, n, largest=2)) for n in range(2)]
        await gate.entered()
        tasks[0].cancel()
        gate.open()
        assert (await tasks[1]).value == 1
        assert tasks[0].cancelled()
        assert (await batcher.submit("b", double, 4)).value == 8

    in_loop(scenario)


# The end


def test_closing_drops_what_waits_and_lets_what_runs_finish():
    record, gate = Recorder(), Gate()

    async def scenario(batcher: Batcher) -> None:
        running = asyncio.create_task(batcher.submit("gate", gate, "running"))
        await gate.entered()
        waiting = [asyncio.create_task(batcher.submit("late", record, item)) for item in "ab"]
        await asyncio.sleep(0)
        batcher.close()
        await asyncio.wait(waiting)
        assert all(task.cancelled() for task in waiting)
        gate.open()
        assert (await running).value == "running"

    in_loop(scenario)
    assert record.batches == []


def test_nobody_waits_for_a_closed_batcher():
    async def scenario(batcher: Batcher) -> bool:
        batcher.close()
        asked = asyncio.create_task(batcher.submit("a", double, 1))
        finished, _ = await asyncio.wait([asked], timeout=1)
        if not finished:
            asked.cancel()
        return bool(finished) and (asked.cancelled() or asked.exception() is not None)

    assert in_loop(scenario)


def test_closing_twice_is_closing_once():
    async def scenario(batcher: Batcher) -> None:
        await batcher.submit("a", double, 1)
        batcher.close()
        batcher.close()

    in_loop(scenario)


def test_a_cancelled_item_is_let_go_at_once():
    """What it holds must not wait for a lane."""

    class Large:
        pass

    gate = threading.Event()

    async def scenario(batcher: Batcher) -> None:
        holding = batcher.submit("held", lambda items: [gate.wait(10) for _ in items], 1)
        held = asyncio.create_task(holding)
        await asyncio.sleep(0.05)
        item = Large()
        seen = weakref.ref(item)
        waiting = asyncio.create_task(batcher.submit("waiting", double, item))
        del item
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        del waiting
        gc.collect()
        assert seen() is None
        assert batcher.waiting == 0
        gate.set()
        await held

    in_loop(scenario)
