"""`sightgraph index` and `sightgraph search`, against the real application."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import PIL.ImageFont
import pytest
from click.testing import CliRunner, Result

from app.api.room import Room
from app.cli import main
from app.cli.contact_sheet import GAP, PICTURE, Tile, contact_sheet, fractions, shortened_to
from app.cli.folder import contents, image_suffixes, is_gone
from app.cli.indexing import FILES_PER_REQUEST, Indexing, Tally
from app.cli.printing import printable
from app.client import AsyncSightgraph, retrying
from app.index.local import LocalStorage
from app.runtime.decode import sha256_of
from tests.conftest import served
from tests.images import astronaut, encoded, figure, noise, pasted, plain
from tests.prepared import FULL, Answers

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def url(room: Room) -> Iterator[str]:
    with served(room) as url:
        yield url


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as http:
        yield http


BLUE = (0, 0, 250)

_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    """Of a collection that no other test has."""
    return f"test-{next(_numbers)}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def run(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)


def put(folder: Path, path: str, pixels: np.ndarray, **options: Any) -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded(pixels, "JPEG" if file.suffix.lower() == ".jpg" else "PNG", **options))
    return file


def put_many(folder: Path, count: int) -> None:
    for number in range(count):
        put(folder, f"{number:03d}.png", noise(32, 32, seed=number))


def items_of(http: httpx.Client, name: str) -> dict[str, dict[str, Any]]:
    listed = http.get(f"/index/{name}/items/", params={"limit": 1000}).json()
    assert listed["next"] is None
    return {item["id"]: item for item in listed["items"]}


def counts(result: Result) -> dict[str, int]:
    """The numbers of the summary that are not zero."""
    told = re.findall(r"(\d+) (added|replaced|unchanged|ignored|failed|deleted)", result.stdout)
    assert len(told) == 6, result.output
    return {word: int(count) for count, word in told if int(count)}


def path_of_length(folder: Path, length: int) -> Path:
    """A path below a folder, where all but its last part is there."""
    while length - len(str(folder)) > 250:
        folder /= "x" * 200
    folder.mkdir(parents=True)
    return folder / ("x" * (length - len(str(folder)) - 1))


class TestIndex:
    def test_a_folder_becomes_a_collection(self, folder, name, url, http):
        put(folder, "a.png", noise(40, 30))
        put(folder, "2024/summer/b.JPG", plain(64, 48, (200, 30, 30)))
        odd = "2024/50 % of #1? ça va + ☃.png"
        put(folder, odd, noise(20, 20, seed=1))
        put(folder, ".hidden.png", noise(20, 20, seed=2))
        put(folder, ".trash/c.png", noise(20, 20, seed=3))
        (folder / "notes.txt").write_text("none")
        (folder / "loop").symlink_to(folder)
        (folder / "linked.png").symlink_to(folder / "a.png")
        result = run("index", folder, "--collection", name, "--server", url)
        assert result.exit_code == 0, result.output
        assert counts(result) == {"added": 4, "ignored": 2}
        assert re.search(r"; \d+\.\d s, \d+\.\d images/s$", result.stdout.rstrip())
        items = items_of(http, name)
        assert set(items) == {"a.png", "2024/summer/b.JPG", odd, "linked.png"}
        photo = items["2024/summer/b.JPG"]
        assert photo["sha256"] == sha256_of((folder / "2024/summer/b.JPG").read_bytes())
        modified = photo["metadata"].pop("modified")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", modified)
        assert photo["metadata"] == {"path": "2024/summer/b.JPG", "folder": "2024", "name": "b.JPG"}
        assert items["a.png"]["metadata"]["folder"] == ""
        assert http.get(f"/index/{name}/").json()["operation"] == "embed_hog_hsv"
        assert http.get(f"/index/{name}/items/a.png").json()["thumbnail_base64"]

    def test_only_what_changed_is_sent_again(self, folder, name, url, http):
        put_many(folder, 12)
        (folder / "sub").mkdir()
        (folder / "000.png").rename(folder / "sub" / "000.png")
        command = ["index", folder, "--collection", name, "--server", url]
        assert counts(run(*command)) == {"added": 12}
        before = items_of(http, name)
        assert counts(run(*command)) == {"unchanged": 12}
        os.utime(folder / "001.png", (0, 0))
        put(folder, "002.png", noise(32, 32, seed=100))
        (folder / "003.png").unlink()
        put(folder, "new.png", noise(32, 32, seed=101))
        assert counts(run(*command)) == {"added": 1, "replaced": 1, "unchanged": 10}
        after = items_of(http, name)
        assert {id_ for id_ in before if before[id_] != after[id_]} == {"002.png"}
        assert "003.png" in after
        assert counts(run(*command, "--delete-missing")) == {"unchanged": 12, "deleted": 1}
        assert "003.png" not in items_of(http, name)

    def test_what_came_from_elsewhere_is_not_deleted(self, folder, name, url, http):
        put_many(folder, 1)
        http.post("/index/", json={"name": name, "operation": "embed_hog_hsv"}).raise_for_status()
        ids = ["other", "copied.png", "gone.png", "000.png/x.png"]
        http.post(
            f"/index/{name}/items/",
            files=[("image_file", ("x", encoded(noise(16, 16, seed=n)))) for n in range(4)],
            data={
                "id": ids,
                "metadata": ["{}", '{"path": "elsewhere.png"}', '{"path": "gone.png"}', '{"path": 1}'],
            },
        ).raise_for_status()
        result = run("index", folder, "--collection", name, "--server", url, "--delete-missing")
        assert counts(result) == {"added": 1, "deleted": 1}
        assert set(items_of(http, name)) == {"000.png", "other", "copied.png", "000.png/x.png"}

    def test_bad_files_are_told_and_the_rest_goes_on(self, folder, name, url, http):
        put_many(folder, 9)
        (folder / "empty.png").touch()
        (folder / "text.jpg").write_text("no picture")
        whole = encoded(noise(64, 64), "JPEG")
        (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
        (folder / "dangling.png").symlink_to(folder / "nowhere")
        os.mkfifo(folder / "pipe.png")
        with (folder / "huge.tif").open("wb") as huge:
            huge.truncate(25_000_001)
        (folder / "bell\a.png").write_bytes(encoded(noise(8, 8)))
        Path(os.fsdecode(os.fsencode(folder) + b"/latin-\xe9.png")).write_bytes(whole)
        (folder / "folder.png").mkdir()
        result = run("index", folder, "--collection", name, "--server", url)
        assert result.exit_code == 1, result.output
        assert counts(result) == {"added": 9, "failed": 8}
        told = dict(line.split(": ", 1) for line in result.stderr.splitlines())
        assert set(items_of(http, name)) == {f"{number:03d}.png" for number in range(9)}
        for path, why in {
            "empty.png": "empty",
            "text.jpg": "not an image in a known format",
            "half.jpg": "damaged or incomplete",
            "dangling.png": "No such file",
            "pipe.png": "Not a regular file",
            "huge.tif": "over 25,000,000 bytes",
            "bell\\x07.png": "control characters",
            "latin-\\udce9.png": "not UTF-8",
        }.items():
            assert why in told[path]
        assert len(told) == 8

    def test_what_cannot_be_read_is_told_and_kept(self, folder, name, url, http):
        put(folder, "closed/a.png", noise(16, 16))
        put(folder, "b.png", noise(16, 16, seed=1))
        options = ["--collection", name, "--server", url, "--delete-missing"]
        assert run("index", folder, *options).exit_code == 0
        # Where its own path is as long as a path may be, nobody reads what is in it, root neither.
        deep = folder.rename(path_of_length(folder.parent, os.pathconf(folder, "PC_PATH_MAX") - 6))
        result = run("index", deep, *options)
        assert result.exit_code == 1
        assert counts(result) == {"failed": 2}
        assert result.stderr.count("File name too long") == 2
        assert set(items_of(http, name)) == {"closed/a.png", "b.png"}

    @pytest.mark.parametrize("files", [[], ["readme.md", ".hidden.png"]], ids=["empty", "no images"])
    def test_a_folder_without_images_is_said_and_changes_nothing(self, folder, name, files):
        for file in files:
            (folder / file).touch()
        result = run(
            "index", folder, "--collection", name, "--server", "http://127.0.0.1:9", "--delete-missing"
        )
        assert result.exit_code == 0
        assert result.stdout == f"No images are in {folder}.\n"

    def test_the_counts_as_json(self, folder, name, url):
        command = ["index", folder, "--collection", name, "--server", url, "--json"]
        assert json.loads(run(*command).stdout)["added"] == 0
        put_many(folder, 2)
        (folder / "broken.png").write_text("no image")
        result = run(*command)
        assert result.exit_code == 1
        counts = json.loads(result.stdout)
        assert counts.pop("seconds") > 0
        assert counts == {
            "collection": name,
            "added": 2,
            "replaced": 0,
            "unchanged": 0,
            "ignored": 0,
            "failed": 1,
            "deleted": 0,
            "without_region": 0,
        }

    def test_another_operation_or_target_than_the_collections_is_refused(self, folder, name, url, http):
        put_many(folder, 1)
        command = ["index", folder, "--collection", name, "--server", url]
        assert run(*command, "--operation", "embed_hog_hsv", "--target", "whole_image").exit_code == 0
        other = run(*command, "--operation", "embed_clip")
        assert other.exit_code == 1
        assert f"'{name}' has the operation embed_hog_hsv, not embed_clip. Leave --operation" in other.stderr
        assert "the target whole_image, not all_faces" in run(*command, "--target", "all_faces").stderr
        assert counts(run(*command, "--operation", "embed_hog_hsv")) == {"unchanged": 1}

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (["--collection", "a b"], "name: must be 1 to 64 letters"),
            (["--collection", ".."], "name: must be 1 to 64 letters"),
            (["--collection", "x/../y"], "name: must be 1 to 64 letters"),
            (["--collection", "new", "--operation", "embed_hog_hvs"], "Did you mean 'embed_hog_hsv'?"),
            (["--collection", "new", "--target", "all_cats"], "target"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_what_the_server_refuses_is_said_in_its_words(self, folder, url, http, options, told):
        put_many(folder, 1)
        result = run("index", folder, *options, "--server", url)
        assert result.exit_code == 1
        assert told in result.stderr
        assert "Traceback" not in result.stderr
        assert http.get("/index/new/").status_code == 404

    def test_a_model_that_is_not_here_ends_the_run_at_once(self, folder, name, url):
        put_many(folder, 20)
        options = ["--operation", "embed_clip_vit_b_32", "--workers", "1"]
        result = run("index", folder, "--collection", name, "--server", url, *options)
        assert result.exit_code == 1
        assert counts(result) == {}
        assert result.stderr.count("sightgraph models pull") == 1

    def test_thumbnails_are_left_out_where_they_are_not_wanted(self, folder, name, url, http):
        put_many(folder, 1)
        assert run("index", folder, "--collection", name, "--server", url, "--no-thumbnails").exit_code == 0
        assert http.get(f"/index/{name}/items/000.png").json()["thumbnail_base64"] is None

    def test_images_without_what_the_target_looks_for_are_counted(self, folder, name, url):
        put(folder, "grey.png", plain(64, 64))
        put(folder, "person.png", figure())
        result = run("index", folder, "--collection", name, "--server", url, "--target", "all_persons")
        assert result.exit_code == 0, result.output
        assert counts(result) == {"added": 2}
        assert "; 1 without a region to find; " in result.stdout

    def test_a_terminal_sees_the_progress(self, folder, name, url):
        put_many(folder, 3)
        result = run("index", folder, "--collection", name, "--server", url, FORCE_COLOR="1", NO_COLOR="1")
        assert result.exit_code == 0
        assert re.search(rf"{name} .*3/3 .*images/s", result.stderr)
        assert "3/3" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["index", "no/such/folder", "--collection", "c"], "does not exist"),
        (["index", __file__, "--collection", "c"], "is a file"),
        (["index", "."], "Missing option '--collection'"),
        (["index", ".", "--collection", "c", "--workers", "0"], "--workers"),
        (["index", ".", "--collection", "\udcff"], "must be UTF-8"),
        (["index", "tests", "--collection", "c", "--server", "127.0.0.1:8000"], "must be an address such as"),
        (["search", "c"], "one of --image, --text and --id"),
        (["search", "c", "--text", "a", "--id", "b"], "one of --image, --text and --id"),
        (["search", "c", "--image", "no.png"], "does not exist"),
        (["search", "c", "--text", "\udcff"], "must be UTF-8"),
        (["search", "c", "--id", "a", "-k", "1001"], "1<=x<=1000"),
        (["search", "c", "--id", "a", "--min-score", "2"], "-1<=x<=1"),
        (["search", "c", "--id", "a", "--filter", "{"], "is not valid JSON"),
        (["search", "c", "--id", "a", "--filter", '{"a": NaN}'], "is not valid JSON"),
        (["search", "c", "--id", "a", "--filter", "[]"], "must be a JSON object"),
        (["search", "c", "--id", "a", "--sheet", "no/such/hits.png"], "there is no folder"),
        (["search", "c", "--id", "a", "--server", "http://"], "must be an address such as"),
        (["search", "c", "--id", "a", "--server", "http://x:99999"], "must be an address such as"),
        (["search", "c", "--id", "a", "--server", "http://x", "--offline"], "--offline is for this process"),
    ],
    ids=lambda value: " ".join(value).encode("ascii", "replace").decode() if isinstance(value, list) else "",
)
def test_what_is_called_wrongly_is_told(arguments, told):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert told in " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def photos(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is indexed under the name of itself."""
    folder = tmp_path_factory.mktemp("photos") / "indexed"
    put(folder, "person/[bold]astronaut.jpg", astronaut())
    put(folder, "red.png", plain(80, 60, (220, 20, 20)))
    put(folder, "marked.png", pasted(astronaut(), plain(60, 60, BLUE), 226, 226))
    put(folder, "noise/a.png", noise(40, 90))
    result = run("index", folder, "--collection", folder.name, "--server", url)
    assert counts(result) == {"added": 4}
    return folder


class TestSearch:
    def test_by_an_image(self, photos, url):
        image = photos / "person/[bold]astronaut.jpg"
        result = run("search", "indexed", "--image", image, "--server", url)
        assert result.exit_code == 0, result.output
        heading, first, *further = result.stdout.splitlines()
        assert heading.split() == ["rank", "score", "id", "box", "metadata"]
        assert first.split()[:3] == ["1", "1.0000", "person/[bold]astronaut.jpg"]
        assert '"folder": "person"' in first
        assert '"path"' not in first
        assert [line.split()[0] for line in further] == ["2", "3", "4"]
        assert not result.stderr

    def test_by_an_item_as_json(self, photos, url):
        result = run("search", "indexed", "--id", "marked.png", "-k", 1, "--server", url, "--json")
        assert result.exit_code == 0
        (hit,) = json.loads(result.stdout)["hits"]
        assert hit["id"] == "person/[bold]astronaut.jpg"
        assert hit["metadata"]["folder"] == "person"

    def test_a_filter_and_a_least_score_narrow_it(self, photos, url):
        options = ["--id", "red.png", "--server", url]
        narrowed = run("search", "indexed", *options, "--json", "--filter", '{"folder": {"in": ["noise"]}}')
        assert [hit["id"] for hit in json.loads(narrowed.stdout)["hits"]] == ["noise/a.png"]
        none = run("search", "indexed", *options, "--min-score", "0.99999")
        assert (none.exit_code, none.stdout) == (0, "Nothing found.\n")

    @pytest.mark.parametrize(
        ("collection", "options", "told"),
        [
            ("indexde", ["--id", "red.png"], "indexde"),
            ("indexed", ["--id", "blue.png"], "blue.png"),
            ("indexed", ["--text", "a cat"], "embeds no texts"),
            ("indexed", ["--text", ""], "text"),
            ("indexed", ["--id", "red.png", "--filter", '{"a": {"near": 1}}'], "is no condition"),
            ("..", ["--id", "red.png"], ".."),
        ],
    )
    def test_what_the_server_refuses_is_said_in_its_words(self, photos, url, collection, options, told):
        result = run("search", collection, *options, "--server", url)
        assert result.exit_code == 1
        assert told in result.stderr
        assert "Traceback" not in result.stderr

    def test_an_image_that_cannot_be_decoded_is_refused(self, photos, url, tmp_path):
        (tmp_path / "text.png").write_text("no picture")
        result = run("search", "indexed", "--image", tmp_path / "text.png", "--server", url)
        assert result.exit_code == 1
        assert "Could not process image" in result.stderr

    def test_a_sheet_shows_the_query_and_the_hits(self, photos, url, tmp_path):
        sheet = tmp_path / "hits.png"
        options = ["-k", "2", "--sheet", sheet, "--server", url]
        result = run("search", "indexed", "--image", photos / "marked.png", *options)
        assert result.exit_code == 0, result.output
        assert [is_blue(tile) for tile in tiles_of(sheet, 3)] == [True, True, False]
        assert run("search", "indexed", "--id", "person/[bold]astronaut.jpg", *options).exit_code == 0
        assert [is_blue(tile) for tile in tiles_of(sheet, 3)] == [False, True, False]

    def test_a_sheet_that_cannot_be_written_is_told(self, photos, url, tmp_path):
        options = ["--id", "red.png", "--server", url]
        result = run("search", "indexed", *options, "--sheet", f"{tmp_path}/{'x' * 300}.png")
        assert result.exit_code == 1
        assert "File name too long" in result.stderr

    def test_boxes_are_drawn_on_the_query_and_the_hits(self, folder, name, url, tmp_path):
        put(folder, "person.png", figure())
        command = ["--collection", name, "--server", url, "--operation", "embed_hog_hsv"]
        assert run("index", folder, *command, "--target", "all_persons").exit_code == 0
        sheet = tmp_path / "hits.png"
        result = run("search", name, "--image", folder / "person.png", "--server", url, "--sheet", sheet)
        assert result.exit_code == 0, result.output
        assert re.search(r"1\.0000 +person\.png +\d+ \d+ \d+ \d+ ", result.stdout)
        for tile in tiles_of(sheet, 2):
            assert framed(tile).any()

    def test_items_without_a_picture_are_grey(self, folder, name, url, tmp_path):
        put_many(folder, 2)
        assert run("index", folder, "--collection", name, "--server", url, "--no-thumbnails").exit_code == 0
        sheet = tmp_path / "hits.png"
        assert run("search", name, "--id", "000.png", "--server", url, "--sheet", sheet).exit_code == 0
        for tile in tiles_of(sheet, 2):
            assert (tile == 208).all()


def tiles_of(sheet: Path, count: int) -> list[np.ndarray]:
    """The pictures of a sheet with so many tiles, the captions being not empty."""
    with PIL.Image.open(sheet) as opened:
        assert opened.format == "PNG"
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    columns = (pixels.shape[1] - GAP) // (PICTURE + GAP)
    rows = -(-count // columns)
    height = (pixels.shape[0] - GAP) // rows
    tiles = []
    for number in range(count):
        top, left = GAP + number // columns * height, GAP + number % columns * (PICTURE + GAP)
        tiles.append(pixels[top : top + PICTURE, left : left + PICTURE])
        assert pixels[top + PICTURE : top + height - GAP, left : left + PICTURE].min() < 100
    return tiles


def is_blue(tile: np.ndarray) -> bool:
    """In the middle, as far as a JPEG keeps it."""
    return bool(np.abs(tile[PICTURE // 2, PICTURE // 2] - BLUE).max() < 25)


def framed(tile: np.ndarray) -> np.ndarray:
    return (np.abs(tile - (230, 30, 60)) < 8).all(axis=2)


class TestContactSheet:
    def test_a_box_lies_where_its_fractions_say(self):
        picture = PIL.Image.new("RGB", (PICTURE, PICTURE // 2), (0, 0, 0))
        (box,) = fractions([100, 50, 200, 150], 400, 200)
        sheet = np.asarray(contact_sheet([Tile(picture, ("", ""), (box,))]))
        rows, columns = np.nonzero(framed(sheet.astype(int)))
        top = GAP + PICTURE // 4
        assert (columns.min(), columns.max()) == (GAP + PICTURE // 4, GAP + PICTURE // 2 - 1)
        assert (rows.min(), rows.max()) == (top + PICTURE // 8, top + PICTURE * 3 // 8 - 1)

    def test_a_box_that_is_thinner_than_a_pixel_is_drawn(self):
        picture = PIL.Image.new("RGB", (PICTURE, PICTURE), (0, 0, 0))
        sheet = contact_sheet([Tile(picture, ("", ""), ((1.0, 1.0, 1.0, 1.0), (0.5, 0.5, 0.5, 0.5)))])
        assert framed(np.asarray(sheet).astype(int)).any()

    @pytest.mark.parametrize(("box", "size"), [(None, (10, 10)), ([0, 0, 1, 1], (None, None))])
    def test_without_a_box_or_a_size_there_is_nothing_to_draw(self, box, size):
        assert fractions(box, *size) == ()

    def test_many_tiles_make_a_sheet_that_is_not_endlessly_wide(self):
        sheet = contact_sheet([Tile(None, (str(number), "x")) for number in range(100)])
        assert sheet.width <= 8 * (PICTURE + GAP) + GAP
        assert contact_sheet([Tile(None, ("", ""))]).width == PICTURE + 2 * GAP

    @pytest.mark.parametrize(
        "text",
        ["", "short.png", "a/" * 300 + "b.png", "日本語" * 60, "\a\n\u202e\U0010ffff\ud800", "👩‍🚀" * 50],
    )
    def test_captions_fit_and_keep_their_ends(self, text):
        font = PIL.ImageFont.load_default(14)
        shown = shortened_to(text, PICTURE, font)
        assert font.getlength(shown) <= PICTURE
        if text.isprintable() and shown != text:
            first, last = shown.split("...")
            assert text.startswith(first)
            assert text.endswith(last)
            assert min(len(first), len(last)) > 1
            assert font.getlength(shown) > PICTURE * 0.8
        contact_sheet([Tile(None, (text, text))])


class TestFolder:
    def test_the_suffixes_are_those_of_what_is_decoded(self):
        suffixes = image_suffixes()
        expected = {
            ".jpg",
            ".jpeg",
            ".png",
            ".webp",
            ".gif",
            ".tif",
            ".tiff",
            ".bmp",
            ".avif",
            ".heic",
            ".mpo",
        }
        assert expected <= suffixes
        assert not suffixes & {".eps", ".pdf", ".svg", ".txt", ".jp2", ""}

    def test_paths_come_in_the_order_of_the_ids(self, folder):
        for path in ("b.png", "a/z.PNG", "a.png", "A.png", "a-b/c.png"):
            put(folder, path, plain(4, 4))
        walked = contents(folder, frozenset({".png"}))
        assert walked.images == sorted(walked.images) == ["A.png", "a-b/c.png", "a.png", "a/z.PNG", "b.png"]
        assert (walked.ignored, walked.closed) == (0, [])

    def test_gone_is_what_is_known_to_be_gone(self, folder):
        put(folder, "a.png", plain(4, 4))
        (folder / "dangling.png").symlink_to("nowhere")
        assert [path for path in ("a.png", "b.png", "a.png/c.png", "x/y.png") if is_gone(folder, path)] == [
            "b.png",
            "a.png/c.png",
            "x/y.png",
        ]
        for kept in ("dangling.png", "x" * 300, "nul\0"):
            assert not is_gone(folder, kept)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 \N{NARROW NO-BREAK SPACE}.png", "plain é 日本 \N{NARROW NO-BREAK SPACE}.png"),
        ("\x1b[31mred\n", "\\x1b[31mred\\n"),
        ("\udcff\u202e", "\\udcff\\u202e"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_escapes(text, shown):
    assert printable(text) == shown


class Heard:
    """Remembers what failed."""

    def __init__(self) -> None:
        self.failures: dict[str, str] = {}
        self.images = 0

    def seen(self) -> None:
        self.images += 1

    def failed(self, path: str, why: str) -> None:
        self.failures[path] = why


def indexed(folder: Path, answers: Answers, paths: Sequence[str]) -> tuple[Indexing, Tally, Heard]:
    tally, heard = Tally(), Heard()

    async def bring(server: AsyncSightgraph) -> Indexing:
        indexing = Indexing(server, "c", folder, tally, heard, thumbnails=True, workers=1)
        await indexing.run(paths, delete_missing=False)
        return indexing

    return answers.ask(bring, retries=1), tally, heard


def added(*codes: str | None) -> httpx.Response:
    """The answer to files of which some failed."""
    items = [
        {
            "status": "success" if code is None else "error",
            "replaced": False,
            "regions": 1,
            "error_code": code,
            "error_message": code and f"it is {code}",
        }
        for code in codes
    ]
    return httpx.Response(200, json={"items": items})


EMPTY = httpx.Response(200, json={"items": [], "next": None})


class TestIndexing:
    """What a real server does only where it is short of something."""

    @pytest.fixture(autouse=True)
    def three_files(self, folder, monkeypatch):
        monkeypatch.setattr(retrying, "FIRST_WAIT", 0.0)
        put_many(folder, 3)

    PATHS = ("000.png", "001.png", "002.png")

    @pytest.mark.parametrize("status", [400, 413, 500])
    def test_files_that_are_refused_together_are_sent_alone(self, folder, status):
        refusal = httpx.Response(status, json={"detail": "one is bad"})
        answers = Answers(EMPTY, refusal, added(None), refusal, added(None))
        indexing, tally, heard = indexed(folder, answers, self.PATHS)
        assert (tally.added, tally.failed, heard.images) == (2, 1, 3)
        assert heard.failures == {"001.png": "one is bad"}
        assert not indexing.stopped

    @pytest.mark.parametrize("code", ["overloaded", "deadline_exceeded"])
    def test_what_is_too_much_beside_others_is_sent_alone(self, folder, code):
        answers = Answers(EMPTY, added(None, code, code), added(None), added(code))
        _, tally, heard = indexed(folder, answers, self.PATHS)
        assert (tally.added, tally.failed) == (2, 1)
        assert heard.failures == {"002.png": f"it is {code}"}

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (added(None, "space_mismatch", "space_mismatch"), "it is space_mismatch"),
            (httpx.Response(404, json={"detail": "no such collection"}), "no such collection"),
            (FULL, "full"),
            (httpx.ReadError("reset"), "No answer from http://test: reset"),
        ],
        ids=["items", "collection", "full", "connection"],
    )
    def test_what_every_further_image_would_meet_ends_the_run(self, folder, monkeypatch, answer, told):
        monkeypatch.setattr("app.cli.indexing.FILES_PER_REQUEST", 2)
        if isinstance(answer, httpx.Response) and answer.status_code == 200:
            monkeypatch.setattr("app.cli.indexing.FILES_PER_REQUEST", 3)
        indexing, tally, heard = indexed(folder, Answers(EMPTY, answer), self.PATHS)
        assert indexing.stopped
        assert str(indexing.problem) == told
        assert (tally.failed, heard.failures) == (0, {})

    def test_a_large_file_fills_a_request(self, folder, monkeypatch):
        monkeypatch.setattr("app.cli.indexing.BYTES_PER_REQUEST", 1)
        answers = Answers(EMPTY, added(None))
        _, tally, _ = indexed(folder, answers, self.PATHS)
        assert tally.added == 3
        assert len(answers.asked) == 4

    def test_the_listing_is_read_to_its_end(self, folder):
        hashes = {path: sha256_of((folder / path).read_bytes()) for path in self.PATHS}
        pages = [
            httpx.Response(
                200,
                json={"items": [{"id": path, "sha256": hashes[path], "metadata": {}}], "next": following},
            )
            for path, following in zip(self.PATHS, [*self.PATHS[:2], None], strict=True)
        ]
        answers = Answers(*pages)
        _, tally, _ = indexed(folder, answers, self.PATHS)
        assert tally.unchanged == 3
        assert [request.url.params.get("after") for request in answers.asked] == [None, "000.png", "001.png"]


class Gate:
    """Stays shut until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def pass_through(self) -> None:
        self.reached.set()
        assert self.opened.wait(60)


class TestInterrupt:
    """Ctrl-C, in a process of its own whose second request does not come back."""

    COUNT = 40

    @pytest.fixture
    def gate(self, room: Room, monkeypatch) -> Gate:
        """Before the items of the second request."""
        gate = Gate()
        add = room.index.storage.add
        begun = itertools.count()

        def gated(name: str, *arguments: Any, **named: Any) -> list[bool]:
            if next(begun) >= FILES_PER_REQUEST:
                gate.pass_through()
            return add(name, *arguments, **named)

        monkeypatch.setattr(room.index.storage, "add", gated)
        return gate

    @pytest.fixture
    def process(self, folder: Path, name: str, url: str, gate: Gate) -> Iterator[Any]:
        put_many(folder, self.COUNT)
        command = ["index", folder, "--collection", name, "--server", url, "--workers", "1"]
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", *map(str, command)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            yield process
            process.kill()
        gate.opened.set()

    def interrupt(self, process: Any, gate: Gate) -> None:
        """As soon as the second request is under way, until the process says that it noticed."""
        assert gate.reached.wait(60)
        process.send_signal(signal.SIGINT)
        assert "Stopping as soon as what is in flight is done" in process.stderr.readline()

    def test_what_is_in_flight_is_finished_and_the_next_run_goes_on(
        self, process, gate, folder, name, url, http
    ):
        self.interrupt(process, gate)
        gate.opened.set()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert err == "The same command goes on with what is left.\n"
        assert f"{name}: 16 added, 0 replaced, 0 unchanged, 0 ignored, 0 failed" in out
        assert len(items_of(http, name)) == 16
        result = run("index", folder, "--collection", name, "--server", url)
        assert counts(result) == {"added": self.COUNT - 16, "unchanged": 16}

    def test_the_second_one_stops_at_once(self, process, gate, folder, name, url, http):
        self.interrupt(process, gate)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert err == "The same command goes on with what is left.\n"
        assert f"{name}: 8 added" in out
        gate.opened.set()
        result = run("index", folder, "--collection", name, "--server", url)
        assert result.exit_code == 0
        items = items_of(http, name)
        assert len(items) == self.COUNT
        for path, item in items.items():
            assert item["sha256"] == sha256_of((folder / path).read_bytes())


class TestInThisProcess:
    """Without --server. The engines that a server loads for later requests are left out here."""

    @pytest.fixture(autouse=True)
    def data(self, tmp_path: Path, monkeypatch) -> Path:
        async def nothing(*_: Any) -> None:
            """Engines load when they are needed."""

        monkeypatch.setattr("app.main.load_engines", nothing)
        monkeypatch.setenv("SIGHTGRAPH_DATA", str(tmp_path / "data"))
        return tmp_path / "data"

    def test_one_command_finds_what_another_one_added(self, folder):
        put(folder, "a.png", noise(32, 32))
        put(folder, "b.png", plain(32, 32, (0, 0, 250)))
        command = ["index", folder, "--collection", "c", "--offline"]
        assert counts(run(*command)) == {"added": 2}
        assert counts(run(*command)) == {"unchanged": 2}
        result = run("search", "c", "--image", folder / "b.png", "--offline", "--json")
        assert result.exit_code == 0, result.output
        assert [hit["id"] for hit in json.loads(result.stdout)["hits"]] == ["b.png", "a.png"]

    def test_an_index_that_a_server_holds_is_reached_through_the_server(self, folder, data):
        put_many(folder, 1)
        held = LocalStorage(data / "index")
        held.open()
        try:
            for command in (["index", folder, "--collection", "c"], ["search", "c", "--id", "a"]):
                result = run(*command)
                assert result.exit_code == 1
                assert "The index is open in process" in result.stderr
                assert "--server URL" in result.stderr
        finally:
            held.close()

    def test_what_the_application_refuses_is_said_in_its_words(self, folder):
        put_many(folder, 1)
        result = run("search", "nothing", "--id", "a")
        assert result.exit_code == 1
        assert "'nothing'" in result.stderr
        result = run("index", folder, "--collection", "c", "--operation", "embed_hog_hvs")
        assert result.exit_code == 1
        assert "Did you mean 'embed_hog_hsv'?" in result.stderr

    def test_a_wrong_setting_is_told(self, folder):
        put_many(folder, 1)
        result = run("index", folder, "--collection", "c", SIGHTGRAPH_LANES="many")
        assert result.exit_code == 1
        assert "SIGHTGRAPH_LANES" in result.stderr

    def test_nothing_is_downloaded_beside_a_command(self, folder, monkeypatch):
        started: list[Any] = []
        monkeypatch.setattr(
            "app.runtime.downloads.Downloads.start", lambda self, specs: started.extend(specs)
        )
        put_many(folder, 1)
        result = run("index", folder, "--collection", "c", SIGHTGRAPH_PRELOAD="all")
        assert counts(result) == {"added": 1}
        assert not started


def test_the_help_loads_nothing_that_a_command_needs():
    told = "import app.cli, sys; print([m for m in ('litestar', 'httpx', 'PIL', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
