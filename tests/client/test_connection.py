"""Where a server is, who asks it, and what answers instead."""

import copy
import pickle
import socket
import ssl

import httpx
import pytest

from app.api.doors import Doors
from app.client import (
    AsyncSightgraph,
    InvalidInput,
    Refused,
    ServerFull,
    Sightgraph,
    Task,
    TaskFailed,
    Unreachable,
)
from app.client.connection import checked_url, options
from app.client.results import TaskResult
from app.core.access import made_key
from tests.conftest import served
from tests.images import noise
from tests.prepared import Answers

FINE = httpx.Response(200, json={"name": "c"})


class TestCertificates:
    def test_they_are_read_for_https_alone(self) -> None:
        assert "verify" not in options("https://127.0.0.1:9", None, 1)
        trust = options("HTTP://127.0.0.1:9", None, 1)["verify"]
        # It trusts nobody, and does not trust blindly.
        assert trust.get_ca_certs() == []
        assert (trust.verify_mode, trust.check_hostname) == (ssl.CERT_REQUIRED, True)


class TestAddress:
    @pytest.mark.parametrize(
        "url",
        [
            *(
                "127.0.0.1:8000",
                "localhost",
                "ftp://a",
                "http://",
                "http://a:0",
                "http://a:b",
                "http://[a",
                "",
            ),
            *("http://a:70000", "http://a..b", "http://ex☃..com", f"http://{'a' * 64}.com", "http://a\x7fb"),
            *("http://a:8000\n", " http://a", "http://a b", "http://a/\udcff"),
            *("http://a?x=1", "http://a/?", "http://a#b"),
        ],
    )
    @pytest.mark.parametrize("kind", [Sightgraph, AsyncSightgraph])
    def test_what_is_none(self, kind, url):
        with pytest.raises(InvalidInput, match=r"url: must be an address such as http://127\.0\.0\.1:8000"):
            kind(url)

    @pytest.mark.parametrize(
        "url",
        [
            "http://a",
            "https://a_b.example:8443/vision/",
            "http://[::1]:80",
            "http://me:b%3F@a",
            "http://münchen.de",
        ],
    )
    def test_what_is_one(self, url):
        assert checked_url(url) == url

    def test_a_password_is_not_repeated(self):
        with pytest.raises(InvalidInput) as wrong:
            Sightgraph("http://user:secret@host:port")
        assert "secret" not in str(wrong.value)

    def test_a_client_is_shown_by_its_address(self):
        with Sightgraph("http://user:secret@127.0.0.1:1/vision/", api_key="the-key") as server:
            assert repr(server) == "Sightgraph('http://127.0.0.1:1/vision')"
        assert repr(AsyncSightgraph()) == "AsyncSightgraph('http://127.0.0.1:8000')"

    def test_a_server_below_a_path(self):
        answers = Answers(FINE)
        transport = httpx.MockTransport(answers.blocking)
        with httpx.Client(base_url="http://test/vision/", transport=transport) as http:
            Sightgraph(client=http).collection("c")
        assert answers.asked[0].url.path == "/vision/index/c/"


class TestKeys:
    @pytest.fixture
    def locked(self, room):
        key, entry = made_key("app", ["analyze"])
        with served(room, Doors(keys=(entry,))) as url:
            yield url, key

    def test_a_key_is_shown(self, locked, ask_at):
        url, key = locked
        assert "crop" in ask_at("operations", url=url, options={"api_key": key})

    def test_a_key_of_the_environment(self, locked, ask_at, monkeypatch):
        url, key = locked
        monkeypatch.setenv("SIGHTGRAPH_API_KEY", f" {key}\n")
        assert "crop" in ask_at("operations", url=url, options={})

    def test_without_a_key(self, locked, ask_at):
        with pytest.raises(Refused, match="needs an API key") as refused:
            ask_at("operations", url=locked[0], options={})
        assert refused.value.status == 401

    def test_a_scope_that_the_key_lacks(self, locked, ask_at):
        url, key = locked
        with pytest.raises(Refused, match="'index'") as refused:
            ask_at("collections", url=url, options={"api_key": key})
        assert refused.value.status == 403

    def test_a_key_is_nowhere_to_be_read(self, locked):
        wrong = "sightgraph_wrong"
        with Sightgraph(locked[0], api_key=wrong) as server:
            with pytest.raises(Refused) as refused:
                server.analyze(noise(8, 8), "crop")
            told = [repr(server), str(server), repr(refused.value), str(refused.value)]
        with Sightgraph("http://127.0.0.1:1", api_key=wrong) as server:
            with pytest.raises(Unreachable) as unreachable:
                server.operations()
            told += [repr(unreachable.value), str(unreachable.value), repr(unreachable.value.__cause__)]
        assert not [each for each in told if wrong in each]

    @pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel", "\x00"])
    def test_what_is_no_key_is_not_repeated(self, key):
        with pytest.raises(InvalidInput, match="api_key: has spaces or characters") as wrong:
            Sightgraph(api_key=key)
        assert key not in str(wrong.value)


class TestOthers:
    @pytest.mark.parametrize(
        "answer",
        [
            httpx.Response(200, text="<html>"),
            httpx.Response(200, json=[1]),
            httpx.Response(200, json={"hello": "world"}),
            httpx.Response(200, json={"detail": "fine"}),
            httpx.Response(404, text="nginx"),
            httpx.Response(400, json={"detail": [{"no": "text"}]}),
            httpx.Response(307, headers={"Location": "/login"}),
        ],
        ids=["html", "list", "other", "detail", "text", "other detail", "redirect"],
    )
    @pytest.mark.parametrize(
        "ask",
        [
            lambda server: server.collection("c"),
            lambda server: server.collections(),
            lambda server: server.analyze(b"", "crop"),
            lambda server: server.operations(),
            lambda server: server.models(),
            lambda server: server.ready(),
            lambda server: server.plan(None, "crop"),
            lambda server: server.search("c", {"text": "a"}),
            lambda server: server.add("c", [b""]),
        ],
    )
    def test_what_is_no_server_of_ours_is_told(self, answer, ask):
        with pytest.raises(Refused, match="not as a server of Sightgraph does"):
            Answers(answer).ask_blocking(ask)

    @pytest.mark.parametrize("results", [{"crop": {"status": "perhaps"}}, {"crop": 1}, [], None])
    def test_results_of_another_form(self, results):
        body = {"image_url": "a", "results": results}
        with pytest.raises(Refused, match="not as a server of Sightgraph does"):
            Answers(httpx.Response(200, json=body)).ask_blocking(lambda server: server.analyze(b"", "crop"))

    @pytest.mark.parametrize("operations", [1, [1], {"crop": 1}, {"crop": []}, None])
    def test_operations_of_another_form(self, operations):
        answers = Answers(httpx.Response(200, json={"operations": operations}))
        with pytest.raises(Refused, match="not as a server of Sightgraph does"):
            answers.ask_blocking(lambda server: server.operations())

    @pytest.mark.parametrize(
        "plan", [{"nodes": []}, {"tasks": []}, {"nodes": [1], "tasks": []}, {"nodes": {}, "tasks": []}]
    )
    def test_a_plan_of_another_form(self, plan):
        with pytest.raises(Refused, match="not as a server of Sightgraph does"):
            Answers(httpx.Response(200, json=plan)).ask_blocking(lambda server: server.plan(None, "crop"))

    def test_an_older_server(self):
        """What later ones add is not asked for."""
        catalog = {"crop": {"description": "Cuts a region out."}}
        answers = Answers(httpx.Response(200, json={"operations": catalog}))
        assert answers.ask_blocking(lambda server: server.operations()) == catalog

    def test_a_password_in_the_address_is_not_told(self):
        transport = httpx.MockTransport(Answers(httpx.Response(404)).blocking)
        with httpx.Client(base_url="http://me:secret@test", transport=transport) as http:
            with pytest.raises(Refused, match="http://test/models/ answers 404"):
                Sightgraph(client=http).models()

    def test_nobody_is_there(self, ask_at):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with pytest.raises(
            Unreachable, match=rf"No answer from http://127\.0\.0\.1:{port}: .*sightgraph serve"
        ):
            ask_at("operations", url=f"http://127.0.0.1:{port}", options={})

    def test_a_server_that_says_nothing(self, ask_at):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            with pytest.raises(Unreachable, match=r"timed out|ReadTimeout"):
                ask_at("operations", url=url, options={"timeout": 0.05})
            with pytest.raises(Unreachable, match=r"timed out|ReadTimeout"):
                ask_at("analyze", noise(8, 8), "crop", timeout=0.05, url=url, options={})


class TestDiscovery:
    def test_what_a_server_can_do(self, ask):
        operations = ask("operations")
        assert operations["detect_bounding_box"]["default_target"] == "prominent_person"
        models = ask("models")
        assert models["mtcnn"]["licence"]

    def test_whether_it_is_ready(self, ask):
        ready = ask("ready")
        assert ready
        assert ready.status == "ready"
        assert ready.operations["crop"]["state"] in ("ready", "on_disk")
        assert ready.lanes["count"] == 2

    def test_one_that_is_not(self):
        answer = httpx.Response(503, json={"status": "loading", "lanes": {}, "operations": {}})
        assert not Answers(answer).ask_blocking(lambda server: server.ready())

    def test_one_that_is_busy(self):
        busy = httpx.Response(503, headers={"Retry-After": "0"}, json={"detail": "too much to do"})
        with pytest.raises(ServerFull, match="too much to do"):
            Answers(busy).ask_blocking(lambda server: server.ready())

    def test_a_plan(self, ask, tmp_path):
        image = noise(32, 32, seed=4)
        tasks = {"a": Task("crop", target="whole_image"), "b": Task("crop", target="whole_image")}
        plan = ask("plan", None, tasks)
        assert [task["operation_id"] for task in plan["tasks"]] == ["a", "b"]
        assert {node["cached"] for node in plan["nodes"]} == {None}
        ask("analyze", image, tasks)
        assert {node["cached"] for node in ask("plan", image, tasks)["nodes"]} == {True}
        # An image behind a URL is not fetched for it.
        assert ask("plan", "http://127.0.0.1:1/a.png", tasks)["nodes"]

    def test_a_deadline(self, ask):
        answer = ask("analyze", noise(32, 32), "crop", deadline=30.0)
        assert answer.ok
        with pytest.raises(Refused, match="X-Request-Timeout"):
            ask("analyze", noise(32, 32), "crop", deadline=1e9)
        with pytest.raises(InvalidInput, match="deadline: must be a number of seconds, not '5'"):
            ask("analyze", noise(32, 32), "crop", deadline="5")


def test_errors_can_be_copied_and_pickled():
    for error in (
        Refused(400, "a"),
        ServerFull(503, "b", 9.0),
        Unreachable("c", may_mend=True),
        InvalidInput("d"),
        TaskFailed(TaskResult.of_json("e", {"status": "error", "error_message": "f"})),
    ):
        for same in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            assert (type(same), str(same), vars(same)) == (type(error), str(error), vars(error))


def test_a_closed_client_says_so(url):
    server = Sightgraph(url)
    server.close()
    with pytest.raises(RuntimeError, match="closed"):
        server.operations()
