"""`sightgraph plan`, against the real application."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.api.room import Room
from app.cli import main
from tests.conftest import served
from tests.images import encoded, noise

TASKS = ("-t", "a=embed_hog_hsv", "-t", "b=embed_hog_hsv", "-t", "compare:a=a,b=b")


@pytest.fixture(scope="module")
def url(room: Room) -> Iterator[str]:
    with served(room) as url:
        yield url


def run(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)


def test_a_stage_stands_once_below_what_it_needs(url):
    result = run("plan", "--server", url, *TASKS)
    assert result.exit_code == 0, result.output
    image, regions, embedding, comparison, totals = result.stdout.rstrip().splitlines()
    assert image == "image"
    assert regions.startswith("└── regions  select whole_image")
    assert embedding.startswith("    └── embed_hog_hsv")
    assert "shared by a, b, compare" in embedding
    assert embedding.endswith("=> a, b")
    assert comparison.startswith("        └── compare")
    assert totals.startswith("3 stages for 3 tasks, in place of 7.")


def test_models_that_are_loaded_first_are_named(url):
    shown = run("plan", "--server", url, "-t", "describe_image:target=prominent_person").stdout
    assert "blip-base (absent)" in shown
    assert "Loaded first: blip-base" in shown
    assert "=> the crop of describe_image" in shown


def test_inputs_and_values_of_the_client_are_told(url):
    shown = run("plan", "--server", url, "-t", "classify_zero_shot:labels=cat,dog").stdout
    assert "a photo of a cat; a photo of a dog" in shown
    assert "classify_zero_shot  labels 2: cat; dog  with encode_clip" in shown


def test_a_task_that_cannot_run_is_told_in_its_place(url):
    result = run("plan", "--server", url, "-t", "crop:target=task:nothing")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(
        "crop  invalid_reference: target.task: this request has no task 'nothing'"
    )
    assert result.stdout.rstrip().endswith("0 stages for 1 task.")


def test_what_is_cached_of_an_image_is_told(url, tmp_path):
    photo = tmp_path / "a.png"
    photo.write_bytes(encoded(noise(40, 30, seed=77)))
    assert "cached" not in run("plan", photo, "--server", url, "-t", "image_properties").stdout
    assert run("analyze", photo, "--server", url, "-t", "image_properties").exit_code == 0
    shown = run("plan", photo, "--server", url, "-t", "image_properties").stdout
    assert "image_properties  cached  => image_properties" in shown


def test_json_and_mermaid(url):
    plan = json.loads(run("plan", "--server", url, "--json", *TASKS).stdout)
    assert [task["operation_id"] for task in plan["tasks"]] == ["a", "b", "compare"]
    chart = run("plan", "--server", url, "--mermaid", *TASKS).stdout
    assert chart.startswith("flowchart LR\n")
    assert "n1 ==> t0" in chart


def test_in_this_process(tmp_path):
    result = run(
        "plan", "https://example.org/a.jpg", "--offline", "-t", "crop", SIGHTGRAPH_DATA=str(tmp_path)
    )
    assert result.exit_code == 0, result.output
    assert "=> crop" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Say what to do"),
        (["-t", "crop", "--json", "--mermaid"], "Give one of --json and --mermaid"),
        (["no-such-file.jpg", "-t", "crop"], "there is no file 'no-such-file.jpg'"),
        ([str(Path(__file__).parent), "-t", "crop"], "there is no file"),
        (["-t", "crop:target=nowhere"], "target must be whole_image"),
    ],
)
def test_wrong_usage_is_told(arguments, told, url):
    result = run("plan", *arguments, "--server", url)
    assert result.exit_code == 2, result.output
    assert told in " ".join(result.stderr.split())
