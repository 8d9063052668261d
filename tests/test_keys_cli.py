"""`sightgraph keys`, and commands that talk to a server with keys."""

import hashlib
import json

import pytest
from click.testing import CliRunner

from app.api.doors import Doors
from app.cli import main
from app.core.access import made_key, parsed_keys
from app.settings import Settings
from tests.conftest import served
from tests.images import encoded, noise


def run(*arguments, **environment):
    return CliRunner().invoke(main, list(arguments), env=environment)


def test_a_new_key_is_shown_once_with_the_entry_for_the_server(monkeypatch):
    result = run("keys", "new", "app", "--scope", "analyze", "--scope", "index")
    assert result.exit_code == 0
    # Alone, for a shell to take: KEY=$(sightgraph keys new app)
    key = result.stdout.strip()
    assert key.startswith("sightgraph_")
    assert key not in result.stderr
    entry = result.stderr.splitlines()[-1]
    assert entry == f"app:analyze+index:{hashlib.sha256(key.encode()).hexdigest()}"
    monkeypatch.setenv("SIGHTGRAPH_API_KEYS", f"{entry},\n other:admin:{'0' * 64}")
    assert [each.name for each in Settings().api_keys] == ["app", "other"]


def test_a_new_key_and_its_entry_as_json():
    result = run("keys", "new", "app", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    made = json.loads(result.stdout)
    assert made["entry"] == f"app:analyze:{hashlib.sha256(made['key'].encode()).hexdigest()}"


def test_a_key_analyses_unless_told_otherwise():
    (key,) = parsed_keys(run("keys", "new", "app").stderr.splitlines()[-1])
    assert key.scopes == {"analyze"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a b"], "letters, digits, dots"),
        (["a:b"], "letters, digits, dots"),
        ([""], "letters, digits, dots"),
        (["app", "--scope", "read"], "'analyze', 'index', 'admin'"),
    ],
)
def test_a_name_or_a_scope_that_does_not_fit_is_refused(arguments, told):
    result = run("keys", "new", *arguments)
    assert result.exit_code == 2
    assert told in result.output


def test_a_wrong_entry_stops_the_start_and_is_not_shown():
    result = run("serve", SIGHTGRAPH_API_KEYS="app:analyze:the-key-itself")
    assert result.exit_code == 1
    assert "SIGHTGRAPH_API_KEYS" in result.output
    assert "sightgraph keys new" in result.output
    assert "the-key-itself" not in result.output


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photo.png").write_bytes(encoded(noise(64, 64)))
    return tmp_path


def test_a_command_shows_its_key_to_the_server(room, folder):
    key, entry = made_key("app", ["index"])
    with served(room, Doors(keys=(entry,))) as url:
        asked = ("index", str(folder), "--collection", "of-keys", "--server", url)
        refused = run(*asked)
        answered = run(*asked, SIGHTGRAPH_API_KEY=f"{key}\n")
    assert refused.exit_code == 1
    assert "needs an API key" in refused.output
    assert answered.exit_code == 0
    assert "SIGHTGRAPH_API_KEY" not in answered.output


def test_a_command_in_this_process_needs_no_key(folder, tmp_path_factory):
    _, entry = made_key("app", ["analyze"])
    environment = {
        "SIGHTGRAPH_API_KEYS": str(entry),
        "SIGHTGRAPH_API_KEY": "a key",
        "SIGHTGRAPH_SERVER_NAMES": "sight.example.org",
        "SIGHTGRAPH_RATE_LIMIT": "1/day",
        "SIGHTGRAPH_DATA": str(tmp_path_factory.mktemp("data")),
    }
    result = run("index", str(folder), "--collection", "of-keys", "--offline", **environment)
    assert result.exit_code == 0, result.output
    assert "Warning" not in result.output
