"""The application in this process: spoken to over HTTP, and read while it answers."""

import asyncio
from typing import Any

import httpx
import pytest

from app.cli.in_process import InProcessTransport

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


def body(content: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


def asked(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url="http://this-process", transport=InProcessTransport(app))


def test_a_request_arrives_as_it_was_sent():
    seen: dict[str, Any] = {}

    async def app(scope, receive, send):
        sent = b""
        while True:
            message = await receive()
            sent += message["body"]
            if not message["more_body"]:
                break
        seen.update(scope, body=sent)
        await send({**START, "status": 201})
        await send(body(b"done", more=False))

    async def ask() -> httpx.Response:
        async with asked(app) as client:
            return await client.post("/a%2Fb/?x=1", content=b"words", headers={"X-Mine": "yes"})

    response = asyncio.run(ask())
    assert (response.status_code, response.text) == (201, "done")
    assert (seen["method"], seen["path"], seen["raw_path"]) == ("POST", "/a/b/", b"/a%2Fb/")
    assert (seen["query_string"], seen["body"]) == (b"x=1", b"words")
    assert (b"x-mine", b"yes") in seen["headers"]


def test_an_answer_is_read_while_it_is_made_and_waits_for_its_reader():
    made = []

    async def app(scope, receive, send):
        await send(START)
        for number in range(5):
            await send(body(b"%d" % number, more=True))
            made.append(number)
        await send(body(b"", more=False))

    async def ask() -> list[tuple[bytes, int]]:
        async with asked(app) as client, client.stream("GET", "/") as response:
            return [(chunk, len(made)) async for chunk in response.aiter_bytes()]

    read = asyncio.run(ask())
    assert [chunk for chunk, _ in read] == [b"0", b"1", b"2", b"3", b"4"]
    # One is kept ready while another is read.
    assert all(count <= number + 2 for number, (_, count) in enumerate(read))


def test_work_for_a_reader_who_left_ends():
    ended = []

    async def app(scope, receive, send):
        try:
            await send(START)
            await send(body(b"first", more=True))
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def ask() -> None:
        async with asked(app) as client, client.stream("GET", "/") as response:
            async for _ in response.aiter_bytes():
                break

    asyncio.run(ask())
    assert ended == [True]


def test_work_for_one_who_gave_up_before_the_answer_ends():
    ended = []

    async def app(scope, receive, send):
        try:
            while True:
                await receive()
        finally:
            ended.append(True)

    async def ask() -> None:
        async with asked(app) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.get("/"), 0.05)

    asyncio.run(ask())
    assert ended == [True]


@pytest.mark.parametrize(
    ("error", "told"),
    [(ValueError("it broke"), "it broke"), (asyncio.CancelledError(), "CancelledError")],
    ids=["broken", "cancelled"],
)
@pytest.mark.parametrize("begun", [False, True])
def test_an_application_that_breaks_is_a_broken_connection(begun, error, told):
    async def app(scope, receive, send):
        if begun:
            await send(START)
            await send(body(b"half", more=True))
        raise error

    async def ask() -> None:
        async with asked(app) as client:
            await asyncio.wait_for(client.get("/"), 30)

    with pytest.raises(httpx.RemoteProtocolError, match=told):
        asyncio.run(ask())


def test_an_application_that_says_nothing_is_a_broken_connection():
    async def app(scope, receive, send):
        pass

    async def ask() -> None:
        async with asked(app) as client:
            await client.get("/")

    with pytest.raises(httpx.RemoteProtocolError, match="there was no answer"):
        asyncio.run(ask())
