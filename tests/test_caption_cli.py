"""`sightgraph caption` and scripts/caption_folder.py, against a real server with a tiny captioner."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.api.room import Room
from app.cli import caption_texts, captioning, main
from app.cli.captioning import sorted_out
from tests.conftest import served
from tests.images import encoded, noise

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "caption_folder.py"
CLOSED = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def url(tiny_room: Room) -> Iterator[str]:
    with served(tiny_room) as url:
        yield url


@pytest.fixture(scope="module")
def url_without(room: Room) -> Iterator[str]:
    """A server that has no captioner."""
    with served(room) as url:
        yield url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def put(folder: Path, *names: str) -> None:
    """Photos, each another one."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(noise(32, 24, seed=len(name) + sum(name.encode()))))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["caption", *map(str, arguments)])


def texts(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*.txt"))}


def no_parts(folder: Path) -> bool:
    return not list(folder.rglob(".*"))


def test_texts_are_written_beside_images_and_the_engine_is_named(url, folder):
    put(folder, "a.png", "b.two.JPG", "sub/c.png")
    (folder / "notes.md").write_text("none")
    result = run(folder, "--server", url)
    assert result.exit_code == 0, result.output
    written = texts(folder)
    assert list(written) == ["a.txt", "b.two.txt"]
    assert all(text and text == " ".join(text.split()) for text in written.values())
    assert result.stdout.startswith("2 captioned by blip-base (")
    assert "0 had a text, 0 failed; " in result.stdout
    assert no_parts(folder)


def test_what_has_a_text_is_left_unless_it_is_forced(url, folder):
    put(folder, "a.png", "b.png")
    (folder / "a.txt").write_text("mine")
    result = run(folder, "--server", url)
    assert result.exit_code == 0
    assert "1 captioned" in result.stdout
    assert "1 had a text" in result.stdout
    before = texts(folder)
    assert before["a.txt"] == "mine"
    again = run(folder, "--server", CLOSED)
    assert again.exit_code == 0
    assert again.stdout == "0 captioned, 2 had a text, 0 failed\n"
    assert run(folder, "--server", url, "-f").exit_code == 0
    after = texts(folder)
    assert after["a.txt"] != "mine"
    assert after["b.txt"] == before["b.txt"]


def test_what_stands_around_the_caption_and_how_long_it_is(url, folder):
    put(folder, "a.png")
    assert run(folder, "--server", url, "--max-length", 3).exit_code == 0
    short = texts(folder)["a.txt"]
    result = run(folder, "--server", url, "--max-length", 3, "--force", "--prefix", "ohwx, ", "--suffix", ".")
    assert result.exit_code == 0
    assert texts(folder)["a.txt"] == f"ohwx, {short}."
    too_long = run(folder, "--server", url, "--max-length", 100_000, "--force")
    assert too_long.exit_code == 1
    assert "max_length: Input should be less than or equal to 512, got 100000" in too_long.stderr
    assert texts(folder)["a.txt"] == f"ohwx, {short}."


def test_folders_in_the_folder_are_for_the_asking(url, folder, tmp_path):
    put(folder, "a.png", "sub/b.png", "sub/deeper/c.png", ".hidden/d.png")
    put(tmp_path / "elsewhere", "e.png")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    assert run(folder, "--server", url).exit_code == 0
    assert list(texts(folder)) == ["a.txt"]
    result = run(folder, "--server", url, "--recursive")
    assert result.exit_code == 0
    assert "2 captioned" in result.stdout
    assert list(texts(folder)) == ["a.txt", "sub/b.txt", "sub/deeper/c.txt"]
    assert not texts(tmp_path / "elsewhere")


def test_odd_files(url, folder, tmp_path):
    """Each failure is one line, and the rest goes on."""
    put(folder, "good.png", "twice.jpg", "twice.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    put(tmp_path / "elsewhere", "e.png")
    (folder / "linked.png").symlink_to(tmp_path / "elsewhere" / "e.png")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    put(folder, "taken.png")
    (folder / "taken.txt").mkdir()
    not_utf8 = os.fsencode(folder) + b"/\xff\xfe.png"
    Path(os.fsdecode(not_utf8)).write_bytes(encoded(noise(20, 20)))
    long = "x" * 251
    put(folder, f"{long}.png")
    result = run(folder, "--server", url)
    assert result.exit_code == 1
    told = dict(line.split(": ", 1) for line in result.stderr.splitlines())
    assert told.keys() == {"broken.jpg", "dangling.png", "pipe.png", "taken.png", "twice.png"}
    assert told["broken.jpg"].startswith("Could not process image")
    assert told["dangling.png"] == "No such file or directory"
    assert told["pipe.png"] == "Not a regular file"
    assert told["taken.png"] == "taken.txt is a folder"
    assert told["twice.png"] == "its text would be that of twice.jpg; rename one of the two"
    assert "5 captioned" in result.stdout
    assert "5 failed" in result.stdout
    assert {path.name for path in folder.glob("*.txt") if path.is_file()} == {
        "good.txt",
        "linked.txt",
        "twice.txt",
        f"{long}.txt",
        "\udcff\udcfe.txt",
    }
    assert not texts(tmp_path / "elsewhere")


def test_a_text_that_is_a_link_stays_one(url, folder, tmp_path):
    put(folder, "a.png")
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    (folder / "a.txt").symlink_to(kept)
    assert "1 had a text" in run(folder, "--server", url).stdout
    assert run(folder, "--server", url, "--force").exit_code == 0
    assert (folder / "a.txt").is_symlink()
    assert kept.read_text() not in ("", "mine")


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_asked(url, folder, monkeypatch):
    put(folder, "a.png", "b.png")
    # Whoever tests as root may write everywhere.
    monkeypatch.setattr(caption_texts.os, "access", lambda path, mode: not mode & os.W_OK)
    result = run(folder, "--server", CLOSED)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "a.png: its folder cannot be written",
        "b.png: its folder cannot be written",
    ]


def test_without_a_captioner_it_ends_at_once_with_the_remedy(url_without, folder):
    put(folder, *(f"{number}.png" for number in range(30)))
    result = run(folder, "--server", url_without)
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "sightgraph models pull Salesforce/blip-image-captioning-base" in line
    assert "0 captioned, 0 had a text, 0 failed" in result.stdout
    assert not texts(folder)
    assert no_parts(folder)


def test_a_server_that_is_not_there_is_told_once(folder):
    put(folder, "a.png", "b.png")
    result = run(folder, "--server", CLOSED)
    assert result.exit_code == 1
    assert [line for line in result.stderr.splitlines() if "127.0.0.1:9" in line] == [
        line for line in result.stderr.splitlines() if line.startswith("Error: ")
    ]
    assert not texts(folder)


def test_what_a_server_says_moves_no_cursor(folder):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"detail": "not \x07you\u202e"}).encode()
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests print nothing."""

    put(folder, "a.png")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        result = run(folder, "--server", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == r"Error: not \x07you\u202e"


def test_nothing_to_do(folder):
    result = run(folder)
    assert result.exit_code == 0
    assert result.stderr == "No images are in " + str(folder) + ".\n"
    for_programs = run(folder, "--json")
    assert for_programs.exit_code == 0
    assert json.loads(for_programs.stdout) == {
        "captioned": 0,
        "had_a_text": 0,
        "failed": 0,
        "seconds": 0.0,
        "engines": {},
    }


def test_every_image_is_a_line_of_json(url, folder):
    put(folder, "a.png", "b.png")
    (folder / "b.txt").write_text("mine")
    (folder / "broken.jpg").write_bytes(b"no image")
    result = run(folder, "--server", url, "--json")
    assert result.exit_code == 1
    assert result.stderr == ""
    *lines, end = [json.loads(line) for line in result.stdout.splitlines()]
    by_image = {line["image"]: line for line in lines}
    assert by_image.keys() == {"a.png", "broken.jpg"}
    done = by_image["a.png"]
    assert (done["file"], done["caption"]) == ("a.txt", texts(folder)["a.txt"])
    assert by_image["broken.jpg"]["error"].startswith("Could not process image")
    assert end == {
        "captioned": 1,
        "had_a_text": 1,
        "failed": 1,
        "seconds": end["seconds"],
        "engines": {done["engine"]: 1},
    }


def test_which_images_are_left_is_found_quickly_in_a_huge_folder(tmp_path):
    paths = [f"{number:06}.jpg" for number in range(50_000)]
    images = sorted_out(tmp_path, paths, force=False)
    assert (len(images.left), images.done, images.clashing) == (50_000, [], [])


def test_a_text_that_appears_meanwhile_is_left(url, folder, monkeypatch):
    put(folder, "a.png")
    asked = captioning.Captioning._asked

    async def slowly(self: captioning.Captioning, image: Path) -> Any:
        result = await asked(self, image)
        (folder / "a.txt").write_text("mine")
        return result

    monkeypatch.setattr(captioning.Captioning, "_asked", slowly)
    result = run(folder, "--server", url)
    assert result.exit_code == 1
    assert result.stderr == "a.png: a.txt appeared meanwhile, and is left as it is\n"
    assert texts(folder) == {"a.txt": "mine"}


@pytest.mark.parametrize("has_links", [True, False])
def test_a_text_is_written_in_no_other_ones_place(tmp_path, monkeypatch, has_links):
    """Nor in that of one that appears while it is written, where the disk can tell."""
    text = tmp_path / "a.txt"
    if not has_links:
        monkeypatch.setattr(caption_texts.os, "link", without_links)
    caption_texts.write(text, "ours", force=False)
    assert text.read_text() == "ours"
    with pytest.raises(caption_texts.NotWritten, match="appeared meanwhile"):
        caption_texts.write(text, "again", force=False)
    if has_links:
        text.unlink()
        monkeypatch.setattr(caption_texts.os, "fsync", lambda _: text.write_text("mine"))
        with pytest.raises(caption_texts.NotWritten, match="appeared meanwhile"):
            caption_texts.write(text, "again", force=False)
        assert text.read_text() == "mine"
    assert no_parts(tmp_path)


def without_links(*_: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_text_that_is_written_anew_keeps_its_rights(url, folder):
    put(folder, "closed.png", "protected.png")
    for name, mode in (("closed.txt", 0o600), ("protected.txt", 0o444)):
        (folder / name).write_text("mine")
        (folder / name).chmod(mode)
    result = run(folder, "--server", url, "--force")
    assert result.exit_code == 1
    assert result.stderr == "protected.png: protected.txt is read-only, and is left as it is\n"
    assert texts(folder)["protected.txt"] == "mine"
    assert texts(folder)["closed.txt"] != "mine"
    assert (folder / "closed.txt").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_ends_the_run_and_leaves_nothing_half(url, folder, monkeypatch):
    put(folder, *(f"{number}.png" for number in range(20)))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caption_texts.os, "fsync", full)
    result = run(folder, "--server", url, "--workers", 2)
    assert result.exit_code == 1
    assert "Error: The disk is full." in result.stderr
    assert result.stderr.count("No space left on device") <= 2
    assert not texts(folder)
    assert no_parts(folder)


# As a process


def script(*arguments: object) -> list[str]:
    return [sys.executable, str(SCRIPT), *map(str, arguments)]


def test_the_script_of_image_embeds_users(url, folder):
    put(folder, "a.png", "b.png")
    (folder / "a.txt").write_text("mine")
    command = script(folder, "-f", "--max-length", 4, "--server", url)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 captioned by blip-base (")
    assert texts(folder)["a.txt"] != "mine"
    wrong = subprocess.run(
        script(folder, "-f", "--server", url),
        env={**os.environ, "SIGHTGRAPH_API_KEY": "no key"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (wrong.returncode, wrong.stderr.startswith("Error: api_key: ")) == (1, True)
    usage = subprocess.run(script("--help"), capture_output=True, text=True, timeout=60).stdout
    assert "http://127.0.0.1:8000" in usage


@pytest.fixture
def interrupted(url, folder) -> Callable[[int], subprocess.Popen[str]]:
    """A run over many images that was told to stop so many times, as soon as the first text was there."""

    def start(times: int) -> subprocess.Popen[str]:
        put(folder, *(f"{number}.png" for number in range(120)))
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "caption", str(folder), "--server", url, "--workers", "1"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 60
        while not texts(folder):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        return process

    return start


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_leaves_nothing_half_and_the_next_run_goes_on(url, folder, interrupted, times):
    out, err = interrupted(times).communicate(timeout=60)
    written = texts(folder)
    assert 0 < len(written) < 120
    assert all(written.values())
    assert "Traceback" not in err
    assert "The same command goes on with what is left." in err
    assert out.startswith(f"{len(written)} captioned")
    again = run(folder, "--server", url)
    assert again.exit_code == 0
    assert f"{120 - len(written)} captioned" in again.stdout
    assert no_parts(folder)
