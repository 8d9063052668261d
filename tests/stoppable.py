"""A server of a few toys in a process of its own: `python -m tests.stoppable FOLDER`.

It writes its port to FOLDER/port. Settings are those of the environment.
"""

import logging.config
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvicorn

from app.api.app import build_app
from app.cli.logs import logging_config
from app.cli.stopping import StoppingServer
from app.core.artifacts import Crop
from app.core.geometry import Box
from app.core.operation import IMAGE, NoParams, Operation, operation
from app.core.registry import Registry
from app.main import build_room
from app.settings import Settings
from tests.conftest import nothing_to_load

FOLDER = Path(sys.argv[1])
FLOOD = 100_000_000


@operation(needs=lambda params: {"crop": IMAGE})
def measure(crop: Sequence[Crop], params: NoParams) -> list[Box]:
    """Measure."""
    return [each.box for each in crop]


@operation(needs=lambda params: {"crop": IMAGE})
def hold(crop: Sequence[Crop], params: NoParams) -> list[Box]:
    """Hold a lane until the file `gate` is there."""
    (FOLDER / "held").touch()
    while not (FOLDER / "gate").exists():
        time.sleep(0.02)
    return [each.box for each in crop]


@operation(needs=lambda params: {"crop": IMAGE}, inline=True)
def block(crop: Sequence[Crop], params: NoParams) -> list[Box]:
    """Hold the event loop for ever."""
    (FOLDER / "held").touch()
    while True:
        time.sleep(0.02)


@operation(needs=lambda params: {"crop": IMAGE})
def flood(crop: Sequence[Crop], params: NoParams) -> list[str]:
    """Answer more than any socket takes at once."""
    return ["x" * FLOOD for _ in crop]


@operation(needs=lambda params: {"crop": IMAGE})
def fail(crop: Sequence[Crop], params: NoParams) -> list[Box]:
    """Fail."""
    raise ValueError("first line\nsecond line")


def operations() -> Iterator[Operation]:
    yield from (measure, hold, block, flood, fail)


def main() -> None:
    settings = Settings(lanes=2, allow_private_urls=True, data=FOLDER / "data")
    logging.config.dictConfig(logging_config(settings.log_format, settings.log_level))
    room = build_room(settings, Registry(operations()))
    config = uvicorn.Config(build_app(room, "0", nothing_to_load), port=0, log_config=None, access_log=False)
    socket = config.bind_socket()
    (FOLDER / "port.part").write_text(str(socket.getsockname()[1]))
    (FOLDER / "port.part").rename(FOLDER / "port")
    StoppingServer(config, room, settings.stop_within, settings.stop_delay).run(sockets=[socket])


if __name__ == "__main__":
    main()
