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

    def give_back(self, client: str) -> None:
        """Count the last one of a client no more."""
        times = self._counted(client)
        if times:
            times.pop()

    def left(self, client: str, count: int | None = None) -> Quota:
        """What a client has, and in which time it has so many; without a number, one more than now."""
        times = self._counted(client)
        remaining = self.limit.amount - len(times)
        lacking = 1 if count is None else count - remaining
        more_in = 0.0
        if times and lacking > 0:
            more_in = times[min(lacking, len(times)) - 1] + self.limit.seconds - self._clock()
        return Quota(self.limit, remaining, more_in)

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
            told = f"More than {limit.amount:,} requests came within {limit.seconds:,} seconds"
            raise self.window.left(self.client).refusal(told, self.headers())

    def take_images(self, images: int) -> None:
        """Count every image of a request that was counted as one. One that is refused does not count at all:
        else whoever comes back when told to would never have enough.

        Raises:
            TooManyRequestsException: they are too many; without Retry-After where they always will be.
        """
        if images <= 1 or self.window.take(self.client, images - 1) is not None:
            return
        self.window.give_back(self.client)
        limit, left = self.window.limit, self.window.left(self.client, images)
        told = f"The request has {images:,} images, each of which counts as a request"
        if images > limit.amount:
            raise TooManyRequestsException(
                f"{told}, and no more than {limit.amount:,} are taken within {limit.seconds:,} seconds; send "
                "fewer at once.",
                headers=self.headers(),
            )
        raise left.refusal(
            f"{told}, and of {limit.amount:,} within {limit.seconds:,} seconds {left.remaining:,} are left; "
            "send fewer at once",
            self.headers(),
        )

    def headers(self) -> dict[str, str]:
        return self.window.left(self.client).headers()


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
        account.take_images(count)


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
