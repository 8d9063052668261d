"""`sightgraph doctor`: its examinations one by one, and the command."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import psycopg
import pytest
from click.testing import CliRunner, Result

from app.api.doors import Doors
from app.api.room import Room
from app.cli import main
from app.cli.doctor import command, configuration, devices, libraries, machine, network, places, weights
from app.cli.doctor.finding import Finding, Level, listed, worst
from app.cli.doctor.limits import Limits, container_limits
from app.cli.models import Inventory
from app.core.access import made_key
from app.core.errors import ModelUnavailable
from app.core.operation import EngineSpec
from app.core.registry import Registry
from app.core.weights import Placement
from app.engines.store import LocalStore
from app.index.local import LocalStorage
from app.main import build_room
from app.settings import Settings
from tests.conftest import served
from tests.engines.fake_hub import hub_of_this_process
from tests.test_models_cli import BUNDLED, MODEL, NET, REGISTRY, fill
from tests.toys import ToyEngine, ToyStore, seeing, toy_engine

ROOT = Path(__file__).resolve().parent.parent
CLOSED = "http://127.0.0.1:9"


def run(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *map(str, arguments)], env=environment)


def levels(findings: Sequence[Finding]) -> list[str]:
    return [str(finding.level) for finding in findings]


def bad(findings: Sequence[Finding]) -> list[Finding]:
    """Those that ask for something to be done; each says what."""
    found = [finding for finding in findings if finding.level is not Level.OK]
    assert all(finding.remedy for finding in found)
    return found


@pytest.fixture(scope="module")
def url(room: Room) -> Iterator[str]:
    with served(room) as url:
        yield url


# The command


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict[str, list[dict]]:
    """Of this machine, by a process of its own; the checks by what they looked at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = tmp_path_factory.mktemp("doctor") / "data"
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "doctor", "--offline", "--json", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "SIGHTGRAPH_DATA": str(data)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    told = json.loads(done.stdout)
    problems = [check for check in told["checks"] if check["level"] == "problem"]
    assert done.returncode == (1 if problems else 0)
    assert told["status"] == ("problem" if problems else "warning")
    assert not data.exists()
    checks: dict[str, list[dict]] = {}
    for check in told["checks"]:
        checks.setdefault(check["check"], []).append(check)
    return checks


def test_everything_is_looked_at(report):
    assert list(report) == [
        *("system", "cores", "memory", "packages", "device", "settings", "operations", "weights"),
        *("data folder", "model cache", "index", "port", "model hub"),
    ]


def test_this_environment_has_what_is_needed(report):
    for topic in (
        "packages",
        "device",
        "settings",
        "operations",
        "data folder",
        "index",
        "port",
        "model hub",
    ):
        assert {check["level"] for check in report[topic]} == {"ok"}, report[topic]
    (wanted,) = [check for check in report["weights"] if check["level"] == "warning"]
    assert "blip-base (991.0 MB, BSD-3-Clause)" in wanted["message"]
    assert "Salesforce/blip-image-captioning-base" in wanted["remedy"]
    assert "where the network may be used" in wanted["remedy"]


def test_a_report_for_people_ends_with_a_count(monkeypatch):
    monkeypatch.setattr(
        "app.cli.doctor.command._of_this_machine",
        lambda *_: [("machine", lambda: machine.memory(None, Limits(), 10**9)), ("broken", breaks)],
    )
    result = run()
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["problem", "memory"]
    assert lines[1].strip() == "Give the machine or the container more memory."
    assert "This could not be looked at: ZeroDivisionError: division by zero" in lines[2]
    assert lines[-1] == "2 problems, 0 warnings."


def breaks() -> Iterator[Finding]:
    yield from ()
    _ = 1 / 0


def test_where_all_is_well_the_code_is_0(monkeypatch):
    monkeypatch.setattr(
        "app.cli.doctor.command._of_this_machine",
        lambda *_: [("memory", lambda: machine.memory(None, Limits(), 10**10))],
    )
    result = run()
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "All is well."


def test_names_are_shortened_and_levels_compared():
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(number) for number in range(10)]).endswith("7 and 2 more")
    assert worst([]) is Level.OK


# The machine


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({}, Limits()),
        (
            {
                "proc/self/cgroup": "0::/docker/abc\n",
                "proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable:    9000000 kB\n",
                "sys/fs/cgroup/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/memory.max": "2000000000\n",
                "sys/fs/cgroup/memory.current": "900000000\n",
                "sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 100000000\n",
            },
            Limits(1.5, 2_000_000_000, 1_200_000_000),
        ),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "proc/meminfo": "MemAvailable: 1000000 kB\n",
                "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
                "sys/fs/cgroup/a/memory.max": "8000000000\n",
                "sys/fs/cgroup/a/memory.current": "1000000000\n",
            },
            Limits(3.0, 8_000_000_000, 1_024_000_000),
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/job\n2:cpu,cpuacct:/job\n0::/\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "1000000000\n",
                "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "400000000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "5000000000\n",
            },
            Limits(0.5, 1_000_000_000, 600_000_000),
        ),
    ],
    ids=["no Linux", "version 2", "nested", "version 1"],
)
def test_the_limits_of_a_container(tmp_path, files, limits):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert container_limits(tmp_path) == limits


@pytest.mark.parametrize(
    ("lanes", "threads", "cores", "told"),
    [
        (2, 2, 4.0, []),
        (8, 1, 2.0, ["Set SIGHTGRAPH_LANES=2."]),
        (4, 4, 8.0, ["Set SIGHTGRAPH_LANES=2."]),
        (4, 1, 0.5, ["Set SIGHTGRAPH_LANES=1."]),
    ],
)
def test_more_threads_than_cores_are_told(monkeypatch, lanes, threads, cores, told):
    monkeypatch.setattr("app.settings.os.sched_getaffinity", lambda _: range(16))
    found = list(machine.cores(Settings(lanes=lanes, threads=threads), Limits(cores=cores)))
    assert [finding.remedy for finding in bad(found)] == told


@pytest.mark.parametrize(
    ("settings", "limits", "most", "level"),
    [
        ({}, Limits(), None, "ok"),
        ({}, Limits(), 8 * 10**9, "ok"),
        ({}, Limits(memory_bytes=10**9), 10**9, "problem"),
        ({}, Limits(free_bytes=10**9), 8 * 10**9, "warning"),
        ({"memory_budget": 10**10}, Limits(), 8 * 10**9, "warning"),
        ({"memory_budget": 10**9}, Limits(free_bytes=4 * 10**9), 8 * 10**9, "ok"),
    ],
)
def test_memory(settings, limits, most, level):
    assert levels(list(machine.memory(Settings(**settings), limits, most))) == [level]


# Devices and packages


def test_a_device_that_is_not_there_is_a_problem():
    (finding,) = bad(list(devices.devices(Settings(device="cuda:63"))))
    assert finding.level is Level.PROBLEM
    assert "this machine has no device 'cuda:63'" in finding.message


def test_half_precision_on_a_cpu_is_told():
    (finding,) = bad(list(devices.devices(Settings(device="cpu", precision="bfloat16"))))
    assert finding.remedy == "Set SIGHTGRAPH_PRECISION=auto."


def test_a_gpu_that_does_not_compute_is_a_problem(monkeypatch):
    def fails(_: object) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nMore")

    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_name": lambda _: "Tesla K80",
        "mem_get_info": fails,
    }.items():
        monkeypatch.setattr(f"torch.cuda.{name}", value)
    (finding,) = bad(list(devices.devices(None)))
    assert finding.level is Level.PROBLEM
    assert finding.message == (
        "cuda:0 is a Tesla K80, and does not compute: CUDA error: no kernel image is available for execution "
        "on the device"
    )


@pytest.mark.parametrize("cuda", ["12.8", None])
def test_a_driver_that_torch_cannot_use_is_told(monkeypatch, tmp_path, cuda):
    proc = tmp_path / "version"
    proc.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13 2021\n")
    assert devices.nvidia_driver(proc) == "NVIDIA's driver 470.57.02"
    monkeypatch.setattr(devices, "nvidia_driver", lambda: "NVIDIA's driver 470.57.02")
    monkeypatch.setattr("torch.version.cuda", cuda)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (finding,) = bad(list(devices.devices(None)))
    assert "NVIDIA's driver 470.57.02 is here" in finding.message
    assert ("built for CUDA 12.8" if cuda else "built without CUDA") in finding.message


def test_packages_that_do_not_fit_are_named(monkeypatch):
    wanted = ["click<1", "no-such-package>=2", "also-none; extra == 'dev'", "click>=8"]
    monkeypatch.setattr(libraries, "requires", lambda _: wanted)
    monkeypatch.setattr(libraries, "_COMPILED", ("json", "no_such_module"))
    fit, load = bad(list(libraries.libraries()))
    assert "<1 is needed; no-such-package is not installed." in fit.message
    assert "no_such_module cannot be loaded: ModuleNotFoundError" in load.message


# Settings


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, []),
        ({"SIGHTGRAPH_OFFLINE": "1", "SIGHTGRAPH_PULL": "crop"}, ["Offline, nothing is downloaded"]),
        ({"SIGHTGRAPH_OFFLINE": "1", "SIGHTGRAPH_PULL": "none"}, []),
        ({"HF_HUB_OFFLINE": "1"}, ["HF_HUB_OFFLINE keeps the server from the hub"]),
        ({"HF_HUB_OFFLINE": "1", "SIGHTGRAPH_OFFLINE": "1"}, []),
        ({"SIGHTGRAPH_ALLOW_PRIVATE_URLS": "1"}, ["lets whoever may use the server"]),
        ({"SIGHTGRAPH_MAX_PIXELS": "900000000"}, ["One image may have 900,000,000 pixels"]),
        ({"SIGHTGRAPH_FETCH_TIMEOUT": "90"}, ["An image may take 90 seconds"]),
        ({"SIGHTGRAPH_WEIGHTS": "random"}, ["at random"]),
        ({"SIGHTGRAPH_LANE": "2"}, ["SIGHTGRAPH_LANE is no setting"]),
        ({"SIGHTGRAPH_LANES": "0"}, ["A setting is wrong: SIGHTGRAPH_LANES"]),
        ({"SIGHTGRAPH_INDEX_URL": "mysql://me:hunter2@db"}, ["SIGHTGRAPH_INDEX_URL"]),
    ],
    ids=str,
)
def test_settings_that_contradict_or_are_unknown(monkeypatch, environment, told):
    for name in [name for name in os.environ if name.startswith(("SIGHTGRAPH_", "HF_HUB_OFFLINE"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = list(configuration.configuration(*configuration.read(offline=False)))
    assert len(bad(found)) == len(told)
    for finding, part in zip(bad(found), told, strict=True):
        assert part in finding.message
        assert "hunter2" not in finding.message
    if not told:
        assert levels(found) == ["ok"]


def test_a_setting_with_a_typing_error_is_proposed(monkeypatch):
    # The application in a process may have set it, for the libraries that read it.
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("SIGHTGRAPH_LANE", "2")
    (finding,) = bad(list(configuration.configuration(*configuration.read(offline=False))))
    assert finding.remedy == "Did you mean SIGHTGRAPH_LANES?"


def test_operations_and_engines_that_are_not_there_are_problems(registry):
    settings = Settings(pull=("crop", "embed_all"), preload=("all",), engines={"embed_dino_v2": ("nobody",)})
    engines, pull = bad(list(configuration.named_operations(settings, registry)))
    assert "embed_dino_v2 has no engine 'nobody'" in engines.message
    assert "SIGHTGRAPH_PULL names embed_all" in pull.message
    assert {engines.level, pull.level} == {Level.PROBLEM}


# Weights


@pytest.fixture
def inventory(tmp_path, monkeypatch) -> Iterator[Inventory]:
    """Of toy operations, one of which has its weights here, from a hub on the loopback."""
    with hub_of_this_process(tmp_path, monkeypatch) as hub:
        fill(hub)
        store = LocalStore(tmp_path / "data")
        store.pull(NET, lambda done, total: None)
        yield Inventory(REGISTRY, store)


def test_weights_are_told_with_size_and_licence_and_what_is_wanted_is_missed(inventory):
    settings = Settings(pull=("describe_toy", "embed_toy"))
    found = list(weights.weights(settings, inventory))
    assert found[0].message == f"In packages: {BUNDLED.name}."
    assert found[1].message == "net: 300.0 kB, Apache-2.0."
    (wanted,) = bad(found)
    assert wanted.message == "Wanted by SIGHTGRAPH_PULL, and not here: other-net (50.0 kB, MIT)."
    assert "`sightgraph models pull toys/other`" in wanted.remedy
    assert [spec.name for spec in weights.to_come(settings, inventory)] == ["other-net"]
    assert not bad(list(weights.weights(Settings(pull=()), inventory)))


def test_damaged_and_partial_weights(inventory, tmp_path):
    (model,) = (tmp_path / "hub").glob("models--toys--net/snapshots/*/model.bin")
    model.resolve().write_bytes(MODEL[:-1])
    fresh = Inventory(REGISTRY, LocalStore(tmp_path / "data"))
    (damaged,) = bad(list(weights.weights(Settings(pull=()), fresh)))
    assert damaged.level is Level.PROBLEM
    assert "sightgraph models pull toys/net" in damaged.remedy
    model.unlink()
    (tmp_path / "data" / "weights.json").unlink()
    fresh = Inventory(REGISTRY, LocalStore(tmp_path / "data"))
    (partial,) = bad(list(weights.weights(Settings(pull=()), fresh)))
    assert "a part of its files is here" in partial.message


def test_a_record_that_cannot_be_read_is_a_problem(inventory, tmp_path):
    (tmp_path / "data" / "weights.json").write_text("{")
    fresh = Inventory(REGISTRY, LocalStore(tmp_path / "data"))
    (finding,) = list(weights.weights(Settings(), fresh))
    assert finding.level is Level.PROBLEM
    assert "weights.json" in finding.message


def test_models_that_find_no_room_together_are_told(inventory):
    settings = Settings(pull=("describe_toy", "embed_toy"))
    (finding,) = bad(list(weights.memory_of_wanted(settings, inventory, 200_000)))
    assert "SIGHTGRAPH_MEMORY_BUDGET" in finding.remedy
    assert not list(weights.memory_of_wanted(settings, inventory, 10**9))
    budget = Settings(pull=("embed_toy",), memory_budget=1)
    assert not list(weights.memory_of_wanted(budget, inventory, 200_000))


def test_an_engine_that_is_not_installed_is_a_problem(inventory, monkeypatch):
    present = LocalStore.present

    def without(self: LocalStore, spec: EngineSpec) -> bool:
        return spec is not BUNDLED and present(self, spec)

    monkeypatch.setattr(LocalStore, "present", without)
    (finding,) = bad(list(weights.weights(Settings(pull=()), inventory)))
    assert finding.message == "mtcnn is not installed."


# Folders and the index


def test_a_folder_is_written_to_and_left_as_it_was(tmp_path):
    (finding,) = places.folder("data folder", tmp_path / "new" / "data", 0, "SIGHTGRAPH_DATA")
    assert finding.level is Level.OK
    assert "is made when it is needed" in finding.message
    assert not list(tmp_path.iterdir())


def test_folders_that_will_not_do(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (of_file,) = places.folder("data folder", tmp_path / "file" / "data", 0, "SIGHTGRAPH_DATA")
    assert "is a file" in of_file.message
    (full,) = places.folder("model cache", tmp_path, 10**18, "HF_HOME")
    assert "are needed" in full.message
    (read_only,) = places.folder("data folder", Path("/proc"), 0, "SIGHTGRAPH_DATA")
    assert "cannot be written" in read_only.message
    assert {of_file.level, full.level, read_only.level} == {Level.PROBLEM}


def test_the_index(tmp_path):
    settings = Settings(data=tmp_path)
    assert levels(list(places.index(settings))) == ["ok"]
    holder = LocalStorage(tmp_path / "index")
    holder.open()
    try:
        (held,) = bad(list(places.index(settings)))
        assert held.level is Level.WARNING
    finally:
        holder.close()
    (free,) = places.index(settings)
    assert free.level is Level.OK
    assert free.message.startswith("In the data folder, ")
    (tmp_path / "index" / "index.sqlite").write_bytes(b"no database" * 1000)
    (damaged,) = bad(list(places.index(settings)))
    assert damaged.level is Level.PROBLEM
    assert "file is not a database" in damaged.message


def test_a_database_that_does_not_answer_is_a_problem_without_its_password():
    (finding,) = places.index(Settings(index_url="postgresql://me:hunter2@127.0.0.1:9/photos"))
    assert finding.level is Level.PROBLEM
    assert "hunter2" not in finding.message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2%@127.0.0.1:9/photos",
        "postgresql://me:hunter2 hunter2@127.0.0.1:9/photos",
        "postgresql://me:p@hunter2@127.0.0.1:9/photos",
        "postgresql://me:hunter2/p@127.0.0.1:9/photos",
        "postgresql://me:9/hunter2@127.0.0.1:9/photos",
        "postgresql://me:hunter2\udcff@127.0.0.1:9/photos",
    ],
)
def test_an_address_that_may_be_read_wrongly_is_not_repeated(url):
    (finding,) = bad(list(places.index(Settings(index_url=url))))
    assert finding.message == "The address in SIGHTGRAPH_INDEX_URL cannot be read."
    assert "hunter2" not in finding.remedy
    assert "%40 for @" in finding.remedy


def test_a_password_that_a_database_repeats_is_not(monkeypatch):
    def refuses(url: str, **_: object) -> None:
        raise psycopg.OperationalError("no entry for me with hunter@2 and key-word")

    monkeypatch.setattr(psycopg, "connect", refuses)
    url = "postgresql://me:hunter%402@127.0.0.1:9/photos?sslpassword=key-word"
    (finding,) = bad(list(places.index(Settings(index_url=url))))
    assert finding.message.endswith(": no entry for me with *** and ***")


def test_folders_that_cannot_even_be_looked_at_are_their_own_problems(tmp_path):
    """As one below a folder that is closed to this user, which none is to root."""
    settings = Settings(data=tmp_path / ("x" * 300) / "data")
    found = [list(examination()) for _, examination in places.places(settings, 0)]
    assert [finding.topic for findings in found for finding in findings] == [
        *("data folder", "model cache", "index")
    ]
    (data,), _, (index,) = found
    assert "cannot be written (File name too long)" in data.message
    assert "SIGHTGRAPH_DATA" in data.remedy
    assert "cannot be read" in index.message
    assert {data.level, index.level} == {Level.PROBLEM}


def test_what_is_closed_keeps_nothing_else_from_being_looked_at(tmp_path, monkeypatch, registry):
    def closed(*_: object) -> bool:
        raise PermissionError(13, "Permission denied", "/closed/model.bin")

    monkeypatch.setattr("app.core.registry.discover", lambda _: registry)
    monkeypatch.setattr(LocalStore, "present", closed)
    found = list(command._what_is_kept(Settings(data=tmp_path / "data", pull=("describe_image",))))
    (finding,) = [finding for finding in found if finding.topic == "weights"]
    assert finding.message == "/closed/model.bin cannot be looked at (Permission denied)."
    assert finding.remedy == "Give this user the right to it."
    assert [finding.topic for finding in found][-3:] == ["data folder", "model cache", "index"]


# The network


@contextlib.contextmanager
def another_server(
    answers: Mapping[str, bytes] | None = None, otherwise: bytes | None = b"hello"
) -> Iterator[int]:
    """Answers by path, and otherwise so; None breaks the connection off."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = (answers or {}).get(self.path, otherwise)
            if answer is None:
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Tests print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_port(url):
    with another_server() as taken:
        (finding,) = bad(list(network.port("127.0.0.1", taken)))
        assert f"sightgraph serve --port {taken + 1}" in finding.remedy
    assert levels(list(network.port("127.0.0.1", taken))) == ["ok"]
    ours = int(url.rpartition(":")[2])
    (finding,) = network.port("127.0.0.1", ours)
    assert finding.level is Level.OK
    assert f"`sightgraph doctor --server {url}` looks at it" in finding.message
    (elsewhere,) = bad(list(network.port("192.0.2.1", 8000)))
    assert elsewhere.level is Level.PROBLEM


def test_the_hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with another_server() as port:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
        assert levels(list(network.hub(None))) == ["ok"]
    (finding,) = bad(list(network.hub(Settings())))
    assert "cannot be reached" in finding.message
    (offline,) = network.hub(Settings(offline=True))
    assert offline.message.startswith("Not asked")


# A server that runs


def checks_of(result: Result) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for check in json.loads(result.stdout)["checks"]:
        found.setdefault(check["check"], []).append(check)
    return found


def test_a_server_that_runs_is_asked(url):
    result = run("--server", url, "--json")
    assert result.exit_code == 0, result.output
    found = checks_of(result)
    assert list(found) == ["server", "version", "readiness", "operations", "access"]
    assert found["server"][0]["message"].startswith(f"{url} answers in ")
    # The test's server does not know its version.
    assert found["version"][0]["level"] == "warning"
    assert found["readiness"][0]["message"] == "ready (200), 2 lanes."
    usable, absent = found["operations"]
    assert "detect_bounding_box" in usable["message"]
    assert "describe_image" in absent["message"]
    assert found["access"][0]["message"] == "The server asks for no key."


def test_a_server_that_asks_for_a_key(room: Room):
    key, entry = made_key("me", ["analyze"])
    with served(room, Doors(keys=(entry,))) as url:
        refused = run("--server", url, "--json")
        assert refused.exit_code == 1
        assert "sightgraph keys new" in checks_of(refused)["access"][0]["remedy"]
        wrong = run("--server", url, "--json", SIGHTGRAPH_API_KEY="no-such-key")
        assert "refuses the key" in checks_of(wrong)["access"][0]["message"]
        taken = run("--server", url, "--json", SIGHTGRAPH_API_KEY=key)
        assert checks_of(taken)["access"] == [
            {"check": "access", "level": "ok", "message": "The key is taken.", "remedy": None}
        ]


@pytest.mark.parametrize(
    ("change", "told"),
    [("starting", "loading (503)"), ("stopping", "stopping (503)")],
)
def test_a_server_that_is_not_ready(room: Room, monkeypatch, change, told):
    with served(room) as url:
        monkeypatch.setattr(room, change, True)
        (finding,) = checks_of(run("--server", url, "--json"))["readiness"]
        monkeypatch.undo()
    assert finding["level"] == ("warning" if change == "starting" else "problem")
    assert told in finding["message"]


def test_a_model_that_cannot_be_loaded_is_told_with_the_reason(astronaut_png):
    def load(placement: Placement) -> ToyEngine:
        raise ModelUnavailable("model.bin is torn.")

    store = ToyStore()
    room = build_room(Settings(lanes=1), Registry([seeing("see", toy_engine("eye", load))]), store)
    try:
        with served(room) as url:
            ask_to_see = {"tasks_json": '[{"operation_id": "t", "type": "see"}]'}
            files = {"image_file": astronaut_png}
            httpx.post(f"{url}/analyze_image_upload/", files=files, data=ask_to_see, timeout=60)
            result = run("--server", url, "--json")
    finally:
        room.pool.close()
        room.index.close()
        room.classifiers.close()
    assert result.exit_code == 1
    (finding,) = checks_of(result)["models"]
    assert finding["level"] == "problem"
    assert finding["message"].startswith("eye: ")
    assert "model.bin is torn." in finding["message"]


@pytest.mark.parametrize("key", ["sg_hunter2\nX", "sg_hunter2 X", "sg_hunter2ключ"])
def test_a_key_that_cannot_be_one_is_told_and_not_repeated(url, key):
    result = run("--server", url, "--json", SIGHTGRAPH_API_KEY=key)
    assert result.exit_code == 1
    assert "hunter2" not in result.output
    (finding,) = checks_of(result)["access"]
    assert finding["message"] == "The key in SIGHTGRAPH_API_KEY has spaces or characters that no API key has."
    assert "sightgraph keys new" in finding["remedy"]


@pytest.mark.parametrize(
    ("later", "told"), [(None, "No answer from http://127.0.0.1:"), (b"[]", "is no server of Sightgraph")]
)
def test_a_server_that_answers_otherwise_after_a_while(later, told):
    answers = {
        "/health/live": b'{"status": "ok"}',
        "/health/ready": b'{"status": "ready", "operations": {}, "lanes": {"count": 1, "lost": 0}}',
    }
    with another_server(answers, later) as port:
        result = run("--server", f"http://me:hunter2@127.0.0.1:{port}", "--json")
    assert result.exit_code == 1
    assert "hunter2" not in result.output
    first, second = checks_of(result)["server"]
    assert first["message"].startswith(f"http://127.0.0.1:{port} answers in ")
    assert told in second["message"]
    assert second["remedy"]


def test_what_is_no_server_of_ours():
    gone = run("--server", CLOSED, "--json")
    assert gone.exit_code == 1
    assert "No answer from http://127.0.0.1:9" in checks_of(gone)["server"][0]["message"]
    with another_server() as port:
        other = run("--server", f"http://127.0.0.1:{port}", "--json")
    assert other.exit_code == 1
    assert "is no server of Sightgraph" in checks_of(other)["server"][0]["message"]
