"""The client of scripts and notebooks."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import httpx

from app.client import calls, index
from app.client.adding import Adding, Uploads
from app.client.answers import Answer, BatchResult, Readiness
from app.client.carrying import Carrier
from app.client.connection import LOCAL_URL, PATIENCE, RETRIES, options
from app.client.errors import Refused
from app.client.images import ImageLike
from app.client.results import TaskResult
from app.client.streaming import TaskByTask, blocks
from app.client.task import Tasks
from app.client.wire import Json

K = TypeVar("K")


class Sightgraph:
    """A server of Sightgraph.

    >>> with Sightgraph("http://127.0.0.1:8000") as server:
    ...     answer = server.analyze("photo.jpg", ["image_properties", Task("embed_hog_hsv", id="vector")])
    ...     answer["vector"].vector.shape
    (2020,)

    A request that a full server turns away is sent again, after the time that the server names; and once the
    server has answered any, so is one whose connection breaks. All methods raise Refused where the server
    refuses a whole request, Unreachable where no answer comes, and InvalidInput where what is given cannot be
    sent: each a SightgraphError. What goes wrong with one task is told in its result.

    A client may be used by several threads. `close` it, or use it with `with`.

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
        client: httpx.Client | None = None,
    ) -> None:
        self._is_own = client is None
        self._http = client or httpx.Client(**options(url, api_key, timeout))
        self._carrier = Carrier(self._http, retries)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._carrier.connection.address!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._is_own:
            self._http.close()

    def analyze(
        self,
        image: ImageLike,
        tasks: Tasks,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Answer:
        """The answers to tasks on an image.

        >>> server.analyze("photo.jpg", "hash_perceptual")["hash_perceptual"].data
        >>> server.analyze(array, {"faces": Task("crop", target="all_faces")})["faces"].items[0].crop.show()

        Args:
            image: a path, a URL that the server fetches, the bytes of a file, a PIL image, or an array of
                uint8, [height, width, 3] in RGB or [height, width] in grey.
            tasks: a Task or the type of one without params; or several, as a list or by their ids.
            timeout: seconds for which the server may be silent; by default those of the client.
            deadline: seconds after which the server answers what is finished, the rest as
                `deadline_exceeded`; its own by default, which is also the most.

        Raises:
            OSError: the file cannot be read.
        """
        return self._carrier.call(calls.analyze(image, tasks, deadline), timeout)

    def stream(
        self,
        image: ImageLike,
        tasks: Tasks,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Generator[tuple[str, TaskResult], None, None]:
        """The answers to tasks on an image, each as soon as it is there.

        >>> for name, result in server.stream("photo.jpg", ["read_text", "detect_objects"]):
        ...     print(name, result.status)

        The arguments are those of `analyze`. When the loop is left early, the server stops too.
        """
        return self._carrier.parts(TaskByTask(image, tasks, deadline), timeout)

    # A mapping is also an iterable of its keys, which may be paths. No type tells them apart; the order does.
    @overload
    def analyze_batch(  # type: ignore[overload-overlap]
        self,
        images: Mapping[K, ImageLike],
        tasks: Tasks,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Generator[BatchResult[K], None, None]: ...

    @overload
    def analyze_batch(
        self,
        images: Iterable[ImageLike],
        tasks: Tasks,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Generator[BatchResult[int], None, None]: ...

    def analyze_batch(
        self,
        images: Iterable[ImageLike] | Mapping[Any, ImageLike],
        tasks: Tasks,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Generator[BatchResult[Any], None, None]:
        """The answers to the same tasks on many images, each image as soon as it is done.

        >>> for each in server.analyze_batch(Path("photos").iterdir(), "read_text"):
        ...     print(each.id, each.error or each.answer["read_text"].text)

        An image that cannot be read has an `error`, and never fails the others. They are sent in blocks, and
        read as they are sent: there may be any number.

        Args:
            images: the images, each as `analyze` takes it; or by keys, which name them in the answers.
            tasks: as `analyze` takes them.
            timeout: seconds for which the server may be silent; by default those of the client.
            deadline: seconds for each image, from its turn on.
        """
        return self._carrier.blocks(blocks(images, tasks, deadline), timeout)

    def plan(self, image: ImageLike | None, tasks: Tasks) -> Json:
        """The graph that tasks would run: its stages, what they share, the models that are cold; with an
        image also what is cached.
        """
        return self._carrier.call(calls.plan(image, tasks))

    def operations(self) -> dict[str, Json]:
        """What the server can do: each operation by its type, with the schemas of its params and data."""
        return self._carrier.call(calls.operations())

    def models(self) -> dict[str, Json]:
        """The models by their names, with their states, licences and sizes."""
        return self._carrier.call(calls.models())

    def ready(self) -> Readiness:
        """How ready the server is; true where it takes work."""
        return self._carrier.call(calls.ready())

    def collections(self) -> list[Json]:
        """The collections of the similarity index."""
        return self._carrier.call(index.collections())

    def create(
        self, name: str, operation: str, target: str | None = None, params: Mapping[str, Any] | None = None
    ) -> Json:
        """Make a collection.

        Args:
            name: of the collection.
            operation: what embeds its images.
            target: which part of each image; by default that of the operation.
            params: further ones of the operation.
        """
        return self._carrier.call(index.create(name, operation, target, params))

    def collection(self, name: str) -> Json:
        """A collection as it stands."""
        return self._carrier.call(index.collection(name))

    def drop(self, name: str) -> bool:
        """Delete a collection with all of its items; whether it was there."""
        dropped = self._carrier.call(index.drop(name))
        if not dropped:
            # Refused by what is no server of Sightgraph, and knows no such path either.
            self.collections()
        return dropped

    def items(self, collection: str) -> Iterator[Json]:
        """All items of a collection in order of their ids, fetched page by page."""
        for page in self._pages(collection, vectors=False):
            yield from page["items"]

    def vectors(self, collection: str) -> Iterator[Json]:
        """All items with their vectors, in pages `{"items": [...], "space": ...}`."""
        return self._pages(collection, vectors=True)

    def add(self, collection: str, uploads: Uploads, *, thumbnails: bool = False) -> list[Json]:
        """Add images to a collection; what became of each, in their order.

        >>> server.add("photos", {"cat": "cat.jpg", "dog": "dog.jpg"})
        >>> server.add("photos", [Upload("cat.jpg", "cat", {"year": 2024})], thumbnails=True)

        Args:
            collection: its name.
            uploads: the images; with ids and metadata as Upload, or by their ids.
            thumbnails: whether the server keeps a small picture of each.

        Raises:
            OSError: a file cannot be read.
        """
        adding = Adding(collection, uploads, thumbnails=thumbnails)
        while (call := adding.call()) is not None:
            try:
                adding.answered(self._carrier.call(call))
            except Refused as error:
                adding.refused(error)
        return adding.results

    def item(self, collection: str, item_id: str) -> Json | None:
        """An item with its thumbnail; None where it is gone."""
        found = self._carrier.call(index.item(collection, item_id))
        if found is None:
            # Refused where there is no such collection.
            self.collection(collection)
        return found

    def delete(self, collection: str, item_id: str) -> bool:
        """Delete an item; whether it was there."""
        deleted = self._carrier.call(index.delete(collection, item_id))
        if not deleted:
            # Refused where there is no such collection.
            self.collection(collection)
        return deleted

    def search(
        self, collection: str, query: Mapping[str, Any] | None = None, image: ImageLike | None = None
    ) -> Json:
        """What of a collection is like an image, a text, an item or a vector.

        >>> server.search("photos", {"k": 5}, image="cat.jpg")["hits"]
        >>> server.search("photos", {"text": "a cat on a sofa"})["hits"]

        Args:
            collection: its name.
            query: what else is wanted: `k`, `min_score`, `filter`, `text`, `id`, `vector`.
            image: to search by.

        Raises:
            OSError: the file cannot be read.
        """
        return self._carrier.call(index.search(collection, query or {}, image))

    def _pages(self, collection: str, *, vectors: bool) -> Iterator[Json]:
        after, more = None, True
        while more:
            page = self._carrier.call(index.page(collection, after, vectors=vectors))
            yield page
            after = page["next"]
            more = after is not None
