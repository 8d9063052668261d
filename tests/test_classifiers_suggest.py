"""`sightgraph classifiers suggest`, against the real application."""

import asyncio
import itertools
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from click.testing import CliRunner, Result

from app.api.room import Room
from app.cli import main
from app.client import AsyncSightgraph
from app.index.storage import Declaration, ItemRegion, NewItem
from tests.classifiers.site import row
from tests.conftest import served
from tests.images import encoded

HOG = "embed_hog_hsv"
SPACE = "embed_hog_hsv/1"
_numbers = itertools.count()
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def url(room: Room) -> Iterator[str]:
    with served(room) as url:
        yield url


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def run(data: Path) -> Run:
    def run(*arguments: object, at: Path = data) -> Result:
        return CliRunner().invoke(main, [*map(str, arguments)], env={"SIGHTGRAPH_DATA": str(at)})

    return run


@pytest.fixture(scope="module")
def suggest(run: Run) -> Run:
    def suggest(*arguments: object, **further: Any) -> Result:
        return run("classifiers", "suggest", *arguments, **further)

    return suggest


def face(number: int) -> PIL.Image.Image:
    """Of the first hundred a face, of the next a part of a photo without one."""
    from skimage import data

    pixels = (data.lfw_subset()[number] * 255).astype(np.uint8)
    return PIL.Image.fromarray(pixels).resize((100, 100)).convert("RGB")


def put(folder: Path, path: str, image: PIL.Image.Image, format_: str = "PNG", **options: Any) -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded(np.asarray(image), format_, **options))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory, run: Run, url: str) -> str:
    """A classifier of two labels."""
    folder = tmp_path_factory.mktemp("sources") / "faces"
    for number in (*range(60), *range(100, 160)):
        put(folder, f"{'positive' if number < 100 else 'negative'}/{number:03d}.png", face(number))
    result = run("classifiers", "train", "--source", folder, "--server", url)
    assert result.exit_code == 0, result.output
    return "faces"


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Others of the same kind, some copies of each other, some of what the classifier was trained on."""
    folder = tmp_path_factory.mktemp("unlabelled")
    for number in (*range(60, 80), *range(160, 180)):
        put(folder, f"new/{number:03d}.png", face(number))
        put(folder, f"again/{number:03d}.jpg", face(number), "JPEG", quality=90)
    for number in range(60):
        put(folder, f"known [red]/{number:03d}.jpg", face(number), "JPEG", quality=90)
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For what is refused whatever the images are."""
    folder = tmp_path_factory.mktemp("few")
    for number in (60, 61, 160):
        put(folder, f"{number}.png", face(number))
    return folder


def drawing(shape: int, seed: int) -> PIL.Image.Image:
    """One shape somewhere, before coarse spots, so that no two are near copies."""
    rng = np.random.default_rng(seed)
    spots = rng.integers(120, 256, (6, 6, 3), dtype=np.uint8)
    image = PIL.Image.fromarray(spots).resize((96, 96))
    draw = PIL.ImageDraw.Draw(image)
    size = int(rng.integers(30, 60))
    x, y = rng.integers(0, 96 - size, 2).tolist()
    box = (x, y, x + size, y + size)
    colour = tuple(rng.integers(0, 60, 3).tolist())
    if shape == 0:
        draw.ellipse(box, fill=colour)
    elif shape == 1:
        draw.rectangle(box, fill=colour)
    else:
        draw.polygon([(x, y + size), (x + size, y + size), (x + size // 2, y)], fill=colour)
    return image


def trained_on_rows(run: Run, at: Path, file: Path, settings: dict[str, Any], *lines: dict[str, Any]) -> None:
    """Train on made-up vectors."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(map(json.dumps, [settings, *lines])))
    result = run("classifiers", "train", "--source", file, at=at)
    assert result.exit_code == 0, result.output


def made_up(count: int = 60, dimensions: int = 4) -> list[dict[str, Any]]:
    """Rows of two classes that a line tells apart."""
    rng = np.random.default_rng(0)
    return [
        row(f"photo-{number}", bool(number % 2), *np.round(vector + (2 if number % 2 else -2), 2).tolist())
        for number, vector in enumerate(rng.normal(size=(count, dimensions)))
    ]


def listed(result: Result) -> list[str]:
    found: list[str] = [each["id"] for each in json.loads(result.stdout)["suggestions"]]
    return found


class TestFolder:
    def test_the_least_sure_come_first_and_nothing_that_is_known(self, faces, unlabelled, suggest):
        result = suggest(faces, "--folder", unlabelled, "--count", 8, "--json", "--offline")
        assert result.exit_code == 0, result.output
        answer = json.loads(result.stdout)
        assert (answer["collection"], answer["images"], answer["failed"]) == ("faces", 140, 0)
        # Of the faces that were trained on some were held out, to judge.
        assert 40 <= answer["trained_on"] <= 60
        assert len(answer["suggestions"]) == 8
        for each in answer["suggestions"]:
            assert each["label"] == "positive"
            assert each["probability"] == each["probabilities"]["positive"]
            assert sum(each["probabilities"].values()) == pytest.approx(1)
            side = each["probability"] < answer["threshold"]
            possible = answer["threshold"] if side else 1 - answer["threshold"]
            distance = abs(each["probability"] - answer["threshold"])
            assert each["uncertainty"] == pytest.approx(1 - distance / possible)
        everything = suggest(faces, "--folder", unlabelled, "--count", 200, "--json", "--offline")
        unsure = {each["id"]: each["uncertainty"] for each in json.loads(everything.stdout)["suggestions"]}
        assert max(unsure.values()) == answer["suggestions"][0]["uncertainty"]
        chosen = [each["uncertainty"] for each in answer["suggestions"]]
        assert np.mean(chosen) > np.mean([*unsure.values()])
        # Not an image and its copy, nor copies of what is known.
        names = [Path(each).stem for each in unsure]
        assert len(names) == len(set(names))
        trained = json.loads(everything.stdout)["trained_on"]
        assert len([each for each in unsure if each.startswith("known")]) <= 60 - trained
        assert listed(suggest(faces, "--folder", unlabelled, "--count", 8, "--json")) == listed(result)

    def test_as_a_table(self, faces, unlabelled, url, suggest):
        result = suggest(faces, "--folder", unlabelled, "--count", 3, "--server", url)
        assert result.exit_code == 0, result.output
        heading, *rows, looked, left_out = result.stdout.splitlines()
        assert heading.split() == ["image", "label", "probability", "uncertainty"]
        assert len(rows) == 3
        assert all(" positive " in each for each in rows)
        assert looked.startswith("140 images looked at by version 2")
        assert "whose threshold is 0." in looked
        assert left_out.startswith("Left out, trained on, or near copies of what was: ")

    def test_of_several_labels_the_most_probable_one_is_shown(self, tmp_path, run, suggest, url):
        for shape, seed in itertools.product(range(3), range(30)):
            put(tmp_path / "shapes", f"{'ORD'[shape]}/{seed}.png", drawing(shape, 100 * shape + seed))
        for shape, seed in itertools.product(range(3), range(4)):
            put(tmp_path / "more", f"{shape}-{seed}.png", drawing(shape, 1000 + 100 * shape + seed))
        here = tmp_path / "data"
        result = run("classifiers", "train", "--source", tmp_path / "shapes", "--server", url, at=here)
        assert result.exit_code == 0, result.output
        # So few photos judge it that a person must.
        (version,) = json.loads(run("classifiers", "show", "shapes", "--json", at=here).stdout)
        run("classifiers", "promote", "shapes", version["card"]["version"], at=here)
        result = suggest("shapes", "--folder", tmp_path / "more", "--json", "--server", url, at=here)
        answer = json.loads(result.stdout)
        assert answer["threshold"] is None
        assert answer["suggestions"]
        for each in answer["suggestions"]:
            probabilities = each["probabilities"]
            assert set(probabilities) == set("ORD")
            first, second, _ = sorted(probabilities.values(), reverse=True)
            assert probabilities[each["label"]] == each["probability"] == first
            assert each["uncertainty"] == pytest.approx(1 - (first - second))
        table = suggest("shapes", "--folder", tmp_path / "more", "--server", url, at=here)
        assert "12 images looked at" in table.stdout
        assert "threshold" not in table.stdout

    def test_all_that_is_known_leaves_nothing(self, tmp_path, faces, unlabelled, url, suggest):
        known = json.loads(suggest(faces, "--folder", unlabelled, "--count", 200, "--json").stdout)
        left = {each["id"] for each in known["suggestions"]}
        folder = tmp_path / "known"
        folder.mkdir()
        for file in (unlabelled / "known [red]").iterdir():
            if f"known [red]/{file.name}" not in left:
                shutil.copy(file, folder)
        result = suggest(faces, "--folder", folder, "--server", url)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("There is nothing to suggest.\n")
        assert json.loads(suggest(faces, "--folder", folder, "--json").stdout)["suggestions"] == []

    def test_bad_files_are_told_and_the_rest_is_suggested(self, tmp_path, faces, url, suggest):
        put(tmp_path, "good.png", face(70))
        put(tmp_path, "\u202egood\x1b[31m.png", face(71))
        (tmp_path / "empty.png").touch()
        os.mkfifo(tmp_path / "pipe.png")
        result = suggest(faces, "--folder", tmp_path, "--server", url)
        assert result.exit_code == 1, result.output
        assert "Left out, not to be read or embedded: 2 images." in result.stdout
        assert "\\u202egood\\x1b[31m.png" in result.stdout
        told = dict(line.split(": ", 1) for line in result.stderr.splitlines())
        assert set(told) == {"empty.png", "pipe.png"}

    def test_an_interrupt(self, faces, unlabelled, url, suggest, monkeypatch):
        pressed: list[str] = []
        stopped: list[str] = []

        async def interrupted(self: AsyncSightgraph, image: Path, tasks: Any) -> Any:
            if not pressed:
                pressed.append(image.name)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                stopped.append(image.name)
                raise

        monkeypatch.setattr(AsyncSightgraph, "analyze", interrupted)
        result = suggest(faces, "--folder", unlabelled, "--server", url)
        assert (result.exit_code, result.stdout) == (130, ""), result.output
        assert stopped


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ([], "Give one of --folder and --index"),
            (["--folder", ".", "--index", "x"], "Give one of --folder and --index"),
            (["--folder", "nowhere"], "does not exist"),
            (["--folder", ".", "--count", "0"], "is not in the range"),
            (
                ["--folder", ".", "--server", "http://127.0.0.1:1", "--offline"],
                "--offline is for this process",
            ),
            (["--index", "\udce9"], "must be UTF-8"),
        ],
    )
    def test_wrong_options(self, faces, unlabelled, suggest, options, told):
        result = suggest(faces, *(unlabelled if option == "." else option for option in options))
        assert result.exit_code == 2, result.output
        assert told in result.stderr

    def test_a_classifier_that_is_not_there(self, faces, unlabelled, suggest, tmp_path):
        result = suggest("facs", "--folder", unlabelled)
        assert result.exit_code == 1
        assert "No classifier is called 'facs'. There are: faces." in result.stderr
        result = suggest("faces", "--folder", unlabelled, at=tmp_path)
        assert "There are: none." in result.stderr

    def test_no_version_that_serves(self, tmp_path, run, suggest, unlabelled):
        file = tmp_path / "rows.jsonl"
        file.write_text("\n".join(map(json.dumps, [{"embeddings": [HOG]}, *made_up()])))
        assert run("classifiers", "train", "--source", file, "--no-promote", at=tmp_path).exit_code == 0
        result = suggest("rows", "--folder", unlabelled, at=tmp_path)
        assert result.exit_code == 1
        assert "No version of 'rows' serves. `sightgraph classifiers promote`" in result.stderr

    def test_no_images(self, faces, suggest, tmp_path):
        (tmp_path / "notes.txt").touch()
        result = suggest(faces, "--folder", tmp_path)
        assert result.exit_code == 1
        assert f"No images are in {tmp_path}." in result.stderr

    def test_another_space(self, tmp_path, run, suggest, few, url):
        settings = {"embeddings": [HOG], "spaces": ["embed_hog_hsv/0"]}
        trained_on_rows(run, tmp_path, tmp_path / "old.jsonl", settings, *made_up())
        result = suggest("old", "--folder", few, "--server", url, at=tmp_path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert (
            "vectors of embed_hog_hsv/0, and those of embed_hog_hsv are now of embed_hog_hsv/1"
            in result.stderr
        )
        # Of an unknown space are vectors of any, but not of any length.
        trained_on_rows(run, tmp_path, tmp_path / "plain.jsonl", {"embeddings": [HOG]}, *made_up())
        result = suggest("plain", "--folder", few, "--server", url, at=tmp_path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "reads 4 numbers of embed_hog_hsv, and the server's vectors have 2020" in result.stderr

    def test_what_the_server_cannot_embed(self, tmp_path, run, suggest, few, url):
        settings = {"embeddings": ["embed_nothing"], "spaces": ["a"]}
        trained_on_rows(run, tmp_path, tmp_path / "x.jsonl", settings, *made_up())
        result = suggest("x", "--folder", few, "--server", url, at=tmp_path)
        assert result.exit_code == 1
        assert "Error: embed_nothing: Unsupported operation type" in result.stderr

    def test_a_server_that_is_not_there(self, faces, unlabelled, suggest):
        for source in (["--folder", unlabelled], ["--index", "x"]):
            result = suggest(faces, *source, "--server", "http://127.0.0.1:1")
            assert result.exit_code == 1
            assert result.stderr.startswith("Error: No answer from http://127.0.0.1:1")

    def test_records_that_cannot_be_read(self, tmp_path, run, suggest, few, url):
        file = tmp_path / "rows.jsonl"
        settings = {"embeddings": [HOG], "spaces": [SPACE]}
        for rows in (made_up(60, 2020), made_up(80, 2020)):
            trained_on_rows(run, tmp_path, file, settings, *rows)
        shelf = tmp_path / "classifiers"
        serves = json.loads((shelf / "best_models.json").read_bytes())["rows"]["version"]
        records = {each.parent.name: each for each in shelf.glob("rows/*/photos.npz")}
        (other,) = records.keys() - {serves}
        records[other].write_bytes(b"damaged")
        result = suggest("rows", "--folder", few, "--server", url, at=tmp_path)
        assert result.exit_code == 0, result.output
        assert f"Warning: Version {other} of 'rows' cannot be read" in result.stderr
        records[serves].write_bytes(b"damaged")
        result = suggest("rows", "--folder", few, "--server", url, at=tmp_path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"Error: Version {serves} of 'rows' cannot be read" in result.stderr


@pytest.fixture
def make(url: str) -> Iterator[Callable[..., str]]:
    """Makes a collection of the index; gives its name."""
    made: list[str] = []

    def make(operation: str = HOG, **further: Any) -> str:
        made.append(f"suggest-{next(_numbers)}")
        body = {"name": made[-1], "operation": operation, **further}
        httpx.post(f"{url}/index/", json=body).raise_for_status()
        return made[-1]

    yield make
    for name in made:
        httpx.delete(f"{url}/index/{name}/").raise_for_status()


class TestIndex:
    def test_as_of_the_folder_that_was_indexed(self, faces, unlabelled, url, run, make, suggest):
        name = make()
        assert run("index", unlabelled, "--collection", name, "--server", url).exit_code == 0
        result = suggest(faces, "--index", name, "--json", "--server", url)
        assert result.exit_code == 0, result.output
        from_folder = suggest(faces, "--folder", unlabelled, "--json", "--server", url)
        assert json.loads(result.stdout) == json.loads(from_folder.stdout)
        assert len(listed(result)) == 20

    def test_in_this_process(self, faces, unlabelled, run, suggest):
        assert run("index", unlabelled, "--collection", "here", "--offline").exit_code == 0
        result = suggest(faces, "--index", "here", "--json", "--offline")
        assert result.exit_code == 0, result.output
        from_folder = suggest(faces, "--folder", unlabelled, "--json", "--offline")
        assert listed(result) == listed(from_folder)

    def test_photos_are_known_by_their_ids_where_nothing_else_is(
        self, tmp_path, room, url, run, make, suggest
    ):
        settings = {"embeddings": [HOG], "spaces": [SPACE], "target": "prominent_face"}
        rows = made_up(60, 2020)
        trained_on_rows(run, tmp_path, tmp_path / "rows.jsonl", settings, *rows)
        name = make(target="prominent_face")
        # More than a page of them.
        items = [
            NewItem(each["photo_id"], (ItemRegion(np.array(each["embedding"], np.float32), phash=7),))
            for each in rows
        ]
        rng = np.random.default_rng(1)
        news = rng.normal(size=(200, 2020)).astype(np.float32)
        items += [NewItem(f"new-{number}", (ItemRegion(vector),)) for number, vector in enumerate(news)]
        items += [NewItem("landscape", ())]
        room.index.storage.add(name, items, SPACE)
        result = suggest("rows", "--index", name, "--count", 300, "--json", "--server", url, at=tmp_path)
        assert result.exit_code == 0, result.output
        answer = json.loads(result.stdout)
        assert (answer["images"], answer["without_region"]) == (261, 1)
        assert 40 <= answer["trained_on"] < 60
        assert len(answer["suggestions"]) == 260 - answer["trained_on"]
        table = suggest("rows", "--index", name, "--server", url, at=tmp_path)
        assert "Left out, without a prominent face: 1 image." in table.stdout

    def test_one_that_is_not_what_the_classifier_reads(self, tmp_path, faces, room, url, run, make, suggest):
        def told(collection: str, classifier: str = faces, **further: Any) -> str:
            result = suggest(classifier, "--index", collection, "--server", url, **further)
            assert (result.exit_code, result.stdout) == (1, ""), result.output
            return result.stderr

        item = NewItem("a", (ItemRegion(np.ones(2020, np.float32)),))
        assert "There is no collection 'nowhere'" in told("nowhere")
        name = make()
        assert f"The collection '{name}' of the index has no items." in told(name)
        name = make(target="prominent_person")
        room.index.storage.add(name, [item], SPACE)
        assert "has the target prominent_person, and the classifier was trained with whole_image" in told(
            name
        )
        name = make("embed_clip")
        room.index.storage.add(name, [item], "clip")
        assert "has the operation embed_clip, and the classifier was trained with embed_hog_hsv" in told(name)
        # As an earlier version of the operation may have left it.
        room.index.storage.create(Declaration("of-old", HOG, {"target": "whole_image"}))
        room.index.storage.add("of-old", [item], "embed_hog_hsv/0")
        try:
            assert "are now of embed_hog_hsv/0: they do not compare" in told("of-old")
        finally:
            room.index.storage.drop("of-old")
        two = {"embeddings": [HOG, "embed_clip"], "spaces": [SPACE, "clip"]}
        rows = [{**each, "embeddings": {HOG: each["embedding"], "embed_clip": [1, 2]}} for each in made_up()]
        for each in rows:
            del each["embedding"]
        trained_on_rows(run, tmp_path, tmp_path / "two.jsonl", two, *rows)
        assert "reads embed_hog_hsv + embed_clip together" in told(name, "two", at=tmp_path)

    def test_where_faces_are_looked_for_counts(self, tmp_path, room, url, run, make, suggest):
        context = {"face_context": "whole_image"}
        for name, settings in (("near", {"target": "face"}), ("whole", {"target": "face", **context})):
            settings = {"embeddings": [HOG], "spaces": [SPACE], **settings}
            trained_on_rows(run, tmp_path, tmp_path / f"{name}.jsonl", settings, *made_up(60, 2020))
        item = NewItem("a", (ItemRegion(np.ones(2020, np.float32)),))
        near, whole = make(target="prominent_face"), make(target="prominent_face", params=context)
        for each in (near, whole):
            room.index.storage.add(each, [item], SPACE)
        for classifier, own, other in (("near", near, whole), ("whole", whole, near)):
            result = suggest(classifier, "--index", own, "--server", url, at=tmp_path)
            assert result.exit_code == 0, result.output
            result = suggest(classifier, "--index", other, "--server", url, at=tmp_path)
            assert result.exit_code == 1
            assert f"The collection '{other}' of the index has the face_context" in result.stderr

    def test_params_count(self, tmp_path, room, url, run, make, suggest):
        model = {"model": "ViT-B-16"}
        settings = {"embeddings": [{"operation": "embed_clip", "params": model}], "spaces": ["clip"]}
        trained_on_rows(run, tmp_path, tmp_path / "rows.jsonl", settings, *made_up())
        item = NewItem("a", (ItemRegion(np.ones(4, np.float32)),))
        name, other = (
            make("embed_clip", target="whole_image", params=model),
            make("embed_clip", target="whole_image"),
        )
        for each in (name, other):
            room.index.storage.add(each, [item], "clip")
        result = suggest("rows", "--index", name, "--server", url, at=tmp_path)
        assert result.exit_code == 0, result.output
        result = suggest("rows", "--index", other, "--server", url, at=tmp_path)
        assert result.exit_code == 1
        assert "and the classifier was trained with ViT-B-16" in result.stderr
