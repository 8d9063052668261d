"""`sightgraph new-operation`, and the page that goes on from it: installed for real, and asked over HTTP."""

import contextlib
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import httpx
import PIL.Image
import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.core.operation import Operation
from scripts.docs.pages import ROOT
from tests.images import astronaut
from tests.pages import Block, page_of
from tests.shown import assert_as_shown

PAGE = page_of(ROOT / "docs" / "add-an-operation.md")
NAME = "measure_colourfulness"
PACKAGE = "sightgraph-measure-colourfulness"
MODULE = "sightgraph_measure_colourfulness"


def blocks(language: str) -> list[Block]:
    return [block for block in PAGE.blocks if block.language == language and not block.is_answer]


GENERATE, INSTALL, *ASK = blocks("bash")
GENERATED, WITH_PARAMS, WITH_REGIONS, FURTHER_TESTS = blocks("python")
# On the page one file is replaced. Here each version is a package of its own, so that one server has all.
VERSIONS = {NAME: GENERATED, f"{NAME}_of_all": WITH_PARAMS, f"{NAME}_of_parts": WITH_REGIONS}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["new-operation", *map(str, arguments)])


def under(name: str, text: str) -> str:
    """What the page says, of another operation than the page's."""
    return text.replace(NAME, name).replace(PACKAGE, f"sightgraph-{name.replace('_', '-')}")


class Environment:
    """A virtual environment that has all that this one has, and a folder to work in."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.work.mkdir()
        home = folder / "environment"
        venv.create(home, with_pip=False)
        self._bin = home / "bin"
        (own,) = home.glob("lib/python*/site-packages")
        here = [path for path in sys.path if path.endswith("site-packages")]
        added = "".join(f"import site; site.addsitedir({each!r})\n" for each in here)
        (own / "here.pth").write_text(added, encoding="utf-8")
        command = self._bin / "sightgraph"
        command.write_text(f'#!/bin/sh\nexec "{self._bin}/python" -m app.cli "$@"\n')
        command.chmod(0o755)

    @property
    def variables(self) -> dict[str, str]:
        path = f"{self._bin}{os.pathsep}{os.environ['PATH']}"
        return {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            # Those that this environment has for its own tests take seconds to load.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.work,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=150,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    @contextlib.contextmanager
    def server(self, log: Path) -> Iterator[str]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with log.open("w") as stderr:
            server = subprocess.Popen(
                [self._bin / "sightgraph", "serve", "--offline", "--port", str(port)],
                cwd=self.work,
                # Said, how the cores are divided need not be measured.
                env={**self.variables, "SIGHTGRAPH_LANES": "2"},
                stderr=stderr,
            )
        url = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 120
            while not _answers(url):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield url
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/health/live", timeout=5).is_success
    return False


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Environment:
    """With the packages of the page, installed as it says."""
    environment = Environment(tmp_path_factory.mktemp("plugin"))
    PIL.Image.fromarray(astronaut()).save(environment.work / "photo.png")
    install = INSTALL.text.splitlines()[0]
    folders = []
    for name, version in VERSIONS.items():
        folder = environment.work / under(name, PACKAGE)
        result = CliRunner().invoke(main, ["new-operation", name, "--folder", str(folder)])
        assert result.exit_code == 0, result.output
        if version is not GENERATED:
            (folder / f"sightgraph_{name}.py").write_text(under(name, version.text), encoding="utf-8")
        folders.append(folder.name)
    before, package, after = install.partition(PACKAGE)
    assert package
    assert not after
    environment.shell(before + f" {before.split()[-1]} ".join(folders))
    tests = environment.work / folders[-1] / "tests"
    (file,) = tests.glob("test_*.py")
    kept = re.sub(r"def test_it_answers.*?\n\n\n", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    kept = kept.replace("image=[]", "crop=[]")
    file.write_text(f"{kept}\n\n{FURTHER_TESTS.text}", encoding="utf-8")
    return environment


# The page


def test_the_page_shows_the_files_that_are_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert GENERATE.text.split() == ["sightgraph", "new-operation", NAME]
    result = run(NAME)
    assert result.exit_code == 0
    assert GENERATE.answer is not None
    assert result.stdout == GENERATE.answer.text
    assert all((tmp_path / line).is_file() for line in result.stdout.splitlines())
    assert f"pip install --editable {PACKAGE}" in result.stderr
    assert without_folds((tmp_path / PACKAGE / f"{MODULE}.py").read_text()) == without_folds(GENERATED.text)
    (toml,) = blocks("toml")
    assert toml.text in (tmp_path / PACKAGE / "pyproject.toml").read_text()


def without_folds(text: str) -> str:
    """On a page lines are folded earlier."""
    return re.sub(r"\s+", "", text)


def test_the_tests_that_are_written_pass(environment):
    """Of the package as it is written, and of the last version with the tests that the page adds."""
    _, test = INSTALL.text.splitlines()
    folders = [under(name, PACKAGE) for name in (NAME, f"{NAME}_of_parts")]
    done = environment.shell(f"{test.removesuffix(PACKAGE)} -q -p no:cacheprovider {' '.join(folders)}")
    assert "9 passed" in done.stdout


def test_a_server_answers_as_the_page_shows(environment, tmp_path):
    with environment.server(tmp_path / "log") as url:
        catalog = httpx.get(f"{url}/available_operations/", timeout=60).json()["operations"]
        for (name, _), ask in zip(VERSIONS.items(), ASK, strict=True):
            assert name in catalog
            script = under(name, ask.text).replace("http://127.0.0.1:8000", url)
            answer = json.loads(environment.shell(script).stdout)
            assert ask.answer is not None
            assert_as_shown(answer, json.loads(under(name, ask.answer.text)), name)
    assert catalog[NAME]["description"] == "Measure how bright the image is."
    assert catalog[f"{NAME}_of_parts"]["default_target"] == "whole_image"
    assert "Traceback" not in (tmp_path / "log").read_text()


# The command


def test_what_is_written_has_the_form_of_this_project(tmp_path):
    folder = tmp_path / "plugin"
    assert run("measure_blur", "--folder", folder).exit_code == 0
    for check in (["check", "--no-cache", "--ignore", "I001"], ["format", "--check", "--no-cache"]):
        done = subprocess.run(
            [Path(sys.executable).with_name("ruff"), *check, "--config", ROOT / "pyproject.toml", folder],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    spec = (folder / "openspec/specs/measure-blur/spec.md").read_text()
    assert spec.startswith("# measure-blur Specification\n")
    tests = (folder / "tests/test_measure_blur.py").read_text()
    named = re.findall(r"- \*\*TEST\*\* `tests/test_measure_blur.py::(\w+)`", spec)
    assert len(named) == spec.count("#### Scenario: ") == spec.count("- **THEN** ")
    assert all(f"def {name}(" in tests for name in named)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("MeasureBlur", "Did you mean 'measure_blur'?"),
        ("measure-blur", "Did you mean 'measure_blur'?"),
        ("measure blur", "Did you mean 'measure_blur'?"),
        ("measure__blur", "Did you mean 'measure_blur'?"),
        ("_blur", "Did you mean 'blur'?"),
        ("2nd", "'2nd' is no name of an operation"),
        ("", "'' is no name of an operation"),
        ("a" * 61, "60 at most"),
        ("naïve", "is no name of an operation"),
        ("../blur", "Did you mean 'blur'?"),
        ("\udcff", r"'\udcff' is no name"),
        ("crop", "There is an operation 'crop' already, in operations.crop."),
        ("regions", "There is an operation 'regions' already"),
        ("class", "'class' means something else"),
        ("list", "'list' means something else"),
        ("needs", "'needs' means something else"),
        ("data", "'data' means something else"),
        ("i_m_a_g_e", "'i_m_a_g_e' means something else"),
        ("true", "'true' means something else"),
    ],
)
def test_a_name_that_cannot_be_is_refused(tmp_path, monkeypatch, name, told):
    monkeypatch.chdir(tmp_path)
    result = run("--", name)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["answer", "io", "json", "pytest", "server"])
def test_a_name_that_the_test_has_for_something_else_does_no_harm(tmp_path, monkeypatch, name):
    assert run(name, "--folder", tmp_path / "plugin").exit_code == 0
    monkeypatch.syspath_prepend(tmp_path / "plugin")
    test = runpy.run_path(str(tmp_path / "plugin" / "tests" / f"test_{name}.py"))
    del sys.modules[f"sightgraph_{name}"]
    assert not [each for each in test.values() if isinstance(each, Operation)]
    test["test_no_items_give_no_results"]()


def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").write_text("kept")
    for place in ("taken", "file"):
        result = run("measure_blur", "--folder", tmp_path / place)
        assert result.exit_code == 1
        assert "is there already. Name another folder by --folder." in result.stderr
    result = run("measure_blur", "--folder", tmp_path / "file" / "below")
    assert result.exit_code == 1
    assert "cannot be made (Not a directory)" in result.stderr
    assert (tmp_path / "file").read_text() == "kept"
    assert not list((tmp_path / "taken").iterdir())
