"""`sightgraph analyze`, against the real application."""

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from app.api.doors import Doors
from app.api.room import Room
from app.cli import main
from app.cli.analyze.annotating import Annotation, drawable
from app.cli.analyze.marks import Mark, marks_of
from app.cli.analyze.rendering import inline, rendered
from app.cli.tasks.json_schema import Schema
from app.client import Answer
from app.core import catalog
from app.core.access import made_key
from app.core.registry import Registry
from tests.conftest import served
from tests.images import ASTRONAUT_FACE, astronaut, encoded, noise, plain, qr_code

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def url(room: Room) -> Iterator[str]:
    with served(room) as url:
        yield url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def run(*arguments: object, stdin: str | None = None, **environment: str) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin, env=environment)


def put(folder: Path, path: str, pixels: np.ndarray) -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded(pixels, "JPEG" if file.suffix == ".jpg" else "PNG"))
    return file


def lines_of(result: Result) -> dict[str, dict]:
    """The JSON of a run on several images, by their names."""
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    return {Path(document["source"]).name: document for document in documents}


class TestOneImage:
    def test_results_are_shown_by_their_form(self, folder, url):
        photo = put(folder, "a.png", astronaut())
        tasks = [
            "faces=detect_bounding_box:target=all_faces",
            "vectors=embed_hog_hsv:target=task:faces",
            "embed_hog_hsv",
            "crop:target=bbox:10,20,110,70",
            "hash_perceptual",
            "read_codes",
            "image_properties",
        ]
        result = run("analyze", photo, "--server", url, *(f"-t{task}" for task in tasks))
        assert result.exit_code == 0, result.output
        shown = result.stdout
        assert f"{photo}  512x512 PNG" in shown
        assert "faces  success  detect_bounding_box  mtcnn" in shown
        assert "181 62 268 172  face" in shown
        assert shown.count("2020 numbers: ") == 2
        assert "10 20 110 70 (100x50)" in shown
        assert "phash      c2924c5532bddfc8" in shown
        assert "no codes" in shown
        assert "width 512, height 512, format PNG" in shown
        assert "too_dark    raised no, measure brightness" in shown

    def test_json_is_the_servers_answer(self, folder, url):
        photo = put(folder, "a.png", noise(40, 30))
        result = run(
            "analyze", photo, "--server", url, "--json", "-t", "crop", "-t", "crop:target=bbox:1,2,3,4"
        )
        assert result.exit_code == 0, result.output
        answer = json.loads(result.stdout)
        assert answer["source"] == str(photo)
        assert list(answer["results"]) == ["crop", "crop_2"]
        assert answer["results"]["crop"]["cropped_image_base64"]
        assert answer["image"]["width"] == 40
        assert result.stderr == ""

    def test_a_task_that_failed_ends_with_1_and_its_remedy(self, folder, url):
        photo = put(folder, "a.png", noise(40, 30))
        result = run("analyze", photo, "--server", url, "-t", "describe_image", "-t", "crop")
        assert result.exit_code == 1
        assert "describe_image  error  blip-base" in result.stdout
        assert "model_unavailable: " in result.stdout
        assert "sightgraph models pull Salesforce/blip-image-captioning-base" in result.stdout
        assert "crop  success" in result.stdout

    def test_a_skipped_task_is_no_failure(self, folder, url):
        photo = put(folder, "a.png", noise(40, 30))
        result = run("analyze", photo, "--server", url, "-t", "crop:target=task:nothing")
        assert result.exit_code == 0, result.output
        assert "crop  skipped" in result.stdout
        assert "invalid_reference: target.task: this request has no task 'nothing'" in result.stdout

    def test_an_image_that_cannot_be_read_is_told_once(self, folder, url):
        broken = folder / "broken.png"
        broken.write_text("no image")
        result = run("analyze", broken, "--server", url, "--json", "-t", "crop")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"{broken}: Could not process image: ")
        assert len(result.stderr.splitlines()) == 1

    def test_tasks_of_a_file(self, folder, url):
        photo = put(folder, "a.png", noise(40, 30))
        tasks = json.dumps([{"operation_id": "mine", "type": "image_properties", "params": None}])
        (folder / "tasks.json").write_text(tasks)
        for given, stdin in ((folder / "tasks.json", None), ("-", tasks)):
            result = run("analyze", photo, "--server", url, "--tasks", given, "--json", stdin=stdin)
            assert result.exit_code == 0, result.output
            assert list(json.loads(result.stdout)["results"]) == ["mine"]

    def test_a_file_with_an_unknown_type_is_the_servers_to_judge(self, folder, url):
        photo = put(folder, "a.png", noise(40, 30))
        result = run(
            "analyze", photo, "--server", url, "--tasks", "-", stdin='[{"operation_id": "x", "type": "y"}]'
        )
        assert result.exit_code == 0, result.output
        assert "unsupported_operation" in result.stdout

    def test_ids_that_are_not_unique_are_one_line(self, folder, url):
        photo = put(folder, "a.png", noise(40, 30))
        result = run("analyze", photo, "--server", url, "-t", "a=crop", "-t", "a=image_properties")
        assert result.exit_code == 1
        assert "'a'" in result.stderr
        assert len(result.stderr.splitlines()) == 1, result.stderr

    def test_in_this_process(self, folder, tmp_path):
        photo = put(folder, "a.png", noise(40, 30))
        result = run(
            "analyze", photo, "--offline", "--json", "-t", "crop", SIGHTGRAPH_DATA=str(tmp_path / "data")
        )
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["results"]["crop"]["data"] == [0, 0, 40, 30]

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["{photo}"], "Say what to do: -t TYPE"),
            (["{photo}", "-t", "crops"], "Did you mean 'crop'?"),
            (["{photo}", "-t", "read_text:min_confidence=2"], "must be a number from 0.5 to 1, got '2'"),
            (["{photo}", "-t", "crop\udcff"], "must be UTF-8"),
            (["no-such-file.jpg", "-t", "crop"], "there is no file or folder 'no-such-file.jpg'"),
            (["{empty}", "-t", "crop"], "no images are in the folder"),
            (["{empty}", "-t", "crop"], "--recursive also looks into the folders in it"),
            (["{photo}", "-t", "crop", "--annotate", "{photo}"], "is the image itself, and would be lost"),
            (["{empty}/sub", "-t", "crop", "--annotate", "a.png"], "name a folder"),
            (["{photo}", "-t", "crop", "--annotate", "{text}"], "is a file that holds no image"),
            (["{photo}", "-t", "crop", "--annotate", "out.gif"], "is of a format that is not drawn in"),
            (["{photo}", "-t", "crop", "--annotate", "out.HEIC"], "a file with .png, .jpg, .jpeg, .webp"),
            (["{photo}", "-t", "crop", "--offline"], "--offline is for this process"),
        ],
    )
    def test_wrong_usage_is_told(self, arguments, told, folder, url):
        photo = put(folder, "a.png", noise(8, 8))
        put(folder, "empty/sub/a.png", noise(8, 8))
        (folder / "notes.txt").write_text("none")
        places = {"photo": photo, "empty": folder / "empty", "text": folder / "notes.txt"}
        result = run("analyze", *(each.format(**places) for each in arguments), "--server", url)
        assert result.exit_code == 2, result.output
        assert told in " ".join(result.stderr.split())

    def test_no_server_is_one_line(self, folder):
        photo = put(folder, "a.png", noise(8, 8))
        result = run("analyze", photo, "--server", "http://127.0.0.1:1", "-t", "crop")
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: No answer from http://127.0.0.1:1")
        assert len(result.stderr.splitlines()) == 1


def test_a_key_is_shown_to_the_server(room, folder):
    photo = put(folder, "a.png", noise(8, 8))
    key, entry = made_key("app", ["analyze"])
    with served(room, Doors(keys=(entry,))) as url:
        for command in (["analyze", photo, "-t", "crop"], ["plan", "-t", "crop"], ["operations"]):
            refused = run(*command, "--server", url)
            assert (refused.exit_code, refused.stdout) == (1, "")
            assert "needs an API key" in refused.stderr
            assert len(refused.stderr.splitlines()) == 1
            answered = run(*command, "--server", url, SIGHTGRAPH_API_KEY=key)
            assert answered.exit_code == 0, answered.output


class TestSeveral:
    def test_a_folder_is_answered_line_by_line(self, folder, url):
        put(folder, "a.png", noise(40, 30))
        put(folder, "sub/b.jpg", plain(64, 48))
        (folder / "broken.png").write_text("no image")
        (folder / "notes.txt").write_text("none")
        flat = run("analyze", folder, "--server", url, "--json", "-t", "crop")
        assert flat.exit_code == 1
        assert set(lines_of(flat)) == {"a.png", "broken.png"}
        deep = run("analyze", folder, "-r", "--server", url, "--json", "-t", "crop")
        documents = lines_of(deep)
        assert set(documents) == {"a.png", "b.jpg", "broken.png"}
        assert documents["b.jpg"]["source"] == str(folder / "sub" / "b.jpg")
        assert documents["b.jpg"]["results"]["crop"]["data"] == [0, 0, 64, 48]
        assert "index" not in documents["b.jpg"]
        assert documents["broken.png"].keys() == {"source", "detail", "status"}
        assert documents["broken.png"]["status"] == 400
        assert deep.stderr.splitlines() == [f"{folder / 'broken.png'}: {documents['broken.png']['detail']}"]

    def test_results_are_shown_under_the_name_of_their_image(self, folder, url):
        for name in ("a.png", "b.png"):
            put(folder, name, noise(20, 20))
        result = run("analyze", folder / "a.png", folder / "b.png", "--server", url, "-t", "image_properties")
        assert result.exit_code == 0, result.output
        for name in ("a.png", "b.png"):
            assert f"{folder / name}  20x20 PNG" in result.stdout

    def test_an_image_is_analysed_once(self, folder, url):
        photo = put(folder, "a.png", noise(20, 20))
        result = run("analyze", photo, folder, "--server", url, "--json", "-t", "crop")
        assert len(result.stdout.splitlines()) == 1

    def test_a_folder_that_is_closed_is_told_and_the_rest_goes_on(self, folder, url, monkeypatch):
        put(folder, "a.png", noise(20, 20))
        # Root may read any folder: a walk that meets a closed one is made here.
        walked = folder / "closed"
        real = os.walk

        def walk(top, onerror=None, **options):
            onerror(PermissionError(13, "Permission denied", str(walked)))
            return real(top, onerror=onerror, **options)

        monkeypatch.setattr("app.cli.folder.os.walk", walk)
        result = run("analyze", folder, "--server", url, "--json", "-t", "crop")
        assert result.exit_code == 1
        assert set(lines_of(result)) == {"a.png"}
        assert result.stderr == f"{walked}: Permission denied\n"

    def test_what_is_piped_away_ends_quietly(self, folder, url):
        for number in range(3):
            put(folder, f"{number}.png", noise(8, 8))
        command = [
            sys.executable,
            "-m",
            "app.cli",
            "analyze",
            str(folder),
            "--server",
            url,
            "--json",
            "-t",
            "crop",
        ]
        done = subprocess.run(
            f"{' '.join(command)} | head -c 10", shell=True, cwd=ROOT, capture_output=True, timeout=60
        )
        assert done.stdout == b'{"source":'
        assert done.stderr == b""

    def test_it_ends_quietly_in_this_process_too(self, folder, tmp_path):
        photo = put(folder, "a.png", noise(8, 8))
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "wb") as unread:
            done = subprocess.run(
                [sys.executable, "-m", "app.cli", "analyze", photo, "--offline", "-t", "crop"],
                cwd=ROOT,
                env={**os.environ, "SIGHTGRAPH_DATA": str(tmp_path / "data")},
                stdout=unread,
                stderr=subprocess.PIPE,
                timeout=60,
            )
        assert (done.returncode, done.stderr) == (1, b"")


class TestFiles:
    def test_crops_are_written_as_they_came(self, folder, url, tmp_path):
        put(folder, "sub/a.png", noise(40, 30))
        put(folder, "sub/a.jpg", noise(40, 30))
        out = tmp_path / "crops"
        tasks = ["one/two=crop:target=bbox:1,2,11,22", "c=crop:target=task:one/two,crop_format=webp"]
        result = run(
            "analyze", folder, "-r", "--server", url, "--save-crops", out, *(f"-t{task}" for task in tasks)
        )
        assert result.exit_code == 0, result.output
        written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
        assert written == {
            "sub/a.one%2Ftwo.png",
            "sub/a.c.0.webp",
            "sub/a-2.one%2Ftwo.png",
            "sub/a-2.c.0.webp",
        }
        with (
            PIL.Image.open(out / "sub" / "a-2.one%2Ftwo.png") as crop,
            PIL.Image.open(folder / "sub" / "a.png") as photo,
        ):
            assert np.array_equal(np.asarray(crop), np.asarray(photo)[2:22, 1:11])
        assert result.stderr == f"4 crops in {out}\n"

    def test_no_crops_are_told_with_what_would_give_some(self, folder, url, tmp_path):
        photo = put(folder, "a.png", noise(40, 30))
        result = run(
            "analyze", photo, "--server", url, "--save-crops", tmp_path / "crops", "-t", "image_properties"
        )
        assert result.exit_code == 0
        assert "`-t crop:target=task:ID`" in result.stderr

    def test_what_was_found_is_drawn(self, folder, url, tmp_path):
        photo = put(folder, "a.png", astronaut())
        drawn = tmp_path / "out" / "drawn.png"
        task = "faces=detect_bounding_box:target=all_faces"
        result = run("analyze", photo, "--server", url, "--annotate", drawn, "-t", task)
        assert result.exit_code == 0, result.output
        with PIL.Image.open(drawn) as opened:
            picture = np.asarray(opened)
        assert picture.shape[1] == 512
        # The legend is below the image.
        assert picture.shape[0] > 512
        xmin, ymin, xmax, ymax = ASTRONAUT_FACE
        changed = np.any(picture[:512] != astronaut(), axis=2)
        for edge in (changed[ymin : ymax - 1, xmin], changed[ymin : ymax - 1, xmax - 1]):
            assert edge.all()
        assert not changed[ymax + 10 :].any()

    def test_into_a_folder_the_files_keep_their_places(self, folder, url, tmp_path):
        put(folder, "sub/a.jpg", noise(40, 30))
        put(folder, "b.png", noise(40, 30))
        out = tmp_path / "out"
        result = run("analyze", folder, "-r", "--server", url, "--annotate", out, "-t", "image_properties")
        assert result.exit_code == 0, result.output
        assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == [
            "b.annotated.png",
            "sub/a.annotated.jpg",
        ]

    def test_a_place_that_cannot_be_written_is_told(self, folder, url):
        photo = put(folder, "a.png", noise(40, 30))
        (folder / "file").write_text("in the way")
        for option in ("--annotate", "--save-crops"):
            result = run(
                "analyze",
                photo,
                "--server",
                url,
                option,
                folder / "file" / "out",
                "-t",
                "crop:target=bbox:1,2,3,4",
            )
            assert result.exit_code == 1
            assert "Not a directory" in result.stderr
            assert "Traceback" not in result.stderr

    def test_an_image_behind_a_url_is_drawn_as_the_server_saw_it(self, room, tmp_path, monkeypatch):
        class Site(BaseHTTPRequestHandler):
            def do_GET(self):
                content = encoded(noise(40, 30))
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
            threading.Thread(target=site.serve_forever).start()
            try:
                address = f"http://127.0.0.1:{site.server_port}/my%20photo.png"
                result = run(
                    *("analyze", address, "--offline", "--json", "--annotate", tmp_path / "out"),
                    *("-t", "crop:target=bbox:1,2,3,4"),
                    SIGHTGRAPH_DATA=str(tmp_path / "data"),
                    SIGHTGRAPH_ALLOWED_HOSTS="127.0.0.1",
                )
            finally:
                site.shutdown()
        assert result.exit_code == 0, result.output
        answer = json.loads(result.stdout)
        assert (answer["source"], list(answer["results"])) == (address, ["crop"])
        with PIL.Image.open(tmp_path / "out" / "my_photo.annotated.png") as drawn:
            assert drawn.width % 40 == 0


@pytest.fixture(scope="module")
def schemas(registry: Registry) -> dict[str, Schema]:
    """Of the data of each operation."""
    return {name: Schema.root(catalog.data_schema(each)) for name, each in registry.public.items()}


def answer_of(task: str, **result: object) -> Answer:
    """An answer to one task, as it comes from a server."""
    return Answer(
        {
            "image_url": "uploaded:a.png",
            "image": {"width": 100, "height": 80, "format": "PNG", "sha256": "0" * 64},
            "results": {task: {"status": "success", "data": None, "timing_ms": 1.0, **result}},
        }
    )


class TestMarks:
    def test_boxes_polygons_and_points_come_from_the_schema(self, schemas):
        dog = {"label": "dog", "confidence": 0.9, "bbox": [1, 2, 30, 40]}
        code = {
            "kind": "qr_code",
            "text": "hi",
            "polygon": [[1, 1], [9, 1], [9, 9], [1, 9]],
            "bbox": [1, 1, 9, 9],
        }
        region = {"bbox": [5, 6, 7, 8], "confidence": 0.5, "label": "face", "landmarks": [[5.5, 6.5]]}
        for answer, expected in (
            (answer_of("detect_objects", data={"items": [dog]}), ("dog 0.90", 4, True, 0)),
            (answer_of("read_codes", data={"codes": [code]}), ("qr_code hi", 4, False, 0)),
            (answer_of("detect_bounding_box", data=[1, 2, 3, 4]), ("detect_bounding_box", 4, True, 0)),
            (
                answer_of("detect_bounding_box", items=[{**region, "data": [5, 6, 7, 8]}]),
                ("face 0.50", 4, True, 1),
            ),
            (
                answer_of("describe_image", data="a dog", cropped_image_bbox=[1, 2, 3, 4]),
                ("a dog", 4, True, 0),
            ),
        ):
            ((mark,),) = marks_of(answer, schemas).values()
            assert (mark.words, len(mark.outline), mark.is_box, len(mark.points)) == expected

    @pytest.mark.parametrize(
        ("type_", "data", "words"),
        [
            ("classify_zero_shot", {"labels": [{"label": "cat", "probability": 0.75}]}, "face 0.50 cat 0.75"),
            ("describe_image", "a\nsmile", "face 0.50 a smile"),
            ("embed_hog_hsv", [0.5] * 9, "face 0.50"),
            ("image_properties", {"brightness": 0.5, "dominant_colours": []}, "face 0.50"),
        ],
    )
    def test_a_region_has_the_words_of_its_data(self, type_, data, words, schemas):
        region = {"bbox": [5, 6, 7, 8], "confidence": 0.5, "label": "face", "data": data}
        ((mark,),) = marks_of(answer_of(type_, items=[region]), schemas).values()
        assert mark.words == words

    def test_a_box_of_another_image_is_not_one_of_this(self, schemas):
        hit = {"id": "x", "score": 0.9, "bbox": [1, 2, 3, 4], "metadata": {}, "region": 0}
        assert marks_of(answer_of("search_similar", data={"hits": [hit]}), schemas) == {"search_similar": []}

    def test_numbers_are_no_places(self, schemas):
        assert marks_of(answer_of("embed_hog_hsv", data=[0.5] * 4), schemas) == {"embed_hog_hsv": []}

    def test_nothing_is_drawn_of_a_task_that_failed(self, schemas):
        failed = answer_of("crop", status="skipped", error_code="x", error_message="y")
        assert marks_of(failed, schemas) == {"crop": []}


class TestDrawing:
    @pytest.mark.parametrize("size", [(1, 1), (7, 300), (4000, 30), (64, 48), (1500, 1000)])
    def test_any_size_has_room_for_its_marks(self, size):
        width, height = size
        corners = ((0, 0), (width, 0), (width, height), (0, height))
        marks = [
            Mark(corners, words="a label that is longer than the picture is wide, by far"),
            Mark(corners, words="the same place"),
            Mark(((0, 0), (width, height)), is_box=False, points=((0, 0), (width, height))),
            Mark(),
        ]
        drawn = Annotation(PIL.Image.new("RGB", size)).draw({"a": marks}, {"a": "something", "b": ""})
        assert drawn.width % width == 0
        assert drawn.height > height

    def test_places_of_two_tasks_show_both_colours(self):
        box = ((100, 100), (300, 100), (300, 300), (100, 300))
        picture = PIL.Image.new("RGB", (500, 500), (90, 90, 90))
        drawn = Annotation(picture).draw({"a": [Mark(box)], "b": [Mark(box)]}, {"a": "", "b": ""})
        across = {drawn.getpixel((x, 200)) for x in range(95, 110)}
        assert len(across - {(90, 90, 90), (20, 20, 20)}) == 2

    def test_words_do_not_cover_each_other_or_other_places(self):
        rows = [((10, y), (200, y), (200, y + 20), (10, y + 20)) for y in range(100, 300, 22)]
        marks = [Mark(row, words=f"line {number}") for number, row in enumerate(rows)]
        annotation = Annotation(PIL.Image.new("RGB", (600, 400)))
        annotation.draw({"a": marks}, {"a": ""})
        places = annotation.labels
        assert len(places) == len(rows)
        for number, (xmin, ymin, xmax, ymax) in enumerate(places):
            for left, top, right, bottom in places[:number]:
                assert xmin >= right or left >= xmax or ymin >= bottom or top >= ymax

    def test_what_the_font_lacks_is_replaced(self):
        assert drawable("Théâtre 穴 l'été\n") == "Theatre ? l'ete?"


class TestForms:
    def shown(self, answer: Answer, type_: str, schemas: dict[str, Schema]) -> str:
        file = io.StringIO()
        Console(file=file, width=200).print(rendered(answer, {"t": type_}, {"t": schemas[type_]}))
        return file.getvalue()

    @pytest.mark.parametrize(
        ("type_", "result", "told"),
        [
            ("describe_image", {"data": "a dog [bold]\nruns"}, ["  a dog [bold]\n  runs"]),
            ("describe_image", {"data": "\x1b[31mred"}, ["\\x1b[31mred"]),
            ("detect_bounding_box", {"data": None}, ["nothing found"]),
            ("detect_bounding_box", {"items": []}, ["nothing found"]),
            ("compare", {"data": {"cosine": 0.98765, "distance": 0.1}}, ["cosine    0.9877"]),
            (
                "read_text",
                {
                    "data": {
                        "text": "a\nb",
                        "lines": [{"text": "a", "confidence": 1.0}, {"text": "b", "confidence": 0.5}],
                    }
                },
                ["text  confidence", "a              1", "b            0.5"],
            ),
            ("classify", {"data": {"label": None, "labels": {"cat": 0.75}}}, ["labels  cat 0.75"]),
            ("crop", {"data": [1, 2, 3, 4], "warnings": ["look"]}, ["1 2 3 4 (2x2)", "warning: look"]),
            (
                "crop",
                {
                    "items": [
                        {
                            "bbox": [1, 2, 3, 4],
                            "data": None,
                            "error_code": "internal",
                            "error_message": "broke",
                        }
                    ]
                },
                ["1 2 3 4  internal: broke"],
            ),
            (
                "crop",
                {
                    "status": "error",
                    "error_code": "dependency_failed",
                    "error_message": "no",
                    "caused_by": {"stage": "detect_faces", "code": "internal", "message": "why"},
                },
                ["dependency_failed: no", "caused by detect_faces: internal: why"],
            ),
        ],
    )
    def test_data_has_the_form_that_fits_it(self, type_, result, told, schemas):
        answer = answer_of("t", **result)
        shown = self.shown(answer, type_, schemas)
        for text in told:
            assert text in shown

    def test_a_text_that_a_table_says_line_by_line_is_said_once(self, schemas):
        lines = [{"text": "a", "confidence": 1.0}, {"text": "b", "confidence": 0.5}]
        shown = self.shown(answer_of("t", data={"text": "a\nb", "lines": lines}), "read_text", schemas)
        assert "a b" not in shown

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            (None, "nothing"),
            (True, "yes"),
            (0.123456, "0.1235"),
            ([], "none"),
            ([1, 2], "1 2"),
            ([0.5] * 9, "9 numbers: 0.5 0.5 0.5 0.5 0.5 ..."),
            (["a", "b"], "2: a; b"),
            ({"a": 1, "b": None}, "a 1"),
            ("two\nlines", "two lines"),
        ],
    )
    def test_a_value_fits_on_a_line(self, value, told):
        assert inline(value) == told


def test_codes_are_drawn_on_their_outline(tmp_path, url):
    code = put(tmp_path, "code.png", qr_code("hello"))
    result = run("analyze", code, "--server", url, "--annotate", tmp_path / "drawn.png", "-t", "read_codes")
    assert result.exit_code == 0, result.output
    assert "qr_code  hello" in result.stdout
    assert (tmp_path / "drawn.png").is_file()
