"""The commands as a whole: what is imported for whom, how they are listed, and how they end."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.cli import main
from app.cli.lazy import Commands, LazyCommand

ROOT = Path(__file__).resolve().parent.parent
# What makes a start slow; much else is above these.
HEAVY = (
    "torch",
    "numpy",
    "PIL",
    "pydantic",
    "httpx",
    "litestar",
    "asyncio",
    "rich",
    "app.client",
    "app.core.registry",
)


def loaded_by(*arguments: str) -> list[str]:
    """The modules that a command leaves behind."""
    code = (
        "import sys, app.cli\n"
        f"app.cli.main({list(arguments)!r}, standalone_mode=False)\n"
        "print('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    "arguments", [("--help",), *((name, "--help") for name in main.commands)], ids=" ".join
)
def test_help_imports_nothing_heavy(arguments):
    loaded = loaded_by(*arguments)
    assert [name for name in HEAVY if name in loaded] == []


def test_the_list_imports_no_command():
    loaded = loaded_by("--help")
    places = [command._place.partition(":")[0] for command in lazy_commands()]
    assert places
    assert [place for place in places if place in loaded] == []


def lazy_commands() -> list[LazyCommand]:
    return [command for command in main.commands.values() if isinstance(command, LazyCommand)]


@pytest.mark.parametrize("command", lazy_commands(), ids=lambda command: command.name)
def test_a_command_is_listed_by_its_own_words(command):
    assert isinstance(command.loaded, click.Command)
    assert command.name == command.loaded.name
    assert command.get_short_help_str(200) == command.loaded.get_short_help_str(200)


def test_a_command_that_is_not_there_has_the_nearest_named():
    result = CliRunner().invoke(main, ["analyse"])
    assert result.exit_code == 2
    assert "'analyze'" in result.stderr


def test_an_interrupt_ends_with_its_own_code():
    @click.group(cls=Commands)
    def group() -> None: ...

    @group.command()
    def stuck() -> None:
        raise KeyboardInterrupt

    result = CliRunner().invoke(group, ["stuck"])
    assert (result.exit_code, result.output) == (130, "\n")


LONG = "a" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ("analyze", f"{LONG}.jpg", "-t", "crop"),
        ("analyze", __file__, "-t", "crop", "--annotate", f"{LONG}.png"),
        ("plan", f"{LONG}.jpg", "-t", "crop"),
    ],
    ids=["image", "annotate", "plan"],
)
def test_what_the_system_refuses_is_one_line(arguments):
    result = CliRunner().invoke(main, arguments)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {LONG}")
    assert result.stderr.endswith(": File name too long\n")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_cannot_be_written_is_one_line():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", "completion", "bash"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, "Error: No space left on device\n")


def test_ctrl_c_ends_a_command_at_work():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(60)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "operations", "--server", address],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            connection, _ = silent.accept()
            with connection:
                # It has asked, and waits for the answer.
                assert connection.recv(4096).startswith(b"GET /available_operations/")
                process.send_signal(signal.SIGINT)
                _, stderr = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert stderr.strip() == ""
