"""Requests and answers as values: what is sent and how the answer is read, whoever carries it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import quote

import httpx
import orjson
import pydantic

from app.client.errors import Refused, ServerFull
from app.client.given import text
from app.client.images import FilePart

T = TypeVar("T")

NDJSON = "application/x-ndjson"

# What one request carries: as many images as a server takes, and bytes that arrive in good time.
BLOCK_IMAGES = 256
BLOCK_BYTES = 64_000_000

_LONGEST_WAIT = 60.0
TOO_LARGE = 413
_TOO_MANY = 429

Json: TypeAlias = dict[str, Any]

_OBJECTS = pydantic.TypeAdapter(list[Json])
_BY_NAMES = pydantic.TypeAdapter(dict[str, Json])


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
    body = parsed(response.content)
    if isinstance(body, dict) and (response.is_success or response.status_code in call.also):
        try:
            return call.read(body)
        except (KeyError, TypeError, pydantic.ValidationError):
            # A server that is busy refuses with such a status too.
            raise refusal(response) from None
    raise refusal(response)


def having(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Reads the whole of an answer that has some fields."""

    def read(body: dict[str, Any]) -> dict[str, Any]:
        for name in names:
            _ = body[name]
        return body

    return read


def listing(*names: str) -> Callable[[Json], Json]:
    """Reads the whole of an answer that has some lists of objects."""

    def read(body: Json) -> Json:
        for name in names:
            objects(body[name])
        return body

    return read


def objects(value: Any) -> list[Json]:
    """A list of JSON objects.

    Raises:
        ValidationError: it is none.
    """
    return _OBJECTS.validate_python(value)


def by_names(value: Any) -> dict[str, Json]:
    """JSON objects by their names.

    Raises:
        ValidationError: they are none.
    """
    return _BY_NAMES.validate_python(value)


def refusal(response: httpx.Response) -> Refused:
    """Why a request was refused; the response was read."""
    status, body = response.status_code, parsed(response.content)
    detail = body.get("detail") if isinstance(body, dict) else None
    message = detail if isinstance(detail, str) and not response.is_success else foreign(response)
    if status in (_TOO_MANY, 503) and "retry-after" in response.headers:
        return ServerFull(status, message, _seconds(response.headers["retry-after"]))
    return Refused(status, message)


def is_too_much(error: Refused) -> bool:
    """Whether fewer images at once may be taken: a proxy may take less than the server, and a rate limit may
    allow less than a block. One that tells when to come back takes the whole then.
    """
    return error.status == TOO_LARGE or (error.status == _TOO_MANY and not isinstance(error, ServerFull))


def foreign(response: httpx.Response) -> str:
    """That what answers is another server."""
    return f"{shown(response.url)} answers {response.status_code}, and not as a server of Sightgraph does."


def shown(url: httpx.URL) -> str:
    """An address as a message may show it: without a password."""
    return str(url.copy_with(username=None, password=None))


def segment(name: str, given: str) -> str:
    """A text as one part of a path. Dots are encoded too: httpx would resolve `.` and `..`.

    Raises:
        InvalidInput: it cannot be one; `name` is what the message calls it.
    """
    return quote(text(name, given), safe="").replace(".", "%2E")


def parsed(content: bytes) -> Any:
    """What JSON holds; None where it is none."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _seconds(retry_after: str) -> float:
    # It may also be a date, which our servers do not send.
    return min(float(retry_after), _LONGEST_WAIT) if retry_after.isdecimal() else 0.0
