"""The pages for people, and the files that they are made of: HTML, style sheets and ES modules of app/web.

They are open: a page holds nothing of the server's, and asks for an API key where the server wants one.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Any

from litestar import HttpMethod, Request, Response, route
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Redirect

from app.api.doors import OPEN
from app.api.samples import SAMPLES, sample_image, sample_thumbnail

_MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_START = "index.html"
_HEADERS = {
    # Nothing comes from elsewhere, and nothing is written into a page: a client's text stays text.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # A browser keeps the files and asks whether they changed: no page meets a module of another version.
    "Cache-Control": "no-cache",
}
# A page is many files: they count for no rate limit.
_OPT = {"scope": OPEN, "rate_limit": False}
_READ = [HttpMethod.GET, HttpMethod.HEAD]


@dataclass(frozen=True)
class File:
    """A file of a page, as it is sent."""

    content: bytes
    media_type: str

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


@cache
def web_files() -> Mapping[str, File]:
    """Every file by its path. What is asked for is looked up here, never on the disk."""
    return dict(_files_in(files("app") / "web", PurePosixPath()))


def _files_in(folder: Traversable, at: PurePosixPath) -> Sequence[tuple[str, File]]:
    found: list[tuple[str, File]] = []
    for entry in folder.iterdir():
        path = at / entry.name
        if entry.is_dir():
            found += _files_in(entry, path)
        elif path.suffix in _MEDIA_TYPES:
            found.append((str(path), File(entry.read_bytes(), _MEDIA_TYPES[path.suffix])))
    return found


@route("/", http_method=_READ, opt=_OPT, include_in_schema=False, sync_to_thread=False)
def start_page(request: Request[Any, Any, Any]) -> Response[bytes]:
    return _sent(request, web_files()[_START])


@route("/playground/{path:path}", http_method=_READ, opt=_OPT, include_in_schema=False, sync_to_thread=False)
def page_file(request: Request[Any, Any, Any], path: FromPath[str]) -> Response[bytes] | Redirect:
    """A page by its name, or a file by its path."""
    path = path.strip("/")
    file = web_files().get(f"{path}.html") or web_files().get(path)
    if file is None:
        raise NotFoundException(f"There is no page or file '{path[:128]}'.")
    if request.scope["raw_path"].endswith(b"/"):
        # What a page names is looked for beside it.
        return Redirect(f"../{path.rpartition('/')[2]}", status_code=308)
    if file is web_files()[_START]:
        return Redirect("../", status_code=308)
    return _sent(request, file)


@route("/playground/samples", http_method=_READ, opt=_OPT, include_in_schema=False, sync_to_thread=False)
def list_samples() -> list[dict[str, Any]]:
    """The images to try it with, each with tasks that show something on it."""
    return [sample.as_json() for sample in SAMPLES.values()]


@route(
    ["/playground/samples/{name:str}", "/playground/samples/{name:str}/thumbnail"],
    http_method=_READ,
    opt=_OPT,
    include_in_schema=False,
)
async def show_sample(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    sample = SAMPLES.get(name)
    if sample is None:
        raise NotFoundException(f"There is no sample '{name[:128]}', but {', '.join(SAMPLES)}.")
    is_small = request.url.path.rstrip("/").endswith("/thumbnail")
    content = await asyncio.to_thread(sample_thumbnail if is_small else sample_image, sample)
    return _sent(request, File(content, "image/webp" if is_small else sample.media_type))


def _sent(request: Request[Any, Any, Any], file: File) -> Response[bytes]:
    headers = {**_HEADERS, "ETag": file.etag}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


PAGES: tuple[HTTPRouteHandler, ...] = (start_page, page_file, list_samples, show_sample)
