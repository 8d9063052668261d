"""Workers in processes of their own: `python -m tests.workers_of FOLDER N BUILD`.

BUILD names a function below. The port is written to FOLDER/port. Settings are those of the environment.
"""

import logging.config
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import uvicorn

from app.cli.logs import logging_config
from app.cli.serve import bound, build_server
from app.cli.workers import Workers
from app.core.seat import Seat
from app.settings import Settings


def whole(settings: Settings, host: str, seat: Seat) -> uvicorn.Server:
    """The real server; models load when a request needs them."""
    return build_server(settings, host, seat, load_ahead=False)


def toy(settings: Settings, host: str, seat: Seat) -> uvicorn.Server:
    """One that answers with the process that it is."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})

    return uvicorn.Server(uvicorn.Config(answer, lifespan="off", log_config=None))


def wrong(settings: Settings, host: str, seat: Seat) -> uvicorn.Server:
    """None: a setting is wrong."""
    raise click.ClickException("a setting is wrong")


def crashing(settings: Settings, host: str, seat: Seat) -> uvicorn.Server:
    """None: the process ends at once."""
    os._exit(9)


def main(folder: Path, count: int, build: str) -> None:
    settings = Settings(lanes=1, offline=True, data=folder / "data")
    logging.config.dictConfig(logging_config(settings.log_format, settings.log_level))
    with bound("127.0.0.1", 0) as listener, tempfile.TemporaryDirectory(prefix="sightgraph-") as shared:
        (folder / "port.part").write_text(str(listener.getsockname()[1]))
        (folder / "port.part").rename(folder / "port")
        workers = Workers(settings, globals()[build], "127.0.0.1", listener, Path(shared), count)
        try:
            workers.run()
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)


if __name__ == "__main__":
    # A worker must find what builds it under its name.
    from tests import workers_of

    workers_of.main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
