"""The port that a server would listen on, and the hub that models come from."""

import errno
import socket

from app.cli.doctor.finding import Findings, ok, problem, warning
from app.settings import Settings

_HUB_SECONDS = 5.0
_NEIGHBOUR_SECONDS = 3.0


def port(host: str, number: int) -> Findings:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # As servers do, so that connections that are about to end do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            yield from _taken(host, number)
        else:
            yield problem(
                "port",
                f"{host}:{number} cannot be listened on ({error.strerror}).",
                "Choose another by --port, above 1023, and an address of this machine by --host.",
            )
        return
    yield ok("port", f"{host}:{number} is free.")


def _taken(host: str, number: int) -> Findings:
    import httpx

    url = f"http://{f'[{host}]' if ':' in host else host}:{number}"
    try:
        answer = httpx.get(f"{url}/health/ready", timeout=_NEIGHBOUR_SECONDS, trust_env=False).json()
        status = answer["status"]
        answer["lanes"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        yield warning(
            "port",
            f"{host}:{number} is taken by another program.",
            f"End it, or start the server elsewhere: `sightgraph serve --port {number + 1}`.",
        )
        return
    yield ok(
        "port",
        f"A server of Sightgraph listens on {host}:{number} already, and is {status}; "
        f"`sightgraph doctor --server {url}` looks at it.",
    )


def hub(settings: Settings | None) -> Findings:
    from httpx2 import HTTPError
    from huggingface_hub import constants, get_session

    if constants.is_offline_mode() or (settings is not None and settings.offline):
        yield ok("model hub", "Not asked: the settings say to keep off the network.")
        return
    try:
        # Any answer will do; it goes by the proxies and certificates that a download would use.
        get_session().head(constants.ENDPOINT, timeout=_HUB_SECONDS, follow_redirects=False)
    except (HTTPError, OSError) as error:
        yield warning(
            "model hub",
            f"{constants.ENDPOINT} cannot be reached ({str(error) or type(error).__name__}). What ships in "
            "packages works without it.",
            "Check the network, HTTPS_PROXY and HF_ENDPOINT; or bring the weights from another machine, and "
            "start with --offline.",
        )
        return
    yield ok("model hub", f"{constants.ENDPOINT} answers.")
