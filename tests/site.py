"""A web site for tests, on a free loopback port."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def site(files: Mapping[str, bytes], gate: threading.Event | None = None) -> Iterator[str]:
    """Serves files by their names, `slow.*` when the gate opens; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/")
            if name.startswith("slow") and gate is not None:
                gate.wait(30)
            self.send_response(200 if name in files else 404)
            self.send_header("Content-Length", str(len(files.get(name, b""))))
            # Who asked may have left.
            with suppress(OSError):
                self.end_headers()
                self.wfile.write(files.get(name, b""))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01], name="site")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(30)
