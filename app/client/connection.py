"""What both clients know of their server: where it is, how they show themselves, and whether it answers."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from app.client.errors import InvalidInput, Unreachable
from app.client.retrying import policy
from app.client.streaming import Exchange
from app.client.wire import NDJSON, shown
from app.core.access import API_KEY_VARIABLE

# Where `sightgraph serve` listens.
LOCAL_URL = "http://127.0.0.1:8000"

# A server has a deadline of its own for every request; this is for one that is gone without a word.
PATIENCE = 600.0
RETRIES = 7
_CONNECTING = 10.0

# A path that is added to an address with a query or a fragment would be a part of that.
_IN_NO_ADDRESS = frozenset("?# ")


def options(url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    """The arguments of a client of httpx.

    Raises:
        InvalidInput: one is wrong.
    """
    key = (os.environ.get(API_KEY_VARIABLE, "") if api_key is None else api_key).strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        # Not repeated: it may be the key but for a character.
        raise InvalidInput("api_key: has spaces or characters that no API key has.")
    headers = {"Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    address = checked_url(url)
    found: dict[str, Any] = {"base_url": address, "headers": headers, "timeout": timeouts(timeout)}
    if urlsplit(address).scheme == "http":
        # TLS is not spoken, and redirects are not followed: a context that trusts nobody does, and to read
        # the certificates of those who are trusted takes 40 ms.
        found["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return found


def timeouts(seconds: float) -> httpx.Timeout:
    """How long a server may be silent. A request waits for a free connection as long as it takes."""
    return httpx.Timeout(seconds, connect=min(seconds, _CONNECTING), pool=None)


class Connection:
    """How it goes with a server, and what of it is tried again.

    Args:
        address: of the server.
        retries: attempts after the first one.
    """

    def __init__(self, address: httpx.URL, retries: int) -> None:
        self.address = shown(address).removesuffix("/")
        self.policy = policy(retries)
        self._answered = False

    @contextmanager
    def asked(self) -> Iterator[None]:
        """The time of a request.

        Raises:
            Unreachable: no whole answer comes.
        """
        try:
            yield
        except httpx.RequestError as error:
            reason = str(error) or type(error).__name__
            if isinstance(error, httpx.ConnectError):
                reason += ". Is a server there? `sightgraph serve` starts one."
            # One that never answered is hardly about to, and one that was silent for long is stuck.
            may_mend = self._answered and not isinstance(error, httpx.ReadTimeout)
            raise Unreachable(f"No answer from {self.address}: {reason}", may_mend=may_mend) from error

    def heard(self) -> None:
        """Note that the server answers."""
        self._answered = True

    def check_whole(self, exchange: Exchange[Any]) -> None:
        """See to it that an answer did not end too soon.

        Raises:
            Unreachable: it did.
        """
        if not exchange.answered:
            raise Unreachable(f"The answer of {self.address} broke off.", may_mend=True)


def is_streamed(response: httpx.Response) -> bool:
    """Whether an answer comes line by line; else `refusal` tells why not."""
    return response.is_success and response.headers.get("content-type", "").startswith(NDJSON)


def checked_url(url: str) -> str:
    """The address of a server, to which the paths of requests can be added.

    Raises:
        InvalidInput: it is none.
    """
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and parts.port != 0 and not set(url) & _IN_NO_ADDRESS
        # Names are looked up so, and one with an empty or too long part cannot be.
        right = right and bool(httpx.URL(url).raw_host.decode().encode("idna"))
    except (ValueError, httpx.InvalidURL):
        right = False
    if not right:
        # What stands before @ may be a password.
        given = f", not {url!r}" if "@" not in url else ""
        raise InvalidInput(f"url: must be an address such as {LOCAL_URL}{given}.")
    return url
