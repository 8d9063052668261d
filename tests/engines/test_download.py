"""Weights at fixed URLs, in the folders of torch, facenet-pytorch and easyocr."""

import ast
import hashlib
import importlib.util
import io
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import ModelUnavailable
from app.core.operation import EngineSpec
from app.engines import download
from app.engines.files import WeightsState
from app.engines.store import LocalStore, read_pins
from app.engines.weights import Download, RemoteFile
from tests.engines.fake_hub import FakeHub, hub_of_this_process, noise, sha256_of

NET = noise(200_000)
CRAFT, LATIN, ENGLISH = noise(60_000, seed=1), noise(20_000, seed=2), noise(20_000, seed=3)
NET_NAME = f"fasterrcnn-{sha256_of(NET)[:8]}.pth"


def nothing(done: int, total: int) -> None:
    pass


def zipped(name: str, data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr(name, data)
    return packed.getvalue()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with hub_of_this_process(tmp_path, monkeypatch) as hub:
        hub.plain = {
            NET_NAME: NET,
            "craft.zip": zipped("craft.pth", CRAFT),
            "latin.zip": zipped("latin.pth", LATIN),
            "english.zip": zipped("english.pth", ENGLISH),
        }
        yield hub


@pytest.fixture
def store(tmp_path: Path, hub: FakeHub) -> LocalStore:
    return LocalStore(tmp_path / "data")


def spec_of(weights: Download) -> EngineSpec:
    return EngineSpec(name=weights.id, weights=weights, licence="MIT", load=lambda placement: None)


@pytest.fixture
def torch_style(hub: FakeHub) -> EngineSpec:
    file = RemoteFile(
        f"{hub.files_url}/{NET_NAME}".replace("/fast", "/plain/fast"), NET_NAME, 200_000, sha256_of(NET)[:8]
    )
    return spec_of(Download("fasterrcnn", (file,), "torch"))


def easyocr(hub: FakeHub, name: str, data: bytes) -> EngineSpec:
    def packed(name: str, data: bytes) -> RemoteFile:
        md5 = hashlib.md5(data).hexdigest()
        return RemoteFile(
            f"{hub.files_url}/plain/{name}.zip", f"{name}.pth", len(data), md5=md5, archived=True
        )

    return spec_of(Download(f"easyocr-{name}", (packed("craft", CRAFT), packed(name, data)), "easyocr"))


def pulled(store: LocalStore, spec: EngineSpec) -> Path:
    store.pull(spec, nothing)
    return store.open(spec).files


def refusal(store: LocalStore, spec: EngineSpec) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        store.pull(spec, nothing)
    assert not store.present(spec)
    return str(caught.value)


def with_file(spec: EngineSpec, **changes: Any) -> EngineSpec:
    assert isinstance(spec.weights, Download)
    (file,) = spec.weights.files
    return replace(spec, weights=replace(spec.weights, files=(replace(file, **changes),)))


def test_a_file_comes_to_where_its_library_keeps_it(store, hub, torch_style, tmp_path):
    assert store.state(torch_style) is WeightsState.ABSENT
    before = store.fingerprint(torch_style)
    folder = pulled(store, torch_style)
    assert folder == tmp_path / "torch" / "hub" / "checkpoints"
    assert [path.name for path in folder.iterdir()] == [NET_NAME]
    assert (folder / NET_NAME).read_bytes() == NET
    assert store.fingerprint(torch_style) != before
    assert store.source(torch_style) == "download, fasterrcnn"
    hub.requests.clear()
    pulled(LocalStore(tmp_path / "data"), torch_style)
    assert not hub.requests


def package_file(package: str, path: str) -> Path:
    found = importlib.util.find_spec(package)
    return Path(found.submodule_search_locations[0]) / path


def function_of_facenet(name: str) -> Callable[[], str]:
    """One function of facenet-pytorch, whose import takes seconds."""
    tree = ast.parse(package_file("facenet_pytorch", "models/inception_resnet_v1.py").read_text())
    (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    names: dict[str, Any] = {"os": os}
    exec(compile(ast.Module([found], []), name, "exec"), names)
    return names[name]


def test_the_folders_are_those_of_the_libraries(monkeypatch, tmp_path):
    import torch

    config = importlib.util.spec_from_file_location("easyocr_config", package_file("easyocr", "config.py"))

    def easyocr_folder() -> Path:
        module = importlib.util.module_from_spec(config)
        config.loader.exec_module(module)
        return Path(f"{module.MODULE_PATH}/model")

    facenet_home = function_of_facenet("get_torch_home")
    folders = {
        "torch": lambda: Path(torch.hub.get_dir()) / "checkpoints",
        "facenet": lambda: Path(facenet_home()) / "checkpoints",
        "easyocr": easyocr_folder,
    }
    environments = [
        {},
        {"TORCH_HOME": str(tmp_path / "a"), "EASYOCR_MODULE_PATH": str(tmp_path / "b")},
        {"TORCH_HOME": "~/a", "MODULE_PATH": str(tmp_path / "c")},
        {"XDG_CACHE_HOME": str(tmp_path / "d"), "EASYOCR_MODULE_PATH": ""},
    ]
    for environment in environments:
        for name in ("TORCH_HOME", "XDG_CACHE_HOME", "EASYOCR_MODULE_PATH", "MODULE_PATH"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for cache, theirs in folders.items():
            assert download.folder_of(Download("x", (), cache)) == theirs(), (cache, environment)


def test_other_contents_than_the_name_says_are_refused(store, hub, torch_style, tmp_path):
    hub.sends_instead[NET_NAME] = NET[::-1]
    told = refusal(store, torch_style)
    assert f"What the server sent as {NET_NAME} has other contents (SHA-256" in told
    assert not list((tmp_path / "torch").rglob("*.*"))


def test_a_file_of_another_tool_is_adopted_and_checked(store, hub, torch_style, tmp_path):
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / NET_NAME).write_bytes(NET)
    store.open(torch_style)
    assert not hub.requests
    (folder / NET_NAME).write_bytes(NET[:-1])
    with pytest.raises(ModelUnavailable, match=rf"{NET_NAME} is truncated \(199,999 of 200,000 bytes\)"):
        store.open(torch_style)
    with pytest.raises(ModelUnavailable, match=rf"{NET_NAME} has other contents"):
        LocalStore(tmp_path / "other").open(torch_style)
    assert (pulled(store, torch_style) / NET_NAME).read_bytes() == NET


def test_an_interrupted_download_goes_on(store, hub, torch_style):
    hub.breaks_after[NET_NAME] = [50_000, 0, 0, 0, 0]
    assert "breaks off" in refusal(store, torch_style)
    hub.breaks_after.clear()
    hub.requests.clear()
    hub.bytes_sent.clear()
    pulled(store, torch_style)
    (request,) = hub.requests
    assert request.headers["Range"] == "bytes=50000-"
    assert request.headers["If-Range"] == f'"{sha256_of(NET)}"'
    assert hub.bytes_sent[NET_NAME] == 150_000


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_without_a_tag_that_proves_equal_bytes_it_starts_over(store, hub, torch_style, tag):
    hub.tags[NET_NAME] = tag
    hub.breaks_after[NET_NAME] = [50_000]
    pulled(store, torch_style)
    assert hub.bytes_sent[NET_NAME] == 250_000


def test_a_file_that_changed_meanwhile_starts_over(store, hub, torch_style):
    plain = with_file(torch_style, sha256_prefix="")
    hub.breaks_after[NET_NAME] = [50_000, 0, 0, 0, 0]
    refusal(store, plain)
    hub.breaks_after.clear()
    hub.plain[NET_NAME] = noise(150_000, seed=8)
    assert (pulled(store, plain) / NET_NAME).read_bytes() == hub.plain[NET_NAME]


def test_a_rest_longer_than_the_file_is_thrown_away(store, hub, torch_style, tmp_path):
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / f"{NET_NAME}.part").write_bytes(bytes(300_000))
    (folder / f"{NET_NAME}.part.etag").write_text(f'"{sha256_of(NET)}"')
    assert (pulled(store, torch_style) / NET_NAME).read_bytes() == NET


@pytest.mark.parametrize("status", [404, 403])
def test_a_refusal_is_told_at_once(store, hub, torch_style, status):
    hub.statuses[NET_NAME] = [status] * 5
    assert f"The server answered {status}" in refusal(store, torch_style)
    assert len(hub.requests) == 1


def test_a_server_that_recovers_is_tried_again(store, hub, torch_style):
    hub.statuses[NET_NAME] = [503, 429, 500]
    pulled(store, torch_style)


def test_more_than_any_such_file_is_refused(store, hub, torch_style):
    small = with_file(torch_style, size_bytes=1000)
    assert "200,000 bytes" in refusal(store, small)
    assert hub.bytes_sent[NET_NAME] <= 200_000


def test_progress_ends_at_the_total(store, hub):
    told: list[tuple[int, int]] = []
    store.pull(easyocr(hub, "latin", LATIN), lambda done, total: told.append((done, total)))
    done = [done for done, _ in told]
    assert done == sorted(done)
    assert told[-1] == (80_000, 80_000)


def test_the_member_of_an_archive_is_unpacked(store, hub, tmp_path):
    folder = pulled(store, easyocr(hub, "latin", LATIN))
    assert folder == tmp_path / "easyocr" / "model"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "craft.pth": CRAFT,
        "latin.pth": LATIN,
    }


def test_a_member_that_the_archive_has_wrong_is_refused(store, hub):
    hub.plain["latin.zip"] = zipped("latin.pth", LATIN[::-1])
    assert "latin.pth has other contents (MD5" in refusal(store, easyocr(hub, "latin", LATIN))


def test_an_archive_without_the_member_is_refused(store, hub):
    hub.plain["latin.zip"] = zipped("greek.pth", LATIN)
    assert "The archive has no latin.pth" in refusal(store, easyocr(hub, "latin", LATIN))


def test_an_archive_that_is_none_is_refused(store, hub):
    hub.plain["latin.zip"] = b"<html>not here</html>"
    assert "cannot be unpacked" in refusal(store, easyocr(hub, "latin", LATIN))


def test_an_archive_that_unpacks_to_much_more_is_refused(store, hub):
    hub.plain["latin.zip"] = zipped("latin.pth", bytes(10_000_000))
    assert "unpacks to 10,000,000 bytes" in refusal(store, easyocr(hub, "latin", LATIN))


def test_a_shared_file_is_fetched_once_and_stays_while_others_need_it(store, hub, tmp_path):
    latin, english = easyocr(hub, "latin", LATIN), easyocr(hub, "english", ENGLISH)
    folder = pulled(store, latin)
    pulled(store, english)
    assert len(hub.asked("craft")) == 1
    assert store.remove(latin, [latin, english]) == len(LATIN)
    assert sorted(path.name for path in folder.iterdir()) == ["craft.pth", "english.pth"]
    assert store.present(english)
    assert store.state(latin) is WeightsState.PARTIAL
    assert store.remove(english, [latin, english]) == len(CRAFT) + len(ENGLISH)
    assert not list(folder.iterdir())


def test_a_shared_file_is_fetched_once_by_two_at_once(store, hub, tmp_path):
    specs = [easyocr(hub, "latin", LATIN), easyocr(hub, "english", ENGLISH)]
    hub.gate.clear()
    stores = [LocalStore(tmp_path / "data") for _ in specs]
    threads = [
        threading.Thread(target=each.pull, args=(spec, nothing))
        for each, spec in zip(stores, specs, strict=True)
    ]
    for thread in threads:
        thread.start()
    assert hub.half_sent.wait(10)
    hub.gate.set()
    for thread in threads:
        thread.join(20)
    assert len(hub.asked("craft")) == 1
    assert all(store.verify(spec) == [] for spec in specs)


def test_pinned_contents_are_enforced(store, hub, torch_style, tmp_path):
    plain = with_file(torch_style, sha256_prefix="")
    pulled(store, plain)
    (tmp_path / "data" / "weights.json").rename(tmp_path / "pins.json")
    os.remove(tmp_path / "torch" / "hub" / "checkpoints" / NET_NAME)
    pinned = LocalStore(tmp_path / "data", pins=read_pins(tmp_path / "pins.json"))
    hub.sends_instead[NET_NAME] = NET[::-1]
    assert "has other contents" in refusal(pinned, plain)
    hub.sends_instead.clear()
    pulled(pinned, plain)


def test_offline_nothing_is_asked(hub, torch_style, tmp_path):
    store = LocalStore(tmp_path / "data", offline=True)
    assert "where the network may be used" in refusal(store, torch_style)
    assert not hub.requests
