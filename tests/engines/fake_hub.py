"""A Hugging Face hub on the loopback, with what huggingface_hub 2.4 asks of one, and a server of large files.

The real hub answers small files itself, and sends those who want large ones to another host.
"""

import hashlib
import json
import re
import select
import socket
import threading
import urllib.parse
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

LARGE = 1024
"""From this size on a file counts as large."""


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_id_of(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that no part of repeats another."""
    return b"".join(hashlib.sha256(f"{seed} {block}".encode()).digest() for block in range(size // 32 + 1))[
        :size
    ]


@dataclass
class Request:
    method: str
    path: str
    headers: Message


@dataclass
class Repository:
    """Commits with their files, and what `main` is."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    main: str = ""
    status: int = 200
    error_code: str = ""

    def commit(self, files: dict[str, bytes]) -> str:
        self.main = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[self.main] = files
        return self.main


@dataclass
class FakeHub:
    """What is served and how it misbehaves, and what was asked.

    Args:
        url: of the hub.
        files_url: of the server of large files, which serves plain files too.
        breaks_after: by file, how many bytes come before the connection breaks; once for every number.
        sends_instead: by file, other contents than the hub tells.
        statuses: by file, answers that come first.
        tags: by plain file, its entity tag; the digest where none is given.
        gate: set while large files flow; where it is not, their second half waits for it.
    """

    url: str = ""
    files_url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    plain: dict[str, bytes] = field(default_factory=dict)
    breaks_after: dict[str, list[int]] = field(default_factory=dict)
    sends_instead: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    bytes_sent: Counter[str] = field(default_factory=Counter)
    half_sent: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)

    def repository(self, name: str, files: dict[str, bytes]) -> str:
        """Add a commit, which becomes `main`; answers its hash."""
        return self.repositories.setdefault(name, Repository()).commit(files)

    def large(self, sha256: str) -> tuple[str, bytes]:
        return next(
            (name, data)
            for repository in self.repositories.values()
            for files in repository.commits.values()
            for name, data in files.items()
            if sha256_of(data) == sha256
        )

    def asked(self, part: str) -> list[Request]:
        return [request for request in self.requests if part in request.path]


class _Handler(BaseHTTPRequestHandler, ABC):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.hub.requests.append(Request(self.command, path, self.headers))
        self.answer(path)

    @abstractmethod
    def answer(self, path: str) -> None:
        """Send what belongs to a path."""

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _HubHandler(_Handler):
    def answer(self, path: str) -> None:
        if found := re.fullmatch(r"/api/models/(.+)/revision/(.+)", path):
            self._told(found[1], found[2])
        elif found := re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path):
            self._file(found[1], found[2], found[3])
        else:
            self.send(404)

    def _repository(self, name: str, revision: str) -> tuple[Repository, str] | None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            self.send(401, X_Error_Code="RepoNotFound")
            return None
        commit = repository.main if revision == "main" else revision
        if commit not in repository.commits:
            self.send(404, X_Error_Code="RevisionNotFound")
            return None
        return repository, commit

    def _told(self, name: str, revision: str) -> None:
        if statuses := self.hub.statuses.get(name):
            self.send(statuses.pop(0))
        elif found := self._repository(name, revision):
            repository, commit = found
            files = [
                {
                    "rfilename": file,
                    "size": len(data),
                    "blobId": git_id_of(data),
                    **({"lfs": _lfs(data)} if len(data) >= LARGE else {}),
                }
                for file, data in repository.commits[commit].items()
            ]
            told = {"id": name, "sha": commit, "siblings": files}
            self.send(200, json.dumps(told).encode(), Content_Type="application/json")

    def _file(self, name: str, revision: str, file: str) -> None:
        found = self._repository(name, revision)
        if found is None:
            return
        repository, commit = found
        if repository.status != 200:
            self.send(repository.status, X_Error_Code=repository.error_code)
            return
        data = repository.commits[commit].get(file)
        if data is None:
            self.send(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        elif len(data) >= LARGE:
            sha256 = sha256_of(data)
            self.send(
                302,
                Location=f"{self.hub.files_url}/large/{sha256}",
                X_Repo_Commit=commit,
                X_Linked_Etag=f'"{sha256}"',
                X_Linked_Size=str(len(data)),
            )
        else:
            body = self.hub.sends_instead.get(file, data)
            self.send(
                200,
                body,
                ETag=f'"{git_id_of(data)}"',
                X_Repo_Commit=commit,
                Content_Length=str(len(body)),
            )


class _FilesHandler(_Handler):
    def answer(self, path: str) -> None:
        kind, _, name = path.lstrip("/").partition("/")
        if kind == "large":
            name, data = self.hub.large(name)
        elif name in self.hub.plain:
            data = self.hub.plain[name]
        else:
            self.send(404)
            return
        if statuses := self.hub.statuses.get(name):
            self.send(statuses.pop(0))
            return
        data = self.hub.sends_instead.get(name, data)
        tag = self.hub.tags.get(name, f'"{sha256_of(data)}"')
        start = self._start(tag)
        if start >= len(data) and start > 0:
            self.send(416, Content_Range=f"bytes */{len(data)}")
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        self._flow(name, data, start)

    def _start(self, tag: str) -> int:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked is None or self.headers.get("If-Range", tag) != tag:
            return 0
        return int(asked[1])

    def _flow(self, name: str, data: bytes, start: int) -> None:
        breaks = self.hub.breaks_after.get(name)
        end = min(len(data), start + breaks.pop(0)) if breaks else len(data)
        middle = start + (end - start) // 2
        for part in (data[start:middle], data[middle:end]):
            if self._client_left():
                end = 0
                break
            self.wfile.write(part)
            self.hub.bytes_sent[name] += len(part)
            self.hub.half_sent.set()
            self.hub.gate.wait(20)
        self.close_connection = end < len(data)

    def _client_left(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no news."""


def _lfs(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": sha256_of(data), "pointerSize": 130}


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    """A hub whose files flow."""
    hub = FakeHub()
    hub.gate.set()
    servers = [
        _Server(("127.0.0.1", 0), type("Handler", (kind,), {"hub": hub}))
        for kind in (_HubHandler, _FilesHandler)
    ]
    hub.url, hub.files_url = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        hub.gate.set()
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


@contextmanager
def hub_of_this_process(caches: Path, patch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A running hub that this process takes for the real one, with empty caches in a folder.

    huggingface_hub reads the environment when it is imported, so that its constants are what must change.
    """
    import huggingface_hub
    from huggingface_hub import constants

    from app.engines import transfer

    with running_hub() as hub:
        patch.setattr(constants, "ENDPOINT", hub.url)
        patch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        )
        patch.setattr(constants, "HF_HUB_CACHE", str(caches / "hub"))
        patch.setattr(constants, "HF_TOKEN_PATH", str(caches / "token"))
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        patch.setattr(transfer, "FIRST_WAIT_SECONDS", 0.01)
        for name, value in library_folders(caches).items():
            patch.setenv(name, value)
        for name in (
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "all_proxy",
        ):
            patch.delenv(name, raising=False)
        try:
            yield hub
        finally:
            huggingface_hub.close_session()


def library_folders(caches: Path) -> dict[str, str]:
    """The environment by which libraries keep their files in a folder."""
    return {"TORCH_HOME": str(caches / "torch"), "EASYOCR_MODULE_PATH": str(caches / "easyocr")}
