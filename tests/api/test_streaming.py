"""Answers that are sent task by task."""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from litestar import Request

from app.api.streaming import Document, Events, Lines, Part, Parts, Streamed
from app.core.artifacts import Crop
from app.core.errors import ClientLeft, Overloaded
from app.core.geometry import Box
from app.core.operation import IMAGE, NoParams, operation
from app.core.registry import Registry
from app.main import build_room
from app.settings import Settings
from tests.api.test_disconnect import until
from tests.conftest import served
from tests.images import encoded, noise
from tests.site import site

PICTURE = encoded(noise(16, 12))
TASKS = [
    {"operation_id": "late", "type": "hold"},
    {"operation_id": "quick", "type": "measure"},
    {"operation_id": "failing", "type": "fail"},
    {"operation_id": "unknown", "type": "no_such"},
]
NDJSON, EVENTS = {"Accept": "application/x-ndjson"}, {"Accept": "text/event-stream"}


@operation(needs=lambda params: {"crop": IMAGE})
def measure(crop: Sequence[Crop], params: NoParams) -> list[Box]:
    """Measure."""
    return [each.box for each in crop]


@operation(needs=lambda params: {"crop": IMAGE})
def fail(crop: Sequence[Crop], params: NoParams) -> list[Box]:
    """Fail."""
    raise ValueError("/secret/weights.bin")


@contextmanager
def holding():
    """A server whose `hold` holds its lane until the gate opens; gives its room, its URL and the gate."""
    gate = threading.Event()

    @operation(needs=lambda params: {"crop": IMAGE})
    def hold(crop: Sequence[Crop], params: NoParams) -> list[Box]:
        """Hold the lane until the test lets go."""
        gate.wait(30)
        return [each.box for each in crop]

    room = build_room(Settings(lanes=2, allow_private_urls=True), Registry([measure, hold, fail]))
    with served(room) as url:
        try:
            yield room, url, gate
        finally:
            gate.set()
    room.pool.close()


def upload(headers: dict[str, str], tasks: Any = TASKS, picture: bytes = PICTURE) -> dict[str, Any]:
    return {
        "files": {"image_file": ("a.png", picture)},
        "data": {"tasks_json": json.dumps(tasks)},
        "headers": headers,
        "timeout": 30,
    }


def test_tasks_are_sent_as_they_finish():
    with holding() as (room, url, gate):
        with httpx.stream("POST", f"{url}/analyze_image_upload/", **upload(NDJSON)) as answer:
            assert answer.headers["content-type"] == "application/x-ndjson"
            parts = []
            for line in answer.iter_lines():
                parts.append(json.loads(line))
                if len(parts) == 4:
                    # All but the one that is held were sent while it still runs.
                    gate.set()
        assert until(lambda: room.working == room.pixels == 0)
    assert parts[0]["image_url"] == "uploaded:a.png"
    assert parts[0]["image"]["width"] == 16
    names = [part["operation_id"] for part in parts[1:-1]]
    assert sorted(names) == ["failing", "late", "quick", "unknown"]
    assert names[-1] == "late"
    results = {part["operation_id"]: part["result"] for part in parts[1:-1]}
    assert results["late"]["data"] == results["quick"]["data"] == [0, 0, 16, 12]
    assert results["failing"]["error_code"] == "internal"
    assert results["unknown"]["status"] == "skipped"
    assert parts[-1]["timings_ms"].keys() == {"fetch", "decode", "nodes", "total"}
    assert parts[-1]["request_id"] == parts[0]["request_id"] == answer.headers["x-request-id"]


def test_the_parts_hold_what_the_whole_answer_holds(client, astronaut_png):
    tasks = [
        {"operation_id": "part", "type": "crop", "params": {"target": {"bbox": [9, 9, 99, 99]}}},
        {"operation_id": "vector", "type": "embed_hog_hsv"},
    ]
    whole = client.post("/analyze_image_upload/", **upload({}, tasks, astronaut_png)).json()
    text = client.post("/analyze_image_upload/", **upload(NDJSON, tasks, astronaut_png)).text
    first, *answers, last = map(json.loads, text.splitlines())
    results = {part["operation_id"]: part["result"] for part in answers}
    for result in [*results.values(), *whole["results"].values()]:
        del result["timing_ms"]
    assert results == whole["results"]
    assert first["image"] == whole["image"]
    assert last["timings_ms"]["nodes"].keys() == whole["timings_ms"]["nodes"].keys()


def test_the_parts_come_as_events(client):
    answer = client.post("/analyze_image_upload/", **upload(EVENTS))
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [event.split("\n") for event in answer.text.removesuffix("\n\n").split("\n\n")]
    assert [event[0] for event in events] == ["event: image", *["event: task"] * 4, "event: done"]
    parts = [json.loads(event[1].removeprefix("data: ")) for event in events]
    assert parts[0]["image"]["height"] == 12
    assert {part["operation_id"] for part in parts[1:-1]} == {each["operation_id"] for each in TASKS}


def test_the_image_behind_a_url_is_streamed_too():
    with holding() as (_, url, gate), site({"a.png": PICTURE}) as where:
        gate.set()
        body = {"image_url": f"{where}/a.png", "tasks": TASKS}
        text = httpx.post(f"{url}/analyze_image/", json=body, headers=EVENTS, timeout=30).text
    assert text.startswith("event: image\ndata: {")
    assert where in text
    assert text.endswith("}\n\n")


@pytest.mark.parametrize(
    ("accept", "streamed"),
    [
        (None, None),
        ("", None),
        ("*/*", None),
        ("application/json, text/plain, */*", None),
        ("application/*", None),
        ("image/png", None),
        ("application/x-ndjson;q=0", None),
        ("application/x-ndjson;q=0.1, application/json", None),
        ("text/event-stream;q=0.0, application/x-ndjson;q=wrong", "application/x-ndjson"),
        ("application/x-ndjson;q=inf", None),
        ("application/json;q=0.9, application/x-ndjson", "application/x-ndjson"),
        ("application/x-ndjson, */*;q=0.1", "application/x-ndjson"),
        ("text/event-stream", "text/event-stream; charset=utf-8"),
        (",;=,,", None),
    ],
)
def test_the_form_is_the_one_that_the_client_prefers(client, accept, streamed):
    request = upload({} if accept is None else {"Accept": accept}, [TASKS[3]])
    answer = client.post("/analyze_image_upload/", **request)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == (streamed or "application/json")


@pytest.mark.parametrize("accept", [NDJSON, EVENTS])
def test_what_fails_before_the_first_part_is_an_ordinary_refusal(client, room, accept):
    answer = client.post("/analyze_image_upload/", **upload(accept, picture=b"none"))
    assert answer.status_code == 400
    assert "Could not process image" in answer.json()["detail"]
    body = {"image_url": "http://nowhere.example/", "tasks": TASKS}
    answer = client.post("/analyze_image/", json=body, headers=accept)
    assert answer.status_code == 400
    assert "Could not download image" in answer.json()["detail"]
    room.working, before = room.limits.max_requests, room.working
    try:
        answer = client.post("/analyze_image_upload/", **upload(accept))
    finally:
        room.working = before
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_a_client_that_leaves_takes_its_tasks_along():
    with holding() as (room, url, gate):
        with httpx.stream("POST", f"{url}/analyze_image_upload/", **upload(NDJSON)) as answer:
            reading = answer.iter_lines()
            assert next(reading)
            assert room.working == 1
        assert until(lambda: room.working == room.pixels == 0)
        assert not gate.is_set()


# How parts are sent, without a server between


class Wire:
    """What a server gives an application, and what it is sent."""

    def __init__(self, *, reads: bool = True) -> None:
        self.messages: list[Any] = []
        self.left = asyncio.Event()
        self._reads = asyncio.Event()
        if reads:
            self._reads.set()

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        await self._reads.wait()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def is_complete(self) -> bool:
        return bool(self.messages) and self.messages[-1].get("more_body") is False

    async def takes(self, parts: Parts, framing: Any, **options: Any) -> None:
        scope: Any = {"type": "http", "method": "POST", "headers": []}
        request: Request[Any, Any, Any] = Request(scope, self.receive)
        response = Streamed(request, parts, framing, **{"ahead": 1, "stall_seconds": 30, **options})
        await response.to_asgi_response()(scope, self.receive, self.send)


def sent(scenario: Callable[[Wire], Any], **options: Any) -> Wire:
    async def whole() -> Wire:
        wire = Wire(**options)
        await scenario(wire)
        return wire

    return asyncio.run(whole())


class Made:
    """Parts without end, or until one fails; counted."""

    def __init__(self, error: Exception | None = None, after: int = 10**9) -> None:
        self.count = 0
        self.is_closed = False
        self._error = error
        self._after = after

    async def parts(self) -> Parts:
        try:
            while self.count < self._after:
                self.count += 1
                yield Part("image", b'{"number":%d}' % self.count)
            if self._error is not None:
                raise self._error
        finally:
            self.is_closed = True


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (Lines(), b'{"number":1}\n{"number":2}\n{"detail":"full"}\n'),
        (
            Events(),
            b'event: image\ndata: {"number":1}\n\nevent: image\ndata: {"number":2}\n\n'
            b'event: error\ndata: {"detail":"full"}\n\n',
        ),
        (Document("image", "images"), b'{"images":[{"number":1},{"number":2}],"detail":"full"}'),
    ],
)
def test_what_fails_later_is_the_last_part(framing, body):
    made = Made(Overloaded("full", retry_after=1), after=2)
    wire = sent(lambda wire: wire.takes(made.parts(), framing))
    assert wire.body == body
    assert wire.is_complete


def test_a_fault_of_the_server_tells_nothing_of_it(caplog):
    made = Made(ValueError("/secret/weights.bin"), after=1)
    wire = sent(lambda wire: wire.takes(made.parts(), Lines()))
    assert b"Internal server error" in wire.body
    assert b"secret" not in wire.body
    assert any(record.exc_info for record in caplog.records)


def test_what_fails_at_once_is_raised():
    made = Made(Overloaded("full", retry_after=1), after=0)

    async def scenario(wire: Wire) -> None:
        with pytest.raises(Overloaded):
            await wire.takes(made.parts(), Lines())

    assert sent(scenario).messages == []


@pytest.mark.parametrize("ahead", [1, 4])
def test_no_more_is_made_than_is_read(ahead):
    made = Made()

    async def scenario(wire: Wire) -> None:
        taking = asyncio.create_task(wire.takes(made.parts(), Lines(), ahead=ahead))
        for _ in range(1000):
            await asyncio.sleep(0)
        # One that is sent, those that wait, and one that wants to.
        assert made.count <= ahead + 2
        wire.left.set()
        await taking

    sent(scenario, reads=False)
    assert made.is_closed


def test_a_client_that_reads_nothing_is_cut_off(caplog):
    made = Made()
    wire = sent(lambda wire: wire.takes(made.parts(), Lines(), stall_seconds=0.05), reads=False)
    assert made.is_closed
    assert not wire.is_complete
    assert "read nothing" in caplog.text


def test_a_client_that_leaves_before_the_first_part_is_told_to_the_log():
    async def never() -> Parts:
        await asyncio.Event().wait()
        yield Part("image", b"{}")

    async def scenario(wire: Wire) -> None:
        wire.left.set()
        with pytest.raises(ClientLeft):
            await wire.takes(never(), Lines())

    assert sent(scenario).messages == []


@pytest.mark.parametrize(("framing", "shown"), [(Events(), True), (Lines(), False)])
def test_events_show_that_the_connection_is_alive(framing, shown):
    more = asyncio.Event()

    async def slow() -> Parts:
        yield Part("image", b"{}")
        await more.wait()
        yield Part("done", b"{}")

    async def scenario(wire: Wire) -> None:
        taking = asyncio.create_task(wire.takes(slow(), framing, keep_alive_seconds=0.01))
        for _ in range(1000 if shown else 0):
            if wire.body.count(b": keep-alive\n\n") == 3:
                break
            await asyncio.sleep(0.01)
        more.set()
        await taking

    wire = sent(scenario)
    assert (b": keep-alive\n\n" in wire.body) == shown
    assert wire.is_complete
