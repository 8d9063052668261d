"""What the logs never hold: keys, images, and the queries of their URLs."""

import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import PIL.Image

from app.api.doors import Doors
from app.core.access import made_key
from app.main import build_room
from app.settings import Settings
from tests.conftest import served
from tests.images import noise

SIGNATURE = "signature-of-the-url"
LOCATION = "signature-of-the-redirect"
EXIF = "whose-camera-it-was"
WRONG_KEY = "a-key-of-another-server"
TASKS = [{"operation_id": "a", "type": "embed_hog_hsv"}]


@contextmanager
def image_host(image: bytes) -> Iterator[str]:
    """Serves an image behind a redirect, and nothing else."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", f"/image?sig={LOCATION}")
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif self.path.startswith("/image"):
                self.send_response(200)
                self.send_header("Content-Length", str(len(image)))
                self.end_headers()
                self.wfile.write(image)
            else:
                self.send_error(404)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def photo() -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0110] = EXIF
    file = io.BytesIO()
    PIL.Image.fromarray(noise(64, 64)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_no_line_holds_a_key_an_image_or_the_query_of_a_url(registry, caplog):
    key, entry = made_key("app", ["analyze"])
    image = photo()
    # Everything is told that the application itself does not hold back.
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "PIL"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    room = build_room(Settings(lanes=1, offline=True, allow_private_urls=True), registry)
    doors = Doors(keys=(entry,))
    with (
        image_host(image) as host,
        served(room, doors) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):

        def asked(image_url, shown=key):
            body = {"image_url": image_url, "tasks": TASKS}
            return client.post("/analyze_image/", json=body, headers={"X-API-Key": shown})

        assert asked(f"{host}/moved?sig={SIGNATURE}").json()["results"]["a"]["status"] == "success"
        refusals = [
            asked(f"{host}/absent?sig={SIGNATURE}"),
            asked(f"http://127.0.0.1:1/?sig={SIGNATURE}"),
            asked(f"http://[?sig={SIGNATURE}"),
            asked(f"ftp://example.org/?sig={SIGNATURE}"),
            client.post(
                "/analyze_image/", content=f'{{"image_url": "{SIGNATURE}'.encode(), headers={"X-API-Key": key}
            ),
            client.post(
                "/analyze_image_upload/",
                files={"image_file": ("x.jpg", image[:-100] + SIGNATURE.encode())},
                data={"tasks_json": f'[{{"operation_id": "{SIGNATURE}"}}]'},
                headers={"Authorization": f"Bearer {key}"},
            ),
        ]
        assert {answer.status_code for answer in refusals} == {400}
        assert asked(f"{host}/image?sig={SIGNATURE}", WRONG_KEY).status_code == 401
        client.get(f"/available_operations/?api_key={key}", headers={"Authorization": f"Bearer {key}"})
    room.pool.close()
    room.index.close()
    room.classifiers.close()
    logged = "\n".join(str(vars(record)) + record.getMessage() for record in caplog.records)
    assert "app.api" in logged
    for secret in (key, entry.digest, WRONG_KEY, SIGNATURE, LOCATION, EXIF, repr(image[200:220])[2:-1]):
        assert secret not in logged
