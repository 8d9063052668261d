"""What pages show of answers, held against the real ones."""

import json
import re
from typing import Any

import pytest


def assert_output_as_shown(real: str, shown: str, language: str) -> None:
    """The output of a command or a program against the block under it."""
    if language == "json":
        assert_as_shown(json.loads(real), json.loads(shown), "answer")
    elif language == "jsonl":
        lines, expected = real.splitlines(), shown.splitlines()
        assert len(lines) == len(expected), real
        for number, (line, one) in enumerate(zip(lines, expected, strict=True), 1):
            assert_as_shown(json.loads(line), json.loads(one), f"line {number}")
    else:
        pattern = re.escape(shown.strip()).replace(r"\.\.\.", r".*?")
        assert re.fullmatch(pattern, real.strip(), re.DOTALL), f"{real}\n--- is not as shown ---\n{shown}"


def assert_as_shown(real: Any, shown: Any, path: str) -> None:
    """Equal, where "..." stands for anything, ["..."] for any list that is not empty, and "...": "..." for
    further fields."""
    if shown == "...":
        return
    if shown == ["..."]:
        assert isinstance(real, list), path
        assert real, path
    elif isinstance(shown, dict):
        assert isinstance(real, dict), path
        named = {name: value for name, value in shown.items() if name != "..."}
        if "..." in shown:
            assert named.keys() < real.keys(), f"{path}: {named.keys() - real.keys()} is not there"
        else:
            assert list(real) == list(shown), f"{path}: {list(real)}"
        for name, value in named.items():
            assert_as_shown(real[name], value, f"{path}.{name}")
    elif isinstance(shown, list):
        assert isinstance(real, list), path
        assert len(real) == len(shown), f"{path}: {len(real)} items"
        for number, value in enumerate(shown):
            assert_as_shown(real[number], value, f"{path}[{number}]")
    else:
        assert real == pytest.approx(shown, abs=1e-3), f"{path}: {real!r}"
