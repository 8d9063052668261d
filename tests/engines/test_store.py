"""The weights on this machine, against a hub on the loopback."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.core.errors import ModelUnavailable
from app.core.operation import EngineSpec
from app.engines import hub as hub_cache
from app.engines.contents import FileRecord
from app.engines.files import WeightsState
from app.engines.manifest import Manifest, ManifestDamaged, WeightsRecord
from app.engines.random_store import RandomStore
from app.engines.store import LocalStore, Problem, read_pins
from app.engines.weights import Bundled, Hub
from tests.engines.fake_hub import FakeHub, git_id_of, hub_of_this_process, noise, sha256_of

NAME = "toys/net"
MODEL, CONFIG, VOCAB = noise(300_000), b'{"layers": 2}', noise(2_000, seed=1)
FILES = {
    "model.safetensors": MODEL,
    "config.json": CONFIG,
    "tokenizer/vocab.txt": VOCAB,
    "README.md": b"Hello",
}
USED = len(MODEL) + len(CONFIG) + len(VOCAB)


def load_nothing(placement):
    raise AssertionError("nothing is loaded here")


def spec_of(weights, **changes) -> EngineSpec:
    return EngineSpec(
        name=f"engine of {weights.id}", weights=weights, licence="MIT", load=load_nothing, **changes
    )


SPEC = spec_of(
    Hub(NAME, ("config.json", "*.safetensors"), 300_000, optional=("tokenizer/*", "special.json")),
)


class Progress:
    def __init__(self, at: Callable[[int], None] = lambda done: None) -> None:
        self.told: list[tuple[int, int]] = []
        self._at = at

    def __call__(self, done: int, total: int) -> None:
        self.told.append((done, total))
        self._at(done)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with hub_of_this_process(tmp_path, monkeypatch) as hub:
        hub.repository(NAME, FILES)
        yield hub


@pytest.fixture
def store(tmp_path: Path, hub: FakeHub) -> LocalStore:
    return LocalStore(tmp_path / "data")


def pulled(store: LocalStore, spec: EngineSpec = SPEC) -> Path:
    store.pull(spec, Progress())
    return store.open(spec).files


def recorded(tmp_path: Path, name: str = NAME) -> dict:
    return json.loads((tmp_path / "data" / "weights.json").read_text())["weights"][name]


def test_nothing_is_here_at_first(store):
    assert store.state(SPEC) is WeightsState.ABSENT
    assert not store.present(SPEC)
    assert store.source(SPEC) == "Hugging Face hub, toys/net"
    assert store.remedy(SPEC) == "Run `sightgraph models pull toys/net`."
    with pytest.raises(
        ModelUnavailable, match=r"toys/net.*config\.json is missing.*sightgraph models pull toys/net"
    ):
        store.open(SPEC)


def test_a_pull_records_the_commit_and_the_hashes(store, hub, tmp_path):
    folder = pulled(store)
    commit = hub.repositories[NAME].main
    record = recorded(tmp_path)
    assert (record["kind"], record["revision"], record["commit"]) == ("hub", "main", commit)
    assert record["files"] == {
        name: {"size": len(FILES[name]), "sha256": sha256_of(FILES[name])}
        for name in ("config.json", "model.safetensors", "tokenizer/vocab.txt")
    }
    assert folder.name == commit
    assert {name: (folder / name).read_bytes() for name in record["files"]} == {
        name: FILES[name] for name in record["files"]
    }
    assert not hub.asked("README.md")
    assert store.source(SPEC) == f"Hugging Face hub, toys/net@{commit[:7]}"
    assert store.state(SPEC) is WeightsState.ON_DISK
    assert store.size_bytes(SPEC) == USED
    assert str(tmp_path) not in (tmp_path / "data" / "weights.json").read_text()


def test_the_cache_is_laid_out_as_other_tools_expect(store, hub):
    from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache

    folder = pulled(store)
    assert try_to_load_from_cache(NAME, "config.json") == str(folder / "config.json")
    assert snapshot_download(NAME, local_files_only=True) == str(folder)
    cache = scan_cache_dir()
    assert not cache.warnings
    assert cache.size_on_disk == USED


def test_a_second_pull_fetches_nothing(store, hub):
    pulled(store)
    hub.requests.clear()
    progress = Progress()
    store.pull(SPEC, progress)
    assert progress.told == [(USED, USED)]
    assert not hub.requests


def test_what_is_recorded_stays_at_its_commit(store, hub):
    folder = pulled(store)
    (folder / "config.json").unlink()
    hub.repository(NAME, {**FILES, "config.json": b"newer"})
    assert pulled(store) == folder
    assert (folder / "config.json").read_bytes() == CONFIG


def test_progress_is_monotonic_and_ends_at_the_total(store, hub):
    hub.breaks_after["model.safetensors"] = [100_000]
    progress = Progress()
    store.pull(SPEC, progress)
    done = [done for done, _ in progress.told]
    assert done == sorted(done)
    assert {total for _, total in progress.told} == {USED}
    assert done[-1] == USED
    assert len(set(done)) > 3


def test_a_connection_that_breaks_goes_on_where_it_stopped(store, hub):
    hub.breaks_after["model.safetensors"] = [100_000, 50_000]
    pulled(store)
    ranges = [request.headers.get("Range") for request in hub.asked("/large/")]
    assert ranges[0] is None
    assert all(asked.startswith("bytes=") for asked in ranges[1:3])
    assert hub.bytes_sent["model.safetensors"] == len(MODEL)


def test_an_interrupted_pull_goes_on_where_it_stopped(store, hub, tmp_path):
    class Interrupted(Exception):
        pass

    def interrupt(done: int) -> None:
        # The file is larger than what is read at once.
        if done > 100_000:
            raise Interrupted

    hub.gate.clear()
    with pytest.raises(Interrupted):
        store.pull(SPEC, Progress(interrupt))
    hub.gate.set()
    assert store.state(SPEC) is not WeightsState.ON_DISK
    (part,) = (tmp_path / "hub").rglob("*.incomplete")
    here = part.stat().st_size
    assert here > 0
    hub.bytes_sent.clear()
    hub.requests.clear()
    pulled(LocalStore(tmp_path / "data"))
    assert hub.asked("/large/")[0].headers["Range"] == f"bytes={here}-"
    assert hub.bytes_sent["model.safetensors"] == len(MODEL) - here
    assert not part.exists()


def test_a_rest_of_something_else_is_started_over(store, hub, tmp_path):
    blobs = hub_cache.snapshot(SPEC.weights, "x").parent.parent / "blobs"
    blobs.mkdir(parents=True)
    for size in (1000, len(MODEL), len(MODEL) + 1000):
        part = blobs / f"{sha256_of(MODEL)}.sightgraph.incomplete"
        part.write_bytes(bytes(size))
        folder = pulled(store)
        assert (folder / "model.safetensors").read_bytes() == MODEL
        store.remove(SPEC)
        blobs.mkdir(parents=True)


def by_another_tool(*names: str) -> Path:
    """Files that huggingface_hub itself put into the cache, as transformers would."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils.tqdm import silent_tqdm

    paths = [Path(hf_hub_download(NAME, name, tqdm_class=silent_tqdm)) for name in names]
    return paths[0].parent


def test_files_of_another_tool_are_adopted_without_the_network(store, hub, tmp_path):
    folder = by_another_tool("config.json", "model.safetensors")
    hub.requests.clear()
    assert store.present(SPEC)
    before = store.fingerprint(SPEC)
    assert store.open(SPEC).files == folder
    record = recorded(tmp_path)
    assert record["commit"] == hub.repositories[NAME].main
    assert set(record["files"]) == {"config.json", "model.safetensors"}
    assert store.fingerprint(SPEC) != before
    store.pull(SPEC, Progress())
    assert not hub.requests


def test_files_without_links_are_adopted(store, hub, tmp_path):
    commit = "c" * 40
    folder = tmp_path / "hub" / "models--toys--net" / "snapshots" / commit
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(FILES[name])
    (folder.parent.parent / "refs").mkdir()
    (folder.parent.parent / "refs" / "main").write_text(commit)
    assert store.open(SPEC).files == folder
    assert recorded(tmp_path)["commit"] == commit


def test_a_partial_snapshot_is_completed(store, hub):
    by_another_tool("config.json")
    assert store.state(SPEC) is WeightsState.PARTIAL
    assert not store.present(SPEC)
    hub.requests.clear()
    pulled(store)
    assert not hub.asked("config.json")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_another_tool_truncated_is_noticed_and_mended(store, hub, name):
    folder = by_another_tool("config.json", "model.safetensors")
    os.truncate(folder / name, 5)
    with pytest.raises(ModelUnavailable, match=name):
        store.open(SPEC)
    assert (pulled(store) / name).read_bytes() == FILES[name]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer/vocab.txt"])
def test_a_truncated_file_is_found_and_mended(store, hub, tmp_path, name):
    folder = pulled(store)
    os.truncate(folder / name, 7)
    fresh = LocalStore(tmp_path / "data")
    assert fresh.state(SPEC) is WeightsState.DAMAGED
    assert not fresh.present(SPEC)
    told = f"{name} is truncated (7 of {len(FILES[name]):,} bytes)"
    assert fresh.verify(SPEC) == [Problem(name, told.partition(" ")[2])]
    with pytest.raises(ModelUnavailable) as caught:
        fresh.open(SPEC)
    assert told in str(caught.value)
    assert "sightgraph models pull toys/net" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    hub.requests.clear()
    pulled(fresh)
    assert fresh.verify(SPEC) == []
    fetched = {request.path.rpartition("/")[2] for request in hub.requests if request.method == "GET"}
    others = {other.rpartition("/")[2] for other in FILES} - {name.rpartition("/")[2]}
    assert not fetched & others


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_flipped_bit_is_found_and_mended(store, hub, name):
    folder = pulled(store)
    data = bytearray(FILES[name])
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    assert store.present(SPEC)
    assert "has other contents (SHA-256" in str(store.verify(SPEC))
    with pytest.raises(ModelUnavailable, match=f"{name} has other contents"):
        store.open(SPEC)
    assert (pulled(store) / name).read_bytes() == FILES[name]


def test_a_link_that_leads_nowhere_is_mended(store, hub):
    folder = pulled(store)
    (folder / "model.safetensors").resolve().unlink()
    assert not LocalStore(store._data).present(SPEC)
    assert (pulled(store) / "model.safetensors").read_bytes() == MODEL


def test_what_the_hub_sends_is_checked(store, hub):
    hub.sends_instead["model.safetensors"] = MODEL[:-1] + b"?"
    with pytest.raises(ModelUnavailable, match=r"model\.safetensors has other contents"):
        store.pull(SPEC, Progress())
    assert not store.present(SPEC)
    hub.sends_instead.clear()
    pulled(store)


def test_a_small_file_that_the_hub_sends_wrong_is_refused(store, hub):
    hub.sends_instead["config.json"] = CONFIG[::-1]
    with pytest.raises(ModelUnavailable, match=r"config\.json has other contents \(Git id"):
        store.pull(SPEC, Progress())
    hub.sends_instead.clear()
    pulled(store)


def test_a_large_file_that_the_hub_sends_too_long_is_refused(store, hub):
    hub.sends_instead["model.safetensors"] = MODEL + b"more"
    with pytest.raises(ModelUnavailable, match=r"300,004 bytes"):
        store.pull(SPEC, Progress())


def test_names_that_lead_out_of_the_repository_are_refused(store, hub, tmp_path):
    outside = tmp_path / "hub" / "models--toys--net" / "snapshots" / "x.safetensors"
    outside.parent.mkdir(parents=True)
    outside.write_bytes(b"mine")
    hub.repository(NAME, {**FILES, "../x.safetensors": noise(2000)})
    with pytest.raises(ModelUnavailable, match="outside of the repository"):
        store.pull(SPEC, Progress())
    assert outside.read_bytes() == b"mine"


class TestPins:
    @pytest.fixture
    def pins(self, store, hub, tmp_path) -> Path:
        """The record of another machine, which pulled an older commit."""
        pulled(store)
        (tmp_path / "data" / "weights.json").rename(tmp_path / "pins.json")
        shutil.rmtree(tmp_path / "hub")
        hub.repository(NAME, {**FILES, "config.json": b"{}", "model.safetensors": noise(5_000, seed=9)})
        hub.requests.clear()
        return tmp_path / "pins.json"

    def test_exactly_the_pinned_commit_is_pulled(self, pins, tmp_path, hub):
        store = LocalStore(tmp_path / "data", pins=read_pins(pins))
        before = store.fingerprint(SPEC)
        folder = pulled(store)
        assert (
            folder.name
            == recorded(tmp_path)["commit"]
            == json.loads(pins.read_text())["weights"][NAME]["commit"]
        )
        assert (folder / "model.safetensors").read_bytes() == MODEL
        assert store.fingerprint(SPEC) == before

    def test_without_pins_the_newest_is_pulled(self, pins, tmp_path, hub):
        assert pulled(LocalStore(tmp_path / "data")).name == hub.repositories[NAME].main

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
    @pytest.mark.parametrize("field", ["size", "sha256"])
    def test_other_contents_are_refused(self, pins, tmp_path, hub, name, field):
        document = json.loads(pins.read_text())
        document["weights"][NAME]["files"][name][field] = {"size": 7, "sha256": "0" * 64}[field]
        pins.write_text(json.dumps(document))
        store = LocalStore(tmp_path / "data", pins=read_pins(pins))
        with pytest.raises(ModelUnavailable, match=name):
            store.pull(SPEC, Progress())
        assert not hub.asked("/large/") or name == "config.json"
        assert not store.present(SPEC)

    def test_files_on_the_disk_that_are_not_the_pinned_ones_are_refused(self, pins, tmp_path, hub):
        folder = pulled(LocalStore(tmp_path / "data", pins=read_pins(pins)))
        (folder / "config.json").write_bytes(CONFIG[::-1])
        fresh = LocalStore(tmp_path / "other", pins=read_pins(pins))
        with pytest.raises(ModelUnavailable, match=r"config\.json has other contents"):
            fresh.open(SPEC)

    def test_weights_that_are_not_named_are_refused(self, pins, tmp_path, hub):
        hub.repository("toys/other", FILES)
        other = spec_of(replace(SPEC.weights, repository="toys/other"))
        pulled(LocalStore(tmp_path / "free"), other)
        hub.requests.clear()
        store = LocalStore(tmp_path / "data", pins=read_pins(pins))
        assert not store.present(other)
        for refused in (lambda: store.pull(other, Progress()), lambda: store.open(other)):
            with pytest.raises(ModelUnavailable, match="SIGHTGRAPH_PINNED_WEIGHTS"):
                refused()
        assert not hub.requests

    def test_a_pinned_commit_that_is_gone_is_told(self, pins, tmp_path, hub):
        newest = hub.repositories[NAME].main
        hub.repositories[NAME].commits = {newest: hub.repositories[NAME].commits[newest]}
        with pytest.raises(ModelUnavailable, match="revision"):
            LocalStore(tmp_path / "data", pins=read_pins(pins)).pull(SPEC, Progress())


class TestOffline:
    def test_missing_weights_are_known_without_the_network(self, tmp_path, hub):
        store = LocalStore(tmp_path / "data", offline=True)
        assert not store.present(SPEC)
        for refused in (lambda: store.pull(SPEC, Progress()), lambda: store.open(SPEC)):
            with pytest.raises(ModelUnavailable, match="pull toys/net` where the network may be used"):
                refused()
        assert not hub.requests

    def test_the_hubs_own_switch_counts(self, store, hub, monkeypatch):
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(ModelUnavailable, match="where the network may be used"):
            store.pull(SPEC, Progress())
        assert not hub.requests

    def test_what_is_here_serves(self, store, hub, tmp_path):
        folder = pulled(store)
        hub.requests.clear()
        offline = LocalStore(tmp_path / "data", offline=True)
        offline.pull(SPEC, Progress())
        assert offline.open(SPEC).files == folder
        assert not hub.requests

    def test_damage_is_told(self, store, hub, tmp_path):
        folder = pulled(store)
        os.truncate(folder / "config.json", 1)
        offline = LocalStore(tmp_path / "data", offline=True)
        with pytest.raises(ModelUnavailable, match="where the network may be used"):
            offline.pull(SPEC, Progress())


class TestRefusals:
    """Every refusal of the hub becomes a message with a remedy and without a path of this machine."""

    def refusal(self, store: LocalStore, tmp_path: Path, spec: EngineSpec = SPEC) -> str:
        with pytest.raises(ModelUnavailable) as caught:
            store.pull(spec, Progress())
        assert str(tmp_path) not in str(caught.value)
        assert f"'{spec.weights.id}'" in str(caught.value)
        assert not store.present(spec)
        return str(caught.value)

    @pytest.mark.parametrize("status", [401, 403])
    @pytest.mark.parametrize("code", ["GatedRepo", ""])
    @pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
    def test_gated(self, store, hub, tmp_path, status, code, file):
        hub.repositories[NAME].status, hub.repositories[NAME].error_code = status, code
        told = self.refusal(store, tmp_path, spec_of(Hub(NAME, (file,), 1)))
        assert "HF_TOKEN" in told
        assert f"{hub.url}/{NAME}" in told

    def test_no_repository(self, store, hub, tmp_path):
        told = self.refusal(store, tmp_path, spec_of(Hub("toys/none", ("a",), 1)))
        assert "The hub has no repository toys/none" in told
        assert "HF_TOKEN" in told

    def test_no_revision(self, store, hub, tmp_path):
        weights = replace(SPEC.weights, revision="v2")
        assert "no revision v2" in self.refusal(store, tmp_path, spec_of(weights))

    def test_no_file(self, store, hub, tmp_path):
        weights = replace(SPEC.weights, files=("*.onnx",))
        assert "no file *.onnx" in self.refusal(store, tmp_path, spec_of(weights))
        assert not hub.asked("/resolve/")

    def test_no_network(self, store, hub, tmp_path, monkeypatch):
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        assert "cannot be reached" in self.refusal(store, tmp_path)

    def test_a_server_that_stays_broken(self, store, hub, tmp_path):
        hub.statuses[NAME] = [503] * 50
        assert "503" in self.refusal(store, tmp_path)
        assert len(hub.requests) < 10

    def test_a_large_file_that_stays_broken(self, store, hub, tmp_path):
        hub.breaks_after["model.safetensors"] = [0] * 50
        assert "breaks off" in self.refusal(store, tmp_path)
        assert len(hub.asked("/large/")) < 10

    def test_a_disk_that_is_too_small(self, store, hub, tmp_path, monkeypatch):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 5, 5))
        assert f"{USED:,} bytes are to come, and 5 are free" in self.refusal(store, tmp_path)
        assert not hub.asked("/resolve/")

    def test_a_disk_that_fills_up(self, store, hub, tmp_path, monkeypatch):
        def full(self: Path, target: Path) -> None:
            raise OSError(28, "No space left on device", str(target))

        monkeypatch.setattr(Path, "replace", full)
        assert "the disk is full" in self.refusal(store, tmp_path)


def test_a_server_that_recovers_is_tried_again(store, hub):
    hub.statuses[NAME] = [503, 429]
    hub.statuses["model.safetensors"] = [500]
    pulled(store)


def test_the_token_goes_to_the_hub_alone(store, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pulled(store)
    assert {request.headers.get("Authorization") for request in hub.asked("/large/")} == {None}
    assert {request.headers.get("Authorization") for request in hub.asked("/resolve/")} == {
        "Bearer hf_secret"
    }


def test_two_pulls_at_once_fetch_once(hub, tmp_path):
    hub.gate.clear()
    stores = [LocalStore(tmp_path / "data") for _ in range(2)]
    progress = [Progress(), Progress()]
    threads = [
        threading.Thread(target=store.pull, args=(SPEC, told))
        for store, told in zip(stores, progress, strict=True)
    ]
    for thread in threads:
        thread.start()
    assert hub.half_sent.wait(10)
    time.sleep(0.6)
    hub.gate.set()
    for thread in threads:
        thread.join(20)
    assert hub.bytes_sent["model.safetensors"] == len(MODEL)
    assert [told.told[-1] for told in progress] == [(USED, USED)] * 2
    # Who waits is asked whether to go on.
    assert (0, SPEC.weights.size_bytes) in progress[0].told + progress[1].told


class TestFingerprint:
    def test_it_is_of_the_declaration_until_the_files_are_recorded(self, store, hub, tmp_path):
        declared = store.fingerprint(SPEC)
        assert LocalStore(tmp_path / "elsewhere").fingerprint(SPEC) == declared
        assert store.fingerprint(spec_of(replace(SPEC.weights, revision="v2"))) != declared
        pulled(store)
        assert store.fingerprint(SPEC) != declared
        assert LocalStore(tmp_path / "data").fingerprint(SPEC) == store.fingerprint(SPEC)

    def test_it_is_of_the_files_that_an_engine_uses(self, store, hub):
        pulled(store)
        alone = spec_of(replace(SPEC.weights, optional=()))
        folder = pulled(store, alone)
        assert folder == pulled(store)
        assert store.fingerprint(alone) != store.fingerprint(SPEC)

    def test_other_files_give_another_one(self, hub, tmp_path):
        first = LocalStore(tmp_path / "data")
        pulled(first)
        hub.repository(NAME, {**FILES, "config.json": b"{}"})
        second = LocalStore(tmp_path / "other")
        shutil.rmtree(tmp_path / "hub")
        pulled(second)
        assert first.fingerprint(SPEC) != second.fingerprint(SPEC)

    def test_a_change_by_another_process_is_noticed_after_a_second(self, hub, tmp_path):
        now = [0.0]
        store = LocalStore(tmp_path / "data", clock=lambda: now[0])
        before = store.fingerprint(SPEC), store.present(SPEC)
        pulled(LocalStore(tmp_path / "data"))
        assert (store.fingerprint(SPEC), store.present(SPEC)) == before
        now[0] = 1.01
        assert store.fingerprint(SPEC) != before[0]
        assert store.present(SPEC)

    def test_asking_is_quick(self, store, hub):
        pulled(store)
        store.fingerprint(SPEC), store.present(SPEC)
        started = time.process_time()
        for _ in range(1000):
            store.fingerprint(SPEC), store.present(SPEC)
        # 0.1 ms each, with room for a machine that is busy.
        assert time.process_time() - started < 0.5


class TestManifest:
    RECORD = WeightsRecord(kind="hub", files={"a": FileRecord(size=1, sha256="a" * 64)}, commit="c" * 40)

    def test_it_keeps_what_several_write(self, tmp_path):
        manifests = [Manifest(tmp_path / "weights.json") for _ in range(8)]
        threads = [
            threading.Thread(target=manifest.put, args=(f"toys/{number}", self.RECORD))
            for number, manifest in enumerate(manifests)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert all(Manifest(tmp_path / "weights.json").get(f"toys/{number}") for number in range(8))

    def test_files_of_one_commit_are_joined_and_those_of_another_replaced(self, tmp_path):
        manifest = Manifest(tmp_path / "weights.json")
        manifest.put(NAME, self.RECORD)
        more = self.RECORD.model_copy(update={"files": {"b": self.RECORD.files["a"]}})
        manifest.put(NAME, more)
        assert set(manifest.get(NAME).files) == {"a", "b"}
        manifest.put(NAME, more.model_copy(update={"commit": "d" * 40}))
        assert set(manifest.get(NAME).files) == {"b"}
        manifest.drop(NAME)
        assert manifest.get(NAME) is None

    def test_a_write_that_fails_leaves_the_old_one(self, tmp_path, monkeypatch):
        manifest = Manifest(tmp_path / "weights.json")
        manifest.put(NAME, self.RECORD)
        monkeypatch.setattr(os, "fsync", lambda handle: exec("raise OSError(28, 'full')"))
        with pytest.raises(OSError, match="full"):
            manifest.put("toys/other", self.RECORD)
        monkeypatch.undo()
        assert manifest.get(NAME) == self.RECORD
        assert Manifest(tmp_path / "weights.json").get("toys/other") is None

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            '{"version": 2, "weights": {}}',
            '{"weights": {"a": {"kind": "hub", "files": {"f": {}}}}}',
        ],
    )
    def test_a_damaged_one_is_told_and_kept(self, store, hub, tmp_path, text):
        pulled(store)
        path = tmp_path / "data" / "weights.json"
        path.write_text(text)
        fresh = LocalStore(tmp_path / "data")
        for told in (
            lambda: fresh.open(SPEC),
            lambda: fresh.pull(SPEC, Progress()),
            lambda: fresh.verify(SPEC),
            lambda: fresh.remove(SPEC),
        ):
            with pytest.raises(
                ManifestDamaged, match=r"weights\.json, cannot be read .*move it away"
            ) as caught:
                told()
            assert str(tmp_path) not in str(caught.value)
        assert path.read_text() == text
        # The event loop still gets its answers.
        assert len(fresh.fingerprint(SPEC)) == 40
        assert fresh.source(SPEC)
        assert fresh.remedy(SPEC)
        path.unlink()
        assert LocalStore(tmp_path / "data").open(SPEC).files

    def test_a_folder_that_cannot_be_written_is_told(self, hub, tmp_path):
        by_another_tool("config.json", "model.safetensors")
        (tmp_path / "file").write_text("no folder")
        with pytest.raises(ModelUnavailable, match="SIGHTGRAPH_DATA"):
            LocalStore(tmp_path / "file").open(SPEC)


class TestRemoval:
    def test_it_frees_what_was_pulled(self, store, hub, tmp_path):
        pulled(store)
        assert store.remove(SPEC) >= USED
        assert store.state(SPEC) is WeightsState.ABSENT
        assert not (tmp_path / "hub" / "models--toys--net").exists()
        assert NAME not in (tmp_path / "data" / "weights.json").read_text()
        assert store.remove(SPEC) == 0

    def test_other_commits_stay(self, store, hub, tmp_path):
        older = pulled(store)
        hub.repository(NAME, {**FILES, "config.json": b"{}"})
        newer = by_another_tool("config.json", "model.safetensors")
        assert store.remove(SPEC) < len(MODEL)
        assert not older.exists()
        assert (newer / "model.safetensors").read_bytes() == MODEL

    def test_what_an_interruption_left_is_removed(self, store, hub, tmp_path):
        blobs = tmp_path / "hub" / "models--toys--net" / "blobs"
        blobs.mkdir(parents=True)
        (blobs / f"{'0' * 64}.sightgraph.incomplete").write_bytes(bytes(1000))
        assert store.remove(SPEC) == 1000
        assert not blobs.exists()


class TestBundled:
    MTCNN = spec_of(
        Bundled("facenet-pytorch", "facenet_pytorch", ("data/pnet.pt", "data/rnet.pt", "data/onet.pt"))
    )
    MISSING = spec_of(Bundled("no-such-package", "no_such_package", ("a.bin",)))

    def test_it_is_here_when_the_package_is(self, store):
        assert store.state(self.MTCNN) is WeightsState.BUNDLED
        assert store.present(self.MTCNN)
        assert store.source(self.MTCNN) == "bundled in facenet-pytorch 2.5.3"
        assert (store.open(self.MTCNN).files / "data" / "pnet.pt").is_file()
        assert store.size_bytes(self.MTCNN) > 1_000_000
        assert store.verify(self.MTCNN) == []

    def test_a_package_that_is_one_module_has_a_folder(self, store):
        assert store.open(spec_of(Bundled("zxing-cpp", "zxingcpp"))).files.is_dir()

    def test_a_package_that_is_just_being_imported_is_here(self, store, monkeypatch):
        # Its module is known by then, and has no spec yet.
        half = types.ModuleType("facenet_pytorch")
        assert half.__spec__ is None
        monkeypatch.setitem(sys.modules, "facenet_pytorch", half)
        assert store.present(self.MTCNN)
        assert (store.open(self.MTCNN).files / "data" / "pnet.pt").is_file()

    def test_it_is_never_fetched_or_removed(self, store, hub):
        store.pull(self.MTCNN, Progress())
        assert store.remove(self.MTCNN) == 0
        assert store.present(self.MTCNN)
        assert not hub.requests

    def test_the_fingerprint_is_of_version_and_files(self, store):
        fingerprint = store.fingerprint(self.MTCNN)
        assert fingerprint == LocalStore(Path("elsewhere")).fingerprint(self.MTCNN)
        fewer = spec_of(Bundled("facenet-pytorch", "facenet_pytorch", ("data/pnet.pt",)))
        assert store.fingerprint(fewer) != fingerprint

    def test_a_package_that_is_missing_is_told(self, store):
        assert store.state(self.MISSING) is WeightsState.ABSENT
        assert "(not installed)" in store.source(self.MISSING)
        assert store.fingerprint(self.MISSING)
        for told in (lambda: store.open(self.MISSING), lambda: store.pull(self.MISSING, Progress())):
            with pytest.raises(ModelUnavailable, match="Install the package no-such-package"):
                told()


class TestRandom:
    def test_the_files_are_written_once_and_whole(self, store, tmp_path, hub):
        writes: list[Path] = []

        def write(folder: Path) -> None:
            writes.append(folder)
            (folder / "model.bin").write_bytes(b"random")
            if len(writes) == 1:
                raise OSError(28, "No space left on device")

        spec = replace(SPEC, write_random=write)
        random = RandomStore(store, tmp_path / "random")
        assert random.present(spec)
        with pytest.raises(ModelUnavailable, match="No space"):
            random.open(spec)
        assert (random.open(spec).files / "model.bin").read_bytes() == b"random"
        assert random.open(spec).files == RandomStore(store, tmp_path / "random").open(spec).files
        assert len(writes) == 2
        random.pull(spec, Progress())
        assert not hub.requests

    def test_every_result_says_so(self, store, tmp_path):
        spec = replace(SPEC, write_random=lambda folder: None)
        random = RandomStore(store, tmp_path / "random")
        assert random.fingerprint(spec).startswith("random")
        assert random.fingerprint(spec) != random.fingerprint(replace(spec, name="other"))
        assert random.source(spec) == "seeded random weights, for measurements"
        assert random.caution(spec) == "Made with random weights: for measurements, not a real answer."

    @pytest.mark.parametrize("spec", [SPEC, TestBundled.MTCNN], ids=["hub", "bundled"])
    def test_engines_that_write_none_have_the_real_ones(self, store, tmp_path, hub, spec):
        random = RandomStore(store, tmp_path / "random")
        random.pull(spec, Progress())
        assert random.open(spec) == store.open(spec)
        for name in ("fingerprint", "source", "caution", "present", "remedy"):
            assert getattr(random, name)(spec) == getattr(store, name)(spec)


def test_a_device_that_is_not_there_is_told(hub, tmp_path):
    store = LocalStore(tmp_path / "data", device="cuda:99")
    with pytest.raises(ModelUnavailable, match="SIGHTGRAPH_DEVICE"):
        store.open(TestBundled.MTCNN)


def test_blobs_are_named_by_their_content(store, hub):
    """Adopting rests on it."""
    folder = by_another_tool("config.json", "model.safetensors")
    assert (folder / "config.json").readlink().name == git_id_of(CONFIG)
    assert (folder / "model.safetensors").readlink().name == sha256_of(MODEL)


def test_looking_imports_nothing_heavy(tmp_path):
    code = f"""
import sys
from pathlib import Path
from app.core.operation import EngineSpec
from app.engines.store import LocalStore
from app.engines.weights import Hub
spec = EngineSpec(name="a", weights=Hub("toys/net", ("a", "*.b"), 1), licence="MIT", load=print)
store = LocalStore(Path({str(tmp_path)!r}))
store.present(spec), store.fingerprint(spec), store.source(spec), store.remedy(spec)
heavy = ("torch", "httpx2", "huggingface_hub.file_download", "filelock")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
