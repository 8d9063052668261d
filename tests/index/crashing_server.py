"""A server that a test kills: the real application on a data folder, in a process of its own.

Imported once by multiprocessing's fork server, so that each start costs a fork and not the imports.
"""

import importlib
import socket
from multiprocessing.connection import Connection
from pathlib import Path

import uvicorn
from litestar import Litestar

from app.api.app import build_app
from app.core.registry import discover
from app.main import build_room
from app.settings import Settings
from tests.conftest import nothing_to_load

REGISTRY = discover("operations")
# What a server imports only when it starts.
importlib.import_module("app.index.local")
uvicorn.Config(Litestar([], logging_config=None), log_config=None).load()


def serve(data: Path, started: Connection) -> None:
    """Serve on a free loopback port, which is sent when the index is open. Runs until it is killed."""
    room = build_room(Settings(data=data, offline=True, lanes=1), REGISTRY)
    room.index.storage.open()
    listener = socket.create_server(("127.0.0.1", 0))
    started.send(listener.getsockname()[1])
    config = uvicorn.Config(build_app(room, "0", nothing_to_load), log_config=None)
    uvicorn.Server(config).run(sockets=[listener])
