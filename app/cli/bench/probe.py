"""Asks a server the same few requests again and again, in a process of its own.

What it costs to make a load would count in the times that the same process sees, and so would a client that
does more than write a request and read its answer: there is nothing here but the standard library.

Args, as one line of JSON on standard input:
    url: of the server.
    requests: each with `method`, `path`, `headers`, and `body` in base64 or null; asked in turns.
    every: seconds from one to the next; null for one after another.
    certificates: those that are trusted, as PEM; where there are none, those of the system.

Asking begins at once, which a line on standard output tells, and lasts until standard input ends. Then comes
a line of JSON: `ms`, each counted from when the request was due, and `failed`.
"""

import base64
import http.client
import json
import signal
import ssl
import sys
import threading
import time
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

_PATIENCE_SECONDS = 1200.0


class Connection:
    """To one server; made anew after a failure."""

    def __init__(self, url: str, certificates: str) -> None:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        self._path = parts.path.rstrip("/")
        self._http = (
            http.client.HTTPSConnection(
                host, port, timeout=_PATIENCE_SECONDS, context=ssl.create_default_context(cadata=certificates)
            )
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=_PATIENCE_SECONDS)
        )

    def ask(self, request: dict[str, Any]) -> bool:
        """Whether it was answered with success."""
        path = self._path + request["path"]
        try:
            self._http.request(request["method"], path, request["body"], request["headers"])
            answer = self._http.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._http.close()
            return False
        return answer.status < http.client.MULTIPLE_CHOICES


def main() -> None:
    # Ctrl-C ends who started it, and with that standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given = json.loads(sys.stdin.readline())
    requests = [
        {**each, "body": base64.b64decode(each["body"]) if each["body"] else None}
        for each in given["requests"]
    ]
    every = given["every"]
    connection = Connection(given["url"], given["certificates"])
    ended = threading.Event()
    threading.Thread(target=_set_at_the_end, args=(ended,), daemon=True).start()
    ms: list[float] = []
    failed = 0
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    due = time.perf_counter()
    for request in cycle(requests):
        if connection.ask(request):
            ms.append((time.perf_counter() - due) * 1000)
        else:
            failed += 1
        due = time.perf_counter() if every is None else due + every
        if ended.wait(max(0.0, due - time.perf_counter())):
            break
    sys.stdout.write(json.dumps({"ms": ms, "failed": failed}))


def _set_at_the_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    main()
