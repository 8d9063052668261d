"""Whole runs: split, trained, judged, stored, promoted and told."""

import itertools
import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from classifiers.card import Card, SampleCard
from classifiers.head import stacked
from classifiers.plots import Range, shown
from classifiers.rows import Embedding, Row, TrainingSet
from classifiers.run import RunSummary, TrainingRefused, TrainingSettings, run_training
from classifiers.shelf import Shelf
from classifiers.split import drawn_side, photo_digest
from classifiers.threshold import LeastCost, LeastPrecision
from classifiers.watch import Watch
from tests.classifiers.faults import too_many_open_files
from tests.classifiers.sets import digits, of_rows, two_labels

QUICK = TrainingSettings(challengers=(), rounds=100)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "classifiers")


def run(shelf: Shelf, rows: TrainingSet, hour: int = 0, settings: TrainingSettings = QUICK) -> RunSummary:
    at = BEGIN + timedelta(hours=hour)
    return run_training(rows, shelf, settings, clock=lambda: at, stopwatch=lambda: 0.0)


def grown(*counts: int, gap: float = 1.5) -> TrainingSet:
    """Rows of several arrivals, one after the other."""
    rows = [row for seed, count in enumerate(counts) for row in two_labels(count, seed, gap=gap).rows]
    return of_rows(rows)


def spoiled(rows: TrainingSet) -> TrainingSet:
    """With labels by chance, but for the photos that judge."""
    rng = np.random.default_rng(0)
    return of_rows(
        row
        if drawn_side(photo_digest(row.photo_id), QUICK.validation, QUICK.test) == "test"
        else replace(row, label="positive" if rng.random() < 0.5 else "negative")
        for row in rows.rows
    )


def test_digits_are_learned(shelf):
    stages: list[str] = []
    rows = digits()
    summary = run_training(rows, shelf, QUICK, progress=stages.append)
    assert summary.promoted
    assert summary.current == summary.version
    assert summary.deleted == ()
    assert stages == ["reading earlier versions", "splitting", "training", "judging", "reporting", "storing"]
    quality = summary.card.metrics
    assert quality["macro_precision"].value > 0.93
    assert quality["macro_precision"].low > 0.9
    assert summary.card.calibration_error < 0.06
    head = shelf.current("digits")
    given = stacked([row.vectors for row in rows.rows[:100]], head.card.dimensions)
    said = head.probabilities(given).argmax(axis=1)
    assert (said == [int(row.label) for row in rows.rows[:100]]).mean() > 0.9
    assert head.card == summary.card
    Page().feed(summary.report.read_text())


def test_two_labels_have_a_threshold(shelf):
    summary = run(shelf, two_labels(gap=2.5))
    assert summary.card.threshold.met
    assert summary.card.positive == "positive"
    assert summary.card.metrics["macro_precision"].value > 0.85
    assert sorted(one.value for one in summary.card.slices) == ["a", "b", "c"]


def test_equal_rows_and_settings_give_equal_versions(tmp_path):
    rows = two_labels()
    settings = TrainingSettings(rounds=100, challengers=("tuned_logistic",))
    one, other = (
        run(Shelf(tmp_path / name), each, 0, settings)
        for name, each in (
            ("one", rows),
            ("other", replace(rows, rows=tuple(reversed(rows.rows)))),
        )
    )
    assert one.version == other.version
    for name in ("card.json", "head.npz", "photos.npz", "report.html"):
        assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes()


def test_nobody_is_judged_on_what_it_saw(shelf):
    """Copies of photos arrive under other names, shares change, rows go: the bake-off stays honest."""
    rng = np.random.default_rng(0)
    base = two_labels(500, 0).rows
    hashed = [replace(row, phash=int(rng.integers(0, 2**63))) for row in base]
    copies = [
        replace(row, photo_id=f"copy of {row.photo_id}", phash=(row.phash or 0) ^ 0b101) for row in hashed
    ]
    wide = QUICK.model_copy(update={"test": 0.45})
    earlier: list[str] = []
    for hour, (rows, settings) in enumerate(
        (
            (hashed, QUICK),
            ([*hashed, *copies], QUICK),
            (copies, QUICK),
            ([*copies, *two_labels(300, 5).rows], wide),
        )
    ):
        last = run(shelf, of_rows(rows), hour, settings)
        report = last.report.read_text()
        assert "does not compete" not in report
        own = set(shelf.seen("two", last.version).digests.tolist())
        judging = [row for row in rows if photo_digest(row.photo_id) not in own]
        assert len(judging) == sum(last.card.data.sides["test"].values())
        photos = {photo_digest(row.photo_id) for row in judging}
        phashes = np.array([row.phash for row in judging if row.phash is not None], np.uint64)
        assert len(phashes)
        for version in earlier:
            assert version in report
            seen = shelf.seen("two", version)
            assert not photos & set(seen.digests.tolist())
            assert (np.bitwise_count(phashes[:, None] ^ seen.phashes) > 6).all()
        earlier.append(last.version)
    assert last.card.data.moved > 0


def test_a_worse_version_does_not_take_over(shelf):
    good = run(shelf, two_labels(600, gap=3.0), 0)
    rows = two_labels(600, gap=3.0)
    bad = run(shelf, spoiled(rows), 1)
    assert not bad.promoted
    assert bad.current == good.version
    assert "goes on serving: it ranks first" in bad.reason
    assert shelf.current("two").card.version == good.version


def test_a_better_version_takes_over(shelf):
    first = run(shelf, grown(150), 0)
    second = run(shelf, grown(150, 1500), 1)
    assert second.promoted
    assert second.reason.startswith("The new version serves: it ranks first")
    assert shelf.rollback("two") == first.version
    third = run(shelf, grown(150, 1500, 10), 2)
    assert second.version not in third.reason
    assert "it was withdrawn" in third.report.read_text()


def test_equal_versions_change_nothing(shelf):
    first, again = (run(shelf, two_labels(), hour) for hour in (0, 1))
    assert not again.promoted
    assert again.current == first.version


def test_promotion_can_be_left_to_people(shelf):
    never = QUICK.model_copy(update={"promote": "never"})
    summary = run(shelf, two_labels(), 0, never)
    assert (summary.promoted, summary.current) == (False, None)
    assert "a person decides" in summary.reason
    assert shelf.promote("two", summary.version)
    assert shelf.current("two") is not None


def test_what_a_person_did_meanwhile_stays(shelf):
    first = run(shelf, spoiled(two_labels()), 0, QUICK.model_copy(update={"promote": "never"}))

    def meddle(stage: str) -> None:
        if stage == "storing":
            Shelf(shelf.folder).promote("two", first.version)

    second = run_training(two_labels(), shelf, QUICK, progress=meddle)
    assert not second.promoted
    assert second.current == first.version
    assert "meanwhile, and it stays" in second.reason


INCOMPARABLE = {
    "target": ({"target": "prominent_face"}, "it is for the target 'whole_image'"),
    "context": ({"face_context": "whole_image"}, "it looks for faces in the prominent person"),
    "embedding": ({"embeddings": (Embedding("embed_hog_hsv", {"size": 2}),)}, "it reads other embeddings"),
    "space": ({"spaces": ("other",)}, "it reads vectors of another space"),
    "positive": ({"positive": "negative"}, "it knows other labels"),
}


@pytest.mark.parametrize(("change", "told"), INCOMPARABLE.values(), ids=INCOMPARABLE)
def test_what_cannot_be_compared_goes_on_serving(shelf, change, told):
    first = run(shelf, two_labels(), 0)
    other = replace(two_labels(gap=3.0), **change)
    second = run(shelf, other, 1, QUICK.model_copy(update={"test": 0.2}))
    assert not second.promoted
    assert second.current == first.version
    assert f"{first.version} goes on serving, as it cannot be compared ({told})" in second.reason
    assert "promote it by name" in second.reason
    assert shelf.promote("two", second.version)
    # The first one is left out now, and no reason to keep those that can be judged from serving.
    third = run(shelf, other, 2)
    assert third.current == second.version
    assert "it ranks first" in third.reason


def test_versions_of_different_aims_are_judged_by_the_same_rows(shelf):
    rows = two_labels(600, gap=3.0)
    precise = QUICK.model_copy(update={"aim": LeastPrecision(precision=0.8)})
    first = run(shelf, two_labels(200, gap=1.0), 0)
    better = run(shelf, rows, 1, precise)
    assert better.promoted
    assert better.reason.startswith("The new version serves: it ranks first")
    assert f"The threshold of {first.version} is for least cost" in better.reason
    assert f"that of {better.version} for a precision of at least 0.8" in better.reason
    worse = run(shelf, spoiled(rows), 2)
    assert worse.current == better.version
    assert f"The threshold of {better.version} is for a precision" in worse.reason


@pytest.mark.parametrize("name", ["head.npz", "card.json"])
def test_a_version_that_can_serve_no_more_gives_way(shelf, name):
    first = run(shelf, two_labels(), 0)
    (first.folder / name).write_bytes(b"")
    second = run(shelf, two_labels(), 1)
    assert second.promoted
    assert f"as {first.version} cannot be compared (Version {first.version} of 'two'" in second.reason


def test_a_version_that_is_gone_gives_way(shelf):
    first = run(shelf, two_labels(), 0)
    shutil.rmtree(first.folder)
    assert f"as {first.version} is gone" in run(shelf, two_labels(), 1).reason


def test_what_can_serve_stays_where_its_photos_cannot_be_read(shelf):
    first = run(shelf, two_labels(), 0)
    (first.folder / "photos.npz").write_bytes(b"")
    second = run(shelf, two_labels(600, gap=4.0), 1)
    assert second.current == first.version
    assert "what it was trained on is not known" in second.reason
    assert "photos.npz is not what was written" in second.reason


def test_a_read_that_fails_once_dethrones_nothing(shelf):
    first = run(shelf, two_labels(), 0)
    with too_many_open_files("card.json"):
        second = run(shelf, two_labels(600, gap=4.0), 1)
    assert second.current == first.version
    assert "Too many open files" in second.reason


def test_what_was_rolled_back_is_not_put_back_when_it_is_trained_again(shelf):
    good = two_labels(600, gap=3.0)
    first, second = run(shelf, two_labels(200, gap=1.0), 0), run(shelf, good, 1)
    assert second.promoted
    assert shelf.rollback("two") == first.version
    third = run(shelf, good, 2)
    assert third.version != second.version
    assert third.current == first.version
    assert f"Version {third.version} does not serve: an equal one was withdrawn" in third.reason
    # Nor by a later run, as an earlier version, nor after the withdrawn one was deleted.
    fourth = run(shelf, good, 3)
    for gone in (second, third):
        shutil.rmtree(gone.folder)
    shelf.pin("two", fourth.version)
    fifth = run(shelf, good, 4)
    assert (fourth.current, fifth.current) == (first.version, first.version)
    # Another threshold is another version.
    dear = QUICK.model_copy(update={"aim": LeastCost(false_positive=50.0)})
    assert "withdrawn" not in run(shelf, good, 5, dear).reason
    assert shelf.promote("two", fifth.version)
    assert "withdrawn" not in run(shelf, good, 6).reason


def test_what_is_no_better_than_guessing_is_not_put_in_service(shelf):
    useless = run(shelf, two_labels(gap=0.0), 0)
    assert (useless.promoted, useless.current) == (False, None)
    assert re.search(r"balanced accuracy of 0\.\d+ \(.+\) is not surely above the 0\.500", useless.reason)
    assert "Promote a version by name" in useless.reason
    shelf.promote("two", useless.version)
    again = run(shelf, two_labels(500, gap=0.0), 1)
    assert again.current == useless.version
    (useless.folder / "head.npz").write_bytes(b"")
    assert run(shelf, two_labels(500, gap=0.0), 2).current == useless.version
    assert run(shelf, two_labels(600, gap=2.0), 3).promoted


def test_the_seconds_of_every_stage_are_told(shelf):
    ticks = itertools.count()
    summary = run_training(
        two_labels(), shelf, QUICK, spent={"embedding images": 12.25}, stopwatch=lambda: float(next(ticks))
    )
    stages = ["reading earlier versions", "splitting", "training", "judging", "reporting", "storing"]
    assert summary.seconds == {"embedding images": 12.25, **dict.fromkeys(stages, 1.0)}
    told = "embedding images 12.2, reading earlier versions 1.0, splitting 1.0, training 1.0, judging 1.0"
    assert told in summary.report.read_text()


def test_labels_in_another_order_are_the_same_labels(shelf):
    first = run(shelf, two_labels(), 0)
    turned = run(shelf, replace(two_labels(), labels=("positive", "negative")), 1)
    judged = re.findall(r"<td class=n>(0\.\d+)</td>", turned.report.read_text())
    assert judged
    assert "cannot be compared" not in turned.reason
    assert turned.card.metrics["macro_precision"].value == pytest.approx(
        first.card.metrics["macro_precision"].value, abs=0.01
    )


def test_only_the_best_are_kept(shelf):
    few = QUICK.model_copy(update={"keep": 3})
    summaries = [run(shelf, grown(200, 10 * hour), hour, few) for hour in range(1, 5)]
    assert len(shelf.versions("two")) == 3
    assert shelf.best("two") in shelf.versions("two")
    assert summaries[-1].version in shelf.versions("two")
    assert sum(len(summary.deleted) for summary in summaries) == 1


def test_a_refused_run_stores_nothing(shelf):
    with pytest.raises(TrainingRefused):
        run(shelf, two_labels(10))
    assert shelf.versions("two") == []
    assert shelf.best("two") is None
    assert [path.name for path in shelf.folder.iterdir()] == [".lock"]


def test_several_embeddings_are_read_side_by_side(shelf):
    rows = two_labels(gap=2.5)
    split_up = replace(
        rows,
        embeddings=(Embedding("embed_clip_vit_b_32"), Embedding("embed_hog_hsv")),
        spaces=("a", None),
        rows=tuple(replace(row, vectors=(row.vectors[0][:3], row.vectors[0][3:])) for row in rows.rows),
    )
    summary = run(shelf, split_up)
    assert summary.card.dimensions == (3, 5)
    found = shelf.current("two").probabilities(stacked([row.vectors for row in split_up.rows[:5]], (3, 5)))
    assert found.shape == (5, 2)


# The reference, and what the version that served has seen


def measured(rows: TrainingSet) -> TrainingSet:
    """As a folder's rows are; a few could not be measured."""
    rng = np.random.default_rng(9)
    return of_rows(
        row
        if number % 50 == 0
        else replace(row, measures={"brightness": rng.normal(120, 20), "size": 640.0, "age": 7.0})
        for number, row in enumerate(rows.rows)
    )


def test_a_version_keeps_what_it_was_trained_on(shelf):
    rows = measured(two_labels(2000))
    card = run(shelf, rows).card
    kept = card.reference.measures
    assert set(kept) == {"brightness", "size", "score"}
    assert [kept[name].of for name in ("brightness", "size")] == [1960, 1960]
    assert len(kept["brightness"].values) == 512
    assert set(kept["size"].values) == {640.0}
    held_out = sum(card.data.sides["validation"].values()) + sum(card.data.sides["test"].values())
    assert kept["score"].of == held_out < 1000
    # The very head that is stored says them.
    head = shelf.current("two")
    sides = [drawn_side(photo_digest(row.photo_id), QUICK.validation, QUICK.test) for row in rows.rows]
    given = [row.vectors for row, side in zip(rows.rows, sides, strict=True) if side != "train"]
    said = head.probabilities(stacked(given, head.card.dimensions))[:, 1]
    assert np.median(kept["score"].values) == pytest.approx(np.median(said), abs=0.005)
    assert max(kept["score"].values) == pytest.approx(said.max(), abs=0.02)


def test_of_several_labels_the_score_is_of_the_likeliest(shelf):
    card = run_training(digits(), shelf, QUICK).card
    assert list(card.reference.measures) == ["score"]
    assert min(card.reference.measures["score"].values) > 0.1


def test_a_card_without_a_reference_is_read(shelf):
    card = run(shelf, two_labels()).card
    old = card.model_dump(mode="json")
    del old["reference"]
    assert Card.model_validate_json(json.dumps(old)) == card.model_copy(update={"reference": None})


@pytest.mark.parametrize(
    "sample", [{"of": 2, "values": [2.0, 1.0]}, {"of": 0, "values": []}, {"of": 600, "values": [1.0] * 513}]
)
def test_a_sample_that_is_none_is_refused(sample):
    with pytest.raises(ValidationError):
        SampleCard.model_validate(sample)


def test_measures_change_no_version(tmp_path):
    one, other = (
        run(Shelf(tmp_path / name), rows)
        for name, rows in (("one", two_labels()), ("other", measured(two_labels())))
    )
    assert one.version == other.version
    assert one.card.data == other.card.data


def test_a_report_shows_the_drift_of_what_served(shelf):
    first = run(shelf, measured(two_labels(600)))
    assert "Reference" in first.report.read_text()
    assert "Drift of the version that served" not in first.report.read_text()
    watch = Watch(shelf.folder)
    rng = np.random.default_rng(0)
    for _ in range(200):
        watch.observe(first.card, {"brightness": rng.normal(60, 20), "size": 640.0}, rng.random())
    watch.close()
    second = run(shelf, measured(two_labels(600, 1)), 1)
    text = second.report.read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    drift = text[text.index("Drift of the version that served") : text.index("Data and settings")]
    assert first.version in drift
    assert "was asked 200 times" in drift
    assert "<td>brightness</td><td>drifting</td>" in drift
    assert "<td>size</td><td>steady</td>" in drift
    assert drift.count("<svg") == 3


def test_windows_of_a_version_that_cannot_be_read_are_left(shelf):
    first = run(shelf, two_labels())
    (first.folder.parent / "watch.json").write_text("{")
    assert "Drift of" not in run(shelf, two_labels(500), 1).report.read_text()
    current = shelf.best("two")
    (first.folder.parent / str(current) / "card.json").write_text("{}")
    assert "Drift of" not in run(shelf, two_labels(600), 2).report.read_text()


# The report


class Page(HTMLParser):
    """Every element that is opened is closed, and nothing comes from elsewhere or runs."""

    EMPTY = ("meta", "rect", "line", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "object", "img", "a")
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in ("src", "href")
            assert "nan" not in (value or "") or name == "title"
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


EVIL = "</title><script>alert(1)</script>\"'&\0"


def test_everything_in_a_report_is_escaped(shelf):
    rows = two_labels(gap=0.7)
    evil = replace(
        rows,
        name=EVIL,
        target=EVIL,
        labels=("negative", EVIL),
        positive=EVIL,
        rows=tuple(
            Row(
                f"{EVIL}{row.photo_id}\ud800",
                EVIL if row.label == "positive" else row.label,
                row.vectors,
                None,
                {EVIL: EVIL},
            )
            for row in rows.rows
        ),
    )
    summary = run(shelf, evil)
    text = summary.report.read_text()
    assert "<script" not in text
    assert "\0" not in text
    page = Page()
    page.feed(text)
    assert page.open == []
    assert any("<script>alert(1)</script>" in told for told in page.texts)


def test_a_report_tells_all(shelf):
    first = run(shelf, replace(grown(200), target="prominent_face"), 0)
    aim = LeastPrecision(precision=0.9)
    text = run(shelf, grown(200, 400, gap=0.8), 1, QUICK.model_copy(update={"aim": aim})).report.read_text()
    for heading in (
        "Decision",
        "On the test rows the precision is",
        "Quality on the test rows",
        "Bake-off",
        "Reliability",
        "Precision and recall",
        "Receiver operating",
        "Scores of both labels",
        "by threshold (validation)",
        "Confusion",
        "Slices",
        "Hardest mistakes",
        "Data and settings",
        "Data digest",
        "baseline of this run",
        "does not compete",
    ):
        assert heading in text
    assert f"{first.version} goes on serving, as it cannot be compared" in text
    assert "as of the run; best_models.json tells what serves now" in text
    assert "photos that no version compared here has seen" in text
    figure = r"<td class=n>0\.\d{3}</td><td class=n>0\.\d{3} to [01]\.\d{3}</td><td><svg"
    assert len(re.findall(figure, text[text.index("Bake-off") : text.index("Curves")])) == 2
    assert not re.search(r"\b1 rows|no version has seen", text)
    assert re.search(r"two-\d-\d+</code></td><td>(positive|negative)", text)
    assert len(text) < 200_000


def test_many_labels_fit_in_a_report(shelf):
    rng = np.random.default_rng(0)
    names = tuple(f"label {number}" for number in range(26))
    rows = TrainingSet(
        "many",
        "whole_image",
        (Embedding("embed_hog_hsv"),),
        (None,),
        names,
        tuple(
            Row(f"{number}", names[number % 26], ((rng.normal(size=6) + number % 26).astype(np.float32),))
            for number in range(780)
        ),
    )
    text = run(shelf, rows).report.read_text()
    assert "Only the 24 labels with the most mistakes are shown" in text
    assert text.count("<polyline") < 30
    page = Page()
    page.feed(text)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.013), (-3, 12345), (0.4, 0.41), (0.49, 0.51)])
def test_ticks_are_few_and_inside(low, high):
    ticks = Range(low, high).ticks()
    assert 3 <= len(ticks) <= 11
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)


def test_control_characters_are_not_sent():
    assert shown("a\0\x1b\u202e<b>\"'") == "a���&lt;b&gt;&quot;&#x27;"
