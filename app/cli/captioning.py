"""Captions of the images of a folder, written beside them, several at a time."""

import asyncio
import errno
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from app.cli.caption_texts import NotWritten, check_writable, is_there, text_of, write
from app.cli.folder import reason
from app.client.errors import InvalidInput, Refused, SightgraphError
from app.client.task import Task
from app.core.errors import DeadlineExceeded, InvalidParams, ModelUnavailable, UnsupportedOperation

if TYPE_CHECKING:
    from app.client.asynchronous import AsyncSightgraph
    from app.client.results import TaskResult

OPERATION = "describe_image"
TASK = "caption"

# The server refuses a whole request for a bad file; elsewhere the refusal is not about the file.
_ABOUT_THE_FILE = (400, 413, 500)
# Every further image would fail alike.
_SAME_FOR_ALL = tuple(error.code for error in (ModelUnavailable, UnsupportedOperation, InvalidParams))
_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Wording:
    """What is asked for, and what stands around it. `max_length` is in tokens, None for the server's own."""

    max_length: int | None = None
    prefix: str = ""
    suffix: str = ""

    @property
    def task(self) -> Task:
        params = {} if self.max_length is None else {"max_length": self.max_length}
        return Task(OPERATION, id=TASK, **params)

    def written(self, caption: str) -> str:
        return f"{self.prefix}{caption}{self.suffix}"


@dataclass(frozen=True, slots=True)
class Images:
    """Paths in a folder.

    `left` are to be captioned, `done` have a text already. The text of each of `clashing` would be that of
    another image, which is named beside it.
    """

    left: list[str]
    done: list[str]
    clashing: list[tuple[str, str]]


@dataclass(slots=True)
class Tally:
    """What became of the images so far. `engines` counts the captions by what wrote them."""

    written: int = 0
    failed: int = 0
    seconds: float = 0.0
    engines: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)


class Watcher(Protocol):
    """Is told of every image when it is done with."""

    def captioned(self, path: str, text: str, engine: str) -> None: ...

    def failed(self, path: str, why: str) -> None: ...


class _NoCaption(Exception):
    """An image gets none; the next one may get one."""


def sorted_out(folder: Path, paths: Sequence[str], *, force: bool) -> Images:
    """Which images are to be captioned.

    Args:
        folder: where they lie.
        paths: of all of them, in order.
        force: whether texts that are there are written anew.
    """
    images = Images([], [], [])
    first: dict[str, str] = {}
    for path in paths:
        text = text_of(path)
        if text in first:
            images.clashing.append((path, first[text]))
        elif is_there(folder / text) and not force:
            images.done.append(path)
        else:
            images.left.append(path)
        first.setdefault(text, path)
    return images


class Captioning:
    """One run over a folder.

    Args:
        server: writes the captions.
        folder: where the images lie, and the texts will.
        wording: of the captions.
        tally: is counted up.
        watcher: is told how it goes.
        force: whether a text that appears meanwhile is written over.
        workers: images at once.
    """

    def __init__(
        self,
        server: "AsyncSightgraph",
        folder: Path,
        wording: Wording,
        tally: Tally,
        watcher: Watcher,
        *,
        force: bool,
        workers: int,
    ) -> None:
        self._server = server
        self._folder = folder
        self._wording = wording
        self._tally = tally
        self._watcher = watcher
        self._force = force
        self._workers = workers
        self.stopped = False
        self.problem = ""

    def stop(self, problem: str = "") -> None:
        """Begin nothing new. What is in flight is finished."""
        self.stopped = True
        self.problem = self.problem or problem

    async def run(self, images: Sequence[str]) -> None:
        """Caption images until none is left, or something stops it that would meet every one of them."""
        started = time.monotonic()
        left = iter(images)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._work(left))
        finally:
            self._tally.seconds = time.monotonic() - started

    async def _work(self, left: Iterator[str]) -> None:
        while not self.stopped and (path := next(left, None)) is not None:
            try:
                await self._caption(path)
            except (_NoCaption, NotWritten, InvalidInput) as error:
                self._fail(path, str(error))
            except Refused as error:
                if error.status in _ABOUT_THE_FILE:
                    self._fail(path, error.message)
                else:
                    self.stop(error.message)
            except SightgraphError as error:
                self.stop(str(error))
            except OSError as error:
                self._fail(path, reason(error))
                if error.errno in _DISK_IS_FULL:
                    self.stop("The disk is full.")

    async def _caption(self, path: str) -> None:
        """Caption an image.

        Raises:
            _NoCaption, NotWritten, OSError, SightgraphError: it has none.
        """
        text = self._folder / text_of(path)
        # A caption takes seconds: whether it can be kept is seen to before.
        check_writable(text, force=self._force)
        result = await self._asked(self._folder / path)
        if result.error_code in _SAME_FOR_ALL:
            self.stop(f"{result.error_message}")
            return
        if not result.ok:
            raise _NoCaption(f"{result.error_message}")
        # On one line, as tools read it.
        caption = " ".join((result.text or "").split())
        if not caption:
            raise _NoCaption("the captioner wrote nothing")
        await asyncio.to_thread(write, text, self._wording.written(caption), force=self._force)
        self._count(path, caption, result)

    async def _asked(self, image: Path) -> "TaskResult":
        result = (await self._server.analyze(image, self._wording.task))[TASK]
        if result.error_code == DeadlineExceeded.code:
            # What the engine took to load is not taken again.
            result = (await self._server.analyze(image, self._wording.task))[TASK]
        return result

    def _count(self, path: str, caption: str, result: "TaskResult") -> None:
        model = result.model
        engine = "an unnamed engine" if model is None or model.engine is None else model.engine
        if model is not None and model.weights is not None:
            engine += f" ({model.weights})"
        self._tally.written += 1
        self._tally.engines[engine] += 1
        self._tally.warnings += [each for each in result.warnings if each not in self._tally.warnings]
        self._watcher.captioned(path, self._wording.written(caption), engine)

    def _fail(self, path: str, why: str) -> None:
        self._tally.failed += 1
        self._watcher.failed(path, why)
