"""What the server counts: right, in both formats, and bounded whatever clients send."""

import re
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import orjson
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed

from app.api.doors import Doors
from app.api.gauges import drifting, read_drift
from app.api.room import RequestLimits, Room
from app.core.access import ApiKey, digest_of
from app.core.artifacts import Crop
from app.core.drift import Health
from app.core.geometry import Box
from app.core.operation import IMAGE, EngineSpec, NoParams, operation
from app.core.registry import Registry
from app.main import build_classifiers, build_room
from app.settings import Settings
from classifiers.shelf import Shelf
from tests.conftest import served
from tests.heads import put_head
from tests.images import encoded, noise
from tests.site import site
from tests.toys import ToyStore, ToyWeights

PICTURE = encoded(noise(16, 12))
TASK = {"operation_id": "a", "type": "measure"}


class Toy:
    def warmup(self, items: int = 1) -> None:
        """Nothing is cold."""


TOY = EngineSpec("toy", ToyWeights(size_bytes=5_000), "MIT", lambda placement: Toy(), 4)
ABSENT = EngineSpec("absent", ToyWeights(id="absent"), "MIT", lambda placement: Toy())


@operation(needs=lambda params: {"crop": IMAGE}, engine=TOY)
def measure(crop: Sequence[Crop], params: NoParams, engine: Toy) -> list[Box]:
    """Measure."""
    return [each.box for each in crop]


@operation(needs=lambda params: {"crop": IMAGE}, engine=ABSENT)
def dream(crop: Sequence[Crop], params: NoParams, engine: Toy) -> list[Box]:
    """Dream."""
    return [each.box for each in crop]


@operation(needs=lambda params: {"crop": IMAGE}, engine=TOY)
def rest(crop: Sequence[Crop], params: NoParams, engine: Toy) -> list[Box]:
    """Rest."""
    time.sleep(0.002)
    return [each.box for each in crop]


REGISTRY = Registry([measure, dream, rest])


@pytest.fixture
def light(tmp_path) -> Iterator[Room]:
    settings = Settings(lanes=2, data=tmp_path, allow_private_urls=True)
    room = build_room(settings, REGISTRY, ToyStore("absent"))
    yield room
    room.pool.close()
    room.index.close()
    room.classifiers.close()


@pytest.fixture
def url(light) -> Iterator[str]:
    with served(light) as url:
        yield url


def values(url: str, **options: Any) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels in the order of their names."""
    answer = httpx.get(f"{url}/metrics", **options)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in parsed(answer.text)
        for sample in family.samples
    }


def analyze(url: str, *types: str) -> dict[str, Any]:
    tasks = [{"operation_id": str(number), "type": each} for number, each in enumerate(types)]
    answer = httpx.post(
        f"{url}/analyze_image_upload/",
        files={"image_file": ("a.png", PICTURE)},
        data={"tasks_json": orjson.dumps(tasks).decode()},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def test_requests_are_counted_by_the_template_of_their_route(url):
    for name in ("one", "two"):
        assert httpx.get(f"{url}/index/{name}/").status_code == 404
    assert httpx.get(f"{url}/nowhere?of=interest").status_code == 404
    found = values(url)
    path = "/index/{collection}"
    assert found["sightgraph_requests_total", "GET", path, "404"] == 2
    assert found["sightgraph_request_seconds_count", "GET", path] == 2
    assert found["sightgraph_requests_total", "GET", "unmatched", "404"] == 1
    assert found["sightgraph_refusals_total", "not_found"] == 1
    assert found["sightgraph_refusals_total", "collection_not_found"] == 2
    # The request that asks.
    assert found["sightgraph_requests_in_flight",] == 1


def test_tasks_are_counted_by_type_status_and_code(url):
    analyze(url, "measure", "measure", "dream", "no_such_operation")
    found = values(url)
    assert found["sightgraph_tasks_total", "none", "success", "measure"] == 2
    assert found["sightgraph_tasks_total", "model_unavailable", "error", "dream"] == 1
    assert found["sightgraph_tasks_total", "unsupported_operation", "skipped", "unknown"] == 1


def test_computing_and_the_cache_are_counted(url):
    analyze(url, "measure")
    first = values(url)
    assert first["sightgraph_batch_items_sum", "toy", "measure"] == 1
    assert first["sightgraph_node_seconds_count", "toy", "measure"] == 1
    assert first["sightgraph_decode_seconds_count",] == 1
    analyze(url, "measure")
    second = values(url)
    assert second["sightgraph_batch_items_sum", "toy", "measure"] == 1
    assert second["sightgraph_cache_hits_total",] > first["sightgraph_cache_hits_total",]
    assert second["sightgraph_cache_misses_total",] == first["sightgraph_cache_misses_total",]
    assert 0 < second["sightgraph_cache_bytes",] <= second["sightgraph_cache_max_bytes",]
    assert second["sightgraph_waiting_items",] == 0


def test_downloads_are_timed_also_those_that_fail(url):
    with site({"a.png": PICTURE}) as files:
        for name, status in (("a.png", 200), ("missing.png", 400)):
            body = {"image_url": f"{files}/{name}", "tasks": [TASK]}
            assert httpx.post(f"{url}/analyze_image/", json=body).status_code == status
    found = values(url)
    assert found["sightgraph_fetch_seconds_count",] == 2
    assert found["sightgraph_refusals_total", "image_unavailable"] == 1


def test_the_states_and_the_memory_of_models_are_told(url):
    before = values(url)
    assert before["sightgraph_model_state", "toy", "on_disk"] == 1
    assert before["sightgraph_model_state", "absent", "absent"] == 1
    assert before["sightgraph_models_bytes",] == 0
    analyze(url, "measure")
    after = values(url)
    assert after["sightgraph_model_state", "toy", "ready"] == 1
    assert after["sightgraph_model_state", "toy", "on_disk"] == 0
    assert after["sightgraph_models_bytes",] == 5_000


def test_what_the_calls_of_an_engine_cost_is_told(url):
    analyze(url, "rest")
    found = values(url)
    each, whole = (found[f"sightgraph_call_{name}", "toy", "rest"] for name in ("item_seconds", "seconds"))
    assert each + whole >= 0.002
    assert 2 <= found["sightgraph_call_items_max", "toy", "rest"] <= 4


def test_what_a_full_server_refuses_is_counted(light, url):
    light.limits = RequestLimits(max_requests=0)
    answer = httpx.post(f"{url}/analyze_image/", json={"image_url": "http://x.test/", "tasks": [TASK]})
    assert answer.status_code == 503
    assert values(url)["sightgraph_refusals_total", "overloaded"] == 1


def test_clients_cannot_make_series(url):
    analyze(url, "measure", "dream", "warm_up")
    httpx.get(f"{url}/index/a/")
    httpx.get(f"{url}/nowhere")
    httpx.request("BREW", f"{url}/metrics")
    values(url)
    before = set(values(url))
    for number in range(10):
        httpx.get(f"{url}/nowhere/{number}")
        httpx.get(f"{url}/index/collection_{number}/")
        httpx.request(f"BREW{'X' * number}", f"{url}/metrics")
        raw = f"M{number} /{number} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as connection:
            connection.sendall(raw.encode())
            while connection.recv(4096):
                pass
        analyze(url, f"type_{number}", f"measure{number}")
    assert {each for each in set(values(url)) - before if not each[0].startswith("python_")} == set()


def test_both_formats_are_spoken(url):
    plain = httpx.get(f"{url}/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    accept = {"Accept": "application/openmetrics-text; version=1.0.0,text/plain;q=0.5"}
    open_ = httpx.get(f"{url}/metrics", headers=accept)
    assert open_.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert open_.text.endswith("# EOF\n")
    # Counting ends in _total, and every family of ours has its words.
    for family in parsed_openmetrics(open_.text):
        if family.name.startswith("sightgraph_"):
            assert re.fullmatch("sightgraph_[a-z_]+", family.name)
            assert family.documentation.endswith(".")
    assert "process_resident_memory_bytes" in plain.text
    for odd in ("", "x;;,", "application/openmetrics-text;version=x", "text/plain;version=99;escaping=x"):
        assert httpx.get(f"{url}/metrics", headers={"Accept": odd}).status_code == 200


def test_applications_do_not_share_their_counts(light, url, tmp_path):
    other = build_room(Settings(data=tmp_path / "other"), REGISTRY, ToyStore())
    analyze(url, "measure")
    with served(other) as other_url:
        found = values(other_url)
    assert not [name for name in found if name[0] == "sightgraph_tasks_total"]
    other.pool.close()


def test_only_an_admin_reads_them(light):
    keys = tuple(ApiKey(name, frozenset({name}), digest_of(name.encode())) for name in ("analyze", "admin"))
    with served(light, Doors(keys=keys)) as url:
        assert httpx.get(f"{url}/metrics").status_code == 401
        assert httpx.get(f"{url}/metrics", headers={"X-API-Key": "analyze"}).status_code == 403
        found = values(url, headers={"X-API-Key": "admin"})
    assert found["sightgraph_refusals_total", "unauthorized"] == 1
    assert found["sightgraph_refusals_total", "forbidden"] == 1


def test_the_drift_of_classifiers_is_told(tmp_path, registry):
    shelf = Shelf(tmp_path / "classifiers")
    rng = np.random.default_rng(0)
    seen = {name: sorted(rng.normal(100, 5, 500).round(3).tolist()) for name in ("brightness", "size")}
    reference = {"measures": {name: {"of": 500, "values": tuple(each)} for name, each in seen.items()}}
    for seed, name in enumerate(("cats", "dogs", "zebras")):
        put_head(shelf, name, seed=seed, reference=reference)
    classifiers = build_classifiers(Settings(data=tmp_path), registry)
    cats = classifiers.find("cats")
    for _ in range(300):
        cats.observe({"brightness": 200.0, "size": 100.0}, 0.5)
    drift = read_drift(classifiers, most=2)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in drifting(drift)
        for sample in family.samples
    }
    assert found["sightgraph_classifiers",] == 3
    assert {labels[0] for _, *labels in found if labels} == {"cats", "dogs"}
    assert isinstance(drift.health["cats"], Health)
    assert found["sightgraph_classifier_drift_state", "cats", "drifting"] == 1
    assert found["sightgraph_classifier_drift_state", "dogs", "drifting"] == 0
    assert found["sightgraph_classifier_drift_psi", "cats", "brightness"] > 0.2
    assert 0.9 < found["sightgraph_classifier_drift_ks", "cats", "brightness"] <= 1
    classifiers.close()


def test_a_shelf_that_cannot_be_read_hides_nothing_else(light, url, tmp_path):
    folder = tmp_path / "classifiers"
    put_head(Shelf(folder), "cats")
    for file in folder.rglob("*.json"):
        file.write_text("{")
    found = values(url)
    assert "sightgraph_waiting_items" in {name for name, *_ in found}
    assert not [name for name, *_ in found if name.startswith("sightgraph_classifier_drift_psi")]
