"""Engines come and go: what is absent says so at once, what is not used makes room."""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from app.core.artifacts import Crop, Vector
from app.core.errors import InvalidParams, ModelUnavailable, WrongState
from app.core.operation import IMAGE, Chosen, EngineSpec, NoParams, Operation, Params, operation
from app.core.plan import IMAGE_NODE, Node
from app.core.weights import Placement, Progress
from app.runtime.downloads import Downloads
from app.runtime.engines import EngineState, MemoryPolicy
from app.runtime.pool import Pool, Preferences
from tests.toys import ToyStore, ToyWeights

PATIENCE_SECONDS = 10


class ToyEngine:
    def __init__(self, placement: Placement) -> None:
        self.placement = placement

    def warmup(self, items: int = 1) -> None:
        pass


def toy(name: str, megabytes: int = 10, load: Callable[[Placement], Any] = ToyEngine) -> EngineSpec:
    return EngineSpec(name, ToyWeights(id=f"weights of {name}", size_bytes=megabytes * 10**6), "MIT", load)


class Sized(Params):
    size: str | None = None


def measuring(*specs: EngineSpec, by_size: bool = False) -> Operation:
    def measure(crop: list[Crop], params: Any, engine: ToyEngine) -> list[int]:
        """Measure."""
        return [1 for _ in crop]

    return operation(
        params=Sized,
        needs=lambda _: {"crop": IMAGE},
        engine=specs,
        engine_for=(lambda params: params.size and [params.size]) if by_size else None,
    )(measure)


def embedding(*specs: EngineSpec) -> Operation:
    def embed(crop: list[Crop], params: NoParams, engine: ToyEngine) -> list[Vector]:
        """Embed."""
        return []

    return operation(needs=lambda _: {"crop": IMAGE}, engine=specs)(embed)


def node(op: Operation, spec: EngineSpec, fingerprint: str = ToyWeights.fingerprint) -> Node:
    return Node("n", op.type, op, Sized(), Chosen(spec, fingerprint), {"crop": IMAGE_NODE}, height=0)


def in_loop(
    scenario: Callable[[Pool], Coroutine[Any, Any, Any]],
    store: ToyStore | None = None,
    memory: MemoryPolicy | None = None,
    preferences: Preferences | None = None,
) -> Any:
    async def whole() -> Any:
        pool = Pool(2, store or ToyStore(), memory=memory, preferences=preferences)
        try:
            return await asyncio.wait_for(scenario(pool), PATIENCE_SECONDS)
        finally:
            pool.close()

    return asyncio.run(whole())


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000 * PATIENCE_SECONDS):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come to pass")


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.CRITICAL)


# Absent weights


def test_an_engine_without_weights_says_how_to_get_them():
    async def scenario(pool: Pool) -> None:
        assert pool.state(toy("a")) is EngineState.ABSENT
        with pytest.raises(ModelUnavailable, match="sightgraph models pull weights of a"):
            await pool.load(toy("a"))
        answer = await pool.submit(node(measuring(toy("a")), toy("a")), {"crop": 1})
        assert isinstance(answer.value, ModelUnavailable)
        assert "not on this machine" in str(answer.value)

    in_loop(scenario, ToyStore("a"))


def test_weights_that_appear_are_used_without_a_restart():
    store = ToyStore("a")

    async def scenario(pool: Pool) -> None:
        with pytest.raises(ModelUnavailable):
            await pool.load(toy("a"))
        store.absent.clear()
        assert pool.state(toy("a")) is EngineState.ON_DISK
        await pool.load(toy("a"))
        assert pool.state(toy("a")) is EngineState.READY

    in_loop(scenario, store)


def test_damaged_weights_are_told_by_name():
    def damaged(_: Placement) -> Any:
        raise ModelUnavailable("model.safetensors: truncated. Run: sightgraph models pull a.")

    async def scenario(pool: Pool) -> None:
        with pytest.raises(ModelUnavailable, match=r"model\.safetensors: truncated"):
            await pool.load(toy("a", load=damaged))
        assert pool.state(toy("a", load=damaged)) is EngineState.FAILED
        assert "model.safetensors" in pool.problem(toy("a", load=damaged))

    in_loop(scenario)


def test_results_of_replaced_weights_are_not_kept_under_the_old_key():
    async def scenario(pool: Pool) -> None:
        spec = toy("a")
        assert (await pool.submit(node(measuring(spec), spec), {"crop": 1})).keep
        assert not (await pool.submit(node(measuring(spec), spec, "another"), {"crop": 1})).keep

    in_loop(scenario)


def test_a_loaded_engine_keeps_its_fingerprint_when_the_files_change():
    store = ToyStore()

    async def scenario(pool: Pool) -> None:
        spec, op = toy("a"), measuring(toy("a"))
        await pool.load(spec)
        before = pool.choose(op, Sized())
        store.fingerprints["a"] = "pulled anew"
        assert pool.choose(op, Sized()) == before

    in_loop(scenario, store)


# Choosing


def test_what_is_here_goes_before_what_is_absent():
    async def scenario(pool: Pool) -> None:
        assert pool.choose(measuring(toy("a"), toy("b")), Sized()).name == "b"

    in_loop(scenario, ToyStore("a"))


def test_a_lesser_engine_serves_while_the_preferred_one_loads():
    entered, finish = threading.Event(), threading.Event()

    def slowly(placement: Placement) -> ToyEngine:
        entered.set()
        assert finish.wait(PATIENCE_SECONDS)
        return ToyEngine(placement)

    async def scenario(pool: Pool) -> None:
        best, other = toy("best", load=slowly), toy("other")
        op = measuring(best, other)
        await pool.load(other)
        assert pool.choose(op, Sized()).name == "other"
        await pool.submit(replace(node(op, other), engine=pool.choose(op, Sized())), {"crop": 1})
        await until(entered.is_set)
        assert pool.state(best) is EngineState.LOADING
        assert pool.choose(op, Sized()).name == "other"
        finish.set()
        await until(lambda: pool.state(best) is EngineState.READY)
        assert pool.choose(op, Sized()).name == "best"

    in_loop(scenario)


def test_vectors_come_from_one_engine_alone():
    async def scenario(pool: Pool) -> None:
        await pool.load(toy("b"))
        assert pool.choose(embedding(toy("a"), toy("b")), NoParams()).name == "a"

    in_loop(scenario, ToyStore("a"))


def test_a_preference_orders_and_leaves_out():
    async def scenario(pool: Pool) -> None:
        op = measuring(toy("a"), toy("b"), toy("c"))
        assert [spec.name for spec in pool.candidates(op, Sized())] == ["c", "a"]
        assert pool.choose(op, Sized()).name == "c"
        assert pool.choose(embedding(toy("a"), toy("b")), NoParams()).name == "b"

    in_loop(scenario, preferences={"measure": ("c", "a"), "embed": ("b", "a")})


def test_params_may_name_the_engine():
    async def scenario(pool: Pool) -> None:
        op = measuring(toy("a"), toy("b"), by_size=True)
        assert pool.choose(op, Sized(size="b")).name == "b"
        assert pool.choose(op, Sized()).name == "a"

    in_loop(scenario)


def test_an_engine_that_is_not_offered_is_refused_by_name():
    async def scenario(pool: Pool) -> None:
        op = measuring(toy("a"), toy("b"), by_size=True)
        with pytest.raises(InvalidParams, match="It offers: a"):
            pool.choose(op, Sized(size="b"))

    in_loop(scenario, preferences={"measure": ("a",)})


# Memory


def test_the_engine_that_was_used_longest_ago_makes_room():
    async def scenario(pool: Pool) -> None:
        for name in "aba":
            await pool.load(toy(name))
        await pool.load(toy("c"))
        states = {name: pool.state(toy(name)) for name in "abc"}
        assert states == {"a": EngineState.READY, "b": EngineState.UNLOADED, "c": EngineState.READY}
        await pool.load(toy("b"))
        assert pool.state(toy("a")) is EngineState.UNLOADED

    in_loop(scenario, memory=MemoryPolicy(budget_bytes=20 * 10**6))


def test_an_engine_in_use_is_not_unloaded():
    gate, entered = threading.Event(), threading.Event()

    class Waiting(ToyEngine):
        def wait(self) -> None:
            entered.set()
            assert gate.wait(PATIENCE_SECONDS)

    def hold(crop: list[Crop], params: Sized, engine: Waiting) -> list[int]:
        """Hold."""
        engine.wait()
        return [1 for _ in crop]

    async def scenario(pool: Pool) -> None:
        spec = toy("a", load=Waiting)
        op = operation(params=Sized, needs=lambda _: {"crop": IMAGE}, engine=spec)(hold)
        using = asyncio.create_task(pool.submit(node(op, spec), {"crop": 1}))
        await until(entered.is_set)
        other = asyncio.create_task(pool.load(toy("b")))
        await asyncio.sleep(0.02)
        assert pool.state(spec) is EngineState.READY
        assert not other.done()
        gate.set()
        assert (await using).value == 1
        await other
        assert pool.state(spec) is EngineState.UNLOADED
        assert pool.state(toy("b")) is EngineState.READY

    in_loop(scenario, memory=MemoryPolicy(budget_bytes=15 * 10**6))


def test_an_engine_larger_than_the_budget_is_told():
    async def scenario(pool: Pool) -> None:
        with pytest.raises(ModelUnavailable, match=r"10 MB.*SIGHTGRAPH_MEMORY_BUDGET allows 5 MB"):
            await pool.load(toy("a"))

    in_loop(scenario, memory=MemoryPolicy(budget_bytes=5 * 10**6))


def test_an_idle_engine_leaves_and_comes_back_when_asked_for():
    async def scenario(pool: Pool) -> None:
        spec, op = toy("a"), measuring(toy("a"), toy("b"))
        await pool.load(spec)
        await until(lambda: pool.state(spec) is EngineState.UNLOADED)
        # It served before: the one after it does not take over.
        assert pool.choose(op, Sized()).name == "a"
        assert (await pool.submit(node(op, spec), {"crop": 1})).value == 1
        assert pool.state(spec) is EngineState.READY

    in_loop(scenario, memory=MemoryPolicy(idle_seconds=0.02))


def test_a_load_that_fails_lets_those_go_on_that_wait_for_its_room():
    gate = threading.Event()

    def fails(_: Placement) -> Any:
        assert gate.wait(PATIENCE_SECONDS)
        raise RuntimeError

    async def scenario(pool: Pool) -> None:
        broken = toy("a", load=fails)
        # Nobody waits for it: its only client has left.
        pool.prepare(node(measuring(broken), broken))
        await until(lambda: pool.state(broken) is EngineState.LOADING)
        waiting = asyncio.create_task(pool.load(toy("b")))
        await asyncio.sleep(0.02)
        assert not waiting.done()
        gate.set()
        assert isinstance(await waiting, ToyEngine)

    in_loop(scenario, memory=MemoryPolicy(budget_bytes=15 * 10**6))


def test_engines_that_take_no_memory_are_not_unloaded_for_room():
    async def scenario(pool: Pool) -> None:
        await pool.load(toy("free", megabytes=0))
        for name in "ab":
            await pool.load(toy(name))
        assert pool.state(toy("free", megabytes=0)) is EngineState.READY

    in_loop(scenario, memory=MemoryPolicy(budget_bytes=10 * 10**6))


def test_a_preferred_engine_that_failed_is_tried_again():
    failures = [RuntimeError()]

    def mended(placement: Placement) -> ToyEngine:
        if failures:
            raise failures.pop()
        return ToyEngine(placement)

    async def scenario(pool: Pool) -> None:
        pool._engines._retry_load_after = 0.0
        best, other = toy("best", load=mended), toy("other")
        op = measuring(best, other)
        await pool.load(other)
        with pytest.raises(ModelUnavailable):
            await pool.load(best)
        chosen = pool.choose(op, Sized())
        assert (chosen.name, chosen.instead_of) == ("other", best)
        await pool.submit(replace(node(op, other), engine=chosen), {"crop": 1})
        await until(lambda: pool.state(best) is EngineState.READY)

    in_loop(scenario)


# Downloads


def test_a_download_in_the_background_is_told_in_percent_and_then_serves():
    half, go_on = threading.Event(), threading.Event()

    def pull(spec: EngineSpec, progress: Progress) -> None:
        progress(42, 100)
        half.set()
        assert go_on.wait(PATIENCE_SECONDS)
        progress(100, 100)

    async def scenario(pool: Pool) -> None:
        spec = toy("a")
        pool.downloads.start([spec, spec])
        await until(half.is_set)
        assert pool.state(spec) is EngineState.DOWNLOADING
        assert pool.downloads.percent(spec) == 42
        with pytest.raises(ModelUnavailable, match="42 % so far"):
            await pool.load(spec)
        go_on.set()
        await until(lambda: pool.state(spec) is EngineState.ON_DISK)
        assert isinstance(await pool.load(spec), ToyEngine)

    in_loop(scenario, ToyStore("a", pull=pull))


def test_weights_that_are_fetched_anew_are_not_loaded_meanwhile():
    entered, go_on = threading.Event(), threading.Event()
    opened: list[bool] = []

    def pull(spec: EngineSpec, progress: Progress) -> None:
        progress(42, 100)
        entered.set()
        assert go_on.wait(PATIENCE_SECONDS)

    def load(placement: Placement) -> ToyEngine:
        opened.append(go_on.is_set())
        return ToyEngine(placement)

    async def scenario(pool: Pool) -> None:
        spec = toy("a", load=load)
        pool.downloads.fetch([spec])
        await until(entered.is_set)
        pool.prepare(node(measuring(spec), spec))
        with pytest.raises(WrongState, match="42 % so far"):
            pool.load_now(spec)
        with pytest.raises(ModelUnavailable, match="42 % so far"):
            await pool.load(spec)
        go_on.set()
        await until(lambda: pool.state(spec) is EngineState.ON_DISK)
        await pool.load(spec)
        assert opened == [True]

    in_loop(scenario, ToyStore(pull=pull))


def test_that_damaged_weights_could_not_be_mended_is_told():
    def damaged(_: Placement) -> Any:
        raise ModelUnavailable("model.safetensors: truncated.")

    def pull(spec: EngineSpec, progress: Progress) -> None:
        raise ModelUnavailable("The disk is full.")

    async def scenario(pool: Pool) -> None:
        spec = toy("a", load=damaged)
        with pytest.raises(ModelUnavailable):
            await pool.load(spec)
        pool.downloads.fetch([spec])
        await until(lambda: pool.state(spec) is EngineState.FAILED)
        assert pool.problem(spec) == (
            "model.safetensors: truncated. The last download failed: The disk is full."
        )

    in_loop(scenario, ToyStore(pull=pull))


def test_the_rate_of_a_download_is_that_of_what_came_lately():
    steps, told = threading.Semaphore(0), threading.Semaphore(0)
    now = 0.0

    def pull(spec: EngineSpec, progress: Progress) -> None:
        # An earlier download brought the first 500.
        for done in (500, 510, *range(1000, 40_000, 1000)):
            assert steps.acquire(timeout=PATIENCE_SECONDS)
            progress(done, 100_000)
            told.release()

    async def scenario() -> None:
        nonlocal now
        downloads = Downloads(ToyStore("a", pull=pull), clock=lambda: now)
        spec = toy("a")

        def step(seconds: float) -> float | None:
            nonlocal now
            now += seconds
            steps.release()
            assert told.acquire(timeout=PATIENCE_SECONDS)
            standing = downloads.standing(spec)
            assert standing is not None
            return standing.bytes_per_second

        downloads.start([spec])
        assert step(1) is None
        assert step(0.1) is None
        assert step(1.9) == 250
        for _ in range(20):
            rate = step(0.5)
        assert rate == 2000
        # What has stalled slows down.
        now += 100
        stalled = downloads.standing(spec)
        assert stalled is not None
        assert stalled.bytes_per_second is not None
        assert stalled.bytes_per_second < 100
        downloads.close()
        steps.release(20)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("failure", "told"),
    [(ModelUnavailable("The repository asks for a token."), "asks for a token"), (OSError("/x"), "OSError")],
)
def test_a_download_that_fails_is_told_and_the_next_one_goes_on(failure, told):
    def pull(spec: EngineSpec, progress: Progress) -> None:
        if spec.name == "a":
            raise failure

    async def scenario(pool: Pool) -> None:
        pool.downloads.start([toy("a"), toy("b")])
        await until(lambda: pool.state(toy("b")) is EngineState.ON_DISK)
        assert pool.state(toy("a")) is EngineState.ABSENT
        assert told in pool.problem(toy("a"))
        assert "/x" not in pool.problem(toy("a"))

    in_loop(scenario, ToyStore("a", "b", pull=pull))


def test_a_download_ends_with_the_server():
    entered, ended = threading.Event(), threading.Event()

    def pull(spec: EngineSpec, progress: Progress) -> None:
        entered.set()
        try:
            while True:
                progress(1, 2)
        finally:
            ended.set()

    async def scenario(pool: Pool) -> None:
        pool.downloads.start([toy("a")])
        await until(entered.is_set)

    in_loop(scenario, ToyStore("a", pull=pull))
    assert ended.wait(PATIENCE_SECONDS)


def test_what_is_here_is_not_downloaded():
    def pull(spec: EngineSpec, progress: Progress) -> None:
        raise AssertionError

    async def scenario(pool: Pool) -> None:
        pool.downloads.start([toy("a")])
        assert pool.state(toy("a")) is EngineState.ON_DISK

    in_loop(scenario, ToyStore(pull=pull))
