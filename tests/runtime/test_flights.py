"""Equal work in flight: done once, for as long as anybody waits."""

import asyncio
from typing import Any

import pytest

from app.runtime.flights import Flights


class Work:
    """Work that counts its starts, and ends when it is told to."""

    def __init__(self) -> None:
        self.starts = 0
        self.cancelled = 0
        self.landing: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> Any:
        self.starts += 1
        try:
            return await asyncio.shield(self.landing)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def turns(count: int = 5) -> None:
    """Let everything happen that is ready to."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("waiters", [1, 2, 20])
def test_equal_work_is_done_once(waiters):
    async def scenario() -> None:
        flights, work, result = Flights[object](), Work(), object()
        tasks = [asyncio.create_task(flights.join("key", work)) for _ in range(waiters)]
        await turns()
        assert len(flights) == 1
        work.landing.set_result(result)
        assert all(answer is result for answer in await asyncio.gather(*tasks))
        assert work.starts == 1
        assert len(flights) == 0

    asyncio.run(scenario())


def test_who_joins_later_waits_for_the_same_work():
    async def scenario() -> None:
        flights, first, second = Flights[str](), Work(), Work()
        early = asyncio.create_task(flights.join("key", first))
        await turns()
        late = asyncio.create_task(flights.join("key", second))
        await turns()
        first.landing.set_result("first")
        assert await early == await late == "first"
        assert second.starts == 0

    asyncio.run(scenario())


def test_different_keys_are_different_work():
    async def scenario() -> None:
        flights = Flights[str]()
        works = {key: Work() for key in "ab"}
        tasks = [asyncio.create_task(flights.join(key, work)) for key, work in works.items()]
        await turns()
        assert len(flights) == 2
        for key, work in works.items():
            work.landing.set_result(key)
        assert await asyncio.gather(*tasks) == ["a", "b"]

    asyncio.run(scenario())


def test_an_exception_reaches_all_who_wait():
    async def scenario() -> None:
        flights, work, error = Flights[str](), Work(), ValueError("broken")
        tasks = [asyncio.create_task(flights.join("key", work)) for _ in range(3)]
        await turns()
        work.landing.set_exception(error)
        assert await asyncio.gather(*tasks, return_exceptions=True) == [error] * 3
        assert len(flights) == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("outcome", ["result", "exception"])
def test_who_joins_after_the_end_starts_anew(outcome):
    async def scenario() -> None:
        flights, first, second = Flights[str](), Work(), Work()
        if outcome == "result":
            first.landing.set_result("first")
        else:
            first.landing.set_exception(ValueError("first"))
        second.landing.set_result("second")
        await asyncio.gather(flights.join("key", first), return_exceptions=True)
        assert await flights.join("key", second) == "second"
        assert first.starts == second.starts == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("leaving", [[0], [1], [2], [0, 1], [0, 2], [1, 2]])
def test_work_goes_on_while_anybody_waits(leaving):
    async def scenario() -> None:
        flights, work = Flights[str](), Work()
        tasks = [asyncio.create_task(flights.join("key", work)) for _ in range(3)]
        await turns()
        for number in leaving:
            tasks[number].cancel()
            await turns()
        assert work.cancelled == 0
        work.landing.set_result("done")
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [answer == "done" for answer in answers] == [number not in leaving for number in range(3)]

    asyncio.run(scenario())


@pytest.mark.parametrize("waiters", [1, 3])
@pytest.mark.parametrize("one_by_one", [True, False])
def test_work_is_cancelled_when_nobody_waits(waiters, one_by_one):
    async def scenario() -> None:
        flights, work = Flights[str](), Work()
        tasks = [asyncio.create_task(flights.join("key", work)) for _ in range(waiters)]
        await turns()
        for task in tasks:
            assert work.cancelled == 0
            task.cancel()
            await turns(5 if one_by_one else 0)
        await asyncio.wait(tasks)
        await turns()
        assert all(task.cancelled() for task in tasks)
        assert work.cancelled == 1
        assert len(flights) == 0

    asyncio.run(scenario())


def test_who_joins_after_a_cancellation_starts_anew():
    async def scenario() -> None:
        flights, first, second = Flights[str](), Work(), Work()
        left = asyncio.create_task(flights.join("key", first))
        await turns()
        left.cancel()
        # In the very turn in which the first work learns that it is cancelled.
        joined = asyncio.create_task(flights.join("key", second))
        second.landing.set_result("second")
        assert await joined == "second"
        assert left.cancelled()
        assert (first.cancelled, second.cancelled) == (1, 0)

    asyncio.run(scenario())


def test_work_that_is_slow_to_be_cancelled_does_not_hold_up_who_comes_later():
    async def scenario() -> None:
        flights, cleaned = Flights[str](), asyncio.Event()

        async def stubborn() -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await cleaned.wait()
            return "stubborn"

        left = asyncio.create_task(flights.join("key", stubborn))
        await turns()
        left.cancel()
        await asyncio.wait([left])
        fresh = Work()
        joined = asyncio.create_task(flights.join("key", fresh))
        await turns()
        cleaned.set()
        await turns()
        assert len(flights) == 1
        fresh.landing.set_result("fresh")
        assert await joined == "fresh"

    asyncio.run(scenario())


def test_a_deadline_is_a_cancellation():
    async def scenario() -> None:
        flights, work = Flights[str](), Work()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flights.join("key", work), timeout=0.01)
        await turns()
        assert work.cancelled == 1

    asyncio.run(scenario())
