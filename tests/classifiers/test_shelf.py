"""Storage of versions: crashes, hostile files, and a server that reads meanwhile."""

import errno
import json
import os
import shutil
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from classifiers.current import RETRY_SECONDS, CurrentHeads
from classifiers.durable import read_bounded
from classifiers.head import Head
from classifiers.preparation import TrainingRefused
from classifiers.rows import Row
from classifiers.shelf import Shelf, ShelfBusy, ShelfError, folder_name, version_name
from classifiers.split import Seen, photo_digest
from classifiers.stored import are_equal
from tests.classifiers.faults import too_many_open_files
from tests.classifiers.test_head import batch, head

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SEEN = Seen.of([Row("a", "yes", (), 5), Row("b", "no", ())])


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "classifiers")


def put(shelf: Shelf, number: int = 0, collection: str = "cats", *, serve: bool = False) -> str:
    """Store a version as a run does."""
    made = head(seed=number)
    at = BEGIN + timedelta(seconds=number)
    version = version_name(at, made.arrays)
    card = made.card.model_copy(update={"collection": collection, "version": version, "created": at})
    with shelf.training(collection):
        shelf.store(card, made.arrays, SEEN, "<p>report")
        if serve:
            assert shelf.promote(collection, version)
    return version


def answers(found: Head | None) -> list[float] | None:
    return None if found is None else found.probabilities(batch(1))[0].tolist()


def expected(number: int) -> list[float]:
    return head(seed=number).probabilities(batch(1))[0].tolist()


def test_what_is_stored_is_read(shelf):
    version = put(shelf, 1)
    assert shelf.current("cats") is None
    assert shelf.versions("cats") == [version]
    again = shelf.load("cats", version)
    assert answers(again) == expected(1)
    assert set(again.card.files) == {"head.npz", "photos.npz", "report.html"}
    seen = shelf.seen("cats", version)
    assert seen.digests.tolist() == sorted([photo_digest("a"), photo_digest("b")])
    assert seen.phashes.tolist() == [5]


def test_best_models_are_told_as_image_embed_does(shelf):
    version = put(shelf, 1, "7", serve=True)
    told = json.loads((shelf.folder / "best_models.json").read_bytes())["7"]
    assert told["model_file"] == f"7/{version}/head.npz"
    assert (shelf.folder / told["model_file"]).is_file()
    assert told["derivative_type"] == "whole_image"
    assert told["embedding_type"] == "embed_hog_hsv+embed_hog_hsv"
    assert told["dimensionality"] == 5


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../up",
        "a/b",
        "a\\b",
        "C:",
        "con.txt",
        "A",
        "é",
        "\0",
        "x" * 5000,
        ".lock",
        " ",
        "~",
        "best_models.json",
        "-",
        "a b",
        "\n",
    ],
)
def test_odd_names_are_safe(shelf, name):
    version = put(shelf, 1, name, serve=True)
    folder = shelf.folder / folder_name(name)
    assert folder.parent == shelf.folder
    assert folder.resolve().parent == shelf.folder.resolve()
    assert (folder / version / "head.npz").is_file()
    assert shelf.current(name).card.collection == name
    assert Shelf(shelf.folder).best(name) == version


def test_names_never_share_a_folder():
    names = ["a", "A", "a ", "á", "a/b", "a-b", "a.b", "1", "01", "x" * 64, "x" * 65, "", "collection"]
    folders = [folder_name(name).lower() for name in names]
    assert len(set(folders)) == len(names)
    assert max(map(len, folders)) <= 64
    assert folder_name("12") == "12"


# What serves


def test_a_promoted_version_serves_without_a_restart(shelf):
    server = Shelf(shelf.folder)
    assert server.current("cats") is None
    put(shelf, 1, serve=True)
    assert answers(server.current("cats")) == expected(1)
    put(shelf, 2, serve=True)
    assert answers(server.current("cats")) == expected(2)
    assert server.problem("cats") is None


def rewrite(path: Path, data: bytes) -> None:
    """Write a file of the same size so that who only looks at it sees no change."""
    found = path.stat()
    assert found.st_size == len(data)
    path.write_bytes(data)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_reading_again_costs_one_look(shelf):
    version = put(shelf, 1, serve=True)
    known = shelf.current("cats")
    shutil.rmtree(shelf.folder / "cats" / version)
    best = shelf.folder / "best_models.json"
    rewrite(best, b"?" * best.stat().st_size)
    for _ in range(3):
        assert shelf.current("cats") is known
        assert shelf.problem("cats") is None
    best.touch()
    assert shelf.current("cats") is known
    assert "best_models.json cannot be read" in shelf.problem("cats")


def test_other_collections_are_not_loaded_again(shelf):
    put(shelf, 1, "dogs", serve=True)
    known = shelf.current("dogs")
    put(shelf, 2, "cats", serve=True)
    assert shelf.current("cats") is not None
    assert shelf.current("dogs") is known


def damage_flip(path: Path) -> None:
    data = bytearray((path / "head.npz").read_bytes())
    data[-30] ^= 1
    (path / "head.npz").write_bytes(data)


def damage_cut(path: Path) -> None:
    (path / "head.npz").write_bytes((path / "head.npz").read_bytes()[:100])


def damage_long(path: Path) -> None:
    with (path / "head.npz").open("ab") as file:
        file.write(b"\0" * 100)


def damage_card(path: Path) -> None:
    text = (path / "card.json").read_text().replace('"whole_image"', '"prominent_face"')
    (path / "card.json").write_text(text)


def damage_card_wholly(path: Path) -> None:
    (path / "card.json").write_bytes(b"\xff{")


def damage_gone(path: Path) -> None:
    shutil.rmtree(path)


DAMAGES = [damage_flip, damage_cut, damage_long, damage_card, damage_card_wholly, damage_gone]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_version_never_replaces_a_working_one(shelf, damage, tmp_path):
    put(shelf, 1, serve=True)
    server = Shelf(shelf.folder)
    assert answers(server.current("cats")) == expected(1)
    second = put(shelf, 2, serve=True)
    path = shelf.folder / "cats" / second
    shutil.copytree(path, tmp_path / "copy")
    damage(path)
    for _ in range(2):
        assert answers(server.current("cats")) == expected(1)
        assert f"Version {second} of 'cats' cannot be read" in server.problem("cats")
    fresh = Shelf(shelf.folder)
    assert fresh.current("cats") is None
    assert "cannot be read" in fresh.problem("cats")
    assert str(tmp_path) not in fresh.problem("cats")
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(tmp_path / "copy", path)
    for one in (server, fresh):
        assert answers(one.current("cats")) == expected(2)
        assert one.problem("cats") is None


@pytest.mark.parametrize("damage", DAMAGES[:-1])
def test_a_broken_version_is_not_promoted(shelf, damage):
    first, second = put(shelf, 1, serve=True), put(shelf, 2)
    damage(shelf.folder / "cats" / second)
    if damage is not damage_card:
        with pytest.raises(ShelfError, match="Roll back to another one, or train again"):
            shelf.promote("cats", second)
        assert shelf.best("cats") == first
        told = shelf.stored("cats")
        assert [one.serves for one in told] == [True, False]
        assert "cannot be read" in told[1].problem


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"cats": 1}', b'{"cats": {"version": "../x"}}', b"[" * 100_000]
)
def test_broken_best_models_stop_nothing(shelf, text):
    put(shelf, 1, serve=True)
    server = Shelf(shelf.folder)
    assert server.current("cats") is not None
    (shelf.folder / "best_models.json").write_bytes(text)
    assert answers(server.current("cats")) == expected(1)
    assert "best_models.json cannot be read" in server.problem("cats")
    with pytest.raises(ShelfError, match="Put back a copy of it"):
        shelf.best("cats")
    assert Shelf(shelf.folder).current("cats") is None


@pytest.mark.parametrize("name", ["best_models.json", "card.json", "head.npz"])
def test_a_read_that_fails_once_is_tried_again(shelf, caplog, name):
    """The files do not change, and are fine a moment later."""
    put(shelf, 1, serve=True)
    now = [0.0]
    fresh = CurrentHeads(shelf, clock=lambda: now[0])
    served = CurrentHeads(shelf, clock=lambda: now[0])
    assert answers(served.get("cats")) == expected(1)
    put(shelf, 2, serve=True)
    with too_many_open_files(name) as reads:
        for _ in range(3):
            assert fresh.get("cats") is None
            assert answers(served.get("cats")) == expected(1)
        for heads in (fresh, served):
            assert str(heads.problem("cats")).endswith("cannot be read just now (Too many open files).")
        now[0] += RETRY_SECONDS
        for _ in range(3):
            assert answers(served.get("cats")) == expected(1)
    # Not at every request, and told once each.
    assert len(reads) == 3
    assert len(caplog.records) == 2
    assert answers(served.get("cats")) == expected(1)
    now[0] += RETRY_SECONDS
    for heads in (fresh, served):
        assert answers(heads.get("cats")) == expected(2)
        assert heads.problem("cats") is None


def test_what_is_damaged_is_not_read_again_and_again(shelf):
    path = shelf.folder / "cats" / put(shelf, 1, serve=True)
    whole = (path / "head.npz").read_bytes()
    damage_flip(path)
    now = [0.0]
    heads = CurrentHeads(shelf, clock=lambda: now[0])
    assert heads.get("cats") is None
    # Whoever reads it finds it mended, and whoever looks at it only sees no change.
    rewrite(path / "head.npz", whole)
    now[0] += 1e6
    assert heads.get("cats") is None
    (path / "head.npz").touch()
    assert answers(heads.get("cats")) == expected(1)


def test_what_is_taken_away_serves_no_more(shelf):
    put(shelf, 1, serve=True)
    assert shelf.current("cats") is not None
    (shelf.folder / "best_models.json").unlink()
    assert shelf.current("cats") is None


@pytest.mark.parametrize("version", ["", "..", "../../etc", "20260101T000000000000Z-0123456789a/"])
def test_no_version_leads_out_of_the_shelf(shelf, version):
    put(shelf, 1)
    with pytest.raises(ShelfError):
        shelf.load("cats", version)
    with pytest.raises(ShelfError, match="has no version"):
        shelf.promote("cats", version)
    with pytest.raises(ShelfError, match="has no version"):
        shelf.pin("cats", version)


def test_files_are_bounded_before_they_are_read(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 101)
    assert read_bounded(tmp_path / "big", 101)
    with pytest.raises(OSError, match="larger than 100 bytes"):
        read_bounded(tmp_path / "big", 100)


def test_a_head_of_another_collection_is_not_served(shelf):
    version = put(shelf, 1, "dogs")
    shutil.copytree(shelf.folder / "dogs", shelf.folder / "cats")
    with pytest.raises(ShelfError, match="is of 'dogs'"):
        shelf.load("cats", version)


def test_servers_read_while_versions_come(shelf):
    put(shelf, 0, serve=True)
    allowed = {tuple(expected(number)) for number in range(6)}
    server, stop, seen = Shelf(shelf.folder), threading.Event(), set()
    failures = []

    def read() -> None:
        while not stop.is_set():
            found = answers(server.current("cats"))
            if found is None or server.problem("cats") is not None:
                failures.append(server.problem("cats"))
                return
            seen.add(tuple(found))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 6):
        put(shelf, number, serve=True)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert not failures
    assert seen <= allowed
    assert answers(server.current("cats")) == expected(5)


# Promote, roll back, pin, prune


def test_rollback_goes_back_and_withdraws(shelf):
    first, second, third = (put(shelf, number, serve=True) for number in range(3))
    assert shelf.rollback("cats") == second
    assert shelf.rollback("cats") == first
    with pytest.raises(ShelfError, match="No earlier version"):
        shelf.rollback("cats")
    assert shelf.history("cats").withdrawn == {second, third}
    assert shelf.promote("cats", third)
    assert shelf.history("cats").withdrawn == {second}
    assert shelf.rollback("cats") == first
    assert [event.version for event in shelf.history("cats").events] == [
        first,
        second,
        third,
        second,
        first,
        third,
        first,
    ]


def test_rollback_of_nothing(shelf):
    with pytest.raises(ShelfError, match="Promote one of its versions by name"):
        shelf.rollback("cats")


def test_a_run_does_not_overrule_what_a_person_did_meanwhile(shelf):
    first, second, third = (put(shelf, number) for number in range(3))
    assert shelf.promote("cats", first, instead_of=None)
    assert not shelf.promote("cats", third, instead_of=None)
    assert shelf.promote("cats", second, instead_of=first)
    assert shelf.best("cats") == second


def test_the_best_are_kept(shelf):
    versions = [put(shelf, number) for number in range(12)]
    shelf.promote("cats", versions[0])
    shelf.promote("cats", versions[1])
    shelf.pin("cats", versions[2])
    ranked = [versions[number] for number in (9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 11, 10)]
    deleted = shelf.prune("cats", ranked, keep=6)
    assert deleted == [versions[number] for number in (7, 6, 5, 4, 3, 10)]
    assert shelf.versions("cats") == [versions[number] for number in (0, 1, 2, 8, 9, 11)]
    assert shelf.prune("cats", ranked, keep=1) == [versions[number] for number in (9, 8)]
    shelf.unpin("cats", versions[2])
    assert shelf.prune("cats", [], keep=1) == [versions[2]]
    assert shelf.versions("cats") == [versions[number] for number in (0, 1, 11)]
    assert not list(shelf.folder.glob("*/.partial*"))


def test_pins_of_what_is_gone_are_forgotten(shelf):
    first = put(shelf, 1)
    shelf.pin("cats", first)
    shutil.rmtree(shelf.folder / "cats" / first)
    shelf.pin("cats", put(shelf, 2))
    assert shelf.history("cats").pinned == {shelf.versions("cats")[0]}


def test_a_second_trainer_is_refused(shelf):
    with shelf.training("cats"):
        with pytest.raises(ShelfBusy, match="Another process trains 'cats' already"):
            with Shelf(shelf.folder).training("cats"):
                pass
        with Shelf(shelf.folder).training("dogs"):
            pass
    with shelf.training("cats"):
        pass


def test_a_broken_history_is_told(shelf):
    version = put(shelf, 1, serve=True)
    (shelf.folder / "cats" / "history.json").write_text("{")
    with pytest.raises(ShelfError, match="history of 'cats' cannot be read"):
        shelf.rollback("cats")
    assert shelf.best("cats") == version


def test_a_switch_that_fails_changes_nothing(shelf):
    first, second = put(shelf, 1, serve=True), put(shelf, 2)
    (shelf.folder / "cats" / "history.json").write_text("{")
    with pytest.raises(ShelfError, match="history of 'cats' cannot be read"):
        shelf.promote("cats", second)
    assert shelf.best("cats") == first


def test_a_switch_that_cannot_be_written_down_says_that_it_was_made(shelf, monkeypatch):
    first, second = put(shelf, 1, serve=True), put(shelf, 2)
    real = os.replace

    def full(source: str, target: Path) -> None:
        if Path(target).name == "history.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(ShelfError, match=rf"Version {second} of 'cats' serves now, but: The history"):
            shelf.promote("cats", second)
    assert shelf.best("cats") == second
    assert shelf.rollback("cats") == first


def test_an_equal_version_is_withdrawn_with_the_one_that_was(shelf):
    first, second = put(shelf, 1, serve=True), put(shelf, 2, serve=True)
    assert shelf.rollback("cats") == first
    twin = second.replace("20260101", "20260102")
    assert shelf.history("cats").is_withdrawn(twin)
    assert not shelf.history("cats").is_withdrawn(first)
    shutil.rmtree(shelf.folder / "cats" / second)
    shelf.pin("cats", first)
    assert shelf.history("cats").is_withdrawn(twin)
    made = head(seed=2)
    with shelf.training("cats"):
        shelf.store(
            made.card.model_copy(update={"collection": "cats", "version": twin}), made.arrays, SEEN, ""
        )
    assert [one.withdrawn for one in shelf.stored("cats")] == [False, True]
    assert shelf.promote("cats", twin)
    assert shelf.history("cats").withdrawn == frozenset()
    assert shelf.rollback("cats") == first


def test_a_version_is_named_by_all_that_decides():
    arrays = head(seed=1).arrays
    names = [version_name(BEGIN, arrays, threshold) for threshold in (None, 0.5, 0.5, 0.6)]
    assert [are_equal(names[1], name) for name in names] == [False, True, True, False]
    assert are_equal(names[1], version_name(BEGIN + timedelta(days=1), arrays, 0.5))


def test_training_of_which_nothing_comes_leaves_no_folder(shelf):
    with suppress(TrainingRefused), shelf.training("cats"):
        assert (shelf.folder / "cats").is_dir()
        raise TrainingRefused
    assert not (shelf.folder / "cats").exists()
    with shelf.training("cats"):
        (shelf.folder / "cats" / "watch.json").write_text("{}")
    assert (shelf.folder / "cats" / "watch.json").exists()
    with shelf.training("cats"), pytest.raises(ShelfBusy), Shelf(shelf.folder).training("cats"):
        pass
    put(shelf, 1)
    with shelf.training("cats"):
        pass
    assert len(shelf.versions("cats")) == 1


# Crashes


class PowerCut(BaseException):
    """Nothing runs after it: not even what would clean up."""


def test_after_any_interruption_the_old_or_the_new_version_serves(tmp_path, monkeypatch):
    """The power goes at every single call that changes the disk, and the next run begins from there."""
    interrupted = 0
    for step in range(1, 200):
        shelf = Shelf(tmp_path / str(step))
        put(shelf, 1, serve=True)
        server = Shelf(shelf.folder)
        assert answers(server.current("cats")) == expected(1)
        count = {"left": step}
        with monkeypatch.context() as patched:

            def dying(real, count=count):
                def call(*arguments, **named):
                    count["left"] -= 1
                    if count["left"] <= 0:
                        raise PowerCut
                    return real(*arguments, **named)

                return call

            for name in ("mkdir", "rename", "replace", "fsync", "unlink", "utime", "chmod"):
                patched.setattr(os, name, dying(getattr(os, name)))
            patched.setattr(shutil, "rmtree", dying(shutil.rmtree))
            try:
                put(shelf, 2, serve=True)
            except PowerCut:
                interrupted += 1
                finished = False
            else:
                finished = True
        assert answers(server.current("cats")) in (expected(1), expected(2))
        assert server.problem("cats") is None
        assert answers(Shelf(shelf.folder).current("cats")) == answers(server.current("cats"))
        for version in shelf.versions("cats"):
            shelf.load("cats", version)
            shelf.seen("cats", version)
        put(shelf, 3, serve=True)
        assert answers(server.current("cats")) == expected(3)
        assert not list(shelf.folder.rglob(".partial*"))
        shelf.rollback("cats")
        assert answers(server.current("cats")) in (expected(1), expected(2))
        if finished:
            break
    assert finished
    assert interrupted >= 15


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ShelfError, match=r"cannot be written .Not a directory"):
        put(Shelf(tmp_path / "file" / "classifiers"), 1)


def test_a_full_disk_is_told_and_leaves_nothing(shelf, monkeypatch):
    first = put(shelf, 1, serve=True)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(ShelfError, match=r"cannot be written .No space left on device"):
            put(shelf, 2)
        with pytest.raises(ShelfError, match=r"best_models\.json cannot be written"):
            shelf.promote("cats", first)
    assert shelf.versions("cats") == [first]
    assert not list(shelf.folder.rglob(".partial*"))
    assert shelf.best("cats") == first


def test_equal_heads_are_equal_files(shelf):
    first, again = put(shelf, 1, "cats"), put(shelf, 1, "dogs")
    assert first == again
    files = [(shelf.folder / name / first / "head.npz").read_bytes() for name in ("cats", "dogs")]
    assert files[0] == files[1]
    assert np.load(shelf.folder / "cats" / first / "head.npz", allow_pickle=False)["mean"].shape == (5,)
