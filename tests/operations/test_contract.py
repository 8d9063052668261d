"""What every operation keeps, whoever wrote it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.api.room import Room
from app.core.artifacts import Crop, Vector, jsonable
from app.core.errors import TaskError
from app.core.operation import Operation, Ref
from app.core.registry import discover
from app.core.resolver import Task, resolve
from app.core.target import target_names
from app.runtime.batcher import bisected
from tests.images import astronaut, crop_of, encoded, image_of, noise, page, plain

OPERATIONS = discover("operations")
# Those that compute on crops: all but the ones that only choose regions.
COMPUTING = [op for op in OPERATIONS.values() if not op.expands]
PUBLIC = list(OPERATIONS.public.values())

Call = Callable[[Operation, list[Crop]], list[Any]]


def named(operation: Operation) -> str:
    return operation.type


@pytest.fixture(scope="module")
def call(room: Room) -> Call:
    """Run an operation on crops, with its real engine and its default params."""

    def run(operation: Operation, crops: list[Crop]) -> list[Any]:
        fixed: dict[str, Any] = {"params": operation.params()}
        if operation.engines:
            fixed["engine"] = asyncio.run(room.pool.load(operation.engines[0]))
        answer: list[Any] = operation.run(crop=crops, **fixed)
        return answer

    return run


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Vector):
        return bool(np.abs(one.values - other.values).max() <= 1e-5)
    return bool(one == other)


@pytest.mark.parametrize("operation", COMPUTING, ids=named)
def test_zero_items_give_zero_results(call, operation):
    assert call(operation, []) == []


@pytest.mark.parametrize(
    "pixels",
    [
        plain(1, 1),
        plain(2, 3),
        plain(64, 48, (0, 0, 0)),
        plain(64, 48, (255, 255, 255)),
        plain(3000, 2),
        plain(2, 3000),
        noise(97, 61),
    ],
    ids=["1x1", "2x3", "black", "white", "very wide", "very tall", "noise"],
)
@pytest.mark.parametrize("operation", COMPUTING, ids=named)
def test_odd_images_have_a_result(call, operation, pixels):
    (result,) = call(operation, [crop_of(pixels)])
    assert not isinstance(result, TaskError), result
    if operation.public:
        json.dumps(jsonable(result), default=np.ndarray.tolist)


@pytest.mark.parametrize("operation", COMPUTING, ids=named)
def test_a_batch_gives_what_single_calls_give(call, operation):
    whole = image_of(astronaut())
    crops = [
        Crop.whole(whole),
        crop_of(page("one batch", "or many")),
        crop_of(plain(1, 1)),
        Crop(whole, whole.info.box._replace(xmin=100, ymax=300)),
    ]
    together = call(operation, crops)
    for crop, result in zip(crops, together, strict=True):
        (alone,) = call(operation, [crop])
        assert same(alone, result)


@pytest.mark.parametrize("operation", COMPUTING, ids=named)
def test_the_same_image_gives_the_same_result(call, operation):
    crop = crop_of(astronaut())
    assert same(call(operation, [crop])[0], call(operation, [crop])[0])


@pytest.mark.parametrize("operation", COMPUTING, ids=named)
def test_an_item_that_fails_fails_alone(call, operation):
    good = crop_of(astronaut()[:128, :128])
    broken: Any = object()
    results = bisected(lambda crops: call(operation, list(crops)), [good, broken, good])
    assert isinstance(results[1], TaskError)
    assert results[1].code == "internal"
    assert "object" not in str(results[1])
    assert same(results[0], results[2])
    assert not isinstance(results[0], TaskError)


@pytest.mark.parametrize("operation", COMPUTING, ids=named)
def test_pixels_are_not_written_to(call, operation):
    before = astronaut().copy()
    call(operation, [crop_of(before)])
    np.testing.assert_array_equal(before, astronaut())


@pytest.mark.parametrize("operation", PUBLIC, ids=named)
def test_cancelling_a_request_leaves_nothing_behind(room, operation):
    async def scenario() -> None:
        plan = resolve([Task("t", operation.type, {})], room.registry, room.pool.choose)
        for number, seconds in enumerate((0.0, 0.005, 0.02, 0.05)):
            image = encoded(noise(640, 480, seed=10 * PUBLIC.index(operation) + number))
            running = asyncio.create_task(room.executor.run(plan, room.source(image)))
            await asyncio.sleep(seconds)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            # The lanes are free again: the same request is answered.
            run = await asyncio.wait_for(room.executor.run(plan, room.source(image)), 60)
            assert run.outcomes[0].fault is None

    asyncio.run(scenario())
    assert room.pool.waiting == 0


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=named)
def test_params_survive_json(operation):
    example = operation.default_params
    if example is None:
        assert not operation.public, "a task without params must be possible"
        return
    again = operation.params.model_validate_json(example.model_dump_json())
    assert again == example
    assert again.canonical() == example.canonical()


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=named)
def test_every_field_is_described(operation):
    for name, field in operation.params.model_fields.items():
        assert field.description, f"{operation.type}.{name}"


@pytest.mark.parametrize("operation", PUBLIC, ids=named)
def test_the_defaults_fit_their_own_schema(operation):
    from jsonschema_rs import validator_for

    schema = operation.params.model_json_schema()
    validator_for(schema).validate(operation.params().model_dump(mode="json"))


@pytest.mark.parametrize("operation", PUBLIC, ids=named)
def test_every_target_resolves(operation):
    for name in target_names(operation.params):
        tasks = [Task("t", operation.type, {"target": name})]
        (task,) = resolve(tasks, OPERATIONS, lambda op: None).tasks
        assert task.fault is None
        assert task.is_plural == name.startswith("all_")


@pytest.mark.parametrize("operation", PUBLIC, ids=named)
def test_the_documented_data_is_the_real_data(call, operation):
    from jsonschema_rs import validator_for

    from app.core.catalog import data_schema

    (result,) = call(operation, [crop_of(page("a line of text"))])
    data = json.loads(json.dumps(jsonable(result), default=np.ndarray.tolist))
    validator_for(data_schema(operation)).validate(data)


@pytest.mark.parametrize("operation", COMPUTING, ids=named)
def test_results_are_of_the_declared_type(call, operation):
    (result,) = call(operation, [crop_of(plain(40, 30))])
    assert isinstance(result, operation.output)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=named)
def test_needs_are_operations_and_not_names(operation):
    if operation.default_params is None:
        return
    for source in operation.needs(operation.default_params).values():
        if isinstance(source, Ref):
            assert OPERATIONS[source.operation.type] is source.operation
