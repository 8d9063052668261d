"""How the server stops: it says so, finishes what it has taken, and ends in time whatever happens.

From the signal on readiness is 503 and every answer closes its connection. For `delay` seconds requests are
still taken, then they are told to come back; the server still listens, so that load balancers see both. What
runs at the end of the time is answered with what is finished, and what cannot be answered is cut off.
"""

import asyncio
import faulthandler
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from app.runtime import garbage

if TYPE_CHECKING:
    import socket

    from app.api.room import Room

# Of the time, what is left for sending the last answers.
_LAST_ANSWERS_SECONDS = 0.5
# After the time, what is left for closing the index and the like.
_CLOSING_SECONDS = 0.8
_TICK_SECONDS = 0.05
_SWITCH_SECONDS = 0.0005


class StoppingServer(uvicorn.Server):
    """uvicorn's server, with a stop that is seen from outside and bounded.

    Args:
        config: uvicorn's.
        room: whose requests are finished.
        within: seconds from the signal on until the last request is cut off.
        delay: seconds from the signal on for which requests are still taken.
    """

    def __init__(self, config: uvicorn.Config, room: "Room", within: float, delay: float) -> None:
        super().__init__(config)
        self._room = room
        self._within = within
        self._delay = delay
        self._told_at = 0.0

    def run(self, sockets: "list[socket.socket] | None" = None) -> None:
        # While lanes compute, whoever asks for the interpreter waits for so long: what the event loop answers
        # asks for it several times.
        sys.setswitchinterval(_SWITCH_SECONDS)
        garbage.serve_from_now_on()
        super().run(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self._room.stopping:
            self._room.stopping = True
            self._told_at = time.monotonic()
            # In a thread that needs no interpreter: neither an engine that hangs nor a loop that is stuck
            # keeps the process. What hung is told.
            faulthandler.dump_traceback_later(self._within + _CLOSING_SECONDS, exit=True)
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: "list[socket.socket] | None" = None) -> None:
        await self._until(self._delay)
        self._room.refusing = True
        await self._until(self._within - _LAST_ANSWERS_SECONDS)
        self._room.executor.stop()
        left = max(0.0, self._told_at + self._within - time.monotonic())
        # uvicorn declares whole seconds and waits to the fraction; up to a second more would be too late.
        self.config.timeout_graceful_shutdown = left  # type: ignore[assignment]
        await super().shutdown(sockets)

    async def _until(self, seconds: float) -> None:
        """Wait until so many seconds after the signal; once no work is taken, at most for the last answer."""
        while time.monotonic() < self._told_at + seconds and not self.force_exit:
            if self._room.refusing and not self._room.requests:
                return
            await asyncio.sleep(_TICK_SECONDS)
