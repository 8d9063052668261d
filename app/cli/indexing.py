"""Bringing the images of a folder into a collection, a few at a time."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from app.cli.folder import is_gone, read, reason
from app.client import AsyncSightgraph, Refused, SightgraphError, Unreachable, Upload

# More files in a request save little; fewer leave the server's lanes idle.
FILES_PER_REQUEST = 8
# A request that has as much takes no further file.
BYTES_PER_REQUEST = 8_000_000

# The server refuses a whole request for one bad file in it; elsewhere the refusal is not about the files.
_ABOUT_THE_FILES = (400, 413, 500)
# What an item may be refused for beside others, and not alone.
_TOO_MUCH_AT_ONCE = ("overloaded", "deadline_exceeded")
# Every further image would fail alike.
_SAME_FOR_ALL = ("model_unavailable", "space_mismatch", "index_unavailable", "collection_not_found")


@dataclass(slots=True)
class Tally:
    """What became of the images so far."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    failed: int = 0
    deleted: int = 0
    without_region: int = 0
    seconds: float = 0.0

    @property
    def seen(self) -> int:
        return self.added + self.replaced + self.unchanged + self.failed


class _Changed(NamedTuple):
    """A file that the collection does not have as it is now."""

    path: str
    size: int
    upload: Upload


class Watcher(Protocol):
    """Is told of every image when it is done with, and of what failed."""

    def seen(self) -> None: ...

    def failed(self, path: str, why: str) -> None: ...


class Indexing:
    """One run over a folder.

    Args:
        server: has the collection.
        collection: its name.
        folder: where the images lie.
        tally: is counted up.
        watcher: is told how it goes.
        thumbnails: whether the server keeps small pictures of what is added.
        workers: requests at once.
    """

    def __init__(
        self,
        server: AsyncSightgraph,
        collection: str,
        folder: Path,
        tally: Tally,
        watcher: Watcher,
        *,
        thumbnails: bool,
        workers: int,
    ) -> None:
        self._server = server
        self._collection = collection
        self._folder = folder
        self._tally = tally
        self._watcher = watcher
        self._thumbnails = thumbnails
        self._workers = workers
        self._known: dict[str, str | None] = {}
        self._own: list[str] = []
        self.stopped = False
        self.problem: SightgraphError | None = None

    def stop(self, problem: SightgraphError | None = None) -> None:
        """Begin nothing new. What is in flight is finished."""
        self.stopped = True
        self.problem = self.problem or problem

    async def run(self, images: Sequence[str], *, delete_missing: bool) -> None:
        """Add what is new or changed, by the hashes that the collection lists."""
        started = time.monotonic()
        try:
            await self._run(images, delete_missing)
        except (Refused, Unreachable) as error:
            self.stop(error)
        finally:
            self._tally.seconds = time.monotonic() - started

    async def _run(self, images: Sequence[str], delete_missing: bool) -> None:
        async for item in self._server.items(self._collection):
            self._known[item["id"]] = item["sha256"]
            if item["metadata"].get("path") == item["id"]:
                self._own.append(item["id"])
        left = iter(images)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work(left))
        if delete_missing and not self.stopped:
            await self._delete_missing()

    async def _work(self, left: Iterator[str]) -> None:
        """Take images that no other worker has taken, until none is left."""
        batch: list[_Changed] = []
        size = 0
        try:
            while not self.stopped and (path := next(left, None)) is not None:
                found = await self._changed(path)
                if found is None:
                    continue
                batch.append(found)
                size += found.size
                if len(batch) == FILES_PER_REQUEST or size >= BYTES_PER_REQUEST:
                    await self._add(batch)
                    batch, size = [], 0
            if batch and not self.stopped:
                await self._add(batch)
        except (Refused, Unreachable) as error:
            self.stop(error)

    async def _changed(self, path: str) -> _Changed | None:
        """A file, where the collection does not have it as it is now."""
        try:
            path.encode()
            file = await asyncio.to_thread(read, self._folder, path)
        except UnicodeEncodeError:
            self._fail(path, "its name is not UTF-8, and cannot be an id; rename it")
            return None
        except OSError as error:
            self._fail(path, reason(error))
            return None
        if self._known.get(path) == file.sha256:
            self._tally.unchanged += 1
            self._watcher.seen()
            return None
        return _Changed(path, file.size, Upload(self._folder / path, path, file.metadata))

    async def _add(self, batch: Sequence[_Changed]) -> None:
        uploads = [each.upload for each in batch]
        try:
            results = await self._server.add(self._collection, uploads, thumbnails=self._thumbnails)
        except Refused as error:
            if error.status not in _ABOUT_THE_FILES:
                raise
            await self._alone_or_failed(batch, error.message)
        except OSError as error:
            await self._alone_or_failed(batch, reason(error))
        else:
            for each, result in zip(batch, results, strict=True):
                if len(batch) > 1 and result["error_code"] in _TOO_MUCH_AT_ONCE:
                    await self._add([each])
                else:
                    self._count(each.path, result)

    async def _alone_or_failed(self, batch: Sequence[_Changed], why: str) -> None:
        if len(batch) == 1:
            self._fail(batch[0].path, why)
            return
        for each in batch:
            await self._add([each])

    def _count(self, path: str, result: dict[str, Any]) -> None:
        if result["error_code"] in _SAME_FOR_ALL:
            self.stop(SightgraphError(result["error_message"]))
            return
        if result["status"] != "success":
            self._fail(path, result["error_message"])
            return
        if result["replaced"]:
            self._tally.replaced += 1
        else:
            self._tally.added += 1
        self._tally.without_region += not result["regions"]
        self._watcher.seen()

    def _fail(self, path: str, why: str) -> None:
        self._tally.failed += 1
        self._watcher.failed(path, why)
        self._watcher.seen()

    async def _delete_missing(self) -> None:
        for path in self._own:
            if self.stopped:
                return
            if await asyncio.to_thread(is_gone, self._folder, path):
                self._tally.deleted += await self._server.delete(self._collection, path)
