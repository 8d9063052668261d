"""A server that runs: asked over HTTP, as its clients and its load balancer ask it."""

from importlib.metadata import version
from typing import Any

import httpx

from app.cli.doctor.finding import Findings, listed, ok, problem, size, warning
from app.client.connection import options
from app.client.errors import InvalidInput
from app.client.wire import shown
from app.core.access import API_KEY_VARIABLE

_SECONDS = 15.0
# What keeps an operation from answering, and what does not for long.
_BAD, _NOT_YET = ("failed", "absent"), ("downloading", "loading")


def running(url: str) -> Findings:
    try:
        client = httpx.Client(**options(url, None, _SECONDS))
    except InvalidInput:
        # The address was checked before.
        yield problem(
            "access",
            f"The key in {API_KEY_VARIABLE} has spaces or characters that no API key has.",
            "Set it to a key as `sightgraph keys new` printed it.",
        )
        return
    address = shown(client.base_url).removesuffix("/")
    with client as http:
        try:
            yield from _looked_at(http, address)
        except httpx.HTTPError as error:
            yield problem(
                "server",
                f"No answer from {address}: {str(error) or type(error).__name__}",
                "See whether it runs, and whether this is its address: `sightgraph serve` starts one.",
            )
        except (AttributeError, LookupError, TypeError, ValueError):
            yield problem(
                "server",
                f"What answers at {address} is no server of Sightgraph, one of another version, or a proxy "
                "before it.",
                "Give the address that the server printed when it started.",
            )


def _looked_at(http: httpx.Client, address: str) -> Findings:
    live = http.get("/health/live")
    milliseconds = live.elapsed.total_seconds() * 1000
    if not live.is_success or live.json() != {"status": "ok"}:
        raise ValueError(live.status_code)
    ready = http.get("/health/ready")
    health = ready.json()
    operations = health["operations"]
    yield ok("server", f"{address} answers in {milliseconds:.0f} ms.")
    yield from _version(http)
    yield from _readiness(ready.status_code, health)
    yield from _operations(operations)
    yield from _access(http, has_key="Authorization" in http.headers)
    yield from _models(http)


def _version(http: httpx.Client) -> Findings:
    document = http.get("/schema/openapi.json")
    theirs = document.json()["info"]["version"] if document.is_success else "unknown"
    ours = version("sightgraph")
    if theirs != ours:
        yield warning(
            "version",
            f"The server is of version {theirs}, this command of {ours}.",
            "Bring the older one up to date.",
        )
    else:
        yield ok("version", f"{theirs}, as this command.")


def _readiness(code: int, health: dict[str, Any]) -> Findings:
    status, lanes = health["status"], health["lanes"]
    told = f"{status} ({code}), {lanes['count']} lanes"
    if lanes["lost"]:
        yield warning(
            "readiness",
            f"{told}, and {lanes['lost']} lost to computations that did not end.",
            "Restart the server when it suits; its log names the models.",
        )
    elif status == "ready":
        yield ok("readiness", f"{told}.")
    elif status == "loading":
        yield warning("readiness", f"{told}.", "Wait until the models of the start are loaded.")
    else:
        yield problem("readiness", f"{told}.", "The server's log says why.")


def _operations(operations: dict[str, Any]) -> Findings:
    by_state: dict[str, list[str]] = {}
    for name, facts in operations.items():
        by_state.setdefault(facts["state"], []).append(name)
    usable = [name for state in sorted(by_state.keys() - {*_BAD, *_NOT_YET}) for name in by_state[state]]
    yield ok("operations", f"{len(usable)} of {len(operations)} can answer: {listed(usable)}.")
    for state in _NOT_YET:
        if state in by_state:
            yield warning("operations", f"{state}: {listed(by_state[state])}.", "Wait.")
    if "absent" in by_state:
        yield warning(
            "operations",
            f"Their weights are not there: {listed(by_state['absent'])}.",
            "On the server's machine run `sightgraph models pull --for OPERATION`.",
        )
    if "failed" in by_state:
        yield problem(
            "operations",
            f"Their models cannot be loaded: {listed(by_state['failed'])}.",
            "Why is told below or by the server's log; `sightgraph models verify` there reads the weights.",
        )


def _access(http: httpx.Client, *, has_key: bool) -> Findings:
    code = http.get("/available_operations/").status_code
    if code in (401, 403):
        who = f"the key in {API_KEY_VARIABLE}" if has_key else "who has no key"
        yield problem(
            "access",
            f"The server refuses {who} ({code}).",
            f"Set {API_KEY_VARIABLE} to a key with the scope analyze; `sightgraph keys new` makes one.",
        )
    elif code >= 400:
        yield problem("access", f"The catalog answers {code}.", "The server's log says why.")
    else:
        yield ok("access", "The key is taken." if has_key else "The server asks for no key.")


def _models(http: httpx.Client) -> Findings:
    """Of a server that lets us ask: models that cannot be loaded, and those on their way."""
    answer = http.get("/models/")
    for model in answer.json()["models"] if answer.is_success else ():
        if model["state"] == "failed":
            yield problem("models", f"{model['engine']}: {model['problem']}", "Then restart the server.")
        elif model["download"] is not None:
            here = f"{model['download']['percent']} % of {size(model['size_bytes'])}"
            yield warning("models", f"{model['engine']}: {here} are here.", "Wait; others answer meanwhile.")
