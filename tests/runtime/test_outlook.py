"""What would not be done in time is refused at once; what is kept, shared or light is not."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.core.artifacts import Crop, Region
from app.core.errors import Overloaded
from app.core.operation import IMAGE, EngineSpec, Needs, Params, Ref, operation
from app.core.plan import Plan
from app.core.registry import Registry
from app.core.resolver import Task, resolve
from app.runtime.cache import ResultCache
from app.runtime.decode import DecodeLimits
from app.runtime.executor import Executor
from app.runtime.items import Item, NodeResult
from app.runtime.outlook import Outlook
from app.runtime.pool import Pool
from app.runtime.source import ImageSource
from tests.images import encoded, noise
from tests.toys import ToyStore, ToyWeights


class Toy:
    def warmup(self, items: int = 1) -> None:
        """Nothing to warm."""


def slow(name: str, cost_ms: int) -> EngineSpec:
    return EngineSpec(name, ToyWeights(id=name), "MIT", load=lambda placement: Toy(), cost_ms=cost_ms)


class Choice(Params):
    number: int = 0
    """Makes it another work."""


gate = threading.Event()


def of_the_image(params: Choice) -> Needs:
    return {"crop": IMAGE}


@operation(params=Choice, needs=of_the_image, engine=slow("heavy", 10_000))
def heavy(crop: Sequence[Crop], params: Choice, engine: Any) -> list[str]:
    """Take ten seconds, it says, and really until the gate opens."""
    gate.wait(30)
    return ["done" for _ in crop]


class Timed(Toy):
    """Known to take some milliseconds, though it declares seconds."""

    def warmup(self, items: int = 1) -> None:
        time.sleep(0.002)


@operation(
    params=Choice,
    needs=of_the_image,
    engine=replace(slow("timed", 10_000), batch=2, load=lambda placement: Timed()),
)
def timed(crop: Sequence[Crop], params: Choice, engine: Any) -> list[str]:
    """Take longer than it was measured to take, until the gate opens."""
    gate.wait(30)
    return ["done" for _ in crop]


def of_the_heavy(params: Choice) -> Needs:
    return {"text": Ref(heavy, Choice(number=-1))}


@operation(params=Choice, needs=of_the_heavy, engine=slow("heavier", 10_000))
def heavier(text: Sequence[str], params: Choice, engine: Any) -> list[str]:
    """Take ten seconds more behind another stage, it says."""
    return ["done" for _ in text]


@operation(params=Choice, needs=of_the_image)
def light(crop: Sequence[Crop], params: Choice) -> list[str]:
    """Take no time."""
    return ["done" for _ in crop]


REGISTRY = Registry([heavy, heavier, light, timed])


class Server:
    """A pool of one lane, and requests that are under way on it."""

    def __init__(self, lanes: int = 1, *absent: str) -> None:
        self.pool = Pool(lanes, ToyStore(*absent))
        self.cache = ResultCache(1_000_000)
        self.executor = Executor(self.pool, self.cache)
        self.running: list[asyncio.Task[Any]] = []

    def plan(self, type_: str = "heavy", number: int = 0) -> Plan:
        return resolve([Task("a", type_, {"number": number})], REGISTRY, self.pool.choose)

    def source(self, seed: int = 0) -> ImageSource:
        return ImageSource(encoded(noise(16, 12, seed=seed)), self.pool, self.cache, DecodeLimits())

    async def begin(self, type_: str = "heavy", number: int = 0, seed: int = 0) -> None:
        run = self.executor.run(self.plan(type_, number), self.source(seed), 60)
        self.running.append(asyncio.create_task(run))
        await asyncio.sleep(0)

    async def finish(self) -> list[Any]:
        gate.set()
        return await asyncio.gather(*self.running, return_exceptions=True)

    def check(self, type_: str, seconds: float, number: int = 99) -> None:
        self.executor.check_in_time(self.plan(type_, number), None, seconds)


def in_loop(scenario: Callable[[Server], Coroutine[Any, Any, None]], *server: Any) -> None:
    async def run() -> None:
        gate.clear()
        made = Server(*server)
        try:
            await scenario(made)
            await made.finish()
        finally:
            gate.set()
            made.pool.close()

    asyncio.run(run())


def test_what_is_alone_is_always_tried():
    async def scenario(server: Server) -> None:
        server.check("heavy", 0.1)

    in_loop(scenario)


def test_what_cannot_meet_its_deadline_is_refused_with_a_time_to_come_back():
    async def scenario(server: Server) -> None:
        for number in range(3):
            await server.begin(number=number)
        with pytest.raises(
            Overloaded, match=r"about 37\.5 s of work .* takes 12\.5 s and has 42\.0 s"
        ) as told:
            server.check("heavy", 42)
        # 40 s are wanted, and a quarter more is kept as long as nothing is known.
        assert told.value.retry_after == 8
        server.check("heavy", 51)

    in_loop(scenario)


def test_lanes_share_the_work_but_for_the_last_that_one_of_them_does():
    async def scenario(server: Server) -> None:
        for number in range(3):
            await server.begin(number=number)
        # Half of 30 s before, half of 10 s and 5 s in which the other lane may be idle, and a quarter of it.
        server.check("heavy", 32)
        with pytest.raises(Overloaded, match=r"about 18\.8 s of work .* takes 12\.5 s"):
            server.check("heavy", 31)

    in_loop(scenario, 2)


def test_stages_that_wait_for_each_other_share_no_lanes():
    async def scenario(server: Server) -> None:
        await server.begin()
        side_by_side = [Task("a", "heavy", {"number": 1}), Task("b", "heavy", {"number": 2})]
        chained = [Task("b", "heavier", {})]
        for tasks, seconds in ((side_by_side, 6.25 + 12.5 + 6.25), (chained, 6.25 + 12.5 + 12.5)):
            plan = resolve(tasks, REGISTRY, server.pool.choose)
            server.executor.check_in_time(plan, None, seconds + 0.1)
            with pytest.raises(Overloaded):
                server.executor.check_in_time(plan, None, seconds - 0.1)

    in_loop(scenario, 2)


def test_a_light_request_behind_heavy_ones_waits_for_them_too():
    async def scenario(server: Server) -> None:
        await server.begin()
        with pytest.raises(Overloaded, match=r"takes 0\.0 s"):
            server.check("light", 5)
        server.check("light", 13)

    in_loop(scenario)


def test_equal_work_under_way_counts_once():
    async def scenario(server: Server) -> None:
        for _ in range(5):
            await server.begin()
        # Once their image is decoded they are known to be of one.
        await server.source().info()
        await asyncio.sleep(0.01)
        server.check("heavy", 26)

    in_loop(scenario)


def test_what_is_kept_costs_nothing():
    async def scenario(server: Server) -> None:
        gate.set()
        # By another pool, so that this one goes on taking what is declared for the time.
        other = Pool(1, ToyStore())
        await Executor(other, server.cache).run(server.plan(), server.source(), 60)
        other.close()
        gate.clear()
        await server.begin(number=1)
        info = await server.source().known_info()
        assert info is not None
        server.executor.check_in_time(server.plan(), info, 0.1)
        with pytest.raises(Overloaded):
            server.executor.check_in_time(server.plan(number=2), info, 13)

    in_loop(scenario)


def test_what_is_done_counts_no_more():
    async def scenario(server: Server) -> None:
        await server.begin()
        await server.finish()
        gate.clear()
        server.check("heavy", 0.1)

    in_loop(scenario)


def test_a_model_that_is_not_here_costs_nothing():
    async def scenario(server: Server) -> None:
        for number in range(5):
            await server.begin(number=number)
        server.check("heavy", 1)

    in_loop(scenario, 1, "heavy")


class Clock:
    """Time that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def answered(ms: float) -> NodeResult:
    region = Region((0, 0, 1, 1), "whole_image")
    return NodeResult((Item("key", region, "done", ms=ms),))


async def answer(node: NodeResult) -> NodeResult:
    return node


def test_what_one_call_has_done_is_no_others_work():
    async def scenario(server: Server) -> None:
        for number in range(3):
            await server.begin("timed", number=number)
        for _ in range(1000):
            if server.executor.seconds_under_way < 30:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        # It was to take some milliseconds and goes on: of its own ten seconds nothing is left, and all of the
        # others'.
        assert server.executor.seconds_under_way == 20

    in_loop(scenario)


def test_what_is_foreseen_learns_from_how_long_plans_took():
    async def scenario() -> None:
        pool, clock = Pool(1, ToyStore()), Clock()
        outlook = Outlook(pool, clock)
        plan = resolve([Task("a", "heavy", {})], REGISTRY, pool.choose)
        (node_id,) = plan.nodes

        async def run(seconds: float, times: int = 1, ms: float = 1.0) -> None:
            for _ in range(times):
                with outlook.under_way(plan) as progress:
                    node = asyncio.create_task(answer(answered(ms)))
                    outlook.run(progress, "0", {node_id: node})
                    clock.now += seconds
                    await node
                    # However long it takes to read the answer.
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                    clock.now += 1000

        async def leave(seconds: float, times: int) -> None:
            for _ in range(times):
                with outlook.under_way(plan) as progress:
                    node = asyncio.create_task(answer(answered(1.0)))
                    outlook.run(progress, "0", {node_id: node})
                    clock.now += seconds
                    node.cancel()
                    await asyncio.wait([node])
                    await asyncio.sleep(0)

        try:
            assert outlook.late == 1.25
            await run(20)
            # One may be later.
            assert outlook.late == 1.25
            await run(20)
            assert outlook.late == 2.0
            await run(900, times=2)
            assert outlook.late == 4.0
            # What was kept, or another request's work, was waited for by nobody.
            await run(0, times=100, ms=0.0)
            assert outlook.late == 4.0
            await run(8, times=32)
            assert outlook.late == 0.8
            # Nor what a client did not wait for; what was cut off by its deadline would have taken longer.
            await leave(1, times=32)
            assert outlook.late == 0.8
            await leave(30, times=2)
            assert outlook.late == 3.0
            await run(1, times=32)
            assert outlook.late == 0.5
        finally:
            pool.close()

    asyncio.run(scenario())


def test_nothing_is_left_of_plans_that_ended_however_they_did():
    async def scenario(server: Server) -> None:
        for number in range(3):
            await server.begin(number=number)
        await server.begin(number=0, seed=1)
        assert server.executor.seconds_under_way == 40
        for task in server.running[:2]:
            task.cancel()
        await asyncio.gather(*server.running[:2], return_exceptions=True)
        assert server.executor.seconds_under_way == 20
        await server.finish()
        assert server.executor.seconds_under_way == 0

    in_loop(scenario)
