"""`sightgraph operations`, against the real application."""

import json
import shlex
from collections.abc import Iterator

import httpx
import pytest
from click.testing import CliRunner, Result

from app.api.room import Room
from app.cli import main
from app.cli.operations import print_one
from tests.conftest import served


@pytest.fixture(scope="module")
def url(room: Room) -> Iterator[str]:
    with served(room) as url:
        yield url


@pytest.fixture(scope="module")
def catalog(url: str) -> dict[str, dict]:
    return httpx.get(f"{url}/available_operations/").raise_for_status().json()["operations"]


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, ["operations", *arguments], env=environment)


def test_all_are_listed_with_their_state(url, catalog):
    result = run("--server", url)
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    for name, facts in catalog.items():
        assert facts["description"] in rows[name]
    assert rows["describe_image"].split()[1] == "absent"
    assert rows["read_text"].split()[-2:] == ["any", "whole_image"]
    assert "prominent_person, prominent_face, all_persons, all_faces" in rows["detect_bounding_box"]
    assert "`sightgraph models pull --for answer_question`" in result.stdout


def test_one_is_shown_with_all_that_can_be_chosen(catalog, capsys):
    for name, facts in catalog.items():
        print_one(name, facts)
        printed = capsys.readouterr().out
        shown = " ".join(printed.split())
        for told in (facts["description"], *facts["params"]["properties"]):
            assert told in shown
        for engine in facts["engines"]:
            assert engine["name"] in shown
        example = shlex.split(printed.splitlines()[-1])
        assert example[:4] == ["sightgraph", "analyze", "photo.jpg", "-t"]


def test_params_have_their_bounds_and_defaults(url):
    shown = run("read_text", "--server", url).stdout
    assert "min_confidence  a number from 0.5 to 1; default 0.5" in shown
    assert 'all_faces, bbox:N,N,N,N or task:NAME; default "whole_image"' in shown
    assert (
        "question      a text from 1 to 500 characters; required"
        in run("answer_question", "--server", url).stdout
    )


def test_json_is_the_servers_answer(url, catalog):
    assert json.loads(run("--json", "--server", url).stdout)["operations"].keys() == catalog.keys()
    assert (
        json.loads(run("read_text", "--json", "--server", url).stdout)["params"]
        == catalog["read_text"]["params"]
    )


def test_in_this_process(tmp_path):
    result = run("read_codes", "--offline", SIGHTGRAPH_DATA=str(tmp_path))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Read QR codes and barcodes.")


def test_the_nearest_type_is_named(url):
    result = run("read_txt", "--server", url)
    assert result.exit_code == 2
    assert "no operation is called 'read_txt'. Did you mean 'read_text'?" in result.stderr
