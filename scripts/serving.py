"""A server of a script's own, on a free loopback port."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click
import httpx

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def serving(
    *options: str,
    log: IO[bytes],
    environment: Mapping[str, str] | None = None,
    timeout: float,
    patience: float,
) -> Iterator[tuple[httpx.Client, "subprocess.Popen[bytes]"]]:
    """Start `sightgraph serve --offline`, wait until it is ready, and stop it at the end.

    Args:
        options: further ones of the command.
        log: where what it says goes.
        environment: further settings.
        timeout: seconds for a request of the client.
        patience: seconds to wait for the models.

    Raises:
        ClickException: it does not get ready.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command: Sequence[str] = (sys.executable, "-m", "app.cli", "serve", "--port", str(port), "--offline")
    server = subprocess.Popen(
        [*command, *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        stderr=log,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=timeout) as client:
            wait_until_ready(client, server, patience)
            yield client, server
    finally:
        server.terminate()
        server.wait(30)


def wait_until_ready(client: httpx.Client, server: "subprocess.Popen[bytes]", patience: float) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise click.ClickException("the server stopped; its log says why")
        try:
            if client.get("/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise click.ClickException(f"the server was not ready within {patience:g} seconds")
