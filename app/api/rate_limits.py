"""How often a client may ask: a moving window for each, in memory, bounded.

A request counts one, and one of many images as many as it has.
"""

import ipaddress
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from cachetools import TTLCache
from litestar.exceptions import TooManyRequestsException

from app.core.access import Limit

# Beyond them the client that was quiet for longest is forgotten.
_MAX_CLIENTS = 50_000


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left to a client."""

    limit: Limit
    remaining: int
    more_in: float
    """Seconds until one more request is free."""

    def headers(self) -> dict[str, str]:
        """As the IETF draft "RateLimit header fields for HTTP" writes it."""
        return {
            "RateLimit-Policy": f'"requests";q={self.limit.amount};w={self.limit.seconds}',
            "RateLimit": f'"requests";r={self.remaining};t={self._whole_seconds}',
        }

    def refusal(self, detail: str, headers: Mapping[str, str] | None = None) -> TooManyRequestsException:
        """The answer to a request beyond the limit."""
        return TooManyRequestsException(
            f"{detail}; try again in {self._whole_seconds} seconds.",
            headers={**(headers or {}), "Retry-After": str(self._whole_seconds)},
        )

    @property
    def _whole_seconds(self) -> int:
        return max(1, math.ceil(self.more_in))


class MovingWindow:
    """The times of what each client did, for as long as they count.

    A client that is quiet for the length of the window is forgotten: the memory is bounded by what was let
    through in the last one.
    """

    def __init__(self, limit: Limit, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._times: TTLCache[str, deque[float]] = TTLCache(_MAX_CLIENTS, limit.seconds, timer=clock)

    def take(self, client: str, count: int = 1) -> Quota | None:
        """Count so many more of a client; None where they are too many, which are then not counted."""
        times = self._counted(client)
        if len(times) + count > self.limit.amount:
            return None
        times.extend([self._clock()] * count)
        self._times[client] = times
        return self.left(client)

    def left(self, client: str, count: int = 1) -> Quota:
        """What a client has, and in which time it has so many more."""
        times = self._counted(client)
        ends = times[min(count, len(times)) - 1] + self.limit.seconds if times else self._clock()
        return Quota(self.limit, self.limit.amount - len(times), ends - self._clock())

    def _counted(self, client: str) -> deque[float]:
        times = self._times.get(client)
        if times is None:
            return deque()
        since = self._clock() - self.limit.seconds
        while times and times[0] <= since:
            times.popleft()
        return times


@dataclass(frozen=True, slots=True)
class Account:
    """Where the requests of a client are counted."""

    window: MovingWindow
    client: str

    def take(self) -> None:
        """Count a request.

        Raises:
            TooManyRequestsException: it is one too many.
        """
        if self.window.take(self.client) is None:
            limit = self.window.limit
            raise self._refusal(
                f"More than {limit.amount:,} requests came within {limit.seconds:,} seconds", 1
            )

    def take_further(self, images: int) -> None:
        """Count the further images of a request that was counted as one.

        Raises:
            TooManyRequestsException: they are too many.
        """
        limit, left = self.window.limit, self.window.left(self.client).remaining
        if images > 0 and self.window.take(self.client, images) is None:
            told = f"of {limit.amount:,} within {limit.seconds:,} seconds {left + 1:,} are left"
            raise self._refusal(
                f"The request has {images + 1:,} images, each of which counts as a request, and {told}; "
                "send fewer at once",
                images,
            )

    def headers(self) -> dict[str, str]:
        return self.window.left(self.client).headers()

    def _refusal(self, detail: str, count: int) -> TooManyRequestsException:
        return self.window.left(self.client, count).refusal(detail, self.headers())


_account: ContextVar[Account | None] = ContextVar("account", default=None)


@contextmanager
def counting(account: Account | None) -> Iterator[None]:
    token = _account.set(account)
    try:
        yield
    finally:
        _account.reset(token)


def count_images(count: int) -> None:
    """Count every image of a request that is to be analysed, where requests are counted at all.

    Raises:
        TooManyRequestsException: they are too many.
    """
    account = _account.get()
    if account is not None:
        account.take_further(count - 1)


def client_address(scope: Mapping[str, Any]) -> str:
    """Where a request comes from. Of IPv6 the network of a subscriber, who has all of its addresses."""
    client = scope.get("client")
    text = str(client[0])[:64] if client else ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv4Address):
        return text
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
