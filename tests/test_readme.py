"""Every command and answer of the README, run."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from app.core.errors import CollectionNotFound
from app.runtime.fetch import Fetcher, FetchLimits
from app.settings import Settings
from classifiers.shelf import Shelf
from scripts.readme import generated
from tests.heads import put_head
from tests.images import astronaut

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
# A command's answer is the block that follows it.
# In the order of the file: what is searched was added before.
ASKED = [
    (command.strip(), kind, answer)
    for (language, command), (kind, answer) in pairwise(BLOCKS)
    if language == "bash" and command.startswith("curl")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the demo has left its photo."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "demo").mkdir()
    PIL.Image.fromarray(astronaut()).save(folder / "demo" / "astronaut.png")
    (folder / "README.md").write_text(README, encoding="utf-8")
    return folder


@pytest.fixture
def files_url(folder, room):
    """The folder behind a server whose address is allowed, as the README says."""
    handler = functools.partial(QuietFiles, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        before, room.fetcher = room.fetcher, Fetcher(FetchLimits(allowed_hosts=("127.0.0.1",)))
        yield f"http://127.0.0.1:{server.server_port}"
        room.fetcher = before
        server.shutdown()
        thread.join()


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


def test_every_endpoint_is_shown():
    shown = " ".join(command for command, _, _ in ASKED)
    for path in (
        "/analyze_image/",
        "/analyze_image_upload/",
        "/analyze_batch/",
        "/available_operations/",
        "/plan/",
        "/index/",
        "/index/photos/items/",
        "/index/photos/search/",
        "/index/photos/duplicates/",
        "/classifiers/portraits/health",
        "/health/live",
        "/health/ready",
    ):
        assert path in shown


@pytest.fixture(scope="module", autouse=True)
def portraits(room):
    """The classifier that the README trains."""
    shelf = Shelf(Settings().data / "classifiers")
    put_head(shelf, "portraits", spaces=["embed_hog_hsv/1"])
    yield
    shutil.rmtree(shelf.folder)


@pytest.fixture(scope="module", autouse=True)
def no_photos(room):
    """Without the collection that the README makes."""
    yield
    with suppress(CollectionNotFound):
        room.index.storage.drop("photos")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(("command", "kind", "answer"), ASKED, ids=range(len(ASKED)))
def test_a_command_gives_the_shown_answer(server_url, files_url, folder, command, kind, answer):
    command = command.replace("http://127.0.0.1:8000", server_url)
    command = command.replace("http://127.0.0.1:9000", files_url)
    answer = answer.replace("http://127.0.0.1:9000", files_url)
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    if kind == "mermaid":
        assert done.stdout == answer
    else:
        assert_as_shown(json.loads(done.stdout), json.loads(answer), "answer")


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
            assert named.keys() < real.keys(), path
        else:
            assert list(real) == list(shown), path
        for name, value in named.items():
            assert_as_shown(real[name], value, f"{path}.{name}")
    elif isinstance(shown, list):
        assert len(real) == len(shown), path
        for number, value in enumerate(shown):
            assert_as_shown(real[number], value, f"{path}[{number}]")
    else:
        assert real == pytest.approx(shown, abs=1e-3), path


def test_the_generated_parts_are_fresh():
    assert generated(README) == README


def test_a_stale_part_is_noticed():
    stale = README.replace("| `read_codes` |", "| `read_codex` |")
    assert stale != README
    assert generated(stale) == README


def test_every_make_target_that_is_named_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, flags=re.MULTILINE))
    named = set(re.findall(r"^make (\w+)|`make (\w+)`", README, flags=re.MULTILINE))
    assert {name for pair in named for name in pair if name} <= targets


def test_every_file_that_is_named_exists():
    for name in re.findall(r"`((?:app|operations|openspec)/[\w./]*)`", README):
        assert (ROOT / name).exists(), name


def test_every_error_code_is_explained():
    from app.core import errors

    leaves = [leaf for kind in errors.TaskError.__subclasses__() for leaf in kind.__subclasses__()]
    assert leaves
    for leaf in leaves:
        assert f"`{leaf.code}`" in README, leaf.code
