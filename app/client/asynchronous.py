"""The client of programs that run on asyncio."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import httpx

from app.client import calls, index
from app.client.adding import Adding, Uploads
from app.client.answers import Answer, BatchResult, Readiness
from app.client.carrying import AsyncCarrier
from app.client.connection import LOCAL_URL, PATIENCE, RETRIES, options
from app.client.errors import Refused
from app.client.images import ImageLike
from app.client.results import TaskResult
from app.client.streaming import TaskByTask, blocks
from app.client.task import Tasks
from app.client.wire import Json

K = TypeVar("K")


class AsyncSightgraph:
    """A server of Sightgraph, for asyncio: `Sightgraph` with `async with`, `await` and `async for`.

    >>> async with AsyncSightgraph("http://127.0.0.1:8000") as server:
    ...     answer = await server.analyze("photo.jpg", "image_properties")
    ...     async for name, result in server.stream("photo.jpg", ["read_text", "detect_objects"]):
    ...         print(name, result.status)

    Every method is that of the same name there. A loop over a stream that is left early ends its request when
    its iterator is closed: at once within `contextlib.aclosing`.

    Args:
        url: where the server is.
        api_key: for a server that asks for one; by default that of the variable SIGHTGRAPH_API_KEY.
        timeout: seconds for which the server may be silent.
        retries: how often a request is sent again.
        client: a client of httpx, with the server's address, to use instead; it is not closed.
    """

    def __init__(
        self,
        url: str = LOCAL_URL,
        *,
        api_key: str | None = None,
        timeout: float = PATIENCE,
        retries: int = RETRIES,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self._is_own = client is None
        self._http = client or httpx.AsyncClient(**options(url, api_key, timeout))
        self._carrier = AsyncCarrier(self._http, retries)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._carrier.connection.address!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._is_own:
            await self._http.aclose()

    async def analyze(
        self,
        image: ImageLike,
        tasks: Tasks,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # of the connection
        deadline: float | None = None,
    ) -> Answer:
        """The answers to tasks on an image."""
        # Pixels are encoded, which takes its time.
        call = await asyncio.to_thread(calls.analyze, image, tasks, deadline)
        return await self._carrier.call(call, timeout)

    async def stream(
        self,
        image: ImageLike,
        tasks: Tasks,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # of the connection
        deadline: float | None = None,
    ) -> AsyncGenerator[tuple[str, TaskResult], None]:
        """The answers to tasks on an image, each as soon as it is there."""
        exchange = await asyncio.to_thread(TaskByTask, image, tasks, deadline)
        async with aclosing(self._carrier.parts(exchange, timeout)) as results:
            async for each in results:
                yield each

    # A mapping is also an iterable of its keys, which may be paths. No type tells them apart; the order does.
    @overload
    def analyze_batch(  # type: ignore[overload-overlap]
        self,
        images: Mapping[K, ImageLike],
        tasks: Tasks,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[BatchResult[K], None]: ...

    @overload
    def analyze_batch(
        self,
        images: Iterable[ImageLike],
        tasks: Tasks,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[BatchResult[int], None]: ...

    def analyze_batch(
        self,
        images: Iterable[ImageLike] | Mapping[Any, ImageLike],
        tasks: Tasks,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> AsyncGenerator[BatchResult[Any], None]:
        """The answers to the same tasks on many images, each image as soon as it is done."""
        return self._carrier.blocks(blocks(images, tasks, deadline), timeout)

    async def plan(self, image: ImageLike | None, tasks: Tasks) -> Json:
        """The graph that tasks would run."""
        return await self._carrier.call(await asyncio.to_thread(calls.plan, image, tasks))

    async def operations(self) -> dict[str, Json]:
        """What the server can do: each operation by its type."""
        return await self._carrier.call(calls.operations())

    async def models(self) -> dict[str, Json]:
        """The models by their names."""
        return await self._carrier.call(calls.models())

    async def ready(self) -> Readiness:
        """How ready the server is; true where it takes work."""
        return await self._carrier.call(calls.ready())

    async def collections(self) -> list[Json]:
        """The collections of the similarity index."""
        return await self._carrier.call(index.collections())

    async def create(
        self, name: str, operation: str, target: str | None = None, params: Mapping[str, Any] | None = None
    ) -> Json:
        """Make a collection."""
        return await self._carrier.call(index.create(name, operation, target, params))

    async def collection(self, name: str) -> Json:
        """A collection as it stands."""
        return await self._carrier.call(index.collection(name))

    async def drop(self, name: str) -> bool:
        """Delete a collection with all of its items; whether it was there."""
        dropped = await self._carrier.call(index.drop(name))
        if not dropped:
            # Refused by what is no server of Sightgraph, and knows no such path either.
            await self.collections()
        return dropped

    async def items(self, collection: str) -> AsyncIterator[Json]:
        """All items of a collection in order of their ids, fetched page by page."""
        async for page in self._pages(collection, vectors=False):
            for item in page["items"]:
                yield item

    def vectors(self, collection: str) -> AsyncIterator[Json]:
        """All items with their vectors, in pages `{"items": [...], "space": ...}`."""
        return self._pages(collection, vectors=True)

    async def add(self, collection: str, uploads: Uploads, *, thumbnails: bool = False) -> list[Json]:
        """Add images to a collection; what became of each, in their order."""
        adding = await asyncio.to_thread(Adding, collection, uploads, thumbnails=thumbnails)
        while (call := await asyncio.to_thread(adding.call)) is not None:
            try:
                adding.answered(await self._carrier.call(call))
            except Refused as error:
                adding.refused(error)
        return adding.results

    async def item(self, collection: str, item_id: str) -> Json | None:
        """An item with its thumbnail; None where it is gone."""
        found = await self._carrier.call(index.item(collection, item_id))
        if found is None:
            # Refused where there is no such collection.
            await self.collection(collection)
        return found

    async def delete(self, collection: str, item_id: str) -> bool:
        """Delete an item; whether it was there."""
        deleted = await self._carrier.call(index.delete(collection, item_id))
        if not deleted:
            # Refused where there is no such collection.
            await self.collection(collection)
        return deleted

    async def search(
        self, collection: str, query: Mapping[str, Any] | None = None, image: ImageLike | None = None
    ) -> Json:
        """What of a collection is like an image, a text, an item or a vector."""
        return await self._carrier.call(await asyncio.to_thread(index.search, collection, query or {}, image))

    async def _pages(self, collection: str, *, vectors: bool) -> AsyncIterator[Json]:
        after, more = None, True
        while more:
            page = await self._carrier.call(index.page(collection, after, vectors=vectors))
            yield page
            after = page["next"]
            more = after is not None
