"""The engine pool: engines load once, failures are told without secrets, and no load holds up a lane."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.core.artifacts import Crop
from app.core.errors import Internal, InvalidParams, ModelUnavailable, TaskError
from app.core.operation import IMAGE, Chosen, EngineSpec, NoParams, Operation, operation
from app.core.plan import IMAGE_NODE, Node
from app.core.weights import Placement
from app.runtime.batcher import Computed
from app.runtime.engines import EngineState
from app.runtime.pool import IMAGE_LANES, Pool
from tests.toys import ToyStore, ToyWeights

# Only a failing test waits as long as this.
PATIENCE_SECONDS = 10


class ToyEngine:
    def __init__(self, placement: Placement | None = None, name: str = "toy") -> None:
        self.name = name
        self.warm = False

    def warmup(self, items: int = 1) -> None:
        self.warm = True


class Loading:
    """Loads engines, counts how often, and fails with what it is told to raise."""

    def __init__(self, *failures: BaseException) -> None:
        self.count = 0
        self._failures = list(failures)

    def __call__(self, placement: Placement) -> ToyEngine:
        self.count += 1
        if self._failures:
            raise self._failures.pop(0)
        return ToyEngine()


class SlowLoading(Loading):
    """A load that lasts until it is allowed to end."""

    def __init__(self, *failures: BaseException) -> None:
        super().__init__(*failures)
        self.entered, self.finish = threading.Event(), threading.Event()

    def __call__(self, placement: Placement) -> ToyEngine:
        self.entered.set()
        assert self.finish.wait(PATIENCE_SECONDS)
        return super().__call__(placement)


class Panic(BaseException):
    """As extension modules raise it that are written in Rust."""


def spec(load: Callable[[], Any], name: str = "toy", batch: int = 1) -> EngineSpec:
    return EngineSpec(name, ToyWeights(), "MIT", load, batch)


def measuring(*specs: EngineSpec, run: Callable[[Sequence[int]], list[Any]] | None = None) -> Operation:
    """An operation that answers with the name of its engine, or with what it is told to."""

    def measure(crop: Sequence[Crop], params: NoParams, engine: ToyEngine) -> list[str]:
        """Measure."""
        return run(crop) if run else [f"{item} by {engine.name}" for item in crop]

    def count(crop: Sequence[Crop], params: NoParams) -> list[str]:
        """Count."""
        return run(crop) if run else [f"{item} by nobody" for item in crop]

    return operation(needs=lambda _: {"crop": IMAGE}, engine=specs)(measure if specs else count)


def node(op: Operation, engine: EngineSpec | None = None) -> Node:
    chosen = None if engine is None else Chosen(engine, ToyStore().fingerprint(engine))
    return Node(f"{op.type}#1", op.type, op, NoParams(), chosen, {"crop": IMAGE_NODE}, height=0)


def in_loop(
    scenario: Callable[[Pool], Coroutine[Any, Any, Any]],
    lanes: int = 1,
    retry_load_after: float = 30,
    store: ToyStore | None = None,
) -> Any:
    """Run a scenario over a pool and close it."""

    async def whole() -> Any:
        pool = Pool(lanes, store or ToyStore(), retry_load_after=retry_load_after)
        try:
            return await scenario(pool)
        finally:
            pool.close()

    return asyncio.run(whole())


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Failures are logged with their traceback, which is right and not shown here."""
    caplog.set_level(logging.CRITICAL)


# Loading


@pytest.mark.parametrize("asking", [1, 2, 50])
def test_an_engine_loads_once_however_many_ask(asking):
    load = Loading()
    toy = spec(load)

    async def scenario(pool: Pool) -> None:
        assert pool.state(toy) is EngineState.ON_DISK
        engines = await asyncio.gather(*(pool.load(toy) for _ in range(asking)))
        assert all(engine is engines[0] for engine in engines)
        assert await pool.load(toy) is engines[0]
        assert pool.state(toy) is EngineState.READY
        assert pool.problem(toy) == ""

    in_loop(scenario)
    assert load.count == 1


def test_an_engine_is_warm_before_it_serves():
    async def scenario(pool: Pool) -> None:
        assert (await pool.load(spec(ToyEngine))).warm

    in_loop(scenario)


def test_an_engine_that_loads_says_so():
    load = SlowLoading()
    toy = spec(load)

    async def scenario(pool: Pool) -> None:
        asked = asyncio.create_task(pool.load(toy))
        assert await asyncio.to_thread(load.entered.wait, PATIENCE_SECONDS)
        assert pool.state(toy) is EngineState.LOADING
        load.finish.set()
        await asked
        assert pool.state(toy) is EngineState.READY

    in_loop(scenario)


def test_a_load_holds_up_no_lane():
    load = SlowLoading()

    async def scenario(pool: Pool) -> None:
        asked = asyncio.create_task(pool.load(spec(load)))
        assert await asyncio.to_thread(load.entered.wait, PATIENCE_SECONDS)
        assert (await pool.submit(node(measuring()), {"crop": 1})).value == "1 by nobody"
        assert await pool.call(lambda: "decoded") == "decoded"
        assert not asked.done()
        load.finish.set()
        await asked

    in_loop(scenario, lanes=1)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(spec(ToyEngine), name="other"), id="another name"),
        pytest.param(replace(spec(ToyEngine), weights=ToyWeights(id="other")), id="other weights"),
    ],
)
def test_another_engine_is_loaded_for_itself(other):
    async def scenario(pool: Pool) -> None:
        toy = spec(ToyEngine)
        engine = await pool.load(toy)
        assert pool.state(other) is EngineState.ON_DISK
        assert await pool.load(other) is not engine
        assert await pool.load(toy) is engine

    in_loop(scenario)


@pytest.mark.parametrize("leaving", [[0], [1], [0, 1]])
def test_who_stops_waiting_does_not_abort_the_load(leaving):
    load = SlowLoading()
    toy = spec(load)

    async def scenario(pool: Pool) -> None:
        asked = [asyncio.create_task(pool.load(toy)) for _ in range(2)]
        assert await asyncio.to_thread(load.entered.wait, PATIENCE_SECONDS)
        for number in leaving:
            asked[number].cancel()
        await asyncio.sleep(0)
        later = asyncio.create_task(pool.load(toy))
        load.finish.set()
        engine = await later
        await asyncio.wait(asked)
        assert [task.cancelled() for task in asked] == [number in leaving for number in range(2)]
        assert all(task.result() is engine for task in asked if not task.cancelled())

    in_loop(scenario)
    assert load.count == 1


# Loading that fails


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (RuntimeError("cannot read /secret/weights.bin: token=hunter2"), "RuntimeError"),
        (FileNotFoundError(2, "No such file or directory", "/secret/weights.bin"), "FileNotFoundError"),
        (ModuleNotFoundError("No module named 'toy_wheel'", name="toy_wheel"), "toy_wheel is not installed"),
        (
            ImportError("cannot import name 'x' (/secret/x.py)", name="toy_wheel", path="/secret/x.py"),
            "toy_wheel is not installed",
        ),
        (ImportError("libGL.so.1: cannot open /secret"), "made in a test is not installed"),
        (MemoryError(), "MemoryError"),
    ],
    ids=repr,
)
def test_a_failed_load_is_told_without_secrets(failure, told):
    toy = spec(Loading(failure))

    async def scenario(pool: Pool) -> None:
        with pytest.raises(ModelUnavailable) as refused:
            await pool.load(toy)
        message = str(refused.value)
        assert message.startswith("The model 'toy' cannot be loaded: ")
        assert told in message
        for secret in ("secret", "hunter2", "Traceback", ".py"):
            assert secret not in message
        assert pool.state(toy) is EngineState.FAILED
        assert pool.problem(toy) == message

    in_loop(scenario)


def test_the_log_has_what_the_message_has_not(caplog):
    caplog.set_level(logging.ERROR)

    async def scenario(pool: Pool) -> None:
        with pytest.raises(ModelUnavailable):
            await pool.load(spec(Loading(RuntimeError("/secret/weights.bin"))))

    in_loop(scenario)
    assert "engine toy cannot be loaded" in caplog.text
    assert "/secret/weights.bin" in caplog.text


def test_an_engine_that_cannot_warm_up_is_unavailable():
    class Cold(ToyEngine):
        def warmup(self, items: int = 1) -> None:
            raise ValueError("too cold")

    toy = spec(Cold)

    async def scenario(pool: Pool) -> None:
        with pytest.raises(ModelUnavailable, match="ValueError"):
            await pool.load(toy)
        assert pool.state(toy) is EngineState.FAILED

    in_loop(scenario)


@pytest.mark.parametrize("failure", [Panic("at the disco"), SystemExit(1)], ids=repr)
def test_a_load_that_fails_with_what_is_no_exception_is_a_failed_load(failure):
    toy = spec(Loading(failure))

    async def scenario(pool: Pool) -> None:
        with pytest.raises(ModelUnavailable):
            await pool.load(toy)
        assert pool.state(toy) is EngineState.FAILED

    in_loop(scenario)


def test_a_failed_load_reaches_all_who_wait():
    load = SlowLoading(RuntimeError())
    toy = spec(load)

    async def scenario(pool: Pool) -> None:
        asked = [asyncio.create_task(pool.load(toy)) for _ in range(3)]
        assert await asyncio.to_thread(load.entered.wait, PATIENCE_SECONDS)
        load.finish.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(answer, ModelUnavailable) for answer in answers)

    in_loop(scenario)
    assert load.count == 1


def test_a_failed_load_is_not_tried_again_at_once():
    load = Loading(RuntimeError())
    toy = spec(load)

    async def scenario(pool: Pool) -> None:
        messages = set()
        for _ in range(3):
            with pytest.raises(ModelUnavailable) as refused:
                await pool.load(toy)
            messages.add(str(refused.value))
        assert len(messages) == 1

    in_loop(scenario)
    assert load.count == 1


def test_a_failed_load_is_tried_again_later():
    load = Loading(RuntimeError(), RuntimeError())
    toy = spec(load)

    async def scenario(pool: Pool) -> None:
        for tries in (1, 2):
            with pytest.raises(ModelUnavailable):
                await pool.load(toy)
            assert load.count == tries
        assert isinstance(await pool.load(toy), ToyEngine)
        assert pool.state(toy) is EngineState.READY
        assert pool.problem(toy) == ""

    in_loop(scenario, retry_load_after=0)
    assert load.count == 3


def test_a_failed_load_touches_no_other_engine():
    async def scenario(pool: Pool) -> None:
        with pytest.raises(ModelUnavailable):
            await pool.load(spec(Loading(RuntimeError()), "broken"))
        assert isinstance(await pool.load(spec(ToyEngine, "sound")), ToyEngine)

    in_loop(scenario)


# Choosing


@pytest.mark.parametrize(
    ("broken", "chosen"),
    [([], 0), ([0], 1), ([1], 0), ([0, 1], 2), ([0, 1, 2], 0)],
)
def test_the_first_engine_that_works_is_chosen(broken, chosen):
    specs = [
        spec(Loading(RuntimeError()) if number in broken else ToyEngine, f"toy {number}")
        for number in range(3)
    ]
    op = measuring(*specs)

    async def scenario(pool: Pool) -> None:
        assert pool.choose(op, NoParams()).spec is specs[0]
        for number in broken:
            with pytest.raises(ModelUnavailable):
                await pool.load(specs[number])
        assert pool.choose(op, NoParams()).spec is specs[chosen]

    in_loop(scenario)


def test_no_engine_is_chosen_where_none_is_declared():
    async def scenario(pool: Pool) -> None:
        assert pool.choose(measuring(), NoParams()) is None

    in_loop(scenario)


# Computing


def test_an_item_is_computed_by_the_engine_of_its_node():
    first = spec(lambda placement: ToyEngine(name="first"), "first")
    second = spec(lambda placement: ToyEngine(name="second"), "second")
    op = measuring(first, second)

    async def scenario(pool: Pool) -> None:
        assert (await pool.submit(node(op, first), {"crop": 1})).value == "1 by first"
        assert (await pool.submit(node(op, second), {"crop": 2})).value == "2 by second"
        assert (await pool.submit(node(measuring()), {"crop": 3})).value == "3 by nobody"

    in_loop(scenario)


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1] * 5), (4, [4, 1]), (8, [5])])
def test_items_share_a_batch_as_large_as_the_engine_takes(batch, sizes):
    seen = []

    def run(items: Sequence[int]) -> list[int]:
        seen.append(len(items))
        return [10 * item for item in items]

    toy = spec(ToyEngine, batch=batch)
    op = measuring(toy, run=run)

    async def scenario(pool: Pool) -> list[Computed]:
        await pool.load(toy)
        return await asyncio.gather(*(pool.submit(node(op, toy), {"crop": n}) for n in range(5)))

    assert [answer.value for answer in in_loop(scenario)] == [0, 10, 20, 30, 40]
    assert seen == sizes


def test_an_engine_that_is_unavailable_is_the_answer_of_the_item():
    toy = spec(Loading(RuntimeError()))
    op = measuring(toy)

    async def scenario(pool: Pool) -> None:
        answer = await pool.submit(node(op, toy), {"crop": 1})
        assert isinstance(answer.value, ModelUnavailable)
        assert answer.ms == 0
        assert (await pool.submit(node(measuring()), {"crop": 1})).value == "1 by nobody"

    in_loop(scenario)


@pytest.mark.parametrize(
    ("raised", "kind"), [(ValueError("/secret"), Internal), (InvalidParams("told"), InvalidParams)]
)
def test_what_run_raises_is_the_answer_of_the_item(raised, kind):
    def run(items: Sequence[int]) -> list[int]:
        raise raised

    async def scenario(pool: Pool) -> Any:
        return (await pool.submit(node(measuring(run=run)), {"crop": 1})).value

    answer = in_loop(scenario)
    assert isinstance(answer, TaskError)
    assert type(answer) is kind
    assert "secret" not in str(answer)


def test_the_cost_of_an_operation_is_known_from_its_first_item_on():
    op, other = measuring(), measuring(spec(ToyEngine))

    async def scenario(pool: Pool) -> None:
        assert pool.cost_ms(op, None) is None
        for _ in range(3):
            await pool.submit(node(op), {"crop": 1})
        cost = pool.cost_ms(op, None)
        assert isinstance(cost, float)
        assert cost >= 0
        assert pool.cost_ms(other, None) is None

    in_loop(scenario)


def test_an_engine_that_is_unavailable_costs_nothing():
    toy = spec(Loading(RuntimeError()))
    op = measuring(toy)

    async def scenario(pool: Pool) -> None:
        await pool.submit(node(op, toy), {"crop": 1})
        assert pool.cost_ms(op, Chosen(toy, "")) is None

    in_loop(scenario)


# Calls


@pytest.mark.parametrize("value", [1, None, "text", [1, 2], ValueError("a value like any other")], ids=repr)
def test_a_call_answers_what_the_function_answers(value):
    async def scenario(pool: Pool) -> Any:
        return await pool.call(lambda: value)

    assert in_loop(scenario) is value


@pytest.mark.parametrize("error", [ValueError("as it is"), InvalidParams("told"), KeyError(1)], ids=repr)
def test_a_call_raises_what_the_function_raises(error):
    def fail() -> None:
        raise error

    async def scenario(pool: Pool) -> None:
        with pytest.raises(type(error)) as raised:
            await pool.call(fail)
        assert raised.value is error
        assert await pool.call(lambda: 1) == 1

    in_loop(scenario)


@pytest.mark.parametrize("kind", [SystemExit, Panic])
def test_a_call_fails_alone_with_what_is_no_exception(kind):
    def leave() -> None:
        raise kind

    async def scenario(pool: Pool) -> None:
        with pytest.raises(Internal):
            await pool.call(leave)
        assert await pool.call(lambda: 1) == 1

    in_loop(scenario)


def test_models_run_on_lanes_and_images_are_decoded_beside_them():
    op = measuring(run=lambda items: [threading.current_thread().name for _ in items])

    async def scenario(pool: Pool) -> None:
        computed = await asyncio.gather(*(pool.submit(node(op), {"crop": n}) for n in range(4)))
        called = await asyncio.gather(*(pool.call(lambda: threading.current_thread().name) for _ in range(4)))
        assert all(each.value.startswith("lane-") for each in computed)
        assert all(name.startswith("image-") for name in called)

    in_loop(scenario, lanes=2)


def test_an_image_is_decoded_while_all_lanes_compute():
    finish, entered = threading.Event(), threading.Event()

    def hold(items: Sequence[int]) -> list[bool]:
        entered.set()
        return [finish.wait(PATIENCE_SECONDS) for _ in items]

    async def scenario(pool: Pool) -> None:
        computed = asyncio.create_task(pool.submit(node(measuring(run=hold)), {"crop": 1}))
        assert await asyncio.to_thread(entered.wait, PATIENCE_SECONDS)
        assert await pool.call(lambda: "decoded") == "decoded"
        assert not computed.done()
        finish.set()
        assert (await computed).value is True

    in_loop(scenario)


def test_a_lane_of_any_kind_that_is_lost_counts():
    async def scenario() -> None:
        pool = Pool(1, ToyStore(), lane_timeout=0.05)
        finish = threading.Event()
        try:
            assert (pool.lanes_lost, pool.has_lanes) == (0, True)
            for _ in range(8):
                with pytest.raises(Internal):
                    await pool.call(finish.wait)
            assert (pool.lanes_lost, pool.has_lanes, pool.lanes.count) == (8, True, 1)
            for _ in range(IMAGE_LANES):
                with pytest.raises(Internal):
                    await pool.call(finish.wait)
            assert (pool.has_lanes, pool.lanes.count) == (False, 1)
        finally:
            finish.set()
            pool.close()

    asyncio.run(scenario())


def test_what_no_lane_has_taken_is_waiting():
    finish, entered = threading.Event(), threading.Event()

    def hold() -> bool:
        entered.set()
        return finish.wait(PATIENCE_SECONDS)

    async def scenario(pool: Pool) -> None:
        assert pool.waiting == 0
        held = asyncio.gather(*(pool.call(hold) for _ in range(IMAGE_LANES)))
        assert await asyncio.to_thread(entered.wait, PATIENCE_SECONDS)
        late = [asyncio.create_task(pool.call(lambda: 1)) for _ in range(3)]
        await asyncio.sleep(0)
        assert pool.waiting == 3
        finish.set()
        assert all(await held)
        await asyncio.gather(*late)
        assert pool.waiting == 0

    in_loop(scenario)


# Memory


def slow(items: Sequence[int]) -> list[int]:
    """Long enough for its division to matter."""
    time.sleep(0.002)
    return list(items)


def test_an_engine_that_takes_several_items_is_measured_when_it_is_loaded():
    sizes: list[int] = []

    class Measured(ToyEngine):
        def warmup(self, items: int = 1) -> None:
            sizes.append(items)
            time.sleep(0.002)

    several, one = spec(Measured, name="several", batch=4), spec(Measured, name="one")
    op = measuring(several, run=slow)

    async def scenario(pool: Pool) -> None:
        await pool.load(one)
        assert sizes == [1]
        await pool.load(several)
        assert sizes[1:] == [1, 1, 1, 2, 2, 4, 4]
        assert pool.calls() == []
        await pool.submit(node(op, several), {"crop": 1})
        ((type_, engine, cost, most),) = pool.calls()
        assert (type_, engine) == (op.type, several)
        assert cost.seconds(4) >= cost.seconds(1) >= 0.002
        assert 2 <= most <= 4

    in_loop(scenario)


def test_engines_on_another_device_compute_in_turns():
    class OnGpu(ToyStore):
        def open(self, spec: EngineSpec) -> Placement:
            return replace(super().open(spec), device="cuda")

    toy = spec(ToyEngine, batch=4)
    op = measuring(toy, run=slow)
    for store, side_by_side in ((ToyStore(), True), (OnGpu(), False)):

        async def scenario(pool: Pool) -> bool:
            await pool.submit(node(op, toy), {"crop": 1})
            ((_, _, cost, _),) = pool.calls()
            return cost.side_by_side

        assert in_loop(scenario, store=store) is side_by_side


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_a_batch_that_finds_no_memory_is_halved_and_later_ones_are_smaller(error, caplog):
    sizes: list[int] = []
    caplog.set_level(logging.WARNING)

    def run(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > 2:
            raise error
        return list(items)

    toy = spec(ToyEngine, batch=8)
    op = measuring(toy, run=run)

    async def scenario(pool: Pool) -> list[Any]:
        await pool.load(toy)
        found = []
        for _ in range(2):
            answers = await asyncio.gather(*(pool.submit(node(op, toy), {"crop": n}) for n in range(8)))
            found.append([answer.value for answer in answers])
        return found

    assert in_loop(scenario) == [list(range(8)), list(range(8))]
    assert sizes == [8, 4, 2, 2, 4, 2, 2, 2, 2, 2, 2]
    assert "takes at most 2 items" in caplog.text


def test_one_item_without_memory_fails_alone_and_is_told():
    def run(items: Sequence[int]) -> list[int]:
        if 3 in items:
            raise MemoryError
        return list(items)

    toy = spec(ToyEngine, batch=8)
    op = measuring(toy, run=run)

    async def scenario(pool: Pool) -> list[Any]:
        answers = await asyncio.gather(*(pool.submit(node(op, toy), {"crop": n}) for n in range(5)))
        return [answer.value for answer in answers]

    *others, failed = sorted(in_loop(scenario), key=lambda value: isinstance(value, TaskError))
    assert others == [0, 1, 2, 4]
    assert "not enough memory" in str(failed)
