"""Every request, command and program of the README and of the pages in docs/, run against a real server."""

import contextlib
import functools
import http.server
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import PIL.Image
import pytest
from click.testing import CliRunner

from app.cli import main
from app.core.errors import CollectionNotFound
from app.runtime.fetch import Fetcher, FetchLimits
from app.settings import Settings
from classifiers.shelf import Shelf
from scripts.docs.pages import ROOT
from tests.classifiers import image_embed
from tests.heads import put_head
from tests.images import astronaut, noise, qr_code
from tests.pages import Block, joined_lines, run_here
from tests.shown import assert_output_as_shown

# Collections that the pages make.
COLLECTIONS = ("photos", "album", "wire")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the demo has left its photo, with a few folders of photos."""
    folder = tmp_path_factory.mktemp("pages")
    photo = PIL.Image.fromarray(astronaut())
    for name in ("demo/astronaut.png", "photos/astronaut.png", "photos/2024/copy.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        photo.save(folder / name)
    photo.crop((100, 20, 400, 320)).save(folder / "photos" / "portrait.jpg")
    for number in range(24):
        # Two classes that are easily told apart, each photo another one.
        for name, pixels in (("positive", qr_code(f"photo {number}")), ("negative", noise(96, 96, number))):
            path = folder / "portraits" / name / f"{number:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(pixels).save(path)
    image_embed.put(
        folder / "trained_classifiers",
        {"7": image_embed.entry(7)},
        {image_embed.FILE.format(7): image_embed.fitted()},
    )
    shutil.copy(ROOT / "README.md", folder)
    return folder


@pytest.fixture(scope="module")
def addresses(server_url, folder, room) -> Iterator[dict[str, str]]:
    """By what the pages call them: the server, and the folder behind another one that it may ask."""
    handler = functools.partial(QuietFiles, directory=str(folder))
    before, room.fetcher = room.fetcher, Fetcher(FetchLimits(allowed_hosts=("127.0.0.1",)))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        thread = threading.Thread(target=files.serve_forever)
        thread.start()
        yield {
            "http://127.0.0.1:8000": server_url,
            "http://127.0.0.1:9000": f"http://127.0.0.1:{files.server_port}",
        }
        files.shutdown()
        thread.join()
    room.fetcher = before


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


@pytest.fixture(scope="module", autouse=True)
def portraits(room):
    """A classifier as the pages train one."""
    shelf = Shelf(Settings().data / "classifiers")
    put_head(shelf, "portraits", spaces=["embed_hog_hsv/1"])
    yield
    shutil.rmtree(shelf.folder)


@pytest.fixture(scope="module", autouse=True)
def collections(room):
    """Drops those that the pages make."""

    def drop() -> None:
        for name in COLLECTIONS:
            with suppress(CollectionNotFound):
                room.index.storage.drop(name)

    yield drop
    drop()


@pytest.fixture(scope="module")
def names() -> dict[Path, dict[str, object]]:
    """By the pages that have begun, what their programs have defined so far: a later one goes on from it."""
    return {}


# In the order of the pages: what is searched was added before.
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("block", run_here(), ids=str)
def test_what_is_shown_is_what_happens(block: Block, addresses, folder, collections, names):
    if block.page not in names:
        # Each page begins anew.
        names[block.page] = {"__name__": "page"}
        collections()
    text = placed(block.text, addresses)
    if block.language == "python":
        answered = printed(text, block, folder, names)
    elif (commands := ours(text)) is not None:
        answered = "".join(output_of_ours(each, folder) for each in commands)
    else:
        answered = output_of(text, folder)
    if block.answer is not None:
        assert_output_as_shown(answered, placed(block.answer.text, addresses), block.answer.language)


def placed(text: str, addresses: dict[str, str]) -> str:
    for shown, real in addresses.items():
        text = text.replace(shown, real)
    return text


def ours(script: str) -> list[list[str]] | None:
    """The commands of a script that has nothing but plain ones of ours."""
    if not script.startswith("sightgraph ") or re.search(r"[|;&<>$`]", script):
        return None
    commands = [shlex.split(line, comments=True) for line in joined_lines(script) if line]
    return commands if all(words[0] == "sightgraph" for words in commands) else None


def output_of_ours(words: list[str], folder: Path) -> str:
    """In this process, where what the command needs is imported already."""
    with contextlib.chdir(folder):
        done = CliRunner().invoke(main, words[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def output_of(script: str, folder: Path) -> str:
    """Of a script of the shell, in which any command that fails ends it."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "COLUMNS": "120",
    }
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def printed(program: str, block: Block, folder: Path, names: dict[Path, dict[str, object]]) -> str:
    """By a program in this process, where what it needs is imported already."""
    output = io.StringIO()
    code = compile("\n" * block.line + program, str(block.page), "exec", dont_inherit=True)
    with contextlib.chdir(folder), contextlib.redirect_stdout(output):
        exec(code, names[block.page])
    return output.getvalue()
