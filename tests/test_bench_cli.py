"""`sightgraph bench`, against a real server and in its own process."""

import asyncio
import json
import time

import click
import PIL.Image
import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.cli.bench import load
from app.cli.bench.load import Failed, Prepared, Seen, keep_asking, light_beside, light_probed, probing
from tests.images import astronaut

CLOSED = "http://127.0.0.1:9"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", "--seconds", "0.2", *map(str, arguments)])


def test_tasks_are_one_request_and_their_figures_are_told(server_url):
    result = run(
        *("--server", server_url, "--concurrency", 3, "--json"),
        *("-t", "detect_bounding_box:target=prominent_face,face_context=whole_image", "-t", "embed_hog_hsv"),
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["concurrency"] == 3
    (load,) = told["loads"]
    assert load["name"] == "detect_bounding_box + embed_hog_hsv"
    assert load["engines"] == ["mtcnn"]
    assert load["first_ms"] > 0
    assert load["problem"] is None
    for kind in ("alone", "together"):
        seen = load[kind]
        assert 0 < seen["p50_ms"] <= seen["p95_ms"] <= seen["p99_ms"]
        assert seen["per_second"] > 0
        assert seen["failed"] == seen["light"]["failed"] == 0
        assert seen["light"]["count"] > 0
    assert load["together"]["count"] >= 3


def test_no_answer_comes_from_the_cache(server_url, room):
    before = room.cache.hits
    result = run("--server", server_url, "-t", "image_properties", "--json")
    assert result.exit_code == 0
    assert room.cache.hits == before


def test_a_table_has_both_rows(server_url):
    result = run("--server", server_url, "-t", "hash_perceptual", "--concurrency", 2)
    assert result.exit_code == 0, result.output
    heading, alone, together = result.stdout.splitlines()
    assert heading.split() == [
        *("tasks", "engine", "first", "ms", "at", "once", "p50", "ms", "p95", "ms", "p99", "ms", "per", "s"),
        *("light", "p99"),
    ]
    assert alone.split()[:2] == ["hash_perceptual", "imagehash"]
    assert alone.split()[3] == "1"
    assert together.split()[0] == "2"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_images_of_any_format_are_sent_as_others_each_time(server_url, tmp_path, form):
    photo = tmp_path / "photo"
    PIL.Image.fromarray(astronaut()[:64, :64]).save(photo, form)
    result = run("--server", server_url, "-t", "crop", photo, "--seconds", "0.01", "--json")
    assert result.exit_code == 0, result.output


def test_in_this_process():
    result = run("--offline", "--seconds", "0.001", "-t", "crop", "--json")
    assert result.exit_code == 0, result.output
    (load,) = json.loads(result.stdout)["loads"]
    assert (load["name"], load["engines"], load["problem"]) == ("crop", [], None)


def test_without_tasks_every_operation_with_a_model_is_measured(server_url):
    result = run("--server", server_url, "--seconds", "0.001", "--concurrency", 2, "--json")
    assert result.exit_code == 0, result.output
    loads = json.loads(result.stdout)["loads"]
    assert {load["name"]: load["engines"] for load in loads} == {
        "detect_bounding_box": ["opencv-hog-people"],
        "hash_perceptual": ["imagehash"],
        "read_codes": ["zxing-cpp"],
        "read_text": ["rapidocr"],
    }


def test_what_is_not_answered_is_told(server_url, tmp_path):
    absent = run("--server", server_url, "-t", "describe_image")
    assert absent.exit_code == 1
    assert "sightgraph models pull" in absent.stderr
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    refused = run("--server", server_url, "-t", "crop", broken, "--json")
    assert refused.exit_code == 1
    assert "Could not process image" in refused.stderr
    assert "Could not process image" in json.loads(refused.stdout)["loads"][0]["problem"]
    unknown = run("--server", server_url, "-t", "crap")
    assert unknown.exit_code == 2
    assert "crop" in unknown.stderr
    gone = run("--server", CLOSED)
    assert gone.exit_code == 1
    assert gone.stderr.startswith("Error: ")
    assert "Traceback" not in gone.stderr


async def fails() -> None:
    raise Failed("gone")


def test_requests_that_fail_are_counted_and_not_timed():
    seen = Seen()

    async def scenario() -> None:
        async with light_beside(fails, seen):
            await keep_asking(fails, 2, 0.01, seen)

    asyncio.run(scenario())
    assert seen.failed >= 2
    assert seen.problem == "gone"
    assert seen.light_failed > 0
    assert not seen.ms
    assert not seen.light_ms


def probed(
    url: str, requests: list[Prepared], every: float | None, seconds: float = 0.2
) -> tuple[list[float], int]:
    async def scenario() -> tuple[list[float], int]:
        async with probing(url, requests, every) as found:
            await asyncio.sleep(seconds)
        return found.ms, found.failed

    return asyncio.run(scenario())


def test_a_probe_asks_in_turns_from_a_process_of_its_own(server_url, room):
    body = json.dumps({"tasks": [{"operation_id": "a", "type": "crop"}]}).encode()
    headers = {"Content-Type": "application/json"}
    requests = [Prepared("/health/live"), Prepared("/plan/", headers, "POST", body), Prepared("/nowhere")]
    ms, failed = probed(server_url, requests, every=None)
    assert all(each > 0 for each in ms)
    # Two of three are answered with success, to the last turn.
    assert failed in (len(ms) // 2, (len(ms) - 1) // 2)


def test_a_probe_keeps_to_its_times(server_url):
    started = time.monotonic()
    ms, failed = probed(server_url, [Prepared("/health/live")], every=0.1, seconds=0.35)
    assert failed == 0
    assert 1 <= len(ms) <= (time.monotonic() - started) / 0.1 + 1
    assert len(probed(server_url, [Prepared("/health/live")], every=1000, seconds=0)[0]) == 1


def test_a_probe_that_ends_too_soon_is_told(monkeypatch, tmp_path):
    for script in ("", "print('begun', flush=True); raise SystemExit(3)"):
        probe = tmp_path / "probe.py"
        probe.write_text(script)
        monkeypatch.setattr(load, "_PROBE", probe)
        with pytest.raises(click.ClickException, match="beside the load"):
            probed(CLOSED, [Prepared("/health/live")], every=1)


def test_a_probe_outlives_a_server_that_is_gone():
    ms, failed = probed(CLOSED, [Prepared("/health/live")], every=0.01)
    assert not ms
    assert failed > 0


def test_a_probe_of_nothing_sees_nothing():
    seen = Seen()

    async def scenario() -> None:
        async with light_probed(CLOSED, [], seen):
            pass

    asyncio.run(scenario())
    assert seen == Seen()
