"""What is sent again, and what is given up."""

import asyncio
import threading

import httpx
import pytest

from app.client import AsyncSightgraph, Refused, ServerFull, Sightgraph, Unreachable, Upload, retrying
from app.client.retrying import policy
from tests.api.test_disconnect import until
from tests.api.test_streaming import PICTURE, holding
from tests.cutting import cutting
from tests.images import encoded, noise
from tests.prepared import FULL, Answers

FINE = httpx.Response(200, json={"name": "c"})


@pytest.fixture(params=[Answers.ask, Answers.ask_blocking])
def asked(request):
    """What either client gets of prepared answers: three attempts."""
    return request.param


def of_collection(server):
    return server.collection("c")


def test_a_full_server_and_a_broken_connection_are_tried_again(asked):
    answers = Answers(FULL, httpx.ReadError("reset"), FINE)
    assert asked(answers, of_collection) == {"name": "c"}
    assert len(answers.asked) == 3


def test_a_rate_limit_is_waited_for(asked):
    limited = httpx.Response(429, headers={"Retry-After": "0"}, json={"detail": "too many"})
    answers = Answers(limited, FINE)
    assert asked(answers, of_collection) == {"name": "c"}
    assert len(answers.asked) == 2


def test_a_server_that_stays_full_is_given_up_with_its_own_words(asked):
    answers = Answers(FULL)
    with pytest.raises(ServerFull, match="full") as refused:
        asked(answers, of_collection)
    assert refused.value.status == 503
    assert len(answers.asked) == 3


def test_an_index_that_is_not_available_is_not_waited_for(asked):
    answers = Answers(httpx.Response(503, json={"detail": "held by another process"}))
    with pytest.raises(Refused, match="held by another process"):
        asked(answers, of_collection)
    assert len(answers.asked) == 1


def test_a_server_that_never_answered_is_not_waited_for(asked):
    answers = Answers(httpx.ConnectError("refused"))
    with pytest.raises(Unreachable, match=r"No answer from http://test: refused\. .*sightgraph serve"):
        asked(answers, of_collection)
    assert len(answers.asked) == 1


def test_a_connection_that_stays_broken_is_given_up(asked):
    answers = Answers(FULL, httpx.ReadError(""))
    with pytest.raises(Unreachable, match="ReadError"):
        asked(answers, of_collection)
    assert len(answers.asked) == 3


def test_a_server_that_was_silent_for_long_is_not_asked_again(asked):
    answers = Answers(FULL, httpx.ReadTimeout("timed out"))
    with pytest.raises(Unreachable, match="timed out"):
        asked(answers, of_collection)
    assert len(answers.asked) == 2


def test_files_are_sent_whole_at_every_attempt(asked, tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(2)]
    for number, file in enumerate(files):
        file.write_bytes(encoded(noise(300, 300, seed=number)))
    uploads = [Upload(file, file.name, {"path": file.name}) for file in files]
    answers = Answers(FULL, httpx.Response(200, json={"items": [{"id": "first"}, {"id": "second"}]}))
    added = asked(answers, lambda server: server.add("c", uploads, thumbnails=True))
    assert [each["id"] for each in added] == ["first", "second"]
    first, second = (request.content for request in answers.asked)
    for file in files:
        assert file.read_bytes() in first
        assert file.read_bytes() in second


def test_a_file_that_vanishes_before_it_is_sent_fails_as_such(asked, tmp_path):
    with pytest.raises(FileNotFoundError):
        asked(Answers(FINE), lambda server: server.add("c", [tmp_path / "gone.png"]))


def test_a_connection_that_broke_is_mended(url):
    with cutting(url, [b'"image_url"'], after=0) as cut, Sightgraph(cut.url) as server:
        assert server.ready()
        assert server.analyze(noise(16, 16), "crop").ok
    assert cut.connections == 2


def test_a_connection_that_broke_is_mended_on_asyncio(url):
    async def ask(url):
        async with AsyncSightgraph(url) as server:
            assert await server.ready()
            return await server.analyze(noise(16, 16), "crop")

    with cutting(url, [b'"image_url"'], after=0) as cut:
        assert asyncio.run(ask(cut.url)).ok
    assert cut.connections == 2


@pytest.mark.parametrize("kind", [Sightgraph, AsyncSightgraph])
def test_a_full_server_is_waited_for_as_long_as_it_says(kind):
    """A real one, whose only place is taken."""
    with holding() as (room, url, gate):
        room.limits = type(room.limits)(max_requests=1)
        refused = threading.Event()

        def heard(response):
            if response.status_code == 503:
                assert response.headers["retry-after"] == "1"
                refused.set()

        async def heard_async(response):
            heard(response)

        def first():
            with Sightgraph(url) as server:
                assert server.analyze(PICTURE, "hold").ok

        async def second():
            hooks = {"response": [heard_async]}
            async with httpx.AsyncClient(base_url=url, event_hooks=hooks) as http:
                return await AsyncSightgraph(client=http).analyze(PICTURE, "measure")

        def second_blocking():
            with httpx.Client(base_url=url, event_hooks={"response": [heard]}) as http:
                return Sightgraph(client=http).analyze(PICTURE, "measure")

        def freed():
            refused.wait(30)
            gate.set()

        threads = [threading.Thread(target=first), threading.Thread(target=freed)]
        for thread in threads:
            thread.start()
        assert until(lambda: room.working == 1)
        answer = second_blocking() if kind is Sightgraph else asyncio.run(second())
        assert answer["measure"].ok
        assert refused.is_set()
        for thread in threads:
            thread.join(30)


class Attempt:
    """What tenacity tells of an attempt that failed."""

    def __init__(self, number, error):
        self.attempt_number = number
        self.outcome = self
        self._error = error

    def exception(self):
        return self._error


def test_the_waits_grow_and_the_server_has_its_say(monkeypatch):
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.5)
    wait = policy(7)["wait"]
    broken = Unreachable("", may_mend=True)
    waits = [wait(Attempt(number, broken)) for number in range(1, 8)]
    assert all(
        least <= each < least + 0.5 for each, least in zip(waits, [0.5, 1, 2, 4, 8, 16, 30], strict=True)
    )
    assert len({each % 0.5 for each in waits}) > 1
    assert 10 <= wait(Attempt(1, ServerFull(503, "", 10))) < 10.5
    assert 30 <= wait(Attempt(7, ServerFull(503, "", 10))) < 30.5
