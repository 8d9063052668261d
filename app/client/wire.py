"""Requests and answers as values: what is sent and how the answer is read, whoever carries it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import orjson
import pydantic

from app.client.errors import Refused, ServerFull
from app.client.images import FilePart

T = TypeVar("T")

NDJSON = "application/x-ndjson"
_LONGEST_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `json` is a body that is written already; `form` and `files` make one."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: bytes | None = None
    form: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[FilePart] = ()

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """The arguments with which httpx sends it, its files opened: none is ever in memory as a whole.

        Raises:
            OSError: a file cannot be read.
        """
        headers = dict(self.headers)
        if self.json is not None:
            headers["Content-Type"] = "application/json"
        content: dict[str, Any] = {"params": self.query or None, "headers": headers, "content": self.json}
        with ExitStack() as stack:
            if self.files:
                parts = [
                    ("image_file", (part.name, stack.enter_context(part.opened()))) for part in self.files
                ]
                content |= {"files": parts, "data": self.form}
            yield {"method": self.method, "url": self.path, **content}


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and what is read from the JSON of its answer.

    `read` raises KeyError, TypeError or ValidationError for what no server of Sightgraph answers. `also` are
    statuses that carry an answer as success does.
    """

    request: Request
    read: Callable[[dict[str, Any]], T]
    also: frozenset[int] = frozenset()


def answer_of(call: Call[T], response: httpx.Response) -> T:
    """The answer to a call.

    Raises:
        ServerFull: it shall be sent again later.
        Refused: it is refused, or what answers is no server of Sightgraph.
    """
    body = _parsed(response.content)
    if isinstance(body, dict) and (response.is_success or response.status_code in call.also):
        try:
            return call.read(body)
        except (KeyError, TypeError, pydantic.ValidationError):
            raise Refused(response.status_code, foreign(response)) from None
    raise refusal(response)


def having(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Reads the whole of an answer that has some fields."""

    def read(body: dict[str, Any]) -> dict[str, Any]:
        for name in names:
            _ = body[name]
        return body

    return read


def refusal(response: httpx.Response) -> Refused:
    """Why a request was refused; the response was read."""
    status, body = response.status_code, _parsed(response.content)
    detail = body.get("detail") if isinstance(body, dict) else None
    message = detail if isinstance(detail, str) and not response.is_success else foreign(response)
    if status in (429, 503) and "retry-after" in response.headers:
        return ServerFull(status, message, _seconds(response.headers["retry-after"]))
    return Refused(status, message)


def foreign(response: httpx.Response) -> str:
    """That what answers is another server."""
    return f"{shown(response.url)} answers {response.status_code}, and not as a server of Sightgraph does."


def shown(url: httpx.URL) -> str:
    """An address as a message may show it: without a password."""
    return str(url.copy_with(username=None, password=None))


def segment(text: str) -> str:
    """A name as one part of a path. Dots are encoded too: httpx would resolve `.` and `..`."""
    return quote(text, safe="").replace(".", "%2E")


def _parsed(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _seconds(retry_after: str) -> float:
    # It may also be a date, which our servers do not send.
    return min(float(retry_after), _LONGEST_WAIT) if retry_after.isdecimal() else 0.0
