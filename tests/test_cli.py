"""The command line and the demo, as processes of their own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import PIL.Image
import pytest
from click.testing import CliRunner

from app.cli import main, unknown_settings
from app.cli.serve import check_bound, is_loopback
from app.core.access import made_key
from app.main import build_doors
from app.settings import Settings

ROOT = Path(__file__).resolve().parent.parent


def test_serve_answers_tells_what_is_ready_and_stops(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "log"
    with log.open("w") as stderr:
        server = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve", "--port", str(port), "--offline"],
            cwd=ROOT,
            stderr=stderr,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            statuses = []
            deadline = time.monotonic() + 120
            while statuses[-1:] != [200] and time.monotonic() < deadline:
                assert server.poll() is None, log.read_text()
                with contextlib.suppress(httpx.ConnectError):
                    # It answers while the models load, with 503.
                    statuses.append(client.get("/health/ready").status_code)
                time.sleep(0.2)
            assert statuses[-1] == 200
            assert set(statuses) <= {200, 503}
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(30)
    assert code in (0, -signal.SIGTERM)
    told = log.read_text()
    assert "ready: classify, compare, crop, detect_bounding_box, embed_hog_hsv" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("name", "value"),
    [("LANES", "many"), ("LANES", "0"), ("MAX_PIXELS", "-1"), ("REQUEST_TIMEOUT", "0")],
)
def test_a_wrong_setting_stops_the_start_by_name(name, value):
    result = CliRunner().invoke(main, ["serve"], env={f"SIGHTGRAPH_{name}": value})
    assert result.exit_code == 1
    assert f"SIGHTGRAPH_{name}" in result.output
    assert value in result.output


def test_a_variable_that_is_no_setting_is_noticed():
    named = ["SIGHTGRAPH_LANE", "SIGHTGRAPH_LANES", "sightgraph_offline", "HOME", "SIGHTGRAPHS"]
    assert unknown_settings(named, Settings.model_fields) == ["SIGHTGRAPH_LANE"]


def test_a_port_that_is_taken_ends_the_start_at_once():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", "serve", "--port", str(taken.getsockname()[1])],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode != 0
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr
    assert "engine" not in done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "a-name.example", ""])
def test_another_address_than_loopback_needs_keys_or_the_word_of_the_owner(host):
    result = CliRunner().invoke(main, ["serve", "--host", host])
    assert result.exit_code == 1
    for remedy in ("SIGHTGRAPH_API_KEYS", "sightgraph keys new", "--no-auth"):
        assert remedy in result.output
    _, entry = made_key("app", ["analyze"])
    check_bound(host, Settings(api_keys=(entry,)), no_auth=False)
    check_bound(host, Settings(), no_auth=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST"])
def test_loopback_needs_no_key(host):
    assert is_loopback(host)
    check_bound(host, Settings(), no_auth=False)


def test_no_auth_beside_keys_is_refused():
    _, entry = made_key("app", ["analyze"])
    result = CliRunner().invoke(main, ["serve", "--no-auth"], env={"SIGHTGRAPH_API_KEYS": str(entry)})
    assert result.exit_code == 2
    assert "contradict" in result.output


@pytest.mark.parametrize(
    ("loopback", "settings", "names"),
    [
        (True, {}, ()),
        (False, {}, None),
        (True, {"api_keys": (made_key("app", ["analyze"])[1],)}, None),
        (True, {"server_names": "a.example, *.b.example"}, ("a.example", "*.b.example")),
        (False, {"server_names": "a.example"}, ("a.example",)),
    ],
)
def test_names_are_checked_where_no_key_keeps_others_out(loopback, settings, names):
    assert build_doors(Settings(**settings), loopback=loopback).names == names


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATE_LIMIT", "many"),
        ("CORS_ORIGINS", "https://app.example.org/"),
        ("CORS_ORIGINS", "app.example.org"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,proxy"),
    ],
)
def test_a_setting_of_the_doors_that_does_not_fit_is_told(name, value):
    result = CliRunner().invoke(main, ["serve"], env={f"SIGHTGRAPH_{name}": value})
    assert result.exit_code == 1
    assert f"SIGHTGRAPH_{name}" in result.output


def test_help_names_the_commands():
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "serve" in result.output


def test_the_demo_answers_with_every_operation(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "demo.py"), "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
        env={**os.environ, "SIGHTGRAPH_LANES": "2"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert {result["status"] for result in answer["results"].values()} == {"success"}
    assert answer["results"]["face"]["data"] is not None
    for name in answer["results"]:
        assert name in done.stdout
    with PIL.Image.open(tmp_path / "boxes.png") as picture:
        assert picture.size == (512, 512)
    assert (tmp_path / "plan.mmd").read_text().startswith("flowchart LR")
