"""What every operation keeps, whoever wrote it."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, get_origin

import numpy as np
import pytest
from pydantic import BaseModel

from app.api.room import Room
from app.core.artifacts import Crop, Image, Vector, jsonable
from app.core.errors import Skipped, TaskError
from app.core.geometry import Box, Point
from app.core.operation import Gathered, Given, ImageRef, Needs, Operation, Params, Ref, Source, TaskRef
from app.core.registry import discover
from app.core.resolver import Task, resolve
from app.core.target import target_names
from app.runtime.batcher import bisected
from tests.images import astronaut, encoded, image_of, noise, page, plain

OPERATIONS = discover("operations")
# Those that compute: all but the ones that only choose regions.
COMPUTING = [op for op in OPERATIONS.values() if not op.expands]
PUBLIC = list(OPERATIONS.public.values())
# Those that a request can ask for on their own.
ALONE = [op for op in PUBLIC if op.type != "compare"]

Call = Callable[[Operation, list[Crop]], list[Any]]

# Where the eyes, the nose and the corners of the mouth lie in a face, as shares of its box.
FACE = ((0.31, 0.4), (0.69, 0.4), (0.5, 0.58), (0.36, 0.77), (0.64, 0.77))


def named(operation: Operation) -> str:
    return operation.type


def crop_of(pixels: np.ndarray) -> Crop:
    return part_of(image_of(pixels), None)


def part_of(image: Image, box: Box | None) -> Crop:
    """A crop with the landmarks of a face that fills it."""
    box = box or image.info.box
    landmarks = tuple(Point(box.xmin + x * box.width, box.ymin + y * box.height) for x, y in FACE)
    return Crop(image, box, landmarks, is_whole_image=box == image.info.box)


@pytest.fixture(scope="module")
def call(tiny_room: Room) -> Call:
    """Run an operation on crops with its example's params, and before it what it needs: real engines on
    real files, tiny where they would be downloaded.

    What it needs is not computed again of pixels that it was computed of before: that it is always the same
    is a test of its own."""
    known: dict[Any, list[Any]] = {}

    def run(operation: Operation, crops: list[Crop]) -> list[Any]:
        example = operation.example_params
        assert example is not None
        return answers(Ref(operation, example), crops)

    def answers(ref: Ref, crops: list[Crop]) -> list[Any]:
        operation = ref.operation
        params, resource = bound(ref, tiny_room)
        fixed: dict[str, Any] = {"params": params.computing()}
        if operation.uses is not None:
            fixed[operation.uses.kind] = resource
        chosen = tiny_room.pool.choose(operation, params)
        if chosen is not None:
            fixed["engine"] = asyncio.run(tiny_room.pool.load(chosen.spec))
        columns = {name: column(need, crops) for name, need in needs_of(ref, tiny_room).items()}
        answer: list[Any] = operation.run(**columns, **fixed)
        known[key(ref, crops)] = answer
        return answer

    def column(need: Source, crops: list[Crop]) -> Sequence[Any]:
        match need:
            case Given(values):
                return values
            case Gathered(TaskRef()):
                return [[Vector(np.ones(4, np.float32))] for _ in crops]
            case Gathered(Ref() as ref):
                return [needed(ref, crops) for _ in crops]
            case Ref(operation) if not operation.expands:
                return needed(need, crops)
            case ImageRef() | Ref():
                return crops
        raise AssertionError(need)

    def needed(ref: Ref, crops: list[Crop]) -> Sequence[Any]:
        return known.get(key(ref, crops)) or answers(ref, crops)

    return run


def key(ref: Ref, crops: list[Any]) -> tuple[Any, ...]:
    """What an answer depends on."""
    return ref.operation.type, ref.params.model_dump_json(), *map(content, crops)


def content(crop: Any) -> Any:
    """What tells a crop from any other; of what is no crop, the thing itself."""
    if not isinstance(crop, Crop):
        return crop
    pixels = crop.image.pixels
    return pixels.tobytes(), pixels.shape, crop.box, crop.landmarks, crop.is_whole_image


def bound(ref: Ref, room: Room) -> tuple[Params, Any]:
    """The params with what the resource decides that they name, and that resource."""
    uses = ref.operation.uses
    if uses is None:
        return ref.params, None
    find: dict[str, Callable[[str], Any]] = {
        "collection": room.index.find,
        "classifier": room.classifiers.find,
    }
    resource = find[uses.kind](uses.name(ref.params))
    return uses.bind(ref.params, resource), resource


def needs_of(ref: Ref, room: Room) -> Needs:
    params, resource = bound(ref, room)
    return ref.operation.needs(params) if resource is None else ref.operation.needs(params, resource)


def same(one: Any, other: Any) -> bool:
    match one:
        case Vector():
            return bool(np.abs(one.values - other.values).max() <= 1e-5)
        case TaskError():
            return type(one) is type(other)
        case float():
            return one == pytest.approx(other, abs=1e-4)
        case str() | int() | None:
            return bool(one == other)
        case BaseModel():
            return same(one.model_dump(), other.model_dump())
        case dict():
            return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
        case list() | tuple():
            return len(one) == len(other) and all(map(same, one, other))
    return all(same(getattr(one, name), getattr(other, name)) for name in one.__dataclass_fields__)


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
    if isinstance(result, TaskError):
        assert isinstance(result, Skipped), result
    elif operation.public:
        json.dumps(jsonable(result), default=np.ndarray.tolist)


@pytest.mark.parametrize("operation", COMPUTING, ids=named)
def test_a_batch_gives_what_single_calls_give(call, operation):
    whole = image_of(astronaut())
    crops = [
        part_of(whole, None),
        crop_of(page("one batch", "or many")),
        crop_of(plain(1, 1)),
        part_of(whole, whole.info.box._replace(xmin=100, ymax=300)),
    ]
    together = call(operation, crops)
    for crop, result in zip(crops, together, strict=True):
        (alone,) = call(operation, [crop])
        assert same(alone, result)


@pytest.mark.parametrize("operation", COMPUTING, ids=named)
def test_the_same_image_gives_the_same_result(call, operation):
    crop = crop_of(astronaut())
    assert same(call(operation, [crop])[0], call(operation, [crop])[0])


@pytest.mark.parametrize("operation", [op for op in COMPUTING if op.type != "compare"], ids=named)
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


@pytest.mark.parametrize("operation", ALONE, ids=named)
def test_cancelling_a_request_leaves_nothing_behind(tiny_room, operation):
    room, params = tiny_room, operation.example_params.model_dump(mode="json", exclude_defaults=True)

    async def scenario() -> None:
        tasks = [Task("t", operation.type, params)]
        plan = resolve(tasks, room.registry, room.pool.choose, await room.resources(tasks))
        for number, seconds in enumerate((0.0, 0.005, 0.02, 0.05)):
            image = encoded(noise(640, 480, seed=10 * PUBLIC.index(operation) + number))
            running = asyncio.create_task(room.executor.run(plan, room.source(image)))
            await asyncio.sleep(seconds)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            # The lanes are free again: the same request is answered.
            run = await asyncio.wait_for(room.executor.run(plan, room.source(image)), 60)
            fault = run.outcomes[0].fault
            assert fault is None or fault.code == "region_not_found"

    asyncio.run(scenario())
    assert room.pool.waiting == 0


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=named)
def test_params_survive_json(operation):
    example = operation.example_params
    assert example is not None
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
    validator_for(schema).validate(operation.example_params.model_dump(mode="json"))


@pytest.mark.parametrize("operation", PUBLIC, ids=named)
def test_every_target_resolves(tiny_room, operation):
    example = operation.example_params.model_dump(mode="json", exclude_defaults=True)
    for name in target_names(operation.params):
        tasks = [Task("t", operation.type, {**example, "target": name})]
        resources = asyncio.run(tiny_room.resources(tasks))
        (task,) = resolve(tasks, OPERATIONS, lambda op, params: None, resources).tasks
        assert task.fault is None
        assert task.is_plural == name.startswith("all_")


@pytest.mark.parametrize("operation", PUBLIC, ids=named)
def test_the_documented_data_is_the_real_data(call, operation):
    from jsonschema_rs import validator_for

    from app.core.catalog import data_schema

    (result,) = call(operation, [crop_of(page("a line of text"))])
    assert not isinstance(result, TaskError)
    data = json.loads(json.dumps(jsonable(result), default=np.ndarray.tolist))
    validator_for(data_schema(operation)).validate(data)


@pytest.mark.parametrize("operation", COMPUTING, ids=named)
def test_results_are_of_the_declared_type(call, operation):
    (result,) = call(operation, [crop_of(noise(40, 30))])
    assert isinstance(result, get_origin(operation.output) or operation.output)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=named)
def test_needs_are_operations_and_not_names(tiny_room, operation):
    for need in needs_of(Ref(operation, operation.example_params), tiny_room).values():
        source = need.source if isinstance(need, Gathered) else need
        if isinstance(source, Ref):
            assert OPERATIONS[source.operation.type] is source.operation
