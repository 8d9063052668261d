"""What the runtime tells of its work, and what a stop does to plans."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from app.core.registry import Registry
from app.core.resolver import Task, resolve
from app.runtime.cache import ResultCache
from app.runtime.decode import DecodeLimits
from app.runtime.executor import Executor
from app.runtime.observation import SILENT, Observer, Observers, Work
from app.runtime.outcomes import Outcome
from app.runtime.pool import Pool
from app.runtime.source import ImageSource
from tests.images import encoded, noise
from tests.runtime.test_pool import ToyEngine, measuring, node, spec
from tests.toys import ToyStore


class Notes(Observer):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    @contextmanager
    def span(self, work: Work) -> Iterator[None]:
        self.told.append(("before", work.kind))
        yield
        self.told.append(("after", work.kind, work.items))

    def fetched(self, seconds: float) -> None:
        self.told.append("fetched")

    def decoded(self, seconds: float) -> None:
        self.told.append("decoded")

    def computed(self, operation: str, engine: str | None, items: int, seconds: float) -> None:
        assert seconds >= 0
        self.told.append((operation, engine, items))

    def ran(self, outcomes: Sequence[Outcome]) -> None:
        self.told.append([None if each.fault is None else each.fault.code for each in outcomes])


@pytest.mark.parametrize(("batch", "told"), [(8, [5]), (2, [2, 2, 1]), (1, [1] * 5)])
def test_every_batch_is_told_once_with_its_items(batch, told):
    notes, toy = Notes(), spec(ToyEngine, batch=batch)

    async def scenario() -> list[int]:
        pool = Pool(1, ToyStore(), observer=notes)
        await pool.load(toy)
        op = measuring(toy)
        answers = await asyncio.gather(*(pool.submit(node(op, toy), {"crop": n}) for n in range(5)))
        pool.close()
        return [answer.batch for answer in answers]

    batches = asyncio.run(scenario())
    assert notes.told == [("measure", "toy", items) for items in told]
    assert batches == [items for items in told for _ in range(items)]


async def codes(notes: Notes, *, stopped: bool = False) -> list[str | None]:
    """What a task that can be done and one that cannot are answered with."""
    pool, cache, op = Pool(1, ToyStore()), ResultCache(0), measuring(run=lambda items: [1 for _ in items])
    executor = Executor(pool, cache, notes)
    if stopped:
        executor.stop()
    plan = resolve([Task("a", op.type, {}), Task("b", "no_such", {})], Registry([op]), pool.choose)
    run = await executor.run(plan, ImageSource(encoded(noise(4, 4)), pool, cache, DecodeLimits()))
    pool.close()
    return [None if outcome.fault is None else outcome.fault.code for outcome in run.outcomes]


def test_a_run_is_told_with_all_its_tasks():
    notes = Notes()
    assert asyncio.run(codes(notes)) == [None, "unsupported_operation"]
    assert notes.told == [("before", "node"), ("after", "node", 1), [None, "unsupported_operation"]]


def test_a_plan_that_begins_after_the_stop_is_late_at_once():
    notes = Notes()
    answered = asyncio.run(codes(notes, stopped=True))
    assert answered == ["deadline_exceeded", "unsupported_operation"]
    assert notes.told == [answered]


def test_several_observers_are_all_told():
    one, other = Notes(), Notes()
    both = Observers(one, other)
    work = Work("node")
    with both.span(work):
        work.items = 3
    both.fetched(0.1)
    both.decoded(0.1)
    both.computed("measure", None, 2, 0.1)
    both.ran([])
    expected = [("before", "node"), ("after", "node", 3), "fetched", "decoded", ("measure", None, 2), []]
    assert one.told == other.told == expected


def test_silence_takes_everything():
    with SILENT.span(Work("fetch")):
        SILENT.fetched(1)
        SILENT.decoded(1)
        SILENT.computed("measure", None, 1, 1)
        SILENT.ran([])
