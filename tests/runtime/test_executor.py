"""The executor: what is computed once, what fails alone, and what a deadline or a cancellation takes along.

The operations are toys that measure crops; the pool, the cache, the decoder and the resolver are real.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from app.core.artifacts import Crop, Detections, EncodedImage, ImageInfo, Region
from app.core.errors import ImageUnreadable, InvalidParams, ModelUnavailable, RegionNotFound, TaskError
from app.core.geometry import Box
from app.core.operation import (
    IMAGE,
    OUTSIDE_KEY,
    EngineSpec,
    Needs,
    Operation,
    Params,
    Ref,
    Selection,
    Source,
    TaskRef,
    Wanted,
    operation,
)
from app.core.plan import Plan
from app.core.registry import Registry
from app.core.resolver import Task, resolve
from app.core.weights import Placement
from app.runtime.cache import ResultCache
from app.runtime.decode import DecodeLimits, sha256_of
from app.runtime.executor import Executor
from app.runtime.outcomes import Outcome, Run
from app.runtime.pool import IMAGE_LANES, Pool
from app.runtime.source import ImageSource, known_facts
from tests.images import encoded, noise
from tests.toys import ToyStore, ToyWeights

# Only a failing test waits as long as this.
PATIENCE_SECONDS = 10
DEADLINE_SECONDS = 0.5

PICTURE = encoded(noise(16, 12))
OTHER_PICTURE = encoded(noise(16, 12, seed=1))
A, B, C = (0, 0, 4, 4), (2, 2, 8, 8), (5, 0, 16, 12)

Corners = tuple[int, int, int, int]
Mood = Literal["fine", "skip", "refuse", "crash"]

REFUSAL = "The picture is too pale."
SECRET = "/secret/weights.bin"


# Toy stages: where to measure


class Finding(Params):
    boxes: tuple[Corners, ...]
    mood: Mood = "fine"


@operation(
    params=Finding, needs=lambda _: {"crop": IMAGE}, public=False, finds=lambda _, value: found_in(value)
)
def find(crop: Sequence[Crop], params: Finding) -> list[Detections | TaskError]:
    """Find the boxes that it is told to."""
    match params.mood:
        case "crash":
            raise ValueError(SECRET)
        case "skip":
            return [RegionNotFound(REFUSAL) for _ in crop]
        case "refuse":
            return [ModelUnavailable(REFUSAL) for _ in crop]
    return [Detections(tuple(Region(Box(*box), "found", 0.9) for box in params.boxes)) for _ in crop]


def found_in(value: Detections) -> Sequence[Region]:
    if len(value.regions) > 3:
        raise ValueError(SECRET)
    return value.regions


class Place(Params):
    """Where: in the whole image, at given boxes, at those found, or at those of another task."""

    at: tuple[Corners, ...] | None = None
    finding: Finding | None = None
    of: Annotated[str | None, OUTSIDE_KEY] = None
    mood: Mood = "fine"


def needs_of_place(params: Place) -> Needs:
    if params.of is not None:
        return {"image": IMAGE, "found": TaskRef(params.of, "of", wanted=Wanted.BOXES)}
    if params.finding is not None:
        return {"image": IMAGE, "found": Ref(find, params.finding)}
    return {"image": IMAGE}


@operation(params=Place, needs=needs_of_place, public=False, expands=True)
def place(image: ImageInfo, params: Place, found: Sequence[Region] | None = None) -> Selection:
    """Turn a place into regions."""
    match params.mood:
        case "crash":
            raise ValueError(SECRET)
        case "skip":
            raise RegionNotFound(REFUSAL)
        case "refuse":
            raise ModelUnavailable(REFUSAL)
    if found is not None:
        return Selection(tuple(found))
    if params.at is not None:
        regions = tuple(Region(Box(*box), "given") for box in params.at)
        return Selection(regions, ("Boxes were given.",) if regions else ())
    return Selection((Region(image.box, "whole_image"),))


# Toy operations: what to measure


class Measured(Params):
    place: Annotated[Place, OUTSIDE_KEY] = Place()
    level: int = 0

    @property
    def is_plural(self) -> bool:
        return True


Measure = Callable[[Any], Any]


def area(crop: Crop) -> int:
    return crop.box.area


@operation(params=Params, needs=lambda _: {"crop": IMAGE})
def lane(crop: Sequence[Callable[[], object]], params: Params) -> list[object]:
    """Do on a lane whatever is asked."""
    return [each() or "done" for each in crop]


LANE = Registry([lane])
task_of_lane = Task("lane", "lane", {})


def measuring(
    name: str,
    measure: Measure = area,
    *,
    on: Operation | None = None,
    batch: int = 1,
    engine: Sequence[EngineSpec] = (),
    crop: Operation | None = None,
) -> Operation:
    """An operation that measures crops or, with `on`, what another one measured."""

    def needs(params: Measured) -> Needs:
        source: Source = Ref(on, params) if on else Ref(place, params.place)
        return {"value": source}

    def run(value: Sequence[Any], params: Measured) -> list[Any]:
        """Measure."""
        return [measure(each) for each in value]

    def run_by_engine(value: Sequence[Any], params: Measured, engine: Any) -> list[Any]:
        """Measure."""
        return [measure(each) for each in value]

    declared = run_by_engine if engine else run
    declared.__name__ = name
    return operation(
        params=Measured,
        needs=needs,
        engine=engine,
        batch=batch,
        finds=lambda region, _: (region,),
        crop=(lambda params: Ref(crop, params)) if crop else None,
    )(declared)


@dataclass
class Recorder:
    """A measure that keeps the boxes which it was given."""

    boxes: list[Corners] = field(default_factory=list)

    def __call__(self, crop: Crop) -> int:
        self.boxes.append(tuple(crop.box))
        return crop.box.area


class Gate(Recorder):
    """A measure that holds its lane until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self._entered, self._open = threading.Event(), threading.Event()

    def __call__(self, crop: Crop) -> int:
        self._entered.set()
        assert self._open.wait(PATIENCE_SECONDS)
        return super().__call__(crop)

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, PATIENCE_SECONDS)

    def open(self) -> None:
        self._open.set()


def refusing(kind: Callable[[str], Exception] = ValueError, message: str = SECRET) -> Measure:
    def refuse(_: Any) -> Any:
        raise kind(message)

    return refuse


def refusing_at(box: Corners, error: Exception) -> Measure:
    def measure(crop: Crop) -> Any:
        if tuple(crop.box) == box:
            raise error
        return crop.box.area

    return measure


# The house that they run in


@dataclass
class House:
    registry: Registry
    pool: Pool
    cache: ResultCache
    executor: Executor

    def plan(self, *tasks: Task) -> Plan:
        return resolve(tasks, self.registry, self.pool.choose)

    def source(self, picture: bytes = PICTURE) -> ImageSource:
        return ImageSource(picture, self.pool, self.cache, DecodeLimits())

    async def decoded(self, picture: bytes = PICTURE) -> ImageSource:
        source = self.source(picture)
        await source.image()
        return source

    async def analyze(
        self, *tasks: Task, source: ImageSource | None = None, seconds: float | None = None
    ) -> Run:
        return await self.executor.run(self.plan(*tasks), source or self.source(), seconds)

    async def outcomes(self, *tasks: Task, **options: Any) -> dict[str, Outcome]:
        return by_id(await self.analyze(*tasks, **options))

    async def waits(self, items: int) -> None:
        """Let the loop turn until so many items wait for a lane."""
        for _ in range(1000 * PATIENCE_SECONDS):
            if self.pool.waiting >= items:
                return
            await asyncio.sleep(0.001)
        raise AssertionError(f"{self.pool.waiting} items wait, not {items}")

    def hold(self, until: Callable[[], object]) -> "asyncio.Task[Any]":
        """Keep the one lane from anything else."""
        (node,) = resolve([task_of_lane], LANE, self.pool.choose).nodes.values()
        return asyncio.create_task(self.pool.submit(node, {"crop": until}))

    def hold_decoding(self, until: Callable[[], object]) -> "asyncio.Future[Any]":
        """Keep the lanes for images from anything else."""
        return asyncio.gather(*(self.pool.call(until) for _ in range(IMAGE_LANES)))

    async def drained(self) -> None:
        """Wait until the lane has done all that was asked of it before."""
        await self.hold(lambda: None)


def in_house(
    scenario: Callable[[House], Coroutine[Any, Any, Any]],
    *operations: Operation,
    lanes: int = 2,
    cache_bytes: int = 1_000_000,
) -> Any:
    """Run a scenario over an executor with these operations."""

    async def whole() -> Any:
        pool, cache = Pool(lanes, ToyStore()), ResultCache(cache_bytes)
        house = House(Registry([find, place, *operations]), pool, cache, Executor(pool, cache))
        try:
            return await scenario(house)
        finally:
            pool.close()

    return asyncio.run(whole())


def task(type_: str, operation_id: str = "t", *, level: int = 0, **place_: Any) -> Task:
    return Task(operation_id, type_, {"place": place_, "level": level})


def finding(*boxes: Corners, mood: Mood = "fine") -> dict[str, Any]:
    return {"boxes": boxes, "mood": mood}


def by_id(run: Run) -> dict[str, Outcome]:
    return {outcome.planned.operation_id: outcome for outcome in run.outcomes}


def values(outcome: Outcome) -> list[Any]:
    assert outcome.fault is None
    return [item.value for item in outcome.items]


def boxes(outcome: Outcome) -> list[Corners]:
    return [tuple(item.region.box) for item in outcome.items]


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Failures are logged with their traceback, which is right and not shown here."""
    caplog.set_level(logging.CRITICAL)


# Results


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        pytest.param({}, [(0, 0, 16, 12)], id="the whole image"),
        pytest.param({"at": [A]}, [A], id="one box"),
        pytest.param({"at": [B, A, C]}, [B, A, C], id="several boxes"),
        pytest.param({"at": []}, [], id="no box"),
        pytest.param({"finding": finding(C, A)}, [C, A], id="found boxes"),
        pytest.param({"finding": finding()}, [], id="nothing found"),
    ],
)
def test_a_task_answers_an_item_for_every_region(where, expected):
    async def scenario(house: House) -> Outcome:
        return (await house.outcomes(task("measure", **where)))["t"]

    outcome = in_house(scenario, measuring("measure"))
    assert boxes(outcome) == expected
    assert values(outcome) == [Box(*box).area for box in expected]


def test_the_pixels_of_a_crop_are_those_of_the_picture():
    async def scenario(house: House) -> Outcome:
        return (await house.outcomes(task("look", at=[B])))["t"]

    seen = in_house(scenario, measuring("look", lambda crop: crop.pixels.tolist()))
    assert values(seen) == [noise(16, 12)[2:8, 2:8].tolist()]


def test_a_task_follows_the_boxes_of_another():
    async def scenario(house: House) -> dict[str, Outcome]:
        return await house.outcomes(task("measure", "a", finding=finding(A, C)), task("weigh", "b", of="a"))

    outcomes = in_house(scenario, measuring("measure"), measuring("weigh"))
    assert boxes(outcomes["b"]) == boxes(outcomes["a"]) == [A, C]


def test_what_the_client_should_know_comes_once_with_every_task():
    async def scenario(house: House) -> dict[str, Outcome]:
        return await house.outcomes(task("measure", "a", at=[A]), task("top", "b", at=[A]))

    base = measuring("measure")
    outcomes = in_house(scenario, base, measuring("top", str, on=base))
    assert outcomes["a"].warnings == outcomes["b"].warnings == ("Boxes were given.",)


def test_a_refused_task_needs_no_node():
    async def scenario(house: House) -> Run:
        return await house.analyze(task("unknown"))

    run = in_house(scenario, measuring("measure"))
    assert run.node_ms == {}
    assert by_id(run)["t"].fault.code == "unsupported_operation"


def test_the_picture_and_the_time_of_nodes_that_compute_are_told():
    async def scenario(house: House) -> Run:
        return await house.analyze(task("measure", finding=finding(A)))

    run = in_house(scenario, measuring("measure"))
    assert run.node_ms.keys() == {"find#1", "measure#1"}
    assert (run.info.width, run.info.height) == (16, 12)
    assert by_id(run)["t"].ms >= 0


@pytest.mark.parametrize("picture", [b"", b"no picture", PICTURE[:60]], ids=["empty", "text", "cut off"])
def test_a_picture_that_cannot_be_decoded_fails_the_whole(picture):
    async def scenario(house: House) -> None:
        with pytest.raises(ImageUnreadable):
            await house.analyze(task("measure"), source=house.source(picture))

    in_house(scenario, measuring("measure"))


# Done once: inside a request


def test_equal_tasks_are_computed_once():
    record = Recorder()

    async def scenario(house: House) -> dict[str, Outcome]:
        return await house.outcomes(task("measure", "a", at=[A]), task("measure", "b", at=[A]))

    outcomes = in_house(scenario, measuring("measure", record))
    assert values(outcomes["a"]) == values(outcomes["b"]) == [16]
    assert record.boxes == [A]


def test_a_stage_is_computed_once_for_all_who_need_it():
    record = Recorder()
    base = measuring("measure", record)

    async def scenario(house: House) -> dict[str, Outcome]:
        return await house.outcomes(
            task("double", "a", at=[A, B]),
            task("negate", "b", at=[A, B]),
            task("measure", "c", at=[A, B]),
        )

    outcomes = in_house(
        scenario,
        base,
        measuring("double", lambda value: 2 * value, on=base),
        measuring("negate", lambda value: -value, on=base),
    )
    assert [values(outcomes[name]) for name in "abc"] == [[32, 72], [-16, -36], [16, 36]]
    assert sorted(record.boxes) == [A, B]


def test_one_region_reached_through_different_targets_is_computed_once():
    record = Recorder()

    async def scenario(house: House) -> dict[str, Outcome]:
        return await house.outcomes(
            task("measure", "given", at=[A]),
            task("measure", "found", finding=finding(C, A)),
            task("measure", "followed", of="given"),
            task("measure", "twice", at=[A, A, C]),
        )

    outcomes = in_house(scenario, measuring("measure", record))
    assert values(outcomes["twice"]) == [16, 16, 132]
    assert values(outcomes["found"]) == [132, 16]
    assert values(outcomes["followed"]) == values(outcomes["given"]) == [16]
    assert sorted(record.boxes) == [A, C]


def test_other_params_are_other_work():
    record = Recorder()

    async def scenario(house: House) -> None:
        await house.outcomes(task("measure", "a", at=[A]), task("measure", "b", at=[A], level=1))

    in_house(scenario, measuring("measure", record))
    assert record.boxes == [A, A]


def test_the_items_of_a_node_share_a_batch():
    sizes = []

    def needs(params: Measured) -> Needs:
        return {"crop": Ref(place, params.place)}

    @operation(params=Measured, needs=needs, batch=8)
    def measure(crop: Sequence[Crop], params: Measured) -> list[int]:
        """Measure."""
        sizes.append(len(crop))
        return [each.box.area for each in crop]

    async def scenario(house: House) -> None:
        await house.outcomes(task("measure", at=[A, B, C]))
        one, other = await house.decoded(PICTURE), await house.decoded(OTHER_PICTURE)
        gate = threading.Event()
        held = house.hold(lambda: gate.wait(PATIENCE_SECONDS))
        runs = [
            asyncio.create_task(house.analyze(task("measure", at=[(1, 1, 2, 2)]), source=source))
            for source in (one, other)
        ]
        await house.waits(2)
        gate.set()
        await asyncio.gather(held, *runs)

    in_house(scenario, measure, lanes=1)
    assert sizes == [3, 2]


# Done once: across requests


def test_equal_work_of_two_requests_in_flight_is_done_once():
    gate, mark = Gate(), Gate()
    mark.open()

    async def scenario(house: House) -> list[Run]:
        first = asyncio.create_task(house.analyze(task("measure", at=[A])))
        await gate.entered()
        second = asyncio.create_task(house.analyze(task("measure", at=[A]), task("mark", "m")))
        # All nodes of a request start in one turn: the second has joined by now.
        await mark.entered()
        gate.open()
        return await asyncio.gather(first, second)

    first, second = in_house(scenario, measuring("measure", gate), measuring("mark", mark), lanes=3)
    assert values(by_id(first)["t"]) == values(by_id(second)["t"]) == [16]
    assert gate.boxes == [A]
    # The time belongs to the one that started the work.
    assert second.node_ms["measure#1"] == 0


def test_a_later_request_finds_the_result_in_the_cache():
    record = Recorder()

    async def scenario(house: House) -> tuple[Run, Run, ImageSource]:
        again = house.source()
        first = await house.analyze(task("measure", finding=finding(A, B)))
        return first, await house.analyze(task("measure", finding=finding(A, B)), source=again), again

    first, second, source = in_house(scenario, measuring("measure", record))
    assert values(by_id(first)["t"]) == values(by_id(second)["t"]) == [16, 36]
    assert sorted(record.boxes) == [A, B]
    assert second.node_ms == {"find#1": 0, "measure#1": 0}
    assert source.decode_ms == 0


@pytest.mark.parametrize(
    ("again", "computed"),
    [
        pytest.param([task("measure", at=[A])], [A], id="the same"),
        pytest.param([task("measure", at=[A, B])], [A, B], id="one region more"),
        pytest.param([task("measure", finding=finding(A))], [A], id="another way to the region"),
        pytest.param([task("measure", at=[A], level=1)], [A, A], id="other params"),
        pytest.param([task("top", at=[A])], [A], id="a result that builds on it"),
    ],
)
def test_only_what_is_new_is_computed(again, computed):
    record = Recorder()
    base = measuring("measure", record)

    async def scenario(house: House) -> None:
        await house.analyze(task("measure", at=[A]))
        await house.analyze(*again)

    in_house(scenario, base, measuring("top", str, on=base))
    assert record.boxes == computed


def test_another_picture_is_computed_anew():
    record = Recorder()

    async def scenario(house: House) -> None:
        await house.analyze(task("measure", at=[A]))
        await house.analyze(task("measure", at=[A]), source=house.source(OTHER_PICTURE))

    in_house(scenario, measuring("measure", record))
    assert record.boxes == [A, A]


def test_without_a_cache_everything_is_computed_anew():
    record = Recorder()

    async def scenario(house: House) -> None:
        for _ in range(3):
            assert values((await house.outcomes(task("measure", at=[A])))["t"]) == [16]

    in_house(scenario, measuring("measure", record), cache_bytes=0)
    assert record.boxes == [A, A, A]


def test_a_failure_is_not_kept():
    failures = [ValueError("once")]

    def measure(crop: Crop) -> int:
        if failures:
            raise failures.pop()
        return crop.box.area

    async def scenario(house: House) -> tuple[Outcome, Outcome]:
        first = await house.outcomes(task("measure", at=[A]))
        return first["t"], (await house.outcomes(task("measure", at=[A])))["t"]

    first, second = in_house(scenario, measuring("measure", measure))
    assert first.fault.code == "internal"
    assert values(second) == [16]


def test_the_cache_knows_which_nodes_it_would_answer():
    base = measuring("measure")
    tasks = [task("top", "a", finding=finding(A, B)), task("measure", "b", at=[C])]

    async def scenario(house: House) -> list[set[str]]:
        plan, source = house.plan(*tasks), house.source()
        info = await source.info()

        def cached() -> set[str]:
            return set(house.executor.cached_nodes(plan, info))

        stages = [cached()]
        await house.analyze(task("weigh", finding=finding(A, B)))
        stages.append(cached())
        await house.analyze(task("measure", at=[B]))
        stages.append(cached())
        await house.analyze(task("measure", finding=finding(A, B)))
        stages.append(cached())
        await house.analyze(*tasks)
        stages.append(cached())
        assert stages[-1] == set(plan.nodes)
        return stages

    stages = in_house(scenario, base, measuring("top", str, on=base), measuring("weigh"))
    # What only turns boxes into regions is known as soon as its boxes are.
    nothing, found, part, measured, everything = stages
    assert nothing == {"place#2"}
    assert found == {"place#2", "find#1", "place#1"}
    assert part == found
    assert measured == found | {"measure#1"}
    assert everything == measured | {"top#1", "measure#2"}


def test_to_ask_what_is_cached_computes_nothing():
    record = Recorder()

    async def scenario(house: House) -> None:
        info = await house.source().info()
        house.executor.cached_nodes(house.plan(task("measure", finding=finding(A))), info)
        await house.drained()

    in_house(scenario, measuring("measure", record))
    assert record.boxes == []


@pytest.mark.parametrize("mood", ["skip", "refuse", "crash"])
def test_to_ask_what_is_cached_is_safe_where_no_region_can_be_chosen(mood):
    async def scenario(house: House) -> frozenset[str]:
        plan = house.plan(task("measure", "bad", mood=mood), task("measure", "good", at=[A]))
        await house.analyze(task("measure", at=[A]))
        return house.executor.cached_nodes(plan, await house.source().info())

    assert in_house(scenario, measuring("measure")) >= {"place#2", "measure#2"}


# Failing alone


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ValueError(SECRET), "error", "internal"),
        (InvalidParams(REFUSAL), "skipped", "invalid_params"),
        (ModelUnavailable(REFUSAL), "error", "model_unavailable"),
        (MemoryError(), "error", "internal"),
    ],
    ids=repr,
)
def test_a_failing_task_touches_no_sibling(error, status, code):
    def fail(_: Any) -> Any:
        raise error

    async def scenario(house: House) -> dict[str, Outcome]:
        return await house.outcomes(
            task("broken", "bad", at=[A]), task("measure", "good", at=[A]), task("measure", "whole")
        )

    outcomes = in_house(scenario, measuring("broken", fail), measuring("measure"))
    fault = outcomes["bad"].fault
    assert (fault.status, fault.code) == (status, code)
    assert "secret" not in fault.message
    assert outcomes["bad"].items == ()
    assert values(outcomes["good"]) == [16]
    assert values(outcomes["whole"]) == [192]


def test_an_engine_that_cannot_be_loaded_fails_its_tasks_alone():
    def load(_: Placement) -> Any:
        raise RuntimeError(SECRET)

    toy = EngineSpec("toy", ToyWeights(), "MIT", load)
    base = measuring("by_engine", engine=[toy])

    async def scenario(house: House) -> dict[str, Outcome]:
        return await house.outcomes(
            task("by_engine", "bad", at=[A]), task("top", "behind", at=[B]), task("measure", "good", at=[A])
        )

    outcomes = in_house(scenario, base, measuring("top", str, on=base), measuring("measure"))
    assert outcomes["bad"].fault.code == "model_unavailable"
    assert outcomes["behind"].fault.code == "dependency_failed"
    assert outcomes["behind"].fault.caused_by.code == "model_unavailable"
    assert outcomes["behind"].fault.caused_by.stage == "by_engine"
    assert values(outcomes["good"]) == [16]
    assert "secret" not in outcomes["behind"].fault.message


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_failing_item_fails_alone(number):
    places = [A, B, C]

    async def scenario(house: House) -> Outcome:
        return (await house.outcomes(task("measure", at=places)))["t"]

    measure = refusing_at(places[number], ValueError(SECRET))
    outcome = in_house(scenario, measuring("measure", measure, batch=8))
    assert outcome.fault is None
    assert boxes(outcome) == places
    for index, item in enumerate(outcome.items):
        if index == number:
            assert item.value is None
            assert (item.fault.status, item.fault.code) == ("error", "internal")
            assert "secret" not in item.fault.message
        else:
            assert item.value == Box(*places[index]).area
            assert item.fault is None
    assert outcome.warnings == ("Boxes were given.", "1 of 3 items failed.")


@pytest.mark.parametrize("places", [[A], [A, B, C]], ids=len)
def test_when_all_items_fail_the_task_fails(places):
    async def scenario(house: House) -> Outcome:
        return (await house.outcomes(task("measure", at=places)))["t"]

    outcome = in_house(scenario, measuring("measure", refusing(InvalidParams, REFUSAL), batch=8))
    assert (outcome.fault.status, outcome.fault.code) == ("skipped", "invalid_params")
    assert outcome.fault.message == REFUSAL
    assert outcome.items == ()


def test_what_builds_on_a_failing_item_fails_alone_too():
    base = measuring("measure", refusing_at(B, ValueError(SECRET)))

    async def scenario(house: House) -> Outcome:
        return (await house.outcomes(task("top", at=[A, B, C])))["t"]

    outcome = in_house(scenario, base, measuring("top", str, on=base))
    assert [item.value for item in outcome.items] == ["16", None, "132"]
    fault = outcome.items[1].fault
    assert fault.code == "dependency_failed"
    assert (fault.caused_by.stage, fault.caused_by.code) == ("measure", "internal")
    assert fault.caused_by.message in fault.message


# The stage that failed


@pytest.mark.parametrize(
    ("also_asked", "stage"),
    [
        pytest.param([], "measure", id="a stage"),
        pytest.param([task("measure", "mine", at=[A])], "task 'mine'", id="a task of the client"),
    ],
)
def test_what_needs_a_failed_stage_says_which(also_asked, stage):
    base = measuring("measure", refusing())

    async def scenario(house: House) -> Outcome:
        return (await house.outcomes(task("top", at=[A]), *also_asked))["t"]

    fault = in_house(scenario, base, measuring("top", str, on=base)).fault
    assert (fault.status, fault.code) == ("error", "dependency_failed")
    assert (fault.caused_by.stage, fault.caused_by.code) == (stage, "internal")
    assert stage in fault.message
    assert fault.caused_by.message in fault.message
    assert "secret" not in fault.message


def test_a_chain_of_failures_leads_to_the_first():
    base = measuring("measure", refusing())
    between = measuring("between", str, on=base)

    async def scenario(house: House) -> Outcome:
        return (await house.outcomes(task("top", at=[A])))["t"]

    fault = in_house(scenario, base, between, measuring("top", str, on=between)).fault
    assert fault.code == "dependency_failed"
    assert (fault.root.stage, fault.root.code) == ("measure", "internal")
    assert fault.message.count("A stage that this task needs failed") == 1


@pytest.mark.parametrize(
    ("where", "stage", "code"),
    [
        pytest.param({"finding": finding(A, mood="crash")}, "find", "internal", id="a stage raises"),
        pytest.param({"finding": finding(A, mood="refuse")}, "find", "model_unavailable", id="it refuses"),
        pytest.param({"mood": "refuse"}, "place", "model_unavailable", id="no region can be chosen"),
        pytest.param({"mood": "crash"}, "place", "internal", id="the choice of regions raises"),
        pytest.param({"finding": finding(A, A, A, A)}, "place", "internal", id="the found cannot be read"),
    ],
)
def test_a_failure_on_the_way_to_the_regions_is_that_of_a_stage(where, stage, code):
    async def scenario(house: House) -> dict[str, Outcome]:
        return await house.outcomes(task("measure", **where), task("measure", "sibling", at=[A]))

    outcomes = in_house(scenario, measuring("measure"))
    fault = outcomes["t"].fault
    assert (fault.status, fault.code) == ("error", "dependency_failed")
    assert (fault.caused_by.stage, fault.caused_by.code) == (stage, code)
    assert "secret" not in fault.message
    assert values(outcomes["sibling"]) == [16]


@pytest.mark.parametrize(
    "where",
    [
        pytest.param({"mood": "skip"}, id="no region can be chosen"),
        pytest.param({"finding": finding(A, mood="skip")}, id="nothing can be looked for"),
    ],
)
@pytest.mark.parametrize("type_", ["measure", "top"])
def test_a_skip_passes_through(where, type_):
    base = measuring("measure")

    async def scenario(house: House) -> Outcome:
        return (await house.outcomes(task(type_, **where)))["t"]

    outcome = in_house(scenario, base, measuring("top", str, on=base))
    assert outcome.fault is not None
    assert (outcome.fault.status, outcome.fault.code) == ("skipped", "region_not_found")
    assert REFUSAL in outcome.fault.message


def test_a_skip_of_an_item_passes_through():
    base = measuring("measure", refusing_at(B, RegionNotFound(REFUSAL)))

    async def scenario(house: House) -> dict[str, Outcome]:
        return await house.outcomes(task("top", "one", at=[B]), task("top", "two", at=[A, B]))

    outcomes = in_house(scenario, base, measuring("top", str, on=base))
    assert (outcomes["one"].fault.status, outcomes["one"].fault.code) == ("skipped", "region_not_found")
    assert REFUSAL in outcomes["one"].fault.message
    good, skipped = outcomes["two"].items
    assert good.value == "16"
    assert (skipped.fault.status, skipped.fault.code) == ("skipped", "region_not_found")


@pytest.mark.parametrize(
    "followed",
    [
        pytest.param(task("measure", "a", mood="skip"), id="as a whole"),
        pytest.param(task("pale", "a", at=[A]), id="in its one item"),
        pytest.param(task("pale", "a", at=[A, B]), id="in all its items"),
    ],
)
def test_a_task_that_follows_a_skipped_one_is_skipped_and_says_so(followed):
    async def scenario(house: House) -> dict[str, Outcome]:
        return await house.outcomes(followed, task("weigh", "b", of="a"))

    pale = measuring("pale", refusing(RegionNotFound, REFUSAL))
    outcomes = in_house(scenario, measuring("measure"), pale, measuring("weigh"))
    for outcome in outcomes.values():
        assert outcome.fault is not None
        assert (outcome.fault.status, outcome.fault.code) == ("skipped", "region_not_found")
    fault = outcomes["b"].fault
    assert fault.message == f"task 'a' was skipped: {REFUSAL}"
    assert fault.caused_by.stage == "task 'a'"


@pytest.mark.parametrize("error", [RegionNotFound(REFUSAL), ModelUnavailable(REFUSAL)], ids=repr)
def test_a_task_goes_on_with_the_boxes_of_the_items_that_did_not_fail(error):
    """As the followed task itself does, which is a success with a warning."""

    async def scenario(house: House) -> dict[str, Outcome]:
        return await house.outcomes(task("measure", "a", at=[A, B, C]), task("weigh", "b", of="a"))

    outcomes = in_house(scenario, measuring("measure", refusing_at(B, error)), measuring("weigh"))
    assert outcomes["a"].fault is None
    assert outcomes["b"].fault is None
    assert boxes(outcomes["b"]) == [A, C]
    assert any(REFUSAL in warning for warning in outcomes["b"].warnings)


def test_a_task_that_follows_a_failed_one_names_it():
    async def scenario(house: House) -> dict[str, Outcome]:
        return await house.outcomes(task("broken", "a", at=[A]), task("weigh", "b", of="a"))

    fault = in_house(scenario, measuring("broken", refusing()), measuring("weigh"))["b"].fault
    assert fault.code == "dependency_failed"
    assert (fault.caused_by.stage, fault.caused_by.code) == ("task 'a'", "internal")


# Crops


def shown(crop: Crop) -> EncodedImage:
    if crop.box == B:
        raise InvalidParams(REFUSAL)
    return EncodedImage(f"picture of {tuple(crop.box)}")


@pytest.mark.parametrize(
    ("places", "crops", "missing"),
    [
        pytest.param([A, C], [f"picture of {A}", f"picture of {C}"], (), id="all"),
        pytest.param([A, B], [f"picture of {A}", None], (REFUSAL,), id="one is missing"),
        pytest.param([B], [None], (REFUSAL,), id="the only one is missing"),
    ],
)
def test_the_crop_stands_beside_the_value_and_is_missed_with_a_warning(places, crops, missing):
    encode = measuring("encode", shown)

    async def scenario(house: House) -> Outcome:
        return (await house.outcomes(task("measure", at=places)))["t"]

    outcome = in_house(scenario, encode, measuring("measure", crop=encode))
    assert values(outcome) == [Box(*box).area for box in places]
    assert [item.crop.base64 if item.crop else None for item in outcome.items] == crops
    assert outcome.warnings == ("Boxes were given.", *(f"The crop is missing: {why}" for why in missing))


# Inputs of several needs


class Compared(Params):
    one: Annotated[Place, OUTSIDE_KEY] = Place()
    many: Annotated[Place, OUTSIDE_KEY] = Place()

    @property
    def is_plural(self) -> bool:
        return True


def comparing(record: list[tuple[Corners, Corners]]) -> Operation:
    def needs(params: Compared) -> Needs:
        return {"one": Ref(place, params.one), "many": Ref(place, params.many)}

    @operation(params=Compared, needs=needs)
    def compare(one: Sequence[Crop], many: Sequence[Crop], params: Compared) -> list[int]:
        """Compare two regions."""
        record.extend((tuple(a.box), tuple(b.box)) for a, b in zip(one, many, strict=True))
        return [b.box.area - a.box.area for a, b in zip(one, many, strict=True)]

    return compare


def compared(one: Sequence[Corners] | None, many: Sequence[Corners] | None) -> Task:
    return Task("t", "compare", {"one": {"at": one}, "many": {"at": many}})


@pytest.mark.parametrize(
    ("one", "many", "pairs", "regions"),
    [
        pytest.param([A], [B], [(A, B)], [A], id="one and one"),
        pytest.param([A], [B, C], [(A, B), (A, C)], [B, C], id="one and many"),
        pytest.param([B, C], [A], [(B, A), (C, A)], [B, C], id="many and one"),
        pytest.param([A, B], [B, C], [(A, B), (B, C)], [A, B], id="as many"),
        pytest.param([A], [], [], [], id="one and none"),
        pytest.param([], [], [], [], id="none"),
    ],
)
def test_one_item_stands_beside_each_of_many(one, many, pairs, regions):
    record: list[tuple[Corners, Corners]] = []

    async def scenario(house: House) -> Outcome:
        return (await house.outcomes(compared(one, many)))["t"]

    outcome = in_house(scenario, comparing(record), lanes=1)
    assert record == pairs
    assert boxes(outcome) == regions
    assert values(outcome) == [Box(*b).area - Box(*a).area for a, b in pairs]


def test_inputs_of_different_numbers_of_items_make_no_sense():
    record: list[tuple[Corners, Corners]] = []

    async def scenario(house: House) -> Outcome:
        return (await house.outcomes(compared([A, B], [A, B, C])))["t"]

    fault = in_house(scenario, comparing(record)).fault
    assert (fault.status, fault.code) == ("skipped", "invalid_reference")
    assert "'one': 2" in fault.message
    assert "'many': 3" in fault.message
    assert record == []


# Order


def test_a_node_starts_when_its_own_inputs_are_ready():
    """The slow node waits for one that stands above its sibling; a barrier between levels would hold both."""
    finished = threading.Event()
    base = measuring("quick")

    def finish(value: int) -> int:
        finished.set()
        return value

    async def scenario(house: House) -> dict[str, Outcome]:
        return await house.outcomes(task("slow", "slow", at=[A]), task("after", "after", at=[A]))

    outcomes = in_house(
        scenario,
        base,
        measuring("slow", lambda _: finished.wait(PATIENCE_SECONDS)),
        measuring("after", finish, on=base),
        lanes=2,
    )
    assert values(outcomes["slow"]) == [True]
    assert values(outcomes["after"]) == [16]


def test_what_most_others_wait_for_starts_first():
    order = []

    def noting(name: str) -> Measure:
        return lambda value: order.append(name) or 1

    base = measuring("base", noting("base"))
    between = measuring("between", noting("between"), on=base)
    top = measuring("top", noting("top"), on=between)

    async def scenario(house: House) -> None:
        await house.analyze(task("lone", "lone"), task("top", "top"))

    in_house(scenario, base, between, top, measuring("lone", noting("lone")), lanes=1)
    assert order[0] == "base"
    assert set(order) == {"base", "between", "top", "lone"}


def test_independent_nodes_run_at_once():
    meeting = threading.Barrier(2)

    async def scenario(house: House) -> dict[str, Outcome]:
        return await house.outcomes(task("one", "a"), task("other", "b"))

    def meet(_: Crop) -> bool:
        return meeting.wait(PATIENCE_SECONDS) >= 0

    outcomes = in_house(scenario, measuring("one", meet), measuring("other", meet), lanes=2)
    assert values(outcomes["a"]) == values(outcomes["b"]) == [True]


# Deadlines


def test_after_the_deadline_what_is_finished_is_kept():
    gate = Gate()
    slow = measuring("slow", gate)

    async def scenario(house: House) -> dict[str, Outcome]:
        outcomes = await house.outcomes(
            task("measure", "quick", at=[A]),
            task("slow", "late", at=[A]),
            task("after", "behind", at=[A]),
            seconds=DEADLINE_SECONDS,
        )
        gate.open()
        return outcomes

    outcomes = in_house(scenario, slow, measuring("after", str, on=slow), measuring("measure"))
    assert values(outcomes["quick"]) == [16]
    for name in ("late", "behind"):
        fault = outcomes[name].fault
        assert (fault.status, fault.code) == ("error", "deadline_exceeded")
        assert outcomes[name].items == ()


def test_without_haste_no_deadline_is_noticed():
    async def scenario(house: House) -> dict[str, Outcome]:
        return await house.outcomes(task("measure", at=[A]), seconds=PATIENCE_SECONDS)

    assert values(in_house(scenario, measuring("measure"))["t"]) == [16]


def test_what_is_late_is_dropped_before_a_lane_takes_it():
    gate, record = Gate(), Recorder()

    async def scenario(house: House) -> None:
        source = await house.decoded()
        held = asyncio.create_task(house.analyze(task("slow"), source=source))
        await gate.entered()
        late = await house.outcomes(task("measure"), source=source, seconds=0.1)
        assert late["t"].fault.code == "deadline_exceeded"
        gate.open()
        await held
        await house.drained()

    in_house(scenario, measuring("slow", gate), measuring("measure", record), lanes=1)
    assert record.boxes == []


def test_the_deadline_of_one_request_is_not_that_of_another():
    gate = Gate()

    async def scenario(house: House) -> tuple[Outcome, Outcome]:
        patient = asyncio.create_task(house.analyze(task("slow")))
        await gate.entered()
        late = (await house.outcomes(task("slow"), seconds=0.1))["t"]
        gate.open()
        return late, by_id(await patient)["t"]

    late, done = in_house(scenario, measuring("slow", gate))
    assert late.fault.code == "deadline_exceeded"
    assert values(done) == [192]
    assert gate.boxes == [(0, 0, 16, 12)]


def test_the_deadline_counts_while_the_picture_waits_to_be_decoded():
    gate = threading.Event()

    async def scenario(house: House) -> tuple[bool, Run]:
        held = house.hold_decoding(lambda: gate.wait(PATIENCE_SECONDS))
        hasty = asyncio.create_task(house.analyze(task("measure"), seconds=0.1))
        in_time, _ = await asyncio.wait([hasty], timeout=2)
        gate.set()
        await held
        return bool(in_time), await hasty

    in_time, run = in_house(scenario, measuring("measure"), lanes=1)
    assert in_time
    assert run.info is None
    assert by_id(run)["t"].fault.code == "deadline_exceeded"


# Cancellation


def test_a_request_that_goes_away_takes_only_its_own_work_along():
    shared, own = Recorder(), Recorder()
    gate = threading.Event()

    async def scenario(house: House) -> Outcome:
        sources = [await house.decoded(), await house.decoded()]
        held = house.hold(lambda: gate.wait(PATIENCE_SECONDS))
        leaving = asyncio.create_task(house.analyze(task("shared", "a"), task("own", "b"), source=sources[0]))
        await house.waits(2)
        staying = asyncio.create_task(
            house.analyze(task("shared", "a"), task("other", "c"), source=sources[1])
        )
        await house.waits(3)
        leaving.cancel()
        await asyncio.wait([leaving])
        assert leaving.cancelled()
        gate.set()
        await held
        return by_id(await staying)["a"]

    outcome = in_house(
        scenario, measuring("shared", shared), measuring("own", own), measuring("other"), lanes=1
    )
    assert values(outcome) == [192]
    assert shared.boxes == [(0, 0, 16, 12)]
    assert own.boxes == []


def test_work_that_all_went_away_from_is_dropped():
    record, gate = Recorder(), threading.Event()

    async def scenario(house: House) -> None:
        sources = [await house.decoded(), await house.decoded()]
        held = house.hold(lambda: gate.wait(PATIENCE_SECONDS))
        leaving = [
            asyncio.create_task(house.analyze(task("measure"), task("mark", "m", level=n), source=source))
            for n, source in enumerate(sources)
        ]
        await house.waits(3)
        for run in leaving:
            run.cancel()
        await asyncio.wait(leaving)
        gate.set()
        await held
        await house.drained()
        assert values((await house.outcomes(task("measure", at=[A])))["t"]) == [16]

    in_house(scenario, measuring("measure", record), measuring("mark"), lanes=1)
    assert record.boxes == [A]


def test_a_request_that_goes_away_while_its_picture_waits_takes_the_decoding_along():
    gate = threading.Event()

    async def scenario(house: House) -> ImageInfo | None:
        held = house.hold_decoding(lambda: gate.wait(PATIENCE_SECONDS))
        leaving = asyncio.create_task(house.analyze(task("measure")))
        await house.waits(1)
        leaving.cancel()
        await asyncio.wait([leaving])
        gate.set()
        await held
        await house.drained()
        return known_facts(house.cache, sha256_of(PICTURE))

    assert in_house(scenario, measuring("measure"), lanes=1) is None


# Tasks as they finish


def test_tasks_come_as_they_finish():
    gate = Gate()

    async def scenario(house: House) -> list[str]:
        order = []
        plan = house.plan(task("slow", "late"), task("measure", "quick"), task("unknown", "refused"))
        async with house.executor.begun(plan, house.source()) as execution:
            assert (execution.info.width, execution.info.height) == (16, 12)
            async for outcome in execution.outcomes():
                order.append(outcome.planned.operation_id)
                if order[-1] == "quick":
                    await gate.entered()
                    gate.open()
            assert execution.run().outcomes[0].items[0].value == 192
        return order

    assert in_house(scenario, measuring("slow", gate), measuring("measure")) == ["refused", "quick", "late"]


def test_a_task_waits_for_its_crop_too():
    gate = Gate()
    shown = measuring("shown", gate)

    async def scenario(house: House) -> list[str]:
        order = []
        plan = house.plan(task("measure", "cropped"), task("plain", "bare"))
        async with house.executor.begun(plan, house.source()) as execution:
            async for outcome in execution.outcomes():
                order.append(outcome.planned.operation_id)
                assert outcome.warnings == ()
                gate.open()
        return order

    operations = [measuring("measure", crop=shown), shown, measuring("plain", lambda crop: 1)]
    assert in_house(scenario, *operations) == ["bare", "cropped"]


def test_the_deadline_ends_the_tasks_that_come_too():
    gate = Gate()

    async def scenario(house: House) -> dict[str, Outcome]:
        plan = house.plan(task("slow", "late"), task("measure", "quick"))
        async with house.executor.begun(plan, house.source(), DEADLINE_SECONDS) as execution:
            outcomes = [outcome async for outcome in execution.outcomes()]
        gate.open()
        return {outcome.planned.operation_id: outcome for outcome in outcomes}

    outcomes = in_house(scenario, measuring("slow", gate), measuring("measure"))
    assert values(outcomes["quick"]) == [192]
    assert outcomes["late"].fault.code == "deadline_exceeded"


def test_a_deadline_before_the_picture_is_decoded_ends_every_task_that_comes():
    gate = threading.Event()

    async def scenario(house: House) -> list[Outcome]:
        held = house.hold_decoding(lambda: gate.wait(PATIENCE_SECONDS))
        async with house.executor.begun(house.plan(task("measure")), house.source(), 0.1) as execution:
            outcomes = [outcome async for outcome in execution.outcomes()]
            assert execution.info is None
        gate.set()
        await held
        return outcomes

    (outcome,) = in_house(scenario, measuring("measure"), lanes=1)
    assert outcome.fault.code == "deadline_exceeded"


def test_who_leaves_before_the_last_task_takes_its_work_along():
    record, gate = Recorder(), Gate()

    async def scenario(house: House) -> None:
        source = await house.decoded()
        held = asyncio.create_task(house.analyze(task("slow"), source=source))
        await gate.entered()
        async with house.executor.begun(house.plan(task("measure"), task("unknown", "u")), source) as run:
            async for _ in run.outcomes():
                await house.waits(1)
                break
        assert house.pool.waiting == 0
        gate.open()
        await held
        await house.drained()

    in_house(scenario, measuring("slow", gate), measuring("measure", record), lanes=1)
    assert record.boxes == []
