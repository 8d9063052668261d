"""A request and what became of it, from its first byte to its last."""

import re
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from litestar.types import Scope

UNMATCHED = "unmatched"
# What machines ask again and again.
_PROBES = frozenset({"/health/live", "/health/ready", "/metrics"})
_KEY = "sightgraph_api_key"
_REFUSAL = "sightgraph_refusal"
_TOKEN = re.compile(r"[A-Z]{1,16}")


@dataclass(slots=True)
class Exchange:
    """Filled while the request is answered. Without an answer, `status` is None."""

    scope: Scope
    started: float = field(default_factory=time.perf_counter)
    status: int | None = None
    bytes_sent: int = 0
    path: str = field(init=False)
    """As it was sent, percent-decoded; on its way the scope's loses its last slash."""

    def __post_init__(self) -> None:
        self.path = self.scope["path"]

    @property
    def method(self) -> str:
        """As it was sent, where it is a plain word."""
        method = str(self.scope.get("method"))
        return method if _TOKEN.fullmatch(method) else "other"

    @property
    def route(self) -> str:
        """The template of the path, which holds nothing of the client's."""
        return str(self.scope.get("path_template") or UNMATCHED)

    @property
    def is_probe(self) -> bool:
        return self.path.rstrip("/") in _PROBES

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    @property
    def api_key(self) -> str | None:
        """The name of the key that was shown."""
        name = self.scope["state"].get(_KEY)
        return None if name is None else str(name)

    @property
    def refusal(self) -> str | None:
        """The code of the error for which the request failed as a whole."""
        code = self.scope["state"].get(_REFUSAL)
        return None if code is None else str(code)


class RequestTracing(Protocol):
    """Traces requests."""

    def request(self, exchange: Exchange) -> AbstractContextManager[object]:
        """Entered before a request is answered and left after it."""


def note_api_key(scope: Scope, name: str) -> None:
    scope["state"][_KEY] = name


def note_refusal(scope: Scope, code: str) -> None:
    scope["state"][_REFUSAL] = code
