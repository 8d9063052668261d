"""What flows into a node: the client's own values, whole lists of items, and items that go as one batch."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from app.core.artifacts import Crop, Detections, ImageInfo, Region, Vector
from app.core.errors import RegionNotFound, TaskError
from app.core.geometry import Box
from app.core.operation import (
    IMAGE,
    EngineSpec,
    Gathered,
    Given,
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
from app.core.resolver import MAX_GIVEN, Task, resolve
from app.core.weights import Placement
from app.runtime.cache import ResultCache
from app.runtime.decode import DecodeLimits
from app.runtime.executor import Executor
from app.runtime.outcomes import Outcome
from app.runtime.pool import Pool
from app.runtime.source import ImageSource
from tests.images import encoded, noise
from tests.toys import ToyStore, ToyWeights

PICTURE, OTHER_PICTURE = encoded(noise(64, 48, seed=1)), encoded(noise(64, 48, seed=2))


class ToyEmbedder:
    def __init__(self, placement: Placement) -> None:
        self.calls: list[list[Any]] = CALLS

    def warmup(self, items: int = 1) -> None:
        pass


CALLS: list[list[Any]] = []
ENGINE = EngineSpec("toy", ToyWeights(), "MIT", ToyEmbedder, batch=8)
SMALL = EngineSpec("small", ToyWeights(), "MIT", ToyEmbedder, batch=2)


class Words(Params):
    texts: tuple[str, ...] = ()
    part: int = 0
    after: str | None = None


def part_of(params: Words) -> Source:
    if params.after:
        return Ref(place, Words(after=params.after))
    return Ref(place, Words(part=params.part)) if params.part else IMAGE


def place_needs(params: Words) -> Needs:
    found: Source = (
        TaskRef(params.after, "after", Wanted.BOXES) if params.after else Ref(find, Words(part=params.part))
    )
    return {"image": IMAGE, "found": found}


def found(region: Region, value: Detections) -> Sequence[Region]:
    return value.regions


@operation(params=Words, needs=lambda _: {"crop": IMAGE}, public=False, finds=found)
def find(crop: Sequence[Crop], params: Words) -> list[Detections]:
    """Find a part of the picture, slowly."""
    return [Detections((Region(Box(0, 0, 10 * params.part, 10), "part", 1.0),)) for _ in crop]


@operation(params=Words, needs=place_needs, public=False, expands=True)
def place(image: ImageInfo, params: Words, found: Sequence[Region] = ()) -> Selection:
    """Choose the part."""
    return Selection(tuple(found))


def encode_needs(params: Words) -> Needs:
    return {"item": Given(params.texts) if params.texts else part_of(params)}


def keep(name: str) -> Operation:
    def run(item: Sequence[Crop | str], params: Words, engine: ToyEmbedder) -> list[Vector]:
        """Encode texts and crops."""
        engine.calls.append([each if isinstance(each, str) else each.box.width for each in item])
        return [Vector(np.array([float(len(str(each)))], np.float32)) for each in item]

    run.__name__ = name

    def boxes(region: Region, value: Vector) -> Sequence[Region]:
        return (region,)

    class Outside(Words):
        model_config = Words.model_config

        def canonical(self) -> dict[str, Any]:
            return {}

    return operation(params=Outside, needs=encode_needs, engine=ENGINE, finds=boxes)(run)


encode, digest_it = keep("encode"), keep("digest_it")


def joined_needs(params: Words) -> Needs:
    return {
        "image": Ref(encode, encode.params(part=params.part)),
        "texts": Gathered(Ref(encode, encode.params(texts=params.texts))),
    }


@operation(params=Words, needs=joined_needs, inline=True)
def join(
    image: Sequence[Vector], texts: Sequence[Sequence[Vector]], params: Words
) -> list[list[float] | TaskError]:
    """Join a vector with those of texts."""
    if "refuse" in params.texts:
        return [RegionNotFound("refused")]
    return [
        [float(one.values[0]), *(float(text.values[0]) for text in many)]
        for one, many in zip(image, texts, strict=True)
    ]


@operation(
    params=Words,
    needs=lambda params: {"all": Gathered(Ref(encode, encode.params(part=params.part)))},
    inline=True,
)
def count(all: Sequence[Sequence[Vector]], params: Words) -> list[int]:
    """Count vectors."""
    return [len(each) for each in all]


REGISTRY = Registry([find, place, encode, digest_it, join, count])


def run(
    *requests: Sequence[Task], pictures: Sequence[bytes] = (PICTURE,), seconds: float = 10
) -> list[dict[str, Outcome]]:
    """The outcomes of requests, one after another on one executor."""

    async def whole() -> list[dict[str, Outcome]]:
        CALLS.clear()
        pool, cache = Pool(2, ToyStore()), ResultCache(1_000_000)
        executor = Executor(pool, cache)
        answers = []
        try:
            for tasks in requests:
                for picture in pictures:
                    plan = resolve(tasks, REGISTRY, pool.choose)
                    done = await executor.run(
                        plan, ImageSource(picture, pool, cache, DecodeLimits()), seconds
                    )
                    answers.append({outcome.planned.operation_id: outcome for outcome in done.outcomes})
        finally:
            pool.close()
        return answers

    return asyncio.run(whole())


def plan_of(*tasks: Task) -> Plan:
    pool = Pool(1, ToyStore())
    try:
        return resolve(tasks, REGISTRY, pool.choose)
    finally:
        pool.close()


def data(outcome: Outcome) -> Any:
    assert outcome.fault is None, outcome.fault
    return [item.value for item in outcome.items]


# Given values


def test_given_texts_are_items_of_their_own():
    (answer,) = run([Task("t", "encode", {"texts": ("a", "bcd")})])
    assert [float(value.values[0]) for value in data(answer["t"])] == [1.0, 3.0]
    assert CALLS == [["a", "bcd"]]


def test_a_text_is_computed_once_whatever_the_image_and_the_list():
    run(
        [Task("t", "encode", {"texts": ("a", "b")})],
        [Task("u", "encode", {"texts": ("b", "c")})],
        pictures=(PICTURE, OTHER_PICTURE),
    )
    assert CALLS == [["a", "b"], ["c"]]


def test_texts_and_images_of_one_engine_share_a_batch():
    run([Task("t", "join", {"texts": ("a", "b")})])
    assert sorted(map(str, CALLS[0])) == ["64", "a", "b"]
    assert len(CALLS) == 1


# Gathered items


def test_all_items_of_a_gathered_need_come_as_one_list():
    (answer,) = run([Task("t", "join", {"texts": ("a", "bcd")})])
    ((_, *texts),) = data(answer["t"])
    assert texts == [1.0, 3.0]


def test_the_order_of_gathered_items_counts():
    answers = run(
        [Task("t", "join", {"texts": ("a", "bcd")})],
        [Task("t", "join", {"texts": ("bcd", "a")})],
    )
    assert [data(answer["t"])[0][1:] for answer in answers] == [[1.0, 3.0], [3.0, 1.0]]


def test_an_inline_operation_fails_its_own_task_alone():
    (answer,) = run([Task("bad", "join", {"texts": ("refuse",)}), Task("good", "join", {"texts": ("a",)})])
    assert answer["bad"].fault.code == "region_not_found"
    assert len(data(answer["good"])) == 1


# One batch a request


def test_a_request_sends_its_items_in_one_batch():
    (answer,) = run([Task(f"t{part}", "encode", {"part": part}) for part in (0, 1, 2)])
    assert len(answer) == 3
    assert [sorted(call) for call in CALLS] == [[10, 20, 64]]


def test_items_wait_for_those_of_their_own_kind_alone():
    held = plan_of(
        Task("a", "encode", {"part": 0}), Task("b", "encode", {"part": 1}), Task("c", "digest_it", {})
    ).held_for_batches()
    assert set(held) == {"encode#1", "encode#2"}
    assert held["encode#1"] == {"place#1"}


def test_one_item_waits_for_nothing():
    assert plan_of(Task("a", "encode", {"part": 1})).held_for_batches() == {}


@pytest.mark.parametrize(
    "tasks",
    [
        [Task("a", "encode", {}), Task("b", "encode", {"after": "a"})],
        [
            Task("a", "encode", {}),
            Task("b", "encode", {"after": "c"}),
            Task("c", "digest_it", {}),
            Task("d", "digest_it", {"after": "a"}),
        ],
        [
            Task("a", "encode", {"part": 1}),
            Task("b", "digest_it", {"after": "a"}),
            Task("c", "encode", {"after": "b"}),
            Task("d", "digest_it", {"part": 2}),
        ],
    ],
    ids=["behind each other", "crossed", "in a row"],
)
def test_nothing_waits_for_itself(tasks: list[Task]):
    (answer,) = run(tasks)
    assert all(outcome.fault is None for outcome in answer.values())


def test_the_hold_ends_when_what_is_waited_for_fails():
    def fails(crop: Sequence[Crop], params: Words) -> list[Detections]:
        raise RegionNotFound("nothing there")

    unlucky = find.run
    object.__setattr__(find, "run", fails)
    try:
        (answer,) = run([Task("a", "encode", {}), Task("b", "encode", {"part": 1})])
    finally:
        object.__setattr__(find, "run", unlucky)
    assert len(data(answer["a"])) == 1
    assert answer["b"].fault.code == "region_not_found"


def test_the_largest_request_waits_once_for_each_kind():
    plan = plan_of(*(Task(f"t{number}", "encode", {"part": number % 6}) for number in range(64)))
    held = plan.held_for_batches()
    assert len(held) == 6
    assert len(set(held.values())) == 1


def test_nothing_is_late_because_it_waits_for_a_batch():
    """What would share its batch is slow: the item that is ready goes alone, within the request's time."""
    gate = threading.Event()

    def slowly(crop: Sequence[Crop], params: Words) -> list[Detections]:
        gate.wait(10)
        return [Detections(()) for _ in crop]

    quick = find.run
    object.__setattr__(find, "run", slowly)
    try:
        (answer,) = run([Task("a", "encode", {}), Task("b", "encode", {"part": 1})], seconds=1)
    finally:
        object.__setattr__(find, "run", quick)
        gate.set()
    assert len(data(answer["a"])) == 1
    assert answer["b"].fault.code == "deadline_exceeded"


def test_what_only_gathers_and_gathers_nothing_has_an_answer():
    def nothing(crop: Sequence[Crop], params: Words) -> list[Detections]:
        return [Detections(()) for _ in crop]

    found = find.run
    object.__setattr__(find, "run", nothing)
    try:
        (answer,) = run([Task("t", "count", {"part": 1})])
    finally:
        object.__setattr__(find, "run", found)
    assert data(answer["t"]) == [0]


def test_a_request_may_give_so_many_texts_and_no_more():
    texts = [f"text {number}" for number in range(MAX_GIVEN)]
    tasks = [Task("fits", "encode", {"texts": tuple(texts)}), Task("one_more", "encode", {"texts": ("x",)})]
    plan = plan_of(*tasks)
    fits, one_more = plan.tasks
    assert fits.fault is None
    assert one_more.fault.code == "invalid_params"
    assert f"at most {MAX_GIVEN}" in one_more.fault.message


def test_what_is_made_of_replaced_weights_is_not_kept():
    """The weights change between planning and computing: neither the vector nor what is made of it is found
    under the key of the old ones, and the answer names the new ones."""

    async def whole() -> None:
        store = ToyStore()
        pool, cache = Pool(2, store), ResultCache(1_000_000)
        executor = Executor(pool, cache)
        source = ImageSource(PICTURE, pool, cache, DecodeLimits())
        tasks = [Task("t", "join", {"texts": ("a",)})]
        plan = resolve(tasks, REGISTRY, pool.choose)
        store.fingerprints["toy"] = "pulled anew"
        done = await executor.run(plan, source, 10)
        assert {chosen.fingerprint for chosen in done.made_by.values()} == {"pulled anew"}
        info = await source.info()
        kept = executor.cached_nodes(plan, info)
        assert not any(name.startswith(("encode", "join")) for name in kept)
        again = resolve(tasks, REGISTRY, pool.choose)
        await executor.run(again, source, 10)
        assert {"encode#1", "encode#2", "join#1"} <= executor.cached_nodes(again, info)
        pool.close()

    asyncio.run(whole())
