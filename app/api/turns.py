"""Turns: the images of all batches share the server with single requests, and wait where these are refused.

A batch takes one of the places of requests, and batches together at most half of them. The images of all
batches are worked on a few at a time, in the order in which they came to wait, and take at most half of the
memory for images. So a single request finds room beside any number of batches, and a small batch beside a
large one.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from app.core.errors import Overloaded

if TYPE_CHECKING:
    from app.api.room import Room

_RETRY_AFTER_SECONDS = 1
# The least size of batches to work for, where no engine asks for more.
_LEAST_BATCH = 8


class Turns:
    """Whose turn it is. Used from the event loop's thread only."""

    def __init__(self, room: "Room") -> None:
        self._room = room
        self._batches = 0
        self._images = 0
        self._pixels = 0
        self._for_turn = _Queue()
        self._for_memory = _Queue()
        largest = max((spec.batch for spec in room.registry.engines.values()), default=1)
        # While one batch of an engine is computed, the next one gathers.
        self.at_once = 2 * max(_LEAST_BATCH, largest)

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for a batch.

        Raises:
            Overloaded: all places are taken, or batches have their half.
        """
        most = max(1, self._room.limits.max_requests // 2)
        if self._batches >= most:
            raise Overloaded(
                f"The server is working on {self._batches} batches, as many as it takes; try again.",
                retry_after=_RETRY_AFTER_SECONDS,
            )
        with self._room.place():
            self._batches += 1
            try:
                yield
            finally:
                self._batches -= 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A turn for an image of a batch, waited for."""
        await self._for_turn.wait(self._take_turn, self._end_turn)
        try:
            yield
        finally:
            self._end_turn()

    @asynccontextmanager
    async def memory_for(self, pixels: int) -> AsyncIterator[None]:
        """Memory for an image of a batch, waited for. One alone always has it."""
        await self._for_memory.wait(lambda: self._take_memory(pixels), lambda: self._give_memory(pixels))
        try:
            yield
        finally:
            self._give_memory(pixels)

    def memory_freed(self) -> None:
        """To be called when memory for images was given back."""
        self._for_memory.advance()

    def _take_turn(self) -> bool:
        if self._images >= self.at_once:
            return False
        self._images += 1
        return True

    def _end_turn(self) -> None:
        self._images -= 1
        self._for_turn.advance()

    def _take_memory(self, pixels: int) -> bool:
        room, most = self._room, self._room.limits.max_pixels_at_once
        if self._pixels and self._pixels + pixels > most // 2:
            return False
        if room.pixels and room.pixels + pixels > most:
            return False
        self._pixels += pixels
        room.pixels += pixels
        return True

    def _give_memory(self, pixels: int) -> None:
        self._pixels -= pixels
        self._room.pixels -= pixels
        self.memory_freed()


class _Queue:
    """Those who wait to take a share, first come first served."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], bool], asyncio.Future[None]]] = deque()

    async def wait(self, take: Callable[[], bool], give_back: Callable[[], None]) -> None:
        """Wait until a share is taken.

        Args:
            take: takes it if it is free, and tells whether it was.
            give_back: undoes that, where the one who waited was cancelled meanwhile.
        """
        if not self._waiting and take():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = take, turn
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
                self.advance()
            elif not turn.cancelled():
                give_back()
            raise

    def advance(self) -> None:
        """Let those go on whose share is free now."""
        while self._waiting:
            take, turn = self._waiting[0]
            if not turn.cancelled():
                if not take():
                    return
                turn.set_result(None)
            self._waiting.popleft()
