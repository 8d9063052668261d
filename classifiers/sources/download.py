"""Downloads from a server that may be slow, full or broken."""

import email.utils
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx

from app.core.wording import shortened
from classifiers.rows import SourceError

# Seconds before each further attempt.
WAITS = (0.5, 1.0, 2.0, 4.0)
_LONGEST_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """What a download may take.

    `max_bytes` counts what a compressed answer unpacks to. `silence` is how many seconds a server may say
    nothing.
    """

    max_bytes: int = 500_000_000
    silence: float = 60.0
    redirects: int = 5


class Downloads:
    """Gets texts from one server. A request that fails for the moment is sent again, after a wait."""

    def __init__(
        self, limits: DownloadLimits | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._limits = limits or DownloadLimits()
        self._sleep = sleep
        self._client = httpx.Client(
            timeout=httpx.Timeout(10, read=self._limits.silence),
            headers={"Accept": "application/json, text/html;q=0.5", "User-Agent": "sightgraph"},
        )

    def close(self) -> None:
        self._client.close()

    def text(self, url: httpx.URL) -> str:
        """What a URL answers.

        Raises:
            SourceError: it does not answer 2xx, or more than the limit, or no text.
        """
        for wait in (*WAITS, None):
            try:
                answer = self._answer(url)
            except httpx.TransportError as error:
                if wait is None or isinstance(error, httpx.UnsupportedProtocol):
                    raise SourceError(f"{shown(url)}: {str(error) or type(error).__name__}.") from None
                self._sleep(wait)
            except httpx.HTTPError as error:
                raise SourceError(f"{shown(url)}: {str(error) or type(error).__name__}.") from None
            else:
                if isinstance(answer, str):
                    return answer
                if wait is None:
                    raise SourceError(
                        f"{shown(url)}: answers {answer.told}, also to {len(WAITS) + 1} attempts."
                    )
                self._sleep(max(wait, answer.retry_after))
        raise AssertionError("the last attempt returns or raises")

    def _answer(self, url: httpx.URL) -> "str | _Refusal":
        asked = url
        # httpx would read the body of a redirect, however large, before it follows.
        request = self._client.build_request("GET", url)
        for _ in range(self._limits.redirects + 1):
            response = self._client.send(request, stream=True)
            try:
                if response.next_request is None:
                    return self._body(asked, response)
                request = response.next_request
            finally:
                response.close()
        raise SourceError(f"{shown(asked)}: leads through more than {self._limits.redirects} redirects.")

    def _body(self, url: httpx.URL, response: httpx.Response) -> "str | _Refusal":
        told = f"{response.status_code} {response.reason_phrase}".strip()
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
            return _Refusal(told, _seconds(response.headers.get("retry-after", "")))
        if not response.is_success:
            raise SourceError(f"{shown(url)}: answers {told}.")
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > self._limits.max_bytes:
                raise SourceError(f"{shown(url)}: answers over {self._limits.max_bytes:,} bytes.")
        try:
            return body.decode(response.charset_encoding or "utf-8-sig")
        except (UnicodeDecodeError, LookupError):
            raise SourceError(f"{shown(url)}: answers what is no text, or in an unknown encoding.") from None


@dataclass(frozen=True, slots=True)
class _Refusal:
    """An answer that may be another one later."""

    told: str
    retry_after: float


def shown(url: httpx.URL) -> str:
    """A URL for messages, without the passwords and keys that may be in it."""
    return shortened(str(url.copy_with(username=None, password=None, query=None)), 200)


def is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _seconds(retry_after: str) -> float:
    """What a server asks to wait: seconds, or a date."""
    if retry_after.isdecimal():
        return min(float(retry_after), _LONGEST_WAIT)
    try:
        until = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max((until - datetime.now(UTC)).total_seconds(), 0.0), _LONGEST_WAIT)
