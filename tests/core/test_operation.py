"""The declaration of an operation: what the decorator reads from it, refuses, and holds in a key."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from app.core.artifacts import Crop, ImageInfo, Region
from app.core.errors import RegistryError, TaskError
from app.core.operation import (
    IMAGE,
    OUTSIDE_KEY,
    Chosen,
    EngineSpec,
    Needs,
    NoParams,
    Params,
    Ref,
    Selection,
    operation,
)
from tests.toys import ToyWeights


class ToyEngine:
    def warmup(self, items: int = 1) -> None:
        pass


ENGINE = EngineSpec("toy", ToyWeights(), "MIT", lambda placement: ToyEngine())


def needs_crop(_: Params) -> Needs:
    return {"crop": IMAGE}


class Choice(Params):
    threshold: Annotated[float, Field(ge=0, le=1, alias="least")] = 0.5
    names: tuple[str, ...] = ()
    shown: Annotated[bool, OUTSIDE_KEY] = True
    note: Annotated[str | None, OUTSIDE_KEY] = None


class Demanding(Params):
    must: int


def answering(answer: Any) -> Any:
    """A run whose return annotation is the given one."""

    def run(crop: Sequence[Crop], params: Params) -> Any:
        """Answer something."""

    run.__annotations__["return"] = answer
    return run


# What the decorator reads


def test_a_declaration_gives_everything_that_is_known_of_an_operation():
    @operation(params=Choice, needs=needs_crop, engine=ENGINE, version=3)
    def measure(crop: Sequence[Crop], params: Choice, engine: ToyEngine) -> list[float]:
        """Measure something.

        At length,
        and in two lines.
        """
        return [params.threshold for _ in crop]

    assert measure.type == "measure"
    assert measure.summary == "Measure something."
    assert measure.description == "At length,\nand in two lines."
    assert measure.module == __name__
    assert measure.params is Choice
    assert measure.engines == (ENGINE,)
    assert measure.version == 3
    assert measure.public
    assert not measure.expands
    assert measure.output is float
    assert measure.run(crop=[], params=Choice(), engine=ToyEngine()) == []


def test_several_engines_stand_in_order_of_preference():
    second = replace(ENGINE, name="second")

    @operation(needs=needs_crop, engine=[ENGINE, second])
    def measure(crop: Sequence[Crop], params: NoParams, engine: ToyEngine) -> list[int]:
        """Measure."""
        return []

    assert [spec.name for spec in measure.engines] == ["toy", "second"]


@pytest.mark.parametrize("batch", [1, 8])
def test_an_operation_without_an_engine_names_its_batch(batch):
    assert operation(needs=needs_crop, batch=batch)(answering(list[int])).batch == batch


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (list[int], int),
        (list[int | TaskError], int),
        (list[TaskError | int], int),
        (list[int | None], int | None),
        (list[int | str | TaskError], int | str),
        (list[list[int]], list[int]),
        (list[list[int] | TaskError], list[int]),
        (list[dict[str, int]], dict[str, int]),
        (list[tuple[int, ...]], tuple[int, ...]),
        (list[Region], Region),
    ],
    ids=str,
)
def test_the_output_is_the_type_of_one_item(answer, output):
    assert operation(needs=needs_crop)(answering(answer)).output == output


def test_an_expanding_operation_gives_regions():
    @operation(needs=lambda _: {"image": IMAGE}, expands=True, public=False)
    def select(image: ImageInfo, params: NoParams, found: Sequence[Region] = ()) -> Selection:
        """Select nothing."""
        return Selection(())

    assert select.output is Region


def test_an_operation_that_demands_a_param_gives_an_example():
    with pytest.raises(RegistryError, match="run: has a required param, and gives no example"):
        operation(params=Demanding, needs=needs_crop)(answering(list[int]))
    example = Demanding(must=1)
    measured = operation(params=Demanding, needs=needs_crop, example=example)(answering(list[int]))
    assert measured.example_params == example
    assert not measured.takes_no_params
    stage = operation(params=Demanding, needs=needs_crop, public=False)(answering(list[int]))
    assert stage.example_params is None
    assert operation(params=Choice, needs=needs_crop)(answering(list[int])).example_params == Choice()


def test_an_operation_shows_its_type():
    assert repr(operation(needs=needs_crop)(answering(list[int]))) == "<operation run>"


# What the decorator refuses, by name


@pytest.mark.parametrize("text", [None, "", "   \n  "])
def test_without_a_docstring(text):
    def measure(crop: Sequence[Crop], params: NoParams) -> list[int]:
        return []

    measure.__doc__ = text
    with pytest.raises(RegistryError, match=r"^measure: .*docstring"):
        operation(needs=needs_crop)(measure)


def test_an_engine_that_run_does_not_take():
    def measure(crop: Sequence[Crop], params: NoParams) -> list[int]:
        """Measure."""
        return []

    with pytest.raises(RegistryError, match=r"^measure: .*engine"):
        operation(needs=needs_crop, engine=ENGINE)(measure)


def test_a_run_that_takes_an_engine_of_which_none_is_declared():
    def measure(crop: Sequence[Crop], params: NoParams, engine: ToyEngine) -> list[int]:
        """Measure."""
        return []

    with pytest.raises(RegistryError, match=r"^measure: .*engine"):
        operation(needs=needs_crop)(measure)


def test_a_run_that_takes_no_params():
    def measure(crop: Sequence[Crop]) -> list[int]:
        """Measure."""
        return []

    with pytest.raises(RegistryError, match=r"^measure: .*params"):
        operation(needs=needs_crop)(measure)


@pytest.mark.parametrize(
    "needed",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"image": IMAGE}, id="another name"),
        pytest.param({"crop": IMAGE, "vector": IMAGE}, id="one more"),
    ],
)
def test_needs_that_run_does_not_take(needed):
    with pytest.raises(RegistryError, match=r"^run: .*\['crop'\].*needs"):
        operation(needs=lambda _: needed)(answering(list[int]))


@pytest.mark.parametrize(
    "answer",
    [int, list, tuple[int, ...], Sequence[int], dict[str, int], None],
    ids=str,
)
def test_an_answer_that_is_no_list_of_items(answer):
    with pytest.raises(RegistryError, match=r"^run: .*list"):
        operation(needs=needs_crop)(answering(answer))


def test_an_answer_without_annotation():
    def measure(crop: Sequence[Crop], params: NoParams):
        """Measure."""

    with pytest.raises(RegistryError, match=r"^measure: .*list"):
        operation(needs=needs_crop)(measure)


def test_an_expanding_run_that_gives_no_selection():
    with pytest.raises(RegistryError, match=r"^run: .*Selection"):
        operation(needs=needs_crop, expands=True)(answering(list[Region]))


# Params and keys


@pytest.mark.parametrize(
    "raw",
    [
        {"shown": False},
        {"note": "a"},
        {"shown": False, "note": "a"},
        {"least": 0.5},
        {"least": 0.5, "names": [], "shown": True},
    ],
    ids=str,
)
def test_what_does_not_change_the_result_is_left_out_of_the_key(raw):
    params = Choice.model_validate(raw, strict=False)
    assert params.canonical() == Choice().canonical() == {"threshold": 0.5, "names": []}


@pytest.mark.parametrize("raw", [{"least": 0.6}, {"names": ["a"]}], ids=str)
def test_what_changes_the_result_is_in_the_key(raw):
    params = Choice.model_validate(raw, strict=False)
    assert params.canonical() != Choice().canonical()


def test_whole_numbers_and_floats_of_one_value_have_one_key():
    assert repr(Choice(least=1).canonical()) == repr(Choice(least=1.0).canonical())


def test_run_sees_what_lies_outside_the_key_at_its_default():
    params = Choice(least=0.7, names=("a",), shown=False)
    assert params.computing() == Choice(least=0.7, names=("a",))
    assert params.shown is False


def test_run_sees_a_default_that_is_made_by_a_factory():
    class Tagged(Params):
        tags: Annotated[tuple[str, ...], OUTSIDE_KEY] = Field(default_factory=lambda: ("none",))

    assert Tagged(tags=("a", "b")).computing() == Tagged()


def test_people_see_only_what_was_chosen():
    assert Choice(least=0.5, shown=False).chosen() == {}
    assert Choice(least=0.25, shown=False).chosen() == {"threshold": 0.25}


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ({"least": "0.5"}, "float_type"),
        ({"least": True}, "float_type"),
        ({"least": 1.5}, "less_than_equal"),
        ({"colour": "red"}, "extra_forbidden"),
    ],
)
def test_params_are_strict(raw, problem):
    with pytest.raises(ValidationError) as refused:
        Choice.model_validate(raw)
    assert [error["type"] for error in refused.value.errors()] == [problem]


def test_params_are_frozen_and_comparable():
    params = Choice()
    with pytest.raises(ValidationError):
        params.shown = False
    assert hash(params) == hash(Choice())
    assert not params.is_plural


def test_refs_of_one_operation_and_equal_params_are_equal():
    measured = operation(needs=needs_crop)(answering(list[int]))
    other = operation(needs=needs_crop)(answering(list[int]))
    assert Ref(measured, NoParams()) == Ref(measured, NoParams())
    assert Ref(measured, NoParams()) != Ref(other, NoParams())


# Engines


def test_the_space_of_vectors_names_code_model_and_weights():
    embed = operation(needs=needs_crop, version=2)(answering(list[int]))
    engine = Chosen(ENGINE, "0123456789abcdef")
    assert embed.space(NoParams(), embed.version, None) == "run/2"
    assert embed.space(NoParams(), 2, engine) == "run/2/toy/0123456789ab"
    shared = operation(needs=needs_crop, space_family="clip")(answering(list[int]))
    assert shared.space(NoParams(), 1, engine) == "clip/1/toy/0123456789ab"
    sized = operation(params=Choice, needs=needs_crop, space_family=lambda params: f"run-{params.threshold}")
    assert sized(answering(list[int])).space(Choice(least=0.5), 1, None) == "run-0.5/1"


def test_an_engine_is_known_by_its_name_and_its_weights():
    keys = {
        Chosen(ENGINE, "0123").key,
        Chosen(replace(ENGINE, name="other"), "0123").key,
        Chosen(ENGINE, "4567").key,
    }
    assert len(keys) == 3
    cheaper = replace(ENGINE, licence="Apache-2.0", batch=8)
    assert Chosen(ENGINE, "0123", "from here").key == Chosen(cheaper, "0123", "from there").key
