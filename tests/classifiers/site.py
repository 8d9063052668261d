"""A server of a test's own, that has training rows as image_embed's source of them has."""

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CLIP = "embed_clip_vit_b_32"
FOCUS = {"derivative_type_name": "prominent_face", "embedding_type_name": CLIP}
Answer = tuple[int, Mapping[str, str], bytes]


def as_json(value: object) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def as_page(body: str) -> Answer:
    return 200, {"Content-Type": "text/html; charset=utf-8"}, body.encode()


def row(photo_id: object, label: object, *embedding: float) -> dict[str, object]:
    return {"photo_id": photo_id, "label": label, "embedding": list(embedding)}


class Site:
    """A server of this test's own. `answers` are by path and query; a callable makes them anew each time."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[], Answer]] = {}
        self.asked: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                site.headers.append(self.headers)
                answer = site.answers.get(self.path, (404, {}, b"not here"))
                status, headers, body = answer() if callable(answer) else answer
                try:
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(body)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)
                except ConnectionError:
                    # The client has had enough.
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def has(self, *rows: object, id_: object = 7, focus: object = FOCUS, embedding: str = CLIP) -> None:
        """One collection with these rows."""
        self.answers["/collections.json"] = as_json([{"id": id_, "name": "boxy", "collection_focus": focus}])
        self.rows(*rows, id_=id_, embedding=embedding)

    def rows(self, *rows: object, id_: object = 7, embedding: str = CLIP) -> None:
        path = f"/collections/{id_}/training_data.json?embedding_type={embedding}"
        self.answers[path] = as_json(rows)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()
