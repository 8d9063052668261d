"""Fetching an image from a URL that a client chose.

The name is resolved here, every address it resolves to is checked, and the connection is made to a checked
address: a name that answers differently the second time gains nothing. Each redirect goes the same way.
"""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import httpcore
import httpx

from app.core.errors import ImageUnavailable
from app.core.wording import shortened
from app.runtime.observation import SILENT, Observer, Work

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Beyond what the standard library of Python 3.11 knows as not global.
_NOT_PUBLIC_V4 = (ipaddress.IPv4Network("192.0.0.0/24"),)  # protocol assignments, RFC 6890
_NOT_PUBLIC_V6 = (
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # NAT64 of a private network, RFC 8215
    ipaddress.IPv6Network("::/96"),  # IPv4-compatible, deprecated by RFC 4291
    ipaddress.IPv6Network("2001::/32"),  # Teredo, RFC 4380
    ipaddress.IPv6Network("fec0::/10"),  # site-local, deprecated by RFC 3879
    ipaddress.IPv6Network("3fff::/20"),  # documentation, RFC 9637
)


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What a download may take. `allowed_hosts` may have private addresses; `*.example.org` names all
    hosts below."""

    max_bytes: int = 25_000_000
    seconds: float = 10.0
    redirects: int = 5
    allow_private: bool = False
    allowed_hosts: tuple[str, ...] = ()


class Fetcher:
    """Downloads images. One per process; its connections are kept and shared."""

    def __init__(
        self, limits: FetchLimits, resolve: Resolve | None = None, observer: Observer = SILENT
    ) -> None:
        self._limits = limits
        self._observer = observer
        backend = _CheckedBackend(limits, resolve or SystemResolver())
        self._client = httpx.AsyncClient(
            transport=_CheckedTransport(backend),
            follow_redirects=False,
            timeout=limits.seconds,
            trust_env=False,
            headers={
                "User-Agent": "sightgraph",
                "Accept": "image/*, */*;q=0.5",
                # A compressed body could unpack to anything.
                "Accept-Encoding": "identity",
            },
        )
        # One client's download leaves nothing behind for another's.
        self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    async def fetch(self, url: str) -> bytes:
        """The bytes behind a URL.

        Raises:
            ImageUnavailable: the URL is no http or https URL, leads to an address that is not public, does
                not answer 2xx in time, or is over the size limit.
        """
        started = time.perf_counter()
        with self._observer.span(Work("fetch")):
            try:
                return await self._fetched(url)
            finally:
                self._observer.fetched(time.perf_counter() - started)

    async def close(self) -> None:
        await self._client.aclose()

    async def _fetched(self, url: str) -> bytes:
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._download(url)
        except TimeoutError:
            raise ImageUnavailable(f"no complete answer within {self._limits.seconds:g} seconds") from None
        except httpx.UnsupportedProtocol:
            raise ImageUnavailable(
                "only absolute http and https URLs can be fetched (such as https://example.org/a.jpg)"
            ) from None
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ImageUnavailable(
                f"only absolute http and https URLs can be fetched ({shortened(str(error))})"
            ) from None
        except httpx.TimeoutException:
            raise ImageUnavailable("the server did not answer in time") from None
        except httpx.HTTPError as error:
            raise ImageUnavailable(str(error) or type(error).__name__) from None

    async def _download(self, url: str) -> bytes:
        # httpx would read the body of a redirect, however large, before it follows.
        for _ in range(self._limits.redirects + 1):
            async with self._client.stream("GET", url) as response:
                if response.next_request is None:
                    return await self._body_of(response)
                url = str(response.next_request.url)
        raise ImageUnavailable(f"more than {self._limits.redirects} redirects")

    async def _body_of(self, response: httpx.Response) -> bytes:
        limit = self._limits.max_bytes
        if not response.is_success:
            raise ImageUnavailable(
                f"the server answered {response.status_code} {response.reason_phrase}".strip()
            )
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise ImageUnavailable(
                f"the server sent content encoding '{encoding[:32]}', although none was asked for"
            )
        declared = response.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise ImageUnavailable(f"the image is over {limit:,} bytes")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > limit:
                raise ImageUnavailable(f"the image is over {limit:,} bytes")
        return bytes(body)


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet, also behind its IPv6 forms."""
    ip: IPAddress = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(str(inner))
        if any(ip in network for network in _NOT_PUBLIC_V6):
            return False
    elif any(ip in network for network in _NOT_PUBLIC_V4):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


class SystemResolver:
    """The system's names, looked up on threads of their own: a lookup cannot be cancelled, and a slow name
    server must not hold up anything else that needs a thread."""

    def __init__(self, threads: int = 64) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="dns")

    async def __call__(self, host: str, port: int) -> list[str]:
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [str(address[0]) for *_, address in found]


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to checked addresses only."""

    def __init__(self, limits: FetchLimits, resolve: Resolve) -> None:
        self._limits = limits
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if not 0 < port < 65536:
            raise httpcore.ConnectError(f"there is no port {str(port)[:16]}")
        try:
            addresses = list(dict.fromkeys(await self._resolve(host, port)))
        except (OSError, UnicodeError):
            raise httpcore.ConnectError(f"the host name '{host[:128]}' has no address") from None
        if not self._is_allowed(host) and not all(map(is_public, addresses)):
            raise httpcore.ConnectError(f"the host '{host[:128]}' has an address that is not public")
        failure: Exception = httpcore.ConnectError(f"the host '{host[:128]}' has no address")
        for address in addresses:
            try:
                stream = await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = type(error)(f"no connection to '{host[:128]}' at port {port}")
            else:
                return _ClosingStream(stream)
        raise failure

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)

    def _is_allowed(self, host: str) -> bool:
        if self._limits.allow_private:
            return True
        name = host.lower().rstrip(".")
        return any(
            name.endswith(allowed[1:]) if allowed.startswith("*.") else name == allowed
            for allowed in map(str.lower, self._limits.allowed_hosts)
        )


class _ClosingStream(httpcore.AsyncNetworkStream):
    """A connection that is closed when its TLS handshake is abandoned, which httpcore leaves open."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except asyncio.CancelledError:
            await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _CheckedTransport(httpx.AsyncBaseTransport):
    """httpx over an httpcore pool with a network backend of our own, which httpx offers no option for."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"not '{request.url.scheme[:16]}'")
        try:
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    extensions=request.extensions,
                )
            )
        except _HTTPCORE_ERRORS as error:
            raise _as_httpx(error) from error
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.aiter_stream():
                yield chunk
        except _HTTPCORE_ERRORS as error:
            raise _as_httpx(error) from error

    async def aclose(self) -> None:
        await self._response.aclose()


_HTTPCORE_ERRORS = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
)


def _as_httpx(error: Exception) -> httpx.TransportError:
    if isinstance(error, httpcore.TimeoutException):
        return httpx.ReadTimeout(str(error))
    return httpx.TransportError(str(error) or "the connection failed")
