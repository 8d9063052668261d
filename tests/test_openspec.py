"""The specs: one a capability, every operation among them, and every scenario held by a test."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from app.core.registry import discover

ROOT = Path(__file__).resolve().parent.parent
SPECS = sorted((ROOT / "openspec" / "specs").glob("*/spec.md"))


def sections(text: str, mark: str) -> list[str]:
    """The parts of a text that begin with a heading of this mark."""
    return re.split(rf"^{mark} ", text, flags=re.MULTILINE)[1:]


@cache
def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", sorted(discover("operations").public))
def test_every_operation_has_its_spec(name):
    assert (ROOT / "openspec" / "specs" / name.replace("_", "-") / "spec.md").is_file()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.parent.name)
def test_a_spec_has_the_form_of_openspec(spec):
    text = spec.read_text(encoding="utf-8")
    assert text.startswith(f"# {spec.parent.name} Specification\n")
    assert [part.split("\n")[0] for part in sections(text, "##")] == ["Purpose", "Requirements"]
    assert len(sections(text, "##")[0].removeprefix("Purpose").strip()) >= 50
    requirements = sections(text, "###")
    assert requirements
    for requirement in requirements:
        assert requirement.startswith("Requirement: ")
        assert re.search(r"\b(SHALL|MUST)\b", requirement.split("####")[0])
        assert sections(requirement, "####")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.parent.name)
def test_every_scenario_names_its_test(spec):
    for scenario in sections(spec.read_text(encoding="utf-8"), "####"):
        title = scenario.split("\n")[0]
        assert title.startswith("Scenario: ")
        assert "- **WHEN** " in scenario, title
        assert "- **THEN** " in scenario, title
        named = re.search(r"- \*\*TEST\*\* `([\w/.]+)::(\w+)`", scenario)
        assert named is not None, title
        path = ROOT / named[1]
        assert path.is_file(), named[1]
        assert named[2] in functions_of(path), named[0]
