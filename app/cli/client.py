"""A server, spoken to over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import click
import httpx
import orjson

# A server has a deadline of its own for every request; the long one is for one that is gone without a word.
TIMEOUT = httpx.Timeout(10, read=600)
# Seconds before each further attempt, where the connection broke or the server is full.
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
_LONGEST_WAIT = 60.0
_PAGE = 1000


class Refused(click.ClickException):
    """The server refused a whole request. Its message goes to the user as it is."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(click.ClickException):
    """No answer came."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An image file that becomes an item."""

    file: Path
    id: str
    metadata: Mapping[str, Any]


class Server:
    """A server: its index, and what it makes of images.

    What its methods return is the JSON of the answer. They raise Refused and Unreachable. A request whose
    connection breaks, and one that a full server turns away, is sent again: every one of them may be.

    Args:
        client: with the server's address.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._answered = False

    async def collections(self) -> list[dict[str, Any]]:
        answer = await self._request("GET", "/index/")
        collections: list[dict[str, Any]] = answer["collections"]
        return collections

    async def collection(self, name: str) -> dict[str, Any]:
        return await self._request("GET", f"/index/{_segment(name)}/")

    async def create(self, name: str, operation: str, target: str | None) -> dict[str, Any]:
        declared = {"name": name, "operation": operation}
        if target is not None:
            declared["target"] = target
        return await self._request("POST", "/index/", json=declared)

    async def items(self, collection: str) -> AsyncIterator[dict[str, Any]]:
        """All items in order of their ids, fetched page by page."""
        async for page in self._pages(collection, limit=str(_PAGE)):
            for item in page["items"]:
                yield item

    async def vectors(self, collection: str) -> AsyncIterator[dict[str, Any]]:
        """All items with their vectors, in pages that name the space."""
        async for page in self._pages(collection, limit=str(_PAGE), vectors="true"):
            yield page

    async def add(
        self, collection: str, uploads: Sequence[Upload], *, thumbnails: bool
    ) -> list[dict[str, Any]]:
        """What became of each upload, in their order.

        Raises:
            OSError: a file can no longer be read.
        """
        form = {
            "id": [upload.id for upload in uploads],
            "metadata": [orjson.dumps(upload.metadata).decode() for upload in uploads],
            "thumbnails": "true" if thumbnails else "false",
        }
        # The files are read while they are sent: none is ever in memory as a whole.
        with _opened([upload.file for upload in uploads]) as opened:
            files = [("image_file", ("image", file)) for file in opened]
            path = f"/index/{_segment(collection)}/items/"
            answer = await self._request("POST", path, files=files, data=form)
        results: list[dict[str, Any]] = answer["items"]
        return results

    async def item(self, collection: str, item_id: str) -> dict[str, Any] | None:
        """An item with its thumbnail; None where it is gone."""
        return await self._of_item("GET", collection, item_id)

    async def delete(self, collection: str, item_id: str) -> bool:
        """Delete an item; whether it was there."""
        return await self._of_item("DELETE", collection, item_id) is not None

    async def search(
        self, collection: str, query: Mapping[str, Any], image: Path | None = None
    ) -> dict[str, Any]:
        """Search by what the query names, or by an image file.

        Raises:
            OSError: the file cannot be read.
        """
        path = f"/index/{_segment(collection)}/search/"
        if image is None:
            return await self._request("POST", path, json=dict(query))
        with _opened([image]) as (opened,):
            form = {"query_json": orjson.dumps(query).decode()}
            return await self._request("POST", path, files={"image_file": ("image", opened)}, data=form)

    async def analyze(self, image: Path, tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The answer to tasks on an image file.

        Raises:
            OSError: the file cannot be read.
        """
        with _opened([image]) as (opened,):
            form = {"tasks_json": orjson.dumps(tasks).decode()}
            files = {"image_file": ("image", opened)}
            return await self._request("POST", "/analyze_image_upload/", files=files, data=form)

    async def _pages(self, collection: str, **query: str) -> AsyncIterator[dict[str, Any]]:
        while True:
            page = await self._request("GET", f"/index/{_segment(collection)}/items/", params=query)
            yield page
            if page["next"] is None:
                return
            query["after"] = page["next"]

    async def _of_item(self, method: str, collection: str, item_id: str) -> dict[str, Any] | None:
        try:
            return await self._request(method, f"/index/{_segment(collection)}/items/{_segment(item_id)}")
        except Refused as error:
            if error.status != 404:
                raise
            return None

    async def _request(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        response = await self._response(method, path, **content)
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.is_success and isinstance(body, dict):
            return body
        if isinstance(body, dict) and isinstance(body.get("detail"), str):
            message = body["detail"]
        else:
            message = (
                f"{response.url} answers {response.status_code}, and not as a server of Sightgraph does."
            )
        raise Refused(response.status_code, message)

    async def _response(self, method: str, path: str, **content: Any) -> httpx.Response:
        for wait in (*WAITS, None):
            try:
                response = await self._client.request(method, path, **content)
            except httpx.TransportError as error:
                # One that never answered is hardly about to, and one that was silent for long is stuck.
                if wait is None or not self._answered or isinstance(error, httpx.ReadTimeout):
                    reason = str(error) or type(error).__name__
                    message = f"No answer from {self._client.base_url}: {reason}"
                    raise Unreachable(message) from error
                await asyncio.sleep(wait)
            else:
                self._answered = True
                if wait is None or not _is_told_to_wait(response):
                    return response
                await asyncio.sleep(max(wait, _seconds(response.headers["retry-after"])))
        raise AssertionError("the last attempt returns or raises")


@contextmanager
def _opened(paths: Sequence[Path]) -> Iterator[list[BinaryIO]]:
    with ExitStack() as stack:
        yield [stack.enter_context(path.open("rb")) for path in paths]


def _segment(text: str) -> str:
    """A name as one part of a path. Dots are encoded too: httpx would resolve `.` and `..`."""
    return quote(text, safe="").replace(".", "%2E")


def _is_told_to_wait(response: httpx.Response) -> bool:
    """The server is full, or this client has asked often enough."""
    return response.status_code in (429, 503) and "retry-after" in response.headers


def _seconds(retry_after: str) -> float:
    # It may also be a date, which our servers do not send.
    return min(float(retry_after), _LONGEST_WAIT) if retry_after.isdecimal() else 0.0
