"""The registry: what is discovered, and which mistakes stop the start-up, by name."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from app.core.artifacts import Crop
from app.core.errors import RegistryError, UnsupportedOperation
from app.core.operation import IMAGE, Needs, Operation, Params, Ref, operation
from app.core.registry import Registry, declared_in, discover

ROOT = Path(__file__).parents[2]

MODULE = '''
from collections.abc import Sequence

from app.core.artifacts import Crop
from app.core.operation import IMAGE, Needs, NoParams, operation


def needs(params: NoParams) -> Needs:
    return {{"crop": IMAGE}}


@operation(needs=needs)
def {name}(crop: Sequence[Crop], params: NoParams) -> list[int]:
    """Count."""
    return [0 for _ in crop]
'''


class Depth(Params):
    depth: int = 0


def toy(name: str, needs: Callable[[Params], Needs] | None = None, public: bool = True) -> Operation:
    """An operation on the image, or on what it needs."""

    def run(crop: Sequence[Crop], params: Params) -> list[int]:
        """Count."""
        return [0 for _ in crop]

    run.__name__ = name
    return operation(params=Depth, needs=needs or (lambda _: {"crop": IMAGE}), public=public)(run)


def on(*feeders: Operation) -> Callable[[Params], Needs]:
    return lambda _: {"crop": Ref(feeders[-1], Depth())}


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Writes a package of the given modules; answers its name."""
    name = "toy_operations"
    before = set(sys.modules)
    sys.path.insert(0, str(tmp_path))

    def write(**modules: str) -> str:
        for module, text in {"__init__": "", **modules}.items():
            file = tmp_path / name / f"{module}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(dedent(text))
        return name

    yield write
    sys.path.remove(str(tmp_path))
    for module in set(sys.modules) - before:
        if module.partition(".")[0] == name:
            del sys.modules[module]


# The map


def test_the_real_operations_are_found(registry):
    assert registry.keys() >= {"crop", "detect_bounding_box", "detect_faces", "image_properties", "regions"}
    assert registry.public.keys() >= {"crop", "detect_bounding_box", "image_properties"}
    assert not registry.public.keys() & {"detect_faces", "detect_persons", "encode_crop", "regions"}
    for name, found in registry.items():
        assert found.type == name
        assert found.module.startswith("operations.")


def test_a_registry_is_a_frozen_map_in_order_of_type():
    registry: Any = Registry([toy("b"), toy("a"), toy("c", public=False)])
    assert list(registry) == ["a", "b", "c"]
    assert len(registry) == 3
    assert list(registry.public) == ["a", "b"]
    with pytest.raises(TypeError):
        registry["d"] = toy("d")


def test_operations_may_share_a_need():
    base = toy("base", public=False)
    assert len(Registry([toy("left", on(base)), toy("right", on(base)), base])) == 3


# What stops the start-up


def test_a_type_that_is_declared_twice():
    with pytest.raises(RegistryError, match=rf"^twin: declared twice, in {__name__} and in {__name__}"):
        Registry([toy("twin"), toy("other"), toy("twin")])


def test_a_need_that_is_not_registered():
    with pytest.raises(RegistryError, match=r"^asker: needs 'stranger', which is not registered"):
        Registry([toy("asker", on(toy("stranger")))])


def test_a_need_behind_a_need_that_is_not_registered():
    between = toy("between", on(toy("stranger")))
    with pytest.raises(RegistryError, match=r"^between: needs 'stranger'"):
        Registry([toy("asker", on(between)), between])


def test_a_need_of_a_registered_name_that_is_another_operation():
    with pytest.raises(RegistryError, match=r"^asker: needs 'base'"):
        Registry([toy("asker", on(toy("base"))), toy("base")])


def test_an_operation_that_needs_itself():
    known: list[Operation] = []

    def itself(_: Params) -> Needs:
        return {"crop": Ref(known[-1], Depth()) if known else IMAGE}

    known.append(toy("loop", itself))
    with pytest.raises(RegistryError, match=r"^loop: needs itself: loop -> loop"):
        Registry(known)


def test_operations_that_need_each_other():
    known: list[Operation] = []

    def other(_: Params) -> Needs:
        return {"crop": Ref(known[-1], Depth()) if known else IMAGE}

    first = toy("first", other)
    known.append(toy("second", on(first)))
    with pytest.raises(RegistryError, match=r"needs itself: first -> second -> first"):
        Registry([first, *known])


def test_an_operation_may_need_itself_with_other_params_to_an_end():
    known: list[Operation] = []

    def shallower(params: Depth) -> Needs:
        deeper = known and params.depth < 3
        return {"crop": Ref(known[-1], Depth(depth=params.depth + 1)) if deeper else IMAGE}

    known.append(toy("pyramid", shallower))
    assert list(Registry(known)) == ["pyramid"]


def test_an_operation_that_needs_itself_with_ever_other_params():
    known: list[Operation] = []

    def deeper(params: Depth) -> Needs:
        return {"crop": Ref(known[-1], Depth(depth=params.depth + 1)) if known else IMAGE}

    known.append(toy("well", deeper))
    with pytest.raises(RegistryError, match=r"^well: needs itself"):
        Registry(known)


# Discovery


def test_every_module_of_a_package_is_discovered(package):
    name = package(
        count=MODULE.format(name="count"),
        tell=MODULE.format(name="tell"),
        _private="raise RuntimeError('never imported')",
    )
    found = discover(name)
    assert list(found) == ["count", "tell"]
    assert found["count"].module == "toy_operations.count"


def test_an_operation_belongs_to_the_module_that_declares_it(package):
    name = package(
        count=MODULE.format(name="count"),
        tell="from toy_operations.count import count\n" + MODULE.format(name="tell"),
    )
    assert list(discover(name)) == ["count", "tell"]
    assert [op.type for op in declared_in(sys.modules["toy_operations.tell"])] == ["tell"]


def test_one_type_in_two_modules(package):
    name = package(one=MODULE.format(name="count"), two=MODULE.format(name="count"))
    expected = r"^count: declared twice, in toy_operations\.one and in toy_operations\.two"
    with pytest.raises(RegistryError, match=expected):
        discover(name)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "declares no operation", id="empty"),
        pytest.param("from operations.crop import crop", "declares no operation", id="only imports one"),
        pytest.param("import no_such_package", "cannot be imported.*no_such_package", id="missing package"),
        pytest.param("1 / 0", "cannot be imported.*division", id="raises"),
        pytest.param("def broken(:", "cannot be imported", id="no Python"),
        pytest.param(
            MODULE.format(name="count").replace("list[int]", "list[Unknown]"),
            "cannot be imported.*Unknown",
            id="unknown annotation",
        ),
    ],
)
def test_a_malformed_module(package, text, problem):
    name = package(fine=MODULE.format(name="fine"), wrong=text)
    with pytest.raises(RegistryError, match=rf"^toy_operations\.wrong: {problem}"):
        discover(name)


def test_a_malformed_declaration_is_told_by_the_name_of_the_operation(package):
    name = package(wrong=MODULE.format(name="count").replace('"""Count."""', ""))
    with pytest.raises(RegistryError, match=r"^count: .*docstring"):
        discover(name)


def discovered_with_plugin(folder: Path, entry_points: str, **modules: str) -> subprocess.CompletedProcess:
    """What a fresh process discovers when a distribution with these entry points is installed."""
    for module, text in {"own/__init__": "", "own/count": MODULE.format(name="count"), **modules}.items():
        file = folder / f"{module}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    installed = folder / "toy_plugin-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-plugin\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(f"[sightgraph.operations]\n{entry_points}\n")
    code = "from app.core.registry import discover; print(*discover('own'))"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "entry_points",
    [
        pytest.param("toy = toy_plugin", id="a module"),
        pytest.param("toy = toy_plugin:tell", id="an object of a module"),
        pytest.param("tell = toy_plugin:tell\nshow = toy_plugin:show", id="two objects of one module"),
    ],
)
def test_an_installed_plugin_is_discovered(tmp_path, entry_points):
    text = MODULE.format(name="tell") + MODULE.format(name="show")
    answer = discovered_with_plugin(tmp_path, entry_points, toy_plugin=text)
    assert answer.stdout.split() == ["count", "show", "tell"], answer.stderr


@pytest.mark.parametrize(
    ("entry_points", "text", "problem"),
    [
        pytest.param("toy = gone", "", "gone: cannot be imported", id="missing"),
        pytest.param("toy = toy_plugin", "x = 1", "toy_plugin: declares no operation", id="empty"),
        pytest.param(
            "toy = toy_plugin",
            MODULE.format(name="count"),
            "count: declared twice, in own.count and in toy_plugin",
            id="a type that is taken",
        ),
    ],
)
def test_a_malformed_plugin_stops_the_start_up_by_name(tmp_path, entry_points, text, problem):
    answer = discovered_with_plugin(tmp_path, entry_points, toy_plugin=text)
    assert answer.returncode != 0
    assert f"RegistryError: {problem}" in answer.stderr


# Finding


def test_find_gives_the_public_operation():
    registry = Registry([toy("count"), toy("stage", public=False)])
    assert registry.find("count") is registry["count"]


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("embed_hog", "embed_hog_hsv"),
        ("detect_boundingbox", "detect_bounding_box"),
        ("Crop", "crop"),
        ("imageproperties", "image_properties"),
        ("read_txt", "read_text"),
    ],
)
def test_find_suggests_the_nearest_type(registry, asked, nearest):
    with pytest.raises(UnsupportedOperation) as refused:
        registry.find(asked)
    assert str(refused.value) == f"Unsupported operation type '{asked}'. Did you mean '{nearest}'?"


def test_find_lists_the_types_where_none_is_near():
    registry = Registry([toy("count"), toy("tell"), toy("stage", public=False)])
    with pytest.raises(UnsupportedOperation, match=r"'zzz'\. Supported types: count, tell\.$"):
        registry.find("zzz")


def test_a_stage_is_no_operation_for_clients(registry):
    with pytest.raises(UnsupportedOperation, match="'detect_faces'"):
        registry.find("detect_faces")


def test_a_long_type_is_not_repeated_at_length(registry):
    with pytest.raises(UnsupportedOperation) as refused:
        registry.find("x" * 5000)
    assert len(str(refused.value)) < 1000


def test_no_suggestion_is_a_stage():
    registry = Registry([toy("zebra"), toy("stage", public=False)])
    with pytest.raises(UnsupportedOperation) as refused:
        registry.find("stages")
    assert "'stage'" not in str(refused.value)
