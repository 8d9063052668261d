"""`sightgraph classifiers convert`."""

import hashlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import pytest
from click.testing import CliRunner, Result

from app.cli import main
from classifiers.shelf import Shelf
from tests.classifiers.image_embed import CLIP, FILE, entry, fitted, put

ROOT = Path(__file__).resolve().parent.parent
FILE_7, FILE_12 = FILE.format(7), FILE.format(12)
DINO = "embed_dino_v3"


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch marker",)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def shelf(data: Path) -> Shelf:
    return Shelf(data / "classifiers")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Two classifiers of image_embed."""
    return put(
        tmp_path / "trained_classifiers",
        {"7": entry(7), "12": entry(12, DINO, 1024, derivative_type="whole_image")},
        {FILE_7: fitted(), FILE_12: fitted(1024)},
    )


@pytest.fixture
def run(data: Path) -> Callable[..., Result]:
    def run(*arguments: object) -> Result:
        command = ["classifiers", *map(str, arguments)]
        return CliRunner().invoke(main, command, env={"SIGHTGRAPH_DATA": str(data)})

    return run


def test_a_whole_folder(old, run, shelf):
    result = run("convert", old, "--trust")
    assert result.exit_code == 0, result.output
    listed = {each["collection"]: each for each in json.loads(run("list", "--json").stdout)}
    assert {name: (each["target"], each["embeddings"]) for name, each in listed.items()} == {
        "7": ("prominent_face", [CLIP]),
        "12": ("whole_image", [DINO]),
    }
    for name, each in listed.items():
        assert f"{name}: version {each['serves']}, converted; serves now" in result.stdout
    best = json.loads((shelf.folder / "best_models.json").read_bytes())["12"]
    assert (best["derivative_type"], best["embedding_type"], best["dimensionality"]) == (
        "whole_image",
        DINO,
        1024,
    )
    assert run("show", "7").exit_code == 0
    again = run("convert", old, "--trust")
    assert again.exit_code == 0
    assert again.stdout.count("converted by an earlier run; serves now") == 2
    assert len(shelf.versions("7")) == 1


def test_it_tells_what_it_is_about_to_trust(old, run):
    result = run("convert", old, "--trust")
    for file in (FILE_7, FILE_12):
        assert str(old / file) in result.stdout
        assert hashlib.sha256((old / file).read_bytes()).hexdigest() in result.stdout
    assert f"reads 512 values: {CLIP} of prominent_face" in result.stdout
    assert "sklearn.linear_model._logistic.LogisticRegression, joblib.numpy_pickle." in result.stdout
    assert "taken on trust" in result.stdout


def test_without_a_terminal_it_refuses(old, run, data):
    result = run("convert", old)
    assert result.exit_code == 1
    assert "Give --trust" in result.stderr
    assert FILE_7 in result.stdout
    assert not data.exists()


@pytest.mark.parametrize(("typed", "code"), [("trust", 0), ("yes", 1), ("", 1)])
def test_in_a_terminal_it_asks(old, data, shelf, typed, code):
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "classifiers", "convert", str(old)],
            cwd=ROOT,
            env={**os.environ, "SIGHTGRAPH_DATA": str(data)},
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        os.write(ours, f"{typed}\n".encode())
        told, _ = process.communicate(timeout=100)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == code, told.decode()
    assert b"Type trust to convert them" in told
    assert bool(shelf.bests()) == (code == 0)


def test_what_is_hostile_is_refused_and_the_rest_converted(old, run, shelf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    joblib.dump(Evil(), old / FILE_7)
    result = run("convert", old, "--trust")
    assert result.exit_code == 1
    assert f"{FILE_7}: it names 'posix.system', which is no part of such a model; nothing" in result.stderr
    assert not (tmp_path / "marker").exists()
    assert list(shelf.bests()) == ["12"]


def test_nothing_but_hostile_ones_asks_nothing(old, run, data):
    for name in (FILE_7, FILE_12):
        joblib.dump(Evil(), old / name)
    result = run("convert", old)
    assert result.exit_code == 1
    assert "Nothing was converted." in result.stderr
    assert "--trust" not in result.output
    assert not data.exists()


def test_some_collections(old, run, shelf):
    assert run("convert", old, "--trust", "--collection", "12").exit_code == 0
    assert list(shelf.bests()) == ["12"]
    unknown = run("convert", old, "--trust", "--collection", "7", "--collection", "8")
    assert unknown.exit_code == 1
    assert "names no classifier of 8, but of 7, 12." in unknown.stderr
    assert list(shelf.bests()) == ["12"]


def test_one_file(tmp_path, run, shelf):
    joblib.dump(fitted(20), tmp_path / "mine.pkl")
    file = tmp_path / "mine.pkl"
    options = ("--trust", "--embedding", "embed_hog_hsv", "--target", "face")
    assert "give --collection" in run("convert", file, *options).stderr
    assert run("convert", file, *options, "--collection", "a", "--collection", "b").exit_code == 2
    result = run("convert", file, *options, "--collection", "cats [red]")
    assert result.exit_code == 0, result.output
    head = shelf.current("cats [red]")
    assert head is not None
    assert (head.card.target, head.card.dimensions) == ("prominent_face", (20,))


def test_what_image_embed_makes_otherwise_is_refused_and_the_rest_converted(old, run, shelf):
    name = "embed_dino_v2"
    put(old, {"7": entry(7), "12": entry(12, name, 768)}, {FILE_7: fitted(), FILE_12: fitted(768)})
    result = run("convert", old, "--trust")
    assert result.exit_code == 1
    assert f"{FILE_12}: {name} of image_embed makes other vectors than here" in result.stderr
    assert f"reads 512 values: {CLIP} of prominent_face, in a space that nobody tells" in result.stdout
    assert list(shelf.bests()) == ["7"]
    result = run("convert", old, "--trust", "--space", f"{name}=ours/1")
    assert result.exit_code == 0, result.output
    assert f"reads 768 values: {name} of prominent_face, in ours/1" in result.stdout
    head = shelf.current("12")
    assert head is not None
    assert head.card.spaces == ("ours/1",)


def test_the_oldest_form_of_a_folder(tmp_path, run, shelf):
    old = put(tmp_path / "old", {"7": FILE_7}, {FILE_7: fitted()})
    assert "give --embedding" in run("convert", old, "--trust").stderr
    assert "give --target" in run("convert", old, "--trust", "--embedding", CLIP).stderr
    result = run("convert", old, "--trust", "--embedding", CLIP, "--target", "whole_image")
    assert result.exit_code == 0, result.output
    assert list(shelf.bests()) == ["7"]


@pytest.mark.parametrize(
    "arguments",
    [("--embedding", "../x"), ("--target", "feet"), ("--collection", "\udc80"), ("--space", "embed_clip=")],
)
def test_wrong_options(old, run, arguments):
    assert run("convert", old, *arguments).exit_code == 2


def test_no_such_folder_and_one_of_something_else(tmp_path, run):
    assert run("convert", tmp_path / "none").exit_code == 2
    result = run("convert", tmp_path)
    assert result.exit_code == 1
    assert "It has no best_models.json" in result.stderr


def test_while_somebody_trains_the_others_are_converted(old, run, shelf):
    with shelf.training("7"):
        result = run("convert", old, "--trust")
    assert result.exit_code == 1
    assert "Another process trains '7' already" in result.stderr
    assert list(shelf.bests()) == ["12"]


def test_what_serves_goes_on_serving(old, run, shelf):
    assert run("convert", old, "--trust", "--collection", "7").exit_code == 0
    before = shelf.best("7")
    put(old, {"7": entry(7)}, {FILE_7: fitted(seed=1)})
    result = run("convert", old, "--trust")
    assert result.exit_code == 0
    assert f"{before} serves; `sightgraph classifiers promote` changes that" in result.stdout
    assert shelf.best("7") == before
