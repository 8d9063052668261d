"""What operations use of the server's own: named by params, looked up before the plan, part of the key."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import pytest

from app.core.artifacts import Crop, Vector
from app.core.errors import CollectionNotFound, RegistryError
from app.core.operation import IMAGE, OUTSIDE_KEY, EngineSpec, Needs, NoParams, Params, Ref, operation
from app.core.registry import Registry
from app.core.resolver import Task, named_resources, resolve
from app.core.resource import Uses
from app.runtime.cache import ResultCache
from app.runtime.decode import DecodeLimits
from app.runtime.executor import Executor
from app.runtime.pool import Pool
from app.runtime.source import ImageSource
from tests.images import astronaut, encoded
from tests.toys import ToyStore, ToyWeights


class Toy:
    def warmup(self, items: int = 1) -> None:
        """Nothing to warm."""


TOY = EngineSpec("toy", ToyWeights(), "MIT", load=lambda placement: Toy())
SPACE = "embed/1/toy/0123456789ab"


def of_the_image(params: Params) -> Needs:
    return {"crop": IMAGE}


@operation(needs=of_the_image, engine=TOY)
def embed(crop: Sequence[Crop], params: Params, engine: Any) -> list[Vector]:
    """Embed an image."""
    return [Vector(np.ones(2, np.float32)) for _ in crop]


@dataclass
class Shelf:
    """A resource that counts what is put to it."""

    state: str = "first"
    space: str | None = SPACE
    label: str = "own"
    asked: list[str] = field(default_factory=list)

    @property
    def spaces(self) -> Mapping[str, str]:
        return {} if self.space is None else {"vector": self.space}


class ShelfParams(Params):
    shelf: Annotated[str, OUTSIDE_KEY]
    """The name of the shelf."""
    label: str | None = None
    """By default the shelf's own."""


def bound(params: ShelfParams, shelf: Shelf) -> ShelfParams:
    return params if params.label is not None else params.model_copy(update={"label": shelf.label})


def told_of_the_label(params: ShelfParams, shelf: Shelf) -> tuple[str, ...]:
    return () if params.label is None else (f"The label {params.label} is not the shelf's {shelf.label}.",)


def from_the_shelf(params: ShelfParams, shelf: Shelf) -> Needs:
    return {"vector": Ref(embed, NoParams())}


@operation(
    params=ShelfParams,
    needs=from_the_shelf,
    uses=Uses("shelf", lambda params: params.shelf, bind=bound, warn=told_of_the_label),
    example=ShelfParams(shelf="a"),
)
def look_up(vector: Sequence[Vector], params: ShelfParams, shelf: Shelf) -> list[str]:
    """Look something up."""
    shelf.asked.append(params.label or "")
    return [f"{params.label} in {shelf.state}" for _ in vector]


REGISTRY = Registry([embed, look_up])


def task(operation_id: str, type_: str = "look_up", **params: Any) -> Task:
    return Task(operation_id, type_, params)


def plan_of(*tasks: Task, pool: Pool, **shelves: Any) -> Any:
    found = {("shelf", name): shelf for name, shelf in shelves.items()}
    return resolve(tasks, REGISTRY, pool.choose, found)


@pytest.fixture
def pool():
    pool = Pool(1, ToyStore())
    yield pool
    pool.close()


def test_the_tasks_tell_which_resources_they_name():
    named = named_resources(
        [task("1", shelf="a"), task("2", shelf="b"), task("3"), task("4", "embed"), task("5", "unknown")],
        REGISTRY,
    )
    assert named == {("shelf", "a"), ("shelf", "b")}


def test_one_task_shares_its_stages_with_others(pool):
    plan = plan_of(task("1", "embed"), task("2", shelf="a"), pool=pool, a=Shelf())
    assert [node.operation.type for node in plan.nodes.values()] == ["embed", "look_up"]


def test_what_the_resource_decides_is_filled_in(pool):
    plan = plan_of(
        task("1", shelf="a"),
        task("2", shelf="a", label="own"),
        task("3", shelf="a", label="other"),
        pool=pool,
        a=Shelf(),
    )
    first, second, third = plan.tasks
    assert first.params.label == "own"
    assert first.node == second.node != third.node
    assert [task.warnings for task in plan.tasks] == [
        (),
        ("The label own is not the shelf's own.",),
        ("The label other is not the shelf's own.",),
    ]


def test_another_state_is_other_work(pool):
    works = set()
    for state in ("first", "first", "second"):
        plan = plan_of(task("1", shelf="a"), pool=pool, a=Shelf(state))
        works.add(plan.nodes[plan.tasks[0].node].work)
    assert len(works) == 2


def test_one_that_is_not_there_skips_its_task_alone(pool):
    missing = CollectionNotFound("there is no shelf 'b'")
    plan = plan_of(task("1", shelf="a"), task("2", shelf="b"), pool=pool, a=Shelf(), b=missing)
    first, second = plan.tasks
    assert first.fault is None
    assert (second.fault.code, second.fault.message) == ("collection_not_found", "there is no shelf 'b'")


def test_vectors_must_lie_in_its_space(pool):
    plan = plan_of(task("1", shelf="a"), task("2", "embed"), pool=pool, a=Shelf(space="embed/0/old/0123"))
    refused, fine = plan.tasks
    assert (refused.fault.status, refused.fault.code) == ("error", "space_mismatch")
    assert "embed/0/old/0123" in refused.fault.message
    assert SPACE in refused.fault.message
    assert fine.fault is None


def test_without_a_space_any_vectors_will_do(pool):
    plan = plan_of(task("1", shelf="a"), pool=pool, a=Shelf(space=None))
    assert plan.tasks[0].fault is None


def run(plan: Any, pool: Pool) -> Any:
    cache = ResultCache(1_000_000)
    source = ImageSource(encoded(astronaut()), pool, cache, DecodeLimits())
    return asyncio.run(Executor(pool, cache).run(plan, source, 10))


def test_the_operation_is_run_with_it():
    pool, shelf = Pool(1, ToyStore()), Shelf()
    done = run(plan_of(task("1", shelf="a", label="new"), pool=pool, a=shelf), pool)
    assert done.outcomes[0].items[0].value == "new in first"
    assert done.outcomes[0].warnings == ("The label new is not the shelf's own.",)
    assert shelf.asked == ["new"]
    pool.close()


@pytest.mark.parametrize(("space", "code"), [(SPACE, "space_mismatch"), (None, None)])
def test_weights_that_change_meanwhile_never_give_a_wrong_answer(space, code):
    store = ToyStore()
    pool, shelf = Pool(1, store), Shelf(space=space)
    plan = plan_of(task("1", shelf="a"), pool=pool, a=shelf)
    store.fingerprints["toy"] = "pulled anew"
    (outcome,) = run(plan, pool).outcomes
    assert (outcome.fault.code if outcome.fault else None) == code
    assert len(shelf.asked) == (code is None)
    pool.close()


def test_a_declaration_whose_run_takes_no_resource_is_refused():
    with pytest.raises(RegistryError, match="forget: uses a shelf, and its run takes none"):

        @operation(
            params=ShelfParams,
            needs=from_the_shelf,
            uses=Uses("shelf", lambda params: params.shelf),
            example=ShelfParams(shelf="a"),
        )
        def forget(vector: Sequence[Vector], params: ShelfParams) -> list[str]:
            """Forget the shelf."""
            return []
