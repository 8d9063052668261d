"""`sightgraph models`, with toy operations against a hub on the loopback."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.core.artifacts import Crop, Vector
from app.core.operation import IMAGE, EngineSpec, NoParams, Ref, operation
from app.core.registry import Registry
from app.engines.weights import Bundled, Download, Hub, RemoteFile
from tests.engines.fake_hub import (
    FakeHub,
    hub_of_this_process,
    library_folders,
    noise,
    running_hub,
    sha256_of,
)

ROOT = Path(__file__).resolve().parent.parent
MODEL, OTHER = noise(300_000), noise(50_000, seed=1)


def engine(name: str, weights: object, licence: str = "MIT") -> EngineSpec:
    return EngineSpec(name=name, weights=weights, licence=licence, load=lambda placement: None)


NET = engine("net", Hub("toys/net", ("config.json", "model.bin"), 300_000), "Apache-2.0")
OTHER_NET = engine("other-net", Hub("toys/other", ("model.bin",), 50_000))
BUNDLED = engine("mtcnn", Bundled("facenet-pytorch", "facenet_pytorch", ("data/pnet.pt",)))
PLAIN = engine(
    "plain", Download("toy-file", (RemoteFile("http://127.0.0.1:9/toy.pth", "toy.pth", 10),), "torch")
)


@operation(needs=lambda params: {"image": IMAGE}, engine=NET, public=False)
def encode_toy(image: Sequence[Crop], params: NoParams, engine: object) -> list[Vector]:
    """A stage."""
    return []


@operation(needs=lambda params: {"vector": Ref(encode_toy, NoParams())}, inline=True, model_of="vector")
def embed_toy(vector: Sequence[Vector], params: NoParams) -> list[Vector]:
    """Pass on what the stage made."""
    return list(vector)


@operation(needs=lambda params: {"image": IMAGE}, engine=(OTHER_NET, NET, PLAIN, BUNDLED))
def describe_toy(image: Sequence[Crop], params: NoParams, engine: object) -> list[str]:
    """Describe."""
    return []


@operation(needs=lambda params: {"image": IMAGE}, engine=BUNDLED)
def find_toy(image: Sequence[Crop], params: NoParams, engine: object) -> list[str]:
    """Find."""
    return []


REGISTRY = Registry([encode_toy, embed_toy, describe_toy, find_toy])


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr("app.core.registry.discover", lambda package: REGISTRY)
    monkeypatch.setenv("SIGHTGRAPH_DATA", str(tmp_path / "data"))
    with hub_of_this_process(tmp_path, monkeypatch) as hub:
        fill(hub)
        yield hub


def fill(hub: FakeHub) -> None:
    hub.repository("toys/net", {"config.json": b"{}", "model.bin": MODEL})
    hub.repository("toys/other", {"model.bin": OTHER})


def run(*arguments: str, **options: object) -> Result:
    return CliRunner().invoke(main, ["models", *arguments], **options)


def listed(hub: FakeHub) -> dict[str, dict]:
    result = run("list", "--json")
    assert result.exit_code == 0, result.output
    return {row["engine"]: row for row in json.loads(result.stdout)}


def states(hub: FakeHub) -> dict[str, str]:
    return {name: row["state"] for name, row in listed(hub).items()}


def test_the_list_tells_what_is_here(hub):
    assert states(hub) == {"mtcnn": "bundled", "net": "absent", "other-net": "absent", "plain": "absent"}
    assert run("pull", "toys/net").exit_code == 0
    commit = hub.repositories["toys/net"].main
    assert listed(hub)["net"] == {
        "engine": "net",
        "weights": "toys/net",
        "operations": ["describe_toy", "embed_toy"],
        "size_bytes": len(MODEL) + 2,
        "licence": "Apache-2.0",
        "state": "on disk",
        "commit": commit,
        "source": f"Hugging Face hub, toys/net@{commit[:7]}",
    }
    table = run("list")
    assert table.exit_code == 0
    (line,) = [line for line in table.output.splitlines() if "toys/net" in line]
    for told in ("embed_toy", "300.0 kB", "Apache-2.0", "on disk", commit[:7]):
        assert told in line


@pytest.mark.parametrize(
    ("arguments", "here"),
    [
        (["toys/net"], {"net"}),
        (["net", "toys/other"], {"net", "other-net"}),
        (["--for", "embed_toy"], {"net"}),
        (["--for", "describe_toy"], {"other-net"}),
        (["--for", "find_toy"], set()),
        (["--for", "find_toy", "--for", "embed_toy", "other-net"], {"net", "other-net"}),
    ],
    ids=lambda value: " ".join(sorted(value)),
)
def test_a_pull_brings_what_is_named(hub, arguments, here):
    result = run("pull", *arguments)
    assert result.exit_code == 0, result.output
    assert {name for name, state in states(hub).items() if state == "on disk"} == here


def test_the_preferred_engine_is_that_of_the_settings(hub, monkeypatch):
    monkeypatch.setenv("SIGHTGRAPH_ENGINES", "describe_toy=net,other-net")
    assert run("pull", "--for", "describe_toy").exit_code == 0
    assert states(hub)["net"] == "on disk"
    assert states(hub)["other-net"] == "absent"


def test_what_fails_is_told_at_the_end_and_the_rest_is_pulled(hub):
    hub.repositories.pop("toys/net")
    result = run("pull", "--all")
    assert result.exit_code == 1
    assert "toys/other: 50.0 kB here, commit" in result.stdout
    assert [line.partition(" ")[0] for line in result.stderr.splitlines()] == ["'toy-file'", "'toys/net'"]
    assert "The hub has no repository toys/net" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "There are: toy-file, toys/net, toys/other."),
        (["toys/nat"], "Did you mean 'toys/net'?"),
        (["Other-Nut"], "Did you mean 'other-net'?"),
        (["entirely-different"], "There are: toy-file, toys/net, toys/other."),
        (["mtcnn"], "'mtcnn' ships in the package facenet-pytorch"),
        (["--for", "embed_tob"], "Did you mean 'embed_toy'?"),
    ],
    ids=" ".join,
)
def test_a_name_that_is_not_known_is_told_with_what_is(hub, arguments, told):
    result = run("pull", *arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert not hub.requests


@pytest.mark.parametrize("offline", ["option", "setting"])
def test_offline_a_pull_only_checks(hub, monkeypatch, offline):
    assert run("pull", "net").exit_code == 0
    hub.requests.clear()
    arguments = ["--offline"] if offline == "option" else []
    if offline == "setting":
        monkeypatch.setenv("SIGHTGRAPH_OFFLINE", "1")
    assert run("pull", "net", *arguments).exit_code == 0
    result = run("pull", "net", "other-net", *arguments)
    assert result.exit_code == 1
    assert "'toys/other' cannot be used: model.bin is missing" in result.stderr
    assert "where the network may be used" in result.stderr
    assert not hub.requests


def test_verify_reads_every_file(hub, tmp_path):
    assert "No downloaded weights are here" in run("verify").output
    run("pull", "net", "other-net")
    result = run("verify")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["toys/net: every file is right", "toys/other: every file is right"]
    (model,) = (tmp_path / "hub").glob("models--toys--net/snapshots/*/model.bin")
    data = bytearray(MODEL)
    data[1000] ^= 1
    model.write_bytes(data)
    result = run("verify")
    assert result.exit_code == 1
    assert "toys/net: model.bin has other contents" in result.stderr
    assert "sightgraph models pull toys/net" in result.stderr
    assert run("verify", "other-net").exit_code == 0
    assert run("pull", "net").exit_code == 0
    assert run("verify", "net").exit_code == 0


def test_verify_tells_json(hub, tmp_path):
    assert json.loads(run("verify", "--json").stdout) == []
    run("pull", "net")
    assert json.loads(run("verify", "--json").stdout) == [{"weights": "toys/net", "problems": []}]
    (model,) = (tmp_path / "hub").glob("models--toys--net/snapshots/*/model.bin")
    model.write_bytes(bytes(len(MODEL)))
    result = run("verify", "--json")
    assert result.exit_code == 1
    (row,) = json.loads(result.stdout)
    assert row["weights"] == "toys/net"
    assert row["problems"][0].startswith("model.bin has other contents")
    assert "sightgraph models pull toys/net" in result.stderr


def test_verify_of_what_is_not_here_fails(hub):
    result = run("verify", "net")
    assert result.exit_code == 1
    assert "toys/net: config.json is missing" in result.stderr


def test_rm_asks_and_tells_what_became_free(hub, tmp_path):
    run("pull", "net", "other-net")
    refused = run("rm", "net", input="n\n")
    assert refused.exit_code == 1
    assert "Delete toys/net, about 300.0 kB?" in refused.output
    assert states(hub)["net"] == "on disk"
    result = run("rm", "net", "toys/net", "--yes")
    assert result.exit_code == 0
    assert result.stdout == "toys/net: 300.0 kB freed\n"
    assert states(hub) == {"mtcnn": "bundled", "net": "absent", "other-net": "on disk", "plain": "absent"}
    assert run("rm", "net", "--yes").stdout == "toys/net: nothing is here\n"
    assert run("rm", "mtcnn", "--yes").exit_code == 2


def test_a_damaged_record_is_told_with_its_place(hub, tmp_path):
    run("pull", "net")
    (tmp_path / "data" / "weights.json").write_text("{")
    for command in (["list"], ["pull", "net"], ["verify"], ["rm", "net", "--yes"]):
        result = run(*command)
        assert result.exit_code == 1
        assert "weights.json, cannot be read" in result.stderr
        assert str(tmp_path / "data") in result.stderr


def test_pins_come_from_the_settings(hub, tmp_path, monkeypatch):
    run("pull", "net")
    pins = tmp_path / "pins.json"
    (tmp_path / "data" / "weights.json").rename(pins)
    older = hub.repositories["toys/net"].main
    run("rm", "net", "--yes")
    hub.repository("toys/net", {"config.json": b"[]", "model.bin": OTHER})
    monkeypatch.setenv("SIGHTGRAPH_PINNED_WEIGHTS", str(pins))
    assert run("pull", "net").exit_code == 0
    assert listed(hub)["net"]["commit"] == older
    assert "SIGHTGRAPH_PINNED_WEIGHTS" in run("pull", "other-net").stderr


@pytest.mark.parametrize(
    ("name", "value"), [("SIGHTGRAPH_PINNED_WEIGHTS", "no/such/file"), ("SIGHTGRAPH_OFFLINE", "perhaps")]
)
def test_a_wrong_setting_is_told_by_name(hub, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    result = run("list")
    assert result.exit_code == 1
    assert name in result.stderr


def test_an_engine_that_the_settings_name_wrongly_is_told(hub, monkeypatch):
    monkeypatch.setenv("SIGHTGRAPH_ENGINES", "describe_toy=nobody")
    result = run("pull", "--for", "describe_toy")
    assert result.exit_code == 1
    assert "nobody" in result.stderr


class TestProcess:
    """The command as people run it, in a process that knows the toy operations."""

    CODE = (
        "import app.core.registry as registry, tests.test_models_cli as toys\n"
        "registry.discover = lambda package: toys.REGISTRY\n"
        "from app.cli import main\n"
        "main()\n"
    )

    @pytest.fixture
    def served(self) -> Iterator[FakeHub]:
        with running_hub() as hub:
            fill(hub)
            yield hub

    def start(self, hub: FakeHub, folder: Path, *arguments: str) -> subprocess.Popen[str]:
        environment = {
            # Without what tests of an offline server have left in the environment of this process.
            **{
                name: value
                for name, value in os.environ.items()
                if "proxy" not in name.lower() and name != "HF_HUB_OFFLINE"
            },
            **library_folders(folder),
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(folder),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "SIGHTGRAPH_DATA": str(folder / "data"),
        }
        return subprocess.Popen(
            [sys.executable, "-c", self.CODE, "models", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def test_a_process_that_is_killed_has_lost_nothing_and_two_fetch_the_rest_once(self, served, tmp_path):
        served.gate.clear()
        first = self.start(served, tmp_path, "pull", "net")
        try:
            assert served.half_sent.wait(30)
            deadline = time.monotonic() + 10
            while not any(part.stat().st_size for part in tmp_path.rglob("*.incomplete")):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(0.2)
        finally:
            first.send_signal(signal.SIGKILL)
            first.communicate(timeout=20)
        served.gate.set()
        (part,) = tmp_path.rglob("*.incomplete")
        here = part.stat().st_size
        served.bytes_sent.clear()
        for process in [self.start(served, tmp_path, "pull", "net") for _ in range(2)]:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            assert "toys/net: 300.0 kB here, commit" in out
        assert [request.headers["Range"] for request in served.asked("/large/")] == [None, f"bytes={here}-"]
        assert served.bytes_sent["model.bin"] == len(MODEL) - here
        (model,) = tmp_path.glob("hub/models--toys--net/snapshots/*/model.bin")
        assert sha256_of(model.read_bytes()) == sha256_of(MODEL)


def test_the_real_operations_are_listed():
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "models", "list", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {"mtcnn", "rapidocr"} <= {row["engine"] for row in rows if row["state"] == "bundled"}
    assert all(row["licence"] for row in rows)
