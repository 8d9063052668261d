"""Fetching: what may be downloaded, how much and for how long, and from where.

Everything here talks to a server of its own on the loopback interface, which counts its connections: an
address that is not public must be refused before a connection is opened, not after.
"""

import asyncio
import base64
import gzip
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.core.errors import ImageUnavailable
from app.runtime.fetch import Fetcher, FetchLimits, Resolve, is_public

IMAGE = bytes(range(256)) * 8
OPEN = FetchLimits(seconds=10, allow_private=True)
CLOSED = FetchLimits(seconds=10)


@pytest.fixture(autouse=True)
def _no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test needs the authorities' certificates, which take 40 ms to read for each fetcher."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)


# What a path answers: pieces that are sent as they are, and seconds to wait between them.
Answer = Sequence[bytes | float]


@dataclass
class Received:
    """A request as it arrived."""

    target: str
    headers: dict[str, str]
    address: str


@dataclass
class Origin:
    """An HTTP server that answers as it is told, over a connection that it then closes."""

    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    idle: threading.Event = field(default_factory=threading.Event)
    _talks: dict["asyncio.Task[None]", asyncio.StreamWriter] = field(default_factory=dict)

    def url(self, path: str = "/image", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def live(self, started: threading.Event) -> None:
        """Listen on 127.0.0.1 and, where there is one, on ::1, until it is stopped."""
        servers = [await asyncio.start_server(self._accept, "127.0.0.1", 0)]
        self.port = servers[0].sockets[0].getsockname()[1]
        with suppress(OSError):
            servers.append(await asyncio.start_server(self._accept, "::1", self.port))
        started.set()
        await self.stopped.wait()
        for server in servers:
            server.close()
        for writer in self._talks.values():
            writer.close()
        await asyncio.gather(*self._talks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        talk = asyncio.create_task(self._talk(reader, writer))
        self._talks[talk] = writer
        self.idle.clear()
        talk.add_done_callback(self._ended)

    def _ended(self, talk: "asyncio.Task[None]") -> None:
        del self._talks[talk]
        if not self._talks:
            self.idle.set()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that leaves early is what many tests are about.
        with suppress(OSError, EOFError):
            try:
                await self._respond(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
        target = first.split(" ")[1]
        self.requests.append(Received(target, headers, writer.get_extra_info("sockname")[0]))
        for piece in self.answers.get(target, answer(404)):
            if isinstance(piece, float):
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), piece)
                    return
            else:
                writer.write(piece)
                await writer.drain()


def answer(status: int, body: bytes = b"", *headers: str, length: int | None = None) -> Answer:
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(body) if length is None else length}"]
    head = "\r\n".join([*lines, "Connection: close", *headers])
    return [head.encode("latin-1") + b"\r\n\r\n", body]


def redirect(location: str, *headers: str, status: int = 302) -> Answer:
    return answer(status, b"", f"Location: {location}", *headers)


@pytest.fixture
def origin() -> Iterator[Origin]:
    """The server, in a thread of its own, with an image at /image."""
    origin = Origin(answers={"/image": answer(200, IMAGE, "Content-Type: image/png")})
    started = threading.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(origin.live(started),), daemon=True)
    thread.start()
    assert started.wait(10)
    yield origin
    loop.call_soon_threadsafe(origin.stopped.set)
    thread.join(10)
    assert not thread.is_alive()
    loop.close()


class Names:
    """A resolver with a table of its own, that keeps what it was asked for."""

    def __init__(self, **addresses: Sequence[str]) -> None:
        self._addresses = {name.replace("_", "."): found for name, found in addresses.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host not in self._addresses:
            raise OSError(f"no address for {host}")
        return self._addresses[host]


Fetch = Callable[..., bytes]


@pytest.fixture
def fetch() -> Fetch:
    """Download one URL, or several in a row with one fetcher: the body of the last."""

    def fetched(*urls: str, limits: FetchLimits = OPEN, resolve: Resolve | None = None) -> bytes:
        async def go() -> bytes:
            fetcher = Fetcher(limits, resolve)
            try:
                return [await fetcher.fetch(url) for url in urls][-1]
            finally:
                await fetcher.close()

        return asyncio.run(go())

    return fetched


def refusal(fetch: Fetch, *urls: str, **how: Any) -> str:
    """Why a URL is refused, without the words that every refusal begins with."""
    with pytest.raises(ImageUnavailable) as caught:
        fetch(*urls, **how)
    start, reason = str(caught.value)[:35], str(caught.value)[35:]
    assert start == "Could not download image from URL: "
    assert reason
    return reason


# --- downloads -----------------------------------------------------------------------------------------


def test_the_body_is_downloaded(origin, fetch):
    assert fetch(origin.url()) == IMAGE
    assert origin.connections == 1


@pytest.mark.parametrize(
    "content_type", ["image/jpeg", "text/html", "application/octet-stream", "", "no type at all; \xff"]
)
def test_the_content_type_does_not_matter(origin, fetch, content_type):
    origin.answers["/image"] = answer(200, IMAGE, f"Content-Type: {content_type}")
    assert fetch(origin.url()) == IMAGE


def test_a_body_without_a_length_is_downloaded(origin, fetch):
    origin.answers["/image"] = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", IMAGE]
    assert fetch(origin.url()) == IMAGE


def test_a_chunked_body_is_downloaded(origin, fetch):
    origin.answers["/image"] = [CHUNKED, *map(chunk, (IMAGE[:1], IMAGE[1:])), b"0\r\n\r\n"]
    assert fetch(origin.url()) == IMAGE


def test_an_empty_body_is_downloaded(origin, fetch):
    origin.answers["/image"] = answer(200, b"")
    assert fetch(origin.url()) == b""


def test_the_request_names_its_host_and_asks_for_an_uncompressed_image(origin, fetch):
    origin.answers["/a%20b?c=d&e"] = answer(200, IMAGE)
    url = f"http://pictures.test:{origin.port}/a b?c=d&e#part"
    assert fetch(url, resolve=Names(pictures_test=["127.0.0.1"])) == IMAGE
    (request,) = origin.requests
    assert request.target == "/a%20b?c=d&e"
    assert request.headers["host"] == f"pictures.test:{origin.port}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["accept"].startswith("image/*")
    assert request.headers["user-agent"] == "sightgraph"
    assert not {"cookie", "authorization", "referer"} & request.headers.keys()


def test_a_name_in_another_script_is_sent_in_ascii(origin, fetch):
    names = Names(**{"xn--bcher-kva_test": ["127.0.0.1"]})
    assert fetch(f"http://bücher.test:{origin.port}/image", resolve=names) == IMAGE
    assert origin.requests[0].headers["host"] == f"xn--bcher-kva.test:{origin.port}"


@pytest.mark.parametrize("proxy", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_proxies_of_the_environment_are_not_used(origin, fetch, monkeypatch, proxy):
    monkeypatch.setenv(proxy, "http://127.0.0.1:9/")
    assert fetch(origin.url()) == IMAGE


# --- answers that are no image -------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418, 429, 500, 502, 503, 599, 304, 300])
def test_anything_but_success_is_refused(origin, fetch, status):
    origin.answers["/image"] = answer(status, b"")
    assert refusal(fetch, origin.url()) == f"the server answered {status} Reason"


def test_a_redirect_to_nowhere_is_refused(origin, fetch):
    origin.answers["/image"] = answer(302)
    assert refusal(fetch, origin.url()) == "the server answered 302 Reason"


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "gzip, gzip", "x" * 5000])
def test_a_compressed_body_is_refused(origin, fetch, encoding):
    origin.answers["/image"] = answer(200, gzip.compress(IMAGE), f"Content-Encoding: {encoding}")
    reason = refusal(fetch, origin.url())
    assert f"content encoding '{encoding[:32]}'" in reason
    assert len(reason) < 200


def test_a_body_that_says_it_is_not_compressed_is_taken(origin, fetch):
    origin.answers["/image"] = answer(200, IMAGE, "Content-Encoding: identity")
    assert fetch(origin.url()) == IMAGE


BROKEN_ANSWERS: dict[str, Answer] = {
    "nothing": [],
    "no HTTP": [b"SSH-2.0-OpenSSH_9.2\r\n"],
    "noise": [b"\0\xff\xfe\r\n\r\n" * 20],
    "half a head": [b"HTTP/1.1 200 OK\r\nContent-Le"],
    "less than its length": answer(200, IMAGE, length=len(IMAGE) + 1),
    "a broken chunk": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a number\r\n"],
    "no last chunk": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n"],
    "two lengths": answer(200, IMAGE, "Content-Length: 7"),
    "a length that is no number": [b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"],
    "a length below zero": [b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"],
    "a head without an end": [b"HTTP/1.1 200 OK\r\n", *[b"X: " + b"y" * 1000 + b"\r\n"] * 200],
    "a status of four digits": [b"HTTP/1.1 2000 OK\r\n\r\n"],
}


@pytest.mark.parametrize("name", BROKEN_ANSWERS)
def test_a_broken_answer_is_refused(origin, fetch, name):
    origin.answers["/image"] = BROKEN_ANSWERS[name]
    reason = refusal(fetch, origin.url())
    assert len(reason) < 200


def test_a_port_where_nobody_listens_is_refused(fetch):
    reason = refusal(fetch, "http://pictures.test:1/", resolve=Names(pictures_test=["127.0.0.1"]))
    assert reason == "no connection to 'pictures.test' at port 1"


# --- size ----------------------------------------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
SMALL = FetchLimits(max_bytes=len(IMAGE), seconds=10, allow_private=True)


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_a_body_of_exactly_the_limit_is_taken(origin, fetch):
    assert fetch(origin.url(), limits=SMALL) == IMAGE


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(answer(200, IMAGE + b"x"), id="by its length"),
        pytest.param(answer(200, b"", length=10**18), id="by a length that never comes"),
        pytest.param([CHUNKED, chunk(IMAGE), chunk(b"x"), b"0\r\n\r\n"], id="by its chunks"),
        pytest.param([CHUNKED, chunk(IMAGE), chunk(b"x"), 30.0], id="by chunks without an end"),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\n", IMAGE, b"x", 30.0], id="without a length"),
    ],
)
def test_a_body_over_the_limit_is_refused(origin, fetch, body):
    origin.answers["/image"] = body
    assert refusal(fetch, origin.url(), limits=SMALL) == "the image is over 2,048 bytes"


# --- time ----------------------------------------------------------------------------------------------

HURRY = FetchLimits(seconds=0.5, allow_private=True)
DRIP = [b"x", 0.1] * 300


SLOW: dict[str, Answer] = {
    "never answers": [30.0],
    "drips its head": [b"HTTP/1.1 200 OK\r\nX: ", *DRIP],
    "drips its body": [b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n", *DRIP],
    "drips its chunks": [CHUNKED, *[chunk(b"x"), 0.1] * 300],
    "only ever says continue": [b"HTTP/1.1 100 Continue\r\n\r\n", 0.1] * 300,
}
TOO_LATE = ("no complete answer within 0.5 seconds", "the server did not answer in time")


@pytest.mark.parametrize("name", SLOW)
def test_a_slow_server_is_left_when_the_time_is_over(origin, fetch, name):
    origin.answers["/image"] = SLOW[name]
    assert refusal(fetch, origin.url(), limits=HURRY) in TOO_LATE
    assert origin.idle.wait(5)


def test_a_server_that_never_begins_with_tls_is_left_when_the_time_is_over(origin, fetch):
    url = origin.url().replace("http:", "https:")
    assert refusal(fetch, url, limits=HURRY) in TOO_LATE
    assert origin.connections == 1
    assert origin.requests == []
    assert origin.idle.wait(5)


def test_the_time_is_that_of_all_redirects_together(origin, fetch):
    origin.answers |= {f"/{number}": [0.2, *redirect(f"/{number + 1}")] for number in range(5)}
    origin.answers["/5"] = answer(200, IMAGE)
    reason = refusal(fetch, origin.url("/0"), limits=HURRY)
    assert reason == "no complete answer within 0.5 seconds"


def test_a_slow_resolver_is_left_when_the_time_is_over(fetch):
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(30)
        return ["127.0.0.1"]

    assert refusal(fetch, "http://slow.test/", limits=HURRY, resolve=never) == (
        "no complete answer within 0.5 seconds"
    )


# --- redirects -----------------------------------------------------------------------------------------


def chain(length: int, status: int = 302) -> dict[str, Answer]:
    steps = {f"/{number}": redirect(f"/{number + 1}", status=status) for number in range(length)}
    return steps | {f"/{length}": answer(200, IMAGE)}


def test_the_body_of_a_redirect_is_not_read(origin, fetch):
    """It may be endless: here it stops half-way, which nobody who leaves it unread can notice."""
    origin.answers["/first"] = answer(302, b"x" * 1000, "Location: /image", length=50_000_000)
    assert fetch(origin.url("/first"), limits=HURRY) == IMAGE


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_five_redirects_are_followed(origin, fetch, status):
    origin.answers |= chain(5, status)
    assert fetch(origin.url("/0")) == IMAGE
    assert [request.target for request in origin.requests] == [f"/{number}" for number in range(6)]


def test_a_sixth_redirect_is_refused(origin, fetch):
    origin.answers |= chain(6)
    assert refusal(fetch, origin.url("/0")) == "more than 5 redirects"
    assert "/6" not in {request.target for request in origin.requests}


def test_a_circle_of_redirects_is_refused(origin, fetch):
    origin.answers["/image"] = redirect("/image")
    assert refusal(fetch, origin.url()) == "more than 5 redirects"


@pytest.mark.parametrize(
    "location",
    [
        "ftp://pictures.test/x.png",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "gopher://127.0.0.1:70/x",
        "http://[zz]/",
        "http://",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:x/",
        "http://a b/",
        "http://xn--/",
    ],
)
def test_a_redirect_to_what_is_no_http_url_is_refused(origin, fetch, location):
    origin.answers["/image"] = redirect(location)
    refusal(fetch, origin.url())
    assert len(origin.requests) == 1


ONE_FRIEND = FetchLimits(seconds=10, allowed_hosts=("friend.test",))


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/secret",
        "//127.0.0.1:{port}/secret",
        "http://localhost:{port}/secret",
        "http://[::1]:{port}/secret",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://other.test:{port}/secret",
        "http://friend.test@127.0.0.1:{port}/secret",
    ],
)
def test_a_redirect_to_a_private_address_is_refused(origin, fetch, location):
    origin.answers["/image"] = redirect(location.format(port=origin.port))
    origin.answers["/secret"] = answer(200, b"secret")
    private = {name: [name] for name in ("127.0.0.1", "::1", "169.254.169.254", "10.0.0.1")}
    names = Names(friend_test=["127.0.0.1"], other_test=["127.0.0.1"], localhost=["127.0.0.1"], **private)
    reason = refusal(fetch, origin.url(host="friend.test"), limits=ONE_FRIEND, resolve=names)
    assert "has an address that is not public" in reason
    assert origin.connections == 1


def test_a_redirect_to_an_allowed_host_is_followed(origin, fetch):
    origin.answers["/image"] = redirect("/there")
    origin.answers["/there"] = answer(200, IMAGE)
    names = Names(friend_test=["127.0.0.1"])
    assert fetch(origin.url(host="friend.test"), limits=ONE_FRIEND, resolve=names) == IMAGE


# --- nothing is carried over ---------------------------------------------------------------------------


@pytest.mark.parametrize("attributes", ["", "; Path=/", "; Domain=pictures.test", "; Max-Age=99999"])
def test_cookies_are_not_kept(origin, fetch, attributes):
    origin.answers["/image"] = answer(200, IMAGE, f"Set-Cookie: who=you{attributes}")
    url = origin.url(host="pictures.test")
    fetch(url, url, resolve=Names(pictures_test=["127.0.0.1"]))
    assert len(origin.requests) == 2
    assert "cookie" not in origin.requests[1].headers


def test_cookies_do_not_follow_a_redirect(origin, fetch):
    origin.answers["/image"] = redirect("/there", "Set-Cookie: who=you; Path=/")
    origin.answers["/there"] = answer(200, IMAGE)
    assert fetch(origin.url()) == IMAGE
    assert "cookie" not in origin.requests[1].headers


def test_a_password_in_the_url_goes_to_its_own_host_alone(origin, fetch):
    names = Names(first_test=["127.0.0.1"], second_test=["127.0.0.1"])
    origin.answers["/image"] = redirect(f"http://second.test:{origin.port}/there")
    origin.answers["/there"] = answer(200, IMAGE)
    assert fetch(f"http://me:secret@first.test:{origin.port}/image", resolve=names) == IMAGE
    first, second = origin.requests
    assert base64.b64decode(first.headers["authorization"].removeprefix("Basic ")) == b"me:secret"
    assert first.headers["host"] == f"first.test:{origin.port}"
    assert "authorization" not in second.headers


def test_a_refusal_does_not_repeat_the_password(origin, fetch):
    origin.answers["/image"] = answer(404)
    url = origin.url(host="me:secret@127.0.0.1")
    assert "secret" not in refusal(fetch, url)


# --- addresses -----------------------------------------------------------------------------------------

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "93.184.216.34",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]
NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.0.170",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::7f00:1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "2001::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:c0a8:101::",
    "100::1",
    "fc00::1",
    "fd12:3456:789a::1",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_name_of_an_address_that_is_not_public_is_refused(origin, fetch, address):
    url = origin.url(host="pictures.test")
    reason = refusal(fetch, url, limits=CLOSED, resolve=Names(pictures_test=[address]))
    assert reason == "the host 'pictures.test' has an address that is not public"
    assert origin.connections == 0


# Every way to write a host that is not public, as the system itself reads it.
LITERALS = [
    "127.0.0.1",
    "127.255.255.254",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
    "[fec0::1]",
    "[fe80::1%25lo]",
    "[fe80::1%lo]",
    "[fc00::1]",
    "[ff02::1]",
    "0",
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "2852039166",
    "172.16.0.1",
    "192.168.1.1",
    "224.0.0.1",
    "255.255.255.255",
    "localhost",
    "LOCALHOST",
    "user:password@127.0.0.1",
    "pictures.test@127.0.0.1",
    "pictures.test%2f@127.0.0.1",
    # The full-width and the circled forms of digits, letters and dots.
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020\u30020\u30021",
    "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3",
]


@pytest.mark.parametrize("host", LITERALS)
def test_no_way_to_write_a_private_host_opens_a_connection(origin, fetch, host):
    reason = refusal(fetch, origin.url(host=host), limits=CLOSED)
    assert origin.connections == 0
    assert (
        "has an address that is not public" in reason
        or "has no address" in reason
        or "only absolute http and https URLs can be fetched" in reason
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "user:password@127.0.0.1"])
def test_the_same_hosts_are_reached_where_private_ones_are_allowed(origin, fetch, host):
    assert fetch(origin.url(host=host), limits=OPEN) == IMAGE
    assert origin.connections == 1


@pytest.mark.parametrize(
    "addresses",
    [
        ["93.184.216.34", "127.0.0.1"],
        ["127.0.0.1", "93.184.216.34"],
        ["2606:4700:4700::1111", "::1"],
        ["93.184.216.34"] * 20 + ["10.0.0.1"],
    ],
)
def test_one_address_that_is_not_public_is_enough(origin, fetch, addresses):
    url = origin.url(host="mixed.test")
    reason = refusal(fetch, url, limits=CLOSED, resolve=Names(mixed_test=addresses))
    assert reason == "the host 'mixed.test' has an address that is not public"
    assert origin.connections == 0


@pytest.mark.parametrize("addresses", [[], None])
def test_a_name_without_an_address_is_refused(fetch, addresses):
    names = Names() if addresses is None else Names(nobody_test=addresses)
    assert "'nobody.test' has no address" in refusal(fetch, "http://nobody.test/", resolve=names)


def test_the_next_address_is_tried_when_one_does_not_answer(origin, fetch):
    # Nothing listens at 127.0.0.3.
    names = Names(pictures_test=["127.0.0.3", "127.0.0.1"])
    assert fetch(origin.url(host="pictures.test"), resolve=names) == IMAGE


# --- names that answer differently each time -----------------------------------------------------------


class Rebinding:
    """A resolver that gives its answers in turn, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = answers
        self.calls = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.calls += 1
        return self._answers[min(self.calls, len(self._answers)) - 1]


def test_the_name_is_resolved_once_for_a_connection(origin, fetch):
    # A second look would lead to 127.0.0.3, where nothing listens.
    names = Rebinding(["127.0.0.1"], ["127.0.0.3"])
    limits = FetchLimits(seconds=10, allowed_hosts=("rebind.test",))
    assert fetch(origin.url(host="rebind.test"), limits=limits, resolve=names) == IMAGE
    assert names.calls == 1
    assert [request.address for request in origin.requests] == ["127.0.0.1"]


def test_every_connection_is_checked_anew(origin, fetch):
    # The first answer would be allowed, if it only were checked for the whole download.
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    origin.answers["/image"] = redirect(f"http://other.test:{origin.port}/image")
    reason = refusal(fetch, origin.url(host="friend.test"), limits=ONE_FRIEND, resolve=resolve)
    assert reason == "the host 'other.test' has an address that is not public"
    assert asked == ["friend.test", "other.test"]
    assert origin.connections == 1


def test_a_name_that_turns_private_between_two_downloads_is_refused(origin, fetch):
    # TEST-NET-1 stands for the refused first answer: it must not count for the second one either.
    names = Rebinding(["192.0.2.1"], ["127.0.0.1"])

    async def go() -> list[str]:
        fetcher, reasons = Fetcher(CLOSED, names), []
        for _ in range(3):
            with pytest.raises(ImageUnavailable) as caught:
                await fetcher.fetch(origin.url(host="rebind.test"))
            reasons.append(str(caught.value))
        await fetcher.close()
        return reasons

    assert all("has an address that is not public" in reason for reason in asyncio.run(go()))
    assert names.calls == 3
    assert origin.connections == 0


def test_a_host_is_resolved_as_it_is_written(fetch):
    names = Names()
    refusal(fetch, "http://%31%32%37.0.0.1/", resolve=names)
    assert names.asked == ["%31%32%37.0.0.1"]


# --- allowed hosts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("nas.test", "nas.test"),
        ("nas.test", "NAS.Test"),
        ("NAS.test", "nas.test"),
        ("nas.test", "nas.test."),
        ("*.nas.test", "one.nas.test"),
        ("*.nas.test", "two.one.nas.test"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "[::1]"),
    ],
)
def test_an_allowed_host_may_have_a_private_address(origin, fetch, allowed, host):
    async def resolve(name: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    limits = FetchLimits(seconds=10, allowed_hosts=("elsewhere.test", allowed))
    assert fetch(origin.url(host=host), limits=limits, resolve=resolve) == IMAGE


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("nas.test", "one.nas.test"),
        ("nas.test", "nas.test.evil.test"),
        ("nas.test", "evilnas.test"),
        ("*.nas.test", "nas.test"),
        ("*.nas.test", "evilnas.test"),
        ("*.nas.test", "one.nas.test.evil.test"),
        ("127.0.0.1", "127.1"),
        ("nas.test", "nas.test@127.0.0.1"),
        ("", "nas.test"),
    ],
)
def test_a_host_that_only_resembles_an_allowed_one_is_refused(origin, fetch, allowed, host):
    async def resolve(name: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    limits = FetchLimits(seconds=10, allowed_hosts=(allowed,))
    reason = refusal(fetch, origin.url(host=host), limits=limits, resolve=resolve)
    assert "has an address that is not public" in reason
    assert origin.connections == 0


# --- URLs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "image.png",
        "/image.png",
        "//127.0.0.1/image.png",
        "127.0.0.1/image.png",
        "http",
        "http:",
        "http://",
        "https://",
        "http:///x",
        "http:/x",
        "http:x",
        "http://?x",
        "http://#x",
        "http://:80/",
        "http://@/",
        "http://user:password@/",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "file://127.0.0.1/etc/passwd",
        "data:image/png;base64,iVBORw0KGgo=",
        "gopher://127.0.0.1:70/_x",
        "javascript:alert(1)",
        "dict://127.0.0.1:11211/stat",
        "ws://127.0.0.1/",
        "unix:///run/x.sock",
        "blob:http://127.0.0.1/x",
        "view-source:http://127.0.0.1/",
        "http://127.0.0.1\n/",
        "http://127.0.0.1/\r\nX-Injected: yes",
        "http://127.0.0.1/\0",
        "http://127.0.0.1\0.pictures.test/",
        "http://127.0.0.1/\x7f",
        " http://127.0.0.1/",
        "http://127.0.0.1/\ud800",
        "http://\ud800/",
        "http://127.0.0.1:x/",
        "http://127.0.0.1:80:80/",
        "http://127.0.0.1:8 0/",
        "http://[::1",
        "http://[zz]/",
        "http://[]/",
        "http://[::1]x/",
        "http://256.256.256.256/",
        "http://xn--/",
        "http://127.0.0.1/" + "x" * 100_000,
        "http://" + "ü" * 300 + ".test/",
    ],
    ids=lambda url: ascii(url[:40]),
)
def test_what_is_no_http_url_is_refused_without_asking_for_an_address(fetch, url):
    names = Names()
    reason = refusal(fetch, url, resolve=names)
    assert reason.startswith("only absolute http and https URLs can be fetched")
    assert names.asked == []
    assert len(reason) < 1000


@pytest.mark.parametrize("port", ["-1", "65536", "99999", "2147483648", "9" * 30], ids=str)
@pytest.mark.parametrize("limits", [OPEN, CLOSED], ids=["private allowed", "public only"])
def test_a_port_that_does_not_exist_is_refused(fetch, port, limits):
    refusal(fetch, f"http://127.0.0.1:{port}/", limits=limits)
    refusal(fetch, f"https://127.0.0.1:{port}/", limits=limits)


@pytest.mark.parametrize(
    "host",
    ["a" * 300 + ".test", ".".join(["a" * 60] * 10), "a" * 64 + ".test", "...", "a..test"],
)
def test_a_host_that_cannot_have_an_address_is_refused(fetch, host):
    reason = refusal(fetch, f"http://{host}/", limits=OPEN)
    assert reason == f"the host name '{host[:128]}' has no address"
