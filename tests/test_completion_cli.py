"""Completions: the scripts, and what they get when a shell asks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import main

ROOT = Path(__file__).resolve().parent.parent
SIGHTGRAPH = Path(sys.executable).with_name("sightgraph")


def asked(
    words: list[str], cache: Path, code: str = "from app.cli import main; main()"
) -> subprocess.CompletedProcess:
    """What a bash that completes the last word gets."""
    environment = {
        **os.environ,
        "_SIGHTGRAPH_COMPLETE": "bash_complete",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "XDG_CACHE_HOME": str(cache),
    }
    command = [sys.executable, "-c", f"import sys; sys.argv[0] = 'sightgraph'; {code}"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["sightgraph", "ana"], ["plain,analyze"]),
        (["sightgraph", "analyze", "a.jpg", "-t", "read_"], ["plain,read_codes", "plain,read_text"]),
        (["sightgraph", "plan", "-t", "detect_b"], ["plain,detect_bounding_box"]),
        (["sightgraph", "operations", "read_t"], ["plain,read_text"]),
        (["sightgraph", "analyze", "--ann"], ["plain,--annotate"]),
        (["sightgraph", "analyze", "pho"], ["file,pho"]),
        (["sightgraph", "models", "pu"], ["plain,pull"]),
    ],
)
def test_words_are_completed(words, completed, cache):
    done = asked(words, cache)
    assert done.stdout.splitlines() == completed
    assert done.stderr == ""


def test_a_completion_reads_a_file_and_imports_no_model(cache):
    asked(["sightgraph", "plan", "-t", ""], cache)
    assert json.loads((cache / "sightgraph" / "operations.json").read_text())["operations"]
    told = (
        "import atexit; "
        "heavy = ('torch', 'numpy', 'pydantic', 'httpx'); "
        "atexit.register(lambda: print([name for name in heavy if name in sys.modules])); "
        "from app.cli import main; main()"
    )
    done = asked(["sightgraph", "plan", "-t", "read_t"], cache, told)
    assert done.stdout.splitlines() == ["plain,read_text", "[]"]


@pytest.mark.parametrize(
    ("shell", "check"), [("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])]
)
def test_the_script_is_one_of_the_shell(shell, check, tmp_path):
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0, result.output
    assert "_SIGHTGRAPH_COMPLETE" in result.stdout
    if shutil.which(check[0]) is not None:
        script = tmp_path / "script"
        script.write_text(result.stdout)
        done = subprocess.run([*check, script], capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.skipif(not SIGHTGRAPH.exists(), reason="the command is not installed")
def test_bash_completes_with_it(cache):
    script = (
        'eval "$(sightgraph completion bash)"; COMP_WORDS=(sightgraph analyze -t read_c); COMP_CWORD=3; '
        # What only a line that is edited has.
        'compopt() { :; }; _sightgraph_completion sightgraph; echo "${COMPREPLY[@]}"'
    )
    path = f"{SIGHTGRAPH.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": path, "XDG_CACHE_HOME": str(cache)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("read_codes\n", "")


def test_another_shell_is_refused():
    result = CliRunner().invoke(main, ["completion", "tcsh"])
    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.output
