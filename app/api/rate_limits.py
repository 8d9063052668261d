"""How often a client may ask: a moving window for each, in memory, bounded."""

import ipaddress
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
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

    def take(self, client: str) -> Quota | None:
        """Count one more of a client; None where it is one too many, which is then not counted."""
        times = self._counted(client)
        if len(times) >= self.limit.amount:
            return None
        times.append(self._clock())
        self._times[client] = times
        return self.left(client)

    def left(self, client: str) -> Quota:
        times = self._counted(client)
        more_in = times[0] + self.limit.seconds - self._clock() if times else 0.0
        return Quota(self.limit, self.limit.amount - len(times), more_in)

    def _counted(self, client: str) -> deque[float]:
        times = self._times.get(client)
        if times is None:
            return deque()
        since = self._clock() - self.limit.seconds
        while times and times[0] <= since:
            times.popleft()
        return times


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
