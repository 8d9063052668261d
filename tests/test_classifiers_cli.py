"""`sightgraph classifiers`, against the real application."""

import asyncio
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner, Result

from app.api.room import Room
from app.cli import main
from app.cli.embedding import EmbeddedFiles, Embedder
from app.cli.training import Stated, opened
from app.cli.vector_cache import Entry, VectorCache
from app.client import Answer, AsyncSightgraph, Refused
from app.index.local import LocalStorage
from classifiers.rows import Embedding, SourceError
from tests.classifiers.site import FOCUS, Site, row
from tests.conftest import served
from tests.images import astronaut, encoded, noise

ROOT = Path(__file__).resolve().parent.parent
HOG = "embed_hog_hsv"


@pytest.fixture(scope="module")
def url(room: Room) -> Iterator[str]:
    with served(room) as url:
        yield url


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def run(data: Path) -> Callable[..., Result]:
    def run(*arguments: object) -> Result:
        command = ["classifiers", *map(str, arguments)]
        return CliRunner().invoke(main, command, env={"SIGHTGRAPH_DATA": str(data)})

    return run


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces and parts of photos that show none."""
    from skimage import data

    folder = tmp_path_factory.mktemp("sources") / "faces"
    images = data.lfw_subset()
    # The first hundred are faces.
    for number in (*range(60), *range(100, 160)):
        small = PIL.Image.fromarray((images[number] * 255).astype(np.uint8))
        put(
            folder, f"{'positive' if number < 100 else 'negative'}/{number:03d}.png", small.resize((100, 100))
        )
    return folder


def put(folder: Path, path: str, image: PIL.Image.Image | np.ndarray) -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(image.convert("RGB")) if isinstance(image, PIL.Image.Image) else image
    file.write_bytes(encoded(pixels))


def rows(count: int = 60, seed: int = 0) -> list[dict[str, Any]]:
    """Vectors of two classes that a line tells apart."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 4))
    return [
        row(f"{seed}-{number}", bool(number % 2), *(vector + (2 if number % 2 else -2)))
        for number, vector in enumerate(vectors)
    ]


def write(file: Path, lines: Sequence[dict[str, Any]], settings: dict[str, Any] | None = None) -> Path:
    settings = settings or {"embeddings": [HOG], "spaces": ["a-space"]}
    file.write_text("\n".join(map(json.dumps, [settings, *lines])))
    return file


def versions_in(result: Result) -> list[str]:
    return re.findall(r"Version (\S+), ", result.stdout)


class TestTrain:
    def test_faces_from_other_things_in_this_process(self, faces, data, run):
        # A server that runs beside it holds the index, which training does without.
        index = LocalStorage(data / "index")
        index.open()
        try:
            result = run("train", "--source", faces, "--offline")
        finally:
            index.close()
        assert result.exit_code == 0, result.output
        assert "faces: 120 rows of negative, positive; embed_hog_hsv of whole_image" in result.stdout
        accuracy = re.search(r"balanced accuracy +(\S+) +(\S+) to (\S+)", result.stdout)
        assert accuracy is not None
        value, low, high = map(float, accuracy.groups())
        assert low <= value <= high
        assert value >= 0.9
        (version,) = versions_in(result)
        assert f"Version {version}, promoted: " in result.stdout
        report = re.search(r"^Report: (.+)$", result.stdout, re.MULTILINE)
        assert report is not None
        assert "<html" in Path(report[1]).read_text(encoding="utf-8").lower()
        best = json.loads((data / "classifiers" / "best_models.json").read_bytes())["faces"]
        assert (best["derivative_type"], best["embedding_type"]) == ("whole_image", HOG)
        assert best["dimensionality"] == 2020
        card = json.loads(run("show", "faces", "--json").stdout)[0]["card"]
        assert card["spaces"] == ["embed_hog_hsv/1"]

    def test_every_collection_of_a_server(self, data, run):
        site = Site()
        try:
            site.has(*rows(), id_=7)
            result = run("train", "--source", site.url)
        finally:
            site.close()
        assert result.exit_code == 0, result.output
        assert "7: 60 rows of negative, positive; embed_clip_vit_b_32 of prominent_face" in result.stdout
        listed = json.loads(run("list", "--json").stdout)
        assert [(each["collection"], each["target"]) for each in listed] == [("7", "prominent_face")]

    def test_vectors_of_nobody_knows_where_are_told(self, tmp_path, run):
        operation, line = (
            "embed_clip_vit_b_32",
            "The space of the vectors of embed_clip_vit_b_32 is not known",
        )
        site = Site()
        try:
            site.has(*rows())
            assert line in run("train", "--source", site.url).stdout
            result = run("train", "--source", site.url, "--space", f"{operation} = clip/1")
            assert line not in result.stdout
            other = "embed_dino_v2"
            site.has(*rows(), focus={**FOCUS, "embedding_type_name": other}, embedding=other)
            result = run("train", "--source", site.url)
        finally:
            site.close()
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"{other} of image_embed makes other vectors than here" in result.stderr
        cards = [each["card"] for each in json.loads(run("show", "7", "--json").stdout)]
        assert sorted(str(each["spaces"]) for each in cards) == ["['clip/1']", "[None]"]
        file = write(tmp_path / "rows.jsonl", rows(), {"embeddings": [HOG]})
        assert (
            "The space of the vectors of embed_hog_hsv is not known" in run("train", "--source", file).stdout
        )

    def test_of_several_embeddings_one(self, tmp_path, run):
        lines = [{**each, "embeddings": {HOG: each["embedding"], "embed_clip": [1, 2]}} for each in rows()]
        for each in lines:
            del each["embedding"]
        result = run(
            "train", "--source", write(tmp_path / "rows.jsonl", lines, lines.pop()), "--embedding", HOG
        )
        assert result.exit_code == 0, result.output
        assert "embed_hog_hsv of whole_image" in result.stdout
        assert "Left aside, as --embedding names others: embed_clip." in result.stdout

    def test_crops_of_one_photo_are_one_group(self, tmp_path, run, url):
        for class_, number, crop in itertools.product(("positive", "negative"), range(24), range(2)):
            seed = 100 * number + 10 * crop + (class_ == "positive")
            put(tmp_path / "crops", f"{class_}/{class_}{number}_crop{crop}.png", noise(40, 30, seed=seed))
        result = run(
            "train",
            "--source",
            tmp_path / "crops",
            "--server",
            url,
            "--group-by",
            r"(\w+)_crop",
            "--no-promote",
        )
        assert result.exit_code == 0, result.output
        assert "Grouped by --group-by: 96 files of 48 photos." in result.stdout
        (version,) = json.loads(run("show", "crops", "--json").stdout)
        data = version["card"]["data"]
        assert (data["rows"], data["photos"], data["groups"]) == (96, 48, 48)

    def test_what_is_refused_does_not_hinder_the_rest(self, tmp_path, run, data):
        lines = [{**each, "collection": "good"} for each in rows()]
        lines += [{**each, "collection": "few [red]"} for each in rows(3, seed=1)]
        lines += [{**row(number, True, 1, 2, 3, 4), "collection": "same"} for number in range(30)]
        result = run("train", "--source", write(tmp_path / "rows.jsonl", lines))
        assert result.exit_code == 1, result.output
        assert len(versions_in(result)) == 1
        told = dict(line.split(": ", 1) for line in result.stderr.splitlines())
        assert set(told) == {"few [red]", "same"}
        assert [each["collection"] for each in json.loads(run("list", "--json").stdout)] == ["good"]
        assert [each.name for each in (data / "classifiers").iterdir() if each.is_dir()] == ["good"]
        only = run("train", "--source", tmp_path / "rows.jsonl", "--collection", "good", "--collection", "no")
        assert only.exit_code == 1
        assert "no: " in only.stderr
        assert 'no collection is called "no". There are: good, few [red], same.' in only.stderr
        assert "good: 60 rows" in only.stdout

    def test_rows_that_are_left_out_are_told(self, tmp_path, run):
        lines = [*rows(), {"photo_id": "x", "label": True}]
        result = run("train", "--source", write(tmp_path / "rows.jsonl", lines))
        assert "Left out for want of embed_hog_hsv: 1 row." in result.stdout
        result = run("train", "--source", write(tmp_path / "rows.jsonl", lines[-5:]))
        assert result.exit_code == 1
        assert "rows: Left out for want of embed_hog_hsv: 1 row." in result.stderr

    def test_a_source_that_cannot_be_read(self, tmp_path, run):
        empty = tmp_path / "empty.jsonl"
        empty.touch()
        result = run("train", "--source", empty)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "has no rows" in result.stderr
        folder = tmp_path / "folder"
        folder.mkdir()
        result = run("train", "--source", folder)
        assert result.exit_code == 1
        assert "has no folders with images" in result.stderr

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (["--source", "nowhere"], "no such folder or file"),
            ([], "Missing option '--source'"),
            (["--source", ".", "--target", "hand"], "is not one of"),
            (["--source", ".", "--embedding", "no name"], "operation: String should match"),
            (["--source", ".", "--embedding", f'{HOG} {{"target": "prominent_face"}}'], "give --target"),
            (["--source", ".", "--embedding", f'{HOG} {{"face_context": "x"}}'], "give --face-context"),
            (
                ["--source", ".", "--embedding", f'{HOG} {{"on_missing": "skip"}}'],
                "no param of one embedding",
            ),
            (
                ["--source", ".", "--embedding", f'{HOG} {{"crop_format": "png"}}'],
                "no param of one embedding",
            ),
            (["--source", ".", "--face-context", "whole_image"], "the target is whole_image"),
            (
                [
                    "--source",
                    "http://127.0.0.1:1/",
                    "--target",
                    "prominent_person",
                    "--face-context",
                    "whole_image",
                ],
                "--face-context is for the target prominent_face",
            ),
            (["--source", ".", "--space", f"{HOG}=x"], "of a folder they are made now"),
            (["--source", "http://127.0.0.1:1/", "--space", "x"], "is not of the form OPERATION=SPACE"),
            (
                ["--source", "http://127.0.0.1:1/", "--space", "a=b", "--space", "a=c"],
                "names two spaces of a",
            ),
            (
                ["--source", "http://127.0.0.1:1/", "--group-by", "x"],
                "--group-by is for the files of a folder",
            ),
            (["--source", ".", "--group-by", "("], "is no regular expression"),
            (["--source", ".", "--embedding", "embed_clip {x}"], "params of embed_clip are not valid JSON"),
            (["--source", ".", "--embedding", "a" + "{" * 9999], "params of a are not valid JSON"),
            (["--source", ".", "--embedding", HOG, "--embedding", HOG], "names one embedding twice"),
            (["--source", ".", "--precision", "0"], "is not in the range"),
            (["--source", ".", "--precision", "0.9", "--cost", "1", "2"], "Give --precision or --cost"),
            (["--source", "http://127.0.0.1:1/", "--server", "http://127.0.0.1:1"], "has vectors already"),
            (
                ["--source", ".", "--server", "http://127.0.0.1:1", "--offline"],
                "--offline is for this process",
            ),
            (["--source", ".", "--collection", "\udce9"], "must be UTF-8"),
        ],
    )
    def test_wrong_options(self, run, faces, options, told):
        result = run("train", *(faces if option == "." else option for option in options))
        assert result.exit_code == 2, result.output
        assert told in result.stderr

    def test_a_server_that_is_not_there(self, faces, run):
        result = run("train", "--source", faces, "--server", "http://127.0.0.1:1")
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: No answer from http://127.0.0.1:1")

    def test_the_threshold_is_chosen_as_asked(self, tmp_path, run):
        file = write(tmp_path / "rows.jsonl", rows())
        result = run("train", "--source", file, "--precision", 0.95)
        assert result.exit_code == 0
        assert "for a precision of at least 0.95." in result.stdout
        assert re.search(r"On the test rows the precision is \d\.\d+ \(0\.\d+ to \d\.\d+\)", result.stdout)
        assert (
            run("train", "--source", file, "--cost", 5, 1, "--copies-within", 2, "--seed", 3).exit_code == 0
        )
        cards = [each["card"] for each in json.loads(run("show", "rows", "--json").stdout)]
        assert [each["threshold"]["aim"] for each in cards] == [
            "a precision of at least 0.95",
            "least cost, where a false positive costs 5 and a false negative 1",
        ]
        assert all({"precision", "recall"} <= set(each["metrics"]) for each in cards)
        assert (cards[1]["settings"]["phash_distance"], cards[1]["seed"]) == (2, 3)

    def test_what_cannot_be_compared_goes_on_serving_and_how_to_promote_is_told(self, tmp_path, run):
        """An option that was forgotten does not replace what reads another embedding."""
        lines = [{**each, "collection": "a b"} for each in rows()]
        file = write(tmp_path / "rows.jsonl", lines)
        first = run("train", "--source", file)
        assert "To put it in service" not in first.stdout
        result = run("train", "--source", write(file, lines, {"embeddings": ["embed_clip_vit_b_32"]}))
        assert result.exit_code == 0, result.output
        (serving,), (version,) = versions_in(first), versions_in(result)
        assert (
            f"Version {version}, not promoted: The version {serving} goes on serving, as it cannot be "
            f"compared (it reads other embeddings)." in result.stdout
        )
        command = f"sightgraph classifiers promote 'a b' {version}"
        assert f"To put it in service: {command}\n" in result.stdout
        assert run(*shlex.split(command)[2:]).exit_code == 0
        assert json.loads(run("list", "--json").stdout)[0]["serves"] == version

    def test_the_seconds_of_a_run_are_told(self, tmp_path, run, faces):
        figure = r"\d+\.\d"
        stages = ("reading earlier versions", "splitting", "training", "judging", "reporting", "storing")
        told = ", ".join(f"{stage} {figure}" for stage in stages)
        result = run("train", "--source", write(tmp_path / "rows.jsonl", rows()))
        assert re.search(rf"^Seconds: {figure} \(reading the source {figure}, {told}\)$", result.stdout, re.M)
        result = run("train", "--source", faces, "--offline")
        assert re.search(rf"^Seconds: {figure} \(embedding images {figure}, {told}\)$", result.stdout, re.M)

    def test_rows_that_contradict_each_other_are_told(self, tmp_path, run):
        lines = rows()
        lines += [{**lines[0], "label": not lines[0]["label"]}]
        result = run("train", "--source", write(tmp_path / "rows.jsonl", lines))
        assert "several labels: 2 rows, such as rows.jsonl line 2 and rows.jsonl line 62." in result.stdout
        lines += [{**each, "label": not each["label"]} for each in lines]
        result = run("train", "--source", write(tmp_path / "rows.jsonl", lines))
        assert result.exit_code == 1
        assert "has no rows. Left out" in result.stderr

    def test_labels_by_chance_are_not_put_in_service(self, tmp_path, run, data):
        rng = np.random.default_rng(0)
        lines = [{**each, "label": bool(rng.random() < 0.5)} for each in rows(200)]
        result = run("train", "--source", write(tmp_path / "rows.jsonl", lines))
        assert result.exit_code == 0, result.output
        assert "is not surely above the 0.500 of guessing" in result.stdout
        assert not (data / "classifiers" / "best_models.json").exists()

    def test_the_choices_of_a_region_are_those_of_its_words(self):
        from app.cli.classifiers import train
        from app.core.target import FaceContext, PersonOrFace

        choices = {option.name: option.type for option in train.params}
        assert {*choices["target"].choices} - {"whole_image"} == {
            name for name in get_args(PersonOrFace) if name.startswith("prominent")
        }
        assert {*choices["face_context"].choices} == {*get_args(FaceContext)}

    def test_what_no_operation_here_makes_is_warned_of(self, tmp_path, run):
        file = write(tmp_path / "rows.jsonl", rows(), {"embeddings": ["embed_other"]})
        result = run("train", "--source", file)
        assert result.exit_code == 0, result.output
        assert "no operation here that embeds is called embed_other" in result.stderr
        result = run("train", "--source", write(file, rows(), {"embeddings": ["embed_auraface"]}))
        assert "embed_auraface does not take the target whole_image" in result.stderr

    def test_an_interrupt(self, tmp_path, run, monkeypatch):
        def interrupted(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("classifiers.run.run_training", interrupted)
        result = run("train", "--source", write(tmp_path / "rows.jsonl", rows()))
        assert result.exit_code == 130
        assert "nothing was stored" in result.stderr

    def test_an_interrupt_while_images_are_embedded(self, faces, url, run, monkeypatch):
        stopped: list[str] = []

        async def interrupted(self: AsyncSightgraph, image: Path, tasks: Any) -> Any:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                stopped.append(image.name)
                raise

        monkeypatch.setattr(AsyncSightgraph, "analyze", interrupted)
        result = run("train", "--source", faces, "--server", url)
        assert result.exit_code == 130, result.output
        assert stopped

    def test_as_a_script(self):
        command = [sys.executable, ROOT / "scripts" / "train_classifiers.py", "--source", "nowhere"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (2, "")
        assert "'nowhere' is no http or https address" in done.stderr


class TestVersions:
    def test_promote_and_roll_back(self, tmp_path, run):
        file = tmp_path / "rows.jsonl"
        (first,) = versions_in(run("train", "--source", write(file, rows())))
        result = run("train", "--source", write(file, rows(90, seed=1)), "--no-promote")
        (second,) = versions_in(result)
        assert f"Version {second}, not promoted: " in result.stdout

        def serving() -> str:
            (row,) = json.loads(run("list", "--json").stdout)
            assert row["versions"] == 2
            serves: str = row["serves"]
            return serves

        assert serving() == first
        result = run("promote", "rows", second)
        assert (result.exit_code, result.stdout) == (0, f"rows: {second} serves now\n")
        assert serving() == second
        assert run("rollback", "rows").stdout == f"rows: {first} serves now\n"
        assert serving() == first
        shown = run("show", "rows").stdout.splitlines()
        assert shown[1].startswith(f"{second}  withdrawn")
        assert shown[2].startswith(f"{first}  serves")
        assert shown[3].endswith(f"{first}/report.html")
        result = run("rollback", "rows")
        assert result.exit_code == 1
        assert "No earlier version" in result.stderr

    def test_pin_and_unpin(self, tmp_path, run):
        (version,) = versions_in(run("train", "--source", write(tmp_path / "rows.jsonl", rows())))

        def state() -> str:
            return str(run("show", "rows").stdout.splitlines()[1])

        result = run("pin", "rows", version)
        assert (result.exit_code, result.stdout) == (0, f"rows: {version} is pinned\n")
        assert "serves, pinned" in state()
        result = run("unpin", "rows", version)
        assert (result.exit_code, result.stdout) == (0, f"rows: {version} is pinned no more\n")
        assert "pinned" not in state()

    def test_drift_is_told(self, tmp_path, run, data):
        from classifiers.card import Card
        from classifiers.watch import Watch

        rng = np.random.default_rng(0)
        lines = [
            {**each, "measures": {"brightness": rng.uniform(100, 140), "size": 640}} for each in rows(300)
        ]
        assert run("train", "--source", write(tmp_path / "rows.jsonl", lines)).exit_code == 0

        def last_line() -> str:
            return str(run("show", "rows").stdout.splitlines()[-1])

        (shown,) = json.loads(run("show", "rows", "--json").stdout)
        assert (shown["drift"]["state"], shown["drift"]["seen"]) == ("collecting", 0)
        assert last_line() == "Drift: collecting; no server has told yet what the version was asked"
        serving = Card.model_validate(shown["card"])
        assert serving.reference is not None

        def ask(count: int, brightness: tuple[int, int]) -> None:
            watch = Watch(data / "classifiers")
            for _ in range(count):
                score = rng.choice(serving.reference.measures["score"].values)
                watch.observe(serving, {"brightness": rng.uniform(*brightness), "size": 640}, score)
            watch.close()

        ask(30, (100, 140))
        assert last_line() == "Drift: collecting: 30 of the 100 images that are needed"
        ask(170, (100, 140))
        assert last_line().startswith("Drift: steady over the last 200 of 200 images since ")
        ask(500, (20, 60))
        assert re.search(
            r"^Drift: drifting over the last 500 of 700 images since \S+ \S+ UTC; "
            r"brightness was 1\d\d\S* and is [34]\d\S* in the middle \(PSI \d+\.\d\d, p \d\S*\)$",
            last_line(),
        )
        (shown,) = json.loads(run("show", "rows", "--json").stdout)
        assert shown["drift"]["measures"]["brightness"]["state"] == "drifting"
        assert shown["drift"]["measures"]["size"]["state"] == "steady"

    def test_drift_of_a_version_that_kept_no_reference(self, tmp_path, run, data):
        from classifiers.shelf import Shelf
        from classifiers.watch import Watch
        from tests.heads import put_head

        shelf = Shelf(data / "classifiers")
        old = put_head(shelf, "rows")
        watch = Watch(shelf.folder)
        watch.observe(old, {}, 0.5)
        watch.close()
        assert "unknown over the last 1 of 1 images" in run("show", "rows").stdout
        write(tmp_path / "rows.jsonl", rows())
        assert run("train", "--source", tmp_path / "rows.jsonl", "--no-promote").exit_code == 0
        drifts = [each["drift"] for each in json.loads(run("show", "rows", "--json").stdout)]
        assert [drift and drift["state"] for drift in drifts] == ["unknown", None]

    def test_what_is_not_there(self, run):
        assert run("list").stdout.startswith("No classifiers are here.")
        assert json.loads(run("list", "--json").stdout) == []
        of_versions = [
            [name, "x", version] for name in ("promote", "pin", "unpin") for version in ("y", "../y")
        ]
        for command in (["show", "x"], ["rollback", "x"], *of_versions):
            result = run(*command)
            assert result.exit_code == 1
            assert result.stderr.startswith("Error: ")

    def test_what_was_never_promoted_is_listed(self, tmp_path, run, data):
        lines = [{**each, "collection": "Ä b"} for each in rows()]
        file = write(tmp_path / "rows.jsonl", lines)
        assert run("train", "--source", file, "--no-promote").exit_code == 0
        (row,) = json.loads(run("list", "--json").stdout)
        assert (row["collection"], row["serves"], row["versions"]) == ("Ä b", None, 1)
        (home,) = (each for each in (data / "classifiers").iterdir() if each.is_dir())
        (card,) = home.glob("*/card.json")
        card.write_text("{}")
        assert "cannot be read" in run("show", "Ä b").stdout

    def test_the_help_is_light(self):
        code = (
            "import sys, app.cli; app.cli.main(['classifiers', 'train', '--help'], standalone_mode=False); "
            "print([name for name in ('sklearn', 'httpx', 'torch', 'numpy') if name in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pets"
    for class_ in ("cat", "dog"):
        for number in range(3):
            put(
                folder,
                f"{class_}/{number}.png",
                noise(40, 30, seed=10 * number + len(class_ * (class_ == "cat"))),
            )
    return folder


class TestFolder:
    """What the application makes of the images of a folder."""

    def read(
        self,
        folder: Path,
        url: str,
        data: Path,
        *embeddings: Embedding,
        target: str | None = None,
        **further: Any,
    ) -> Any:
        stated = Stated(embeddings, target, **further)
        with opened(str(folder), stated, server=url, offline=False, data=data) as source:
            return source.training_set(folder.name)

    def test_bad_images_are_told_and_counted(self, folder, url, data, capsys):
        (folder / "cat" / "half.jpg").write_bytes(encoded(noise(64, 64), "JPEG")[:600])
        (folder / "cat" / "empty.png").touch()
        (folder / "dog" / "away.png").symlink_to("nowhere")
        os.mkfifo(folder / "dog" / "pipe.png")
        (folder / "dog" / "notes.txt").write_text("none")
        with (folder / "dog" / "huge.tif").open("wb") as huge:
            huge.truncate(25_000_001)
        put(folder, "loose.png", noise(9, 9))
        shutil.copy(folder / "cat" / "0.png", folder / "cat" / "copy.png")
        found = self.read(folder, url, data)
        assert [each.photo_id for each in found.rows] == [
            f"{class_}/{number}.png" for class_ in ("cat", "dog") for number in range(3)
        ]
        assert found.notes == (
            "Left out, in no folder of a class: 1 file.",
            "Left out, not to be read or embedded: 5 files.",
            "Left out, copies of files of their class: 1 file.",
        )
        told = dict(line.split(": ", 1) for line in capsys.readouterr().err.splitlines())
        assert set(told) == {"cat/half.jpg", "cat/empty.png", "dog/away.png", "dog/pipe.png", "dog/huge.tif"}
        assert "damaged or incomplete" in told["cat/half.jpg"]
        assert found.rows[0].phash is not None
        assert found.rows[0].slices == {"format": "PNG"}
        assert set(found.rows[0].measures) == {"brightness", "size"}
        assert found.rows[0].measures["size"] == 34.64
        assert found.rows[0].vectors[0].shape == (2020,)

    def test_where_faces_are_looked_for_is_kept(self, folder, url, data):
        put(folder, "cat/0.png", astronaut())
        target = "prominent_face"
        found = self.read(folder, url, data, target=target, face_context="whole_image")
        assert (found.target, found.face_context, len(found.rows)) == (target, "whole_image", 1)
        assert self.read(folder, url, data, target=target).face_context == "prominent_person"

    def test_where_no_person_is_the_image_is_taken_whole(self, folder, url, data):
        found = self.read(folder, url, data, target="prominent_person")
        assert (found.target, len(found.rows)) == ("prominent_person", 6)
        assert found.notes == ("Taken whole, without a prominent person: 6 files.",)

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("embed_clip_vit_b_32", "embed_clip_vit_b_32: "),
            ("embed_nothing", "embed_nothing: Unsupported operation type"),
            ("hash_perceptual", "hash_perceptual gives no vector of one region"),
            ("embed_auraface", "embed_auraface: "),
        ],
    )
    def test_what_no_image_can_be_embedded_by(self, folder, url, data, name, told):
        with pytest.raises(SourceError, match=re.escape(told)):
            self.read(folder, url, data, Embedding(name))

    def test_wrong_params_of_an_embedding(self, folder, url, data):
        with pytest.raises(SourceError, match="colour"):
            self.read(folder, url, data, Embedding(HOG, {"colour": 1}))

    def test_only_what_is_new_is_embedded_again(self, folder, url, data, monkeypatch):
        asked: list[str] = []
        analyze = AsyncSightgraph.analyze

        async def counted(self: AsyncSightgraph, image: Path, tasks: Any) -> Any:
            asked.append(image.name)
            return await analyze(self, image, tasks)

        monkeypatch.setattr(AsyncSightgraph, "analyze", counted)
        for number in range(3, 20):
            put(folder, f"dog/{number}.png", noise(40, 30, seed=100 + number))
        before = self.read(folder, url, data)
        assert len(asked) == 23
        asked.clear()
        put(folder, "dog/99.png", noise(40, 30, seed=999))
        (folder / "dog" / "19.png").rename(folder / "cat" / "moved.png")
        after = self.read(folder, url, data)
        # The first ones tell which space the server has.
        assert len(asked) <= 5
        assert "99.png" in asked
        assert len(after.rows) == len(before.rows) + 1
        vectors = {each.photo_id: each.vectors[0] for each in before.rows}
        for each in after.rows:
            known = vectors.get("dog/19.png" if each.photo_id == "cat/moved.png" else each.photo_id)
            if known is not None:
                np.testing.assert_array_equal(each.vectors[0], known)
                assert each.phash is not None
        measures = {each.photo_id: each.measures for each in before.rows}
        assert measures["dog/3.png"] == {each.photo_id: each.measures for each in after.rows}["dog/3.png"]


class Scripted:
    """Answers as a server might, one after the other."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self.left = list(answers)

    async def analyze(self, image: Path, tasks: Any) -> Answer:
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer)


def answer(
    space: str = "s", error: str | None = None, box: Any = None, *, measured: bool = True
) -> dict[str, Any]:
    result = {
        "status": "success" if error is None else "error",
        "error_code": error,
        "error_message": error,
        "data": [1.0, 2.0],
        "model": {"space": space},
        "cropped_image_bbox": box,
    }
    hashed = {"status": "success", "error_code": None, "data": {"phash": "00000000000000ff"}}
    properties = {
        "status": "success" if measured else "error",
        "error_code": None if measured else "unsupported_operation",
        "data": {"brightness": 120.5, "file": {"width": 40, "height": 90}} if measured else None,
        "cropped_image_bbox": box,
    }
    results = {"0": result, "phash": hashed, "properties": properties}
    image = {"width": 40, "height": 90, "format": "PNG", "sha256": ""}
    return {"image_url": "uploaded:image", "results": results, "image": image}


class Silent:
    def __init__(self) -> None:
        self.told: list[str] = []

    def seen(self) -> None: ...

    def failed(self, path: str, why: str) -> None:
        self.told.append(f"{path}: {why}")


class TestEmbedder:
    @pytest.fixture
    def embed(self, folder: Path, data: Path) -> Iterator[Callable[..., EmbeddedFiles]]:
        cache = VectorCache(data / "vectors.sqlite")
        self.watcher = Silent()

        def embed(*answers: Any, target: str = "whole_image") -> EmbeddedFiles:
            paths = [f"cat/{number}.png" for number in range(2)]
            embedder = Embedder(Scripted(*answers), [Embedding(HOG)], target, cache, workers=1)
            return asyncio.run(embedder.embed(folder, paths, self.watcher))

        yield embed
        cache.close()

    def test_a_space_that_changes_stops_the_run(self, embed):
        with pytest.raises(SourceError, match="became another one"):
            embed(answer("one"), answer("two"))

    def test_a_kept_vector_of_another_space_is_not_taken(self, embed):
        embed(answer("one"), answer("one"))
        assert len(embed(answer("one")).files) == 2
        assert len(embed(answer("two"), answer("two")).files) == 2

    def test_a_deadline_is_given_one_more_try(self, embed):
        late = answer(error="deadline_exceeded")
        assert len(embed(late, answer(), answer()).files) == 2
        done = embed(late, late, answer(), target="prominent_face")
        assert (list(done.files), done.failed) == (["cat/1.png"], 1)
        assert self.watcher.told == ["cat/0.png: embed_hog_hsv: deadline_exceeded"]

    def test_a_server_that_does_not_work_stops_the_run(self, embed):
        with pytest.raises(Refused):
            embed(Refused(401, "no"))
        done = embed(Refused(413, "too large"), answer())
        assert done.failed == 1

    def test_images_without_the_region_are_counted(self, embed):
        done = embed(answer(error="region_not_found"), answer(box=[0, 0, 1, 1]), target="prominent_face")
        assert (list(done.files), done.without_region, done.failed) == (["cat/1.png"], 1, 0)
        assert self.watcher.told == []

    def test_the_region_is_measured(self, embed):
        whole = embed(answer(), answer(measured=False))
        assert [each.measures for each in whole.files.values()] == [{"brightness": 120.5, "size": 60.0}, {}]
        boxed = answer(box=[10, 20, 26, 24])
        face = embed(boxed, boxed, target="prominent_face")
        assert {each.measures["size"] for each in face.files.values()} == {8.0}

    def test_what_is_measured_is_what_is_embedded(self, folder, data):
        asked: list[Any] = []

        class Listening(Scripted):
            async def analyze(self, image: Path, tasks: Any) -> Answer:
                asked.extend(tasks)
                return await super().analyze(image, tasks)

        cache = VectorCache(data / "vectors.sqlite")
        region = {"target": "prominent_face", "crop_format": "none", "face_context": "whole_image"}
        server: Any = Listening(answer(box=[0, 0, 1, 1]), answer())
        for target in ("prominent_face", "whole_image"):
            embedder = Embedder(
                server,
                # What chooses a region there is overruled.
                [Embedding(HOG, {"target": "all_faces", "size": 3})],
                target,
                cache,
                workers=1,
                face_context="whole_image",
            )
            asyncio.run(embedder.embed(folder, ["cat/0.png"], Silent()))
        cache.close()
        of_face, of_whole = (
            [each["params"] for each in asked if each["type"] == operation]
            for operation in (HOG, "image_properties")
        )
        assert of_face == [{**region, "size": 3}, {"target": "whole_image", "size": 3}]
        assert of_whole == [region, {"target": "whole_image"}]

    def test_crops_are_not_kept(self, embed):
        boxed = answer(box=[0, 0, 1, 1])
        assert embed(boxed, boxed, target="prominent_face").whole_instead == 0
        # Which face was found may change while the space does not.
        with pytest.raises(IndexError):
            embed(boxed, target="prominent_face")


class TestVectorCache:
    ENTRY = Entry(
        [np.array([1, 2], np.float32), np.array([3], np.float32)],
        2**64 - 1,
        {"format": "PNG"},
        {"brightness": 120.5},
    )

    def test_what_was_put_is_got(self, tmp_path):
        cache = VectorCache(tmp_path / "new" / "vectors.sqlite")
        cache.put("a", "x", self.ENTRY)
        cache.put("b", "x", Entry([np.zeros(0, np.float32)], None, {}))
        found = cache.get("a", "x")
        assert found is not None
        assert [each.tolist() for each in found.vectors] == [[1, 2], [3]]
        assert (found.phash, found.slices) == (2**64 - 1, {"format": "PNG"})
        assert found.measures == {"brightness": 120.5}
        assert (cache.get("a", "y"), cache.get("c", "x")) == (None, None)
        cache.close()
        again = VectorCache(tmp_path / "new" / "vectors.sqlite")
        assert again.get("a", "x") is not None
        again.close()

    def test_a_cache_of_an_old_shape_is_made_anew(self, tmp_path):
        import sqlite3

        file = tmp_path / "vectors.sqlite"
        with sqlite3.connect(file) as connection:
            connection.execute("create table vectors (sha256 text, asked text, numbers blob)")
            connection.execute("insert into vectors values ('a', 'x', 'old')")
        connection.close()
        cache = VectorCache(file)
        assert cache.get("a", "x") is None
        cache.put("a", "x", self.ENTRY)
        cache.close()
        again = VectorCache(file)
        assert again.get("a", "x") is not None
        again.close()

    @pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
    def test_a_file_that_is_none(self, tmp_path, content):
        file = tmp_path / "vectors.sqlite"
        file.write_bytes(content)
        cache = VectorCache(file)
        cache.put("a", "x", self.ENTRY)
        assert (cache.get("a", "x") is None) == bool(content)
        cache.close()

    def test_the_oldest_entries_go(self, tmp_path):
        file = tmp_path / "vectors.sqlite"
        entry = Entry([np.zeros(20_000, np.float32)], None, {})
        cache = VectorCache(file, max_bytes=2_000_000)
        for number in range(1000):
            cache.put(f"{number:04}", "x", entry)
        kept = [number for number in range(1000) if cache.get(f"{number:04}", "x") is not None]
        cache.close()
        # As many as there is room for, and the newest; once in 500 it is looked at.
        assert kept == [*range(1000 - len(kept), 1000)]
        assert 10 < len(kept) <= 2_000_000 / 80_000
        size = file.stat().st_size
        cache = VectorCache(file, max_bytes=1_000_000)
        assert (cache.get(f"{kept[0]:04}", "x"), cache.get("0999", "x") is None) == (None, False)
        for number in range(200):
            cache.put(f"new-{number:04}", "x", entry)
        cache.close()
        # What was taken is used again.
        assert file.stat().st_size <= size
        cache = VectorCache(file, max_bytes=0)
        assert cache.get("new-0199", "x") is None
        cache.close()

    def test_a_place_where_nothing_can_be_kept(self, tmp_path):
        (tmp_path / "file").touch()
        cache = VectorCache(tmp_path / "file" / "vectors.sqlite")
        cache.put("a", "x", self.ENTRY)
        assert cache.get("a", "x") is None
        cache.close()

    def test_a_damaged_entry_is_none(self, tmp_path):
        import sqlite3

        cache = VectorCache(tmp_path / "vectors.sqlite")
        for sha256, column, value in (
            ("a", "numbers", b"\0" * 8),
            ("b", "numbers", b"\0" * 7),
            ("c", "sizes", "[]"),
            ("d", "sizes", "{"),
            ("e", "phash", "zz"),
            ("f", "sizes", '["x"]'),
            ("g", "measures", "{"),
        ):
            cache.put(sha256, "x", self.ENTRY)
            with sqlite3.connect(tmp_path / "vectors.sqlite") as connection:
                connection.execute(f"update vectors set {column} = ? where sha256 = ?", (value, sha256))
            connection.close()
            assert cache.get(sha256, "x") is None
        cache.close()
