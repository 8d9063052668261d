"""A server of a script's own, on a free loopback port."""

import os
import socket
import subprocess
import sys
import tempfile
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
    command = (sys.executable, "-m", "app.cli", "serve", "--offline", *options)
    with running(command, log=log, environment=environment, timeout=timeout, patience=patience) as served:
        yield served


@contextmanager
def running(
    command: Sequence[str],
    *,
    log: IO[bytes],
    environment: Mapping[str, str] | None = None,
    timeout: float,
    patience: float,
) -> Iterator[tuple[httpx.Client, "subprocess.Popen[bytes]"]]:
    """The same for any server that takes `--port` and tells at `/health/ready` that it is.

    Raises:
        ClickException: it does not get ready.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [*command, "--port", str(port)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        stderr=log,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=timeout) as client:
            wait_until_ready(client, server, patience)
            yield client, server
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def told_log() -> Iterator[IO[bytes]]:
    """Where servers write; its end is shown when something goes wrong."""
    with tempfile.TemporaryFile() as log:
        try:
            yield log
        except Exception:
            log.seek(0)
            click.echo(log.read()[-3000:].decode(errors="replace"), err=True)
            raise


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
