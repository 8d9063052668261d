"""Snapshots of graphs on the disk: what makes the next start fast, and nothing that could not be built again.

A snapshot is named by the digest of its bytes, and that name is kept in the database. So a file that is cut
off, damaged, or not of this database is never loaded.
"""

import hashlib
import logging
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from app.index.structure import Graph, new_index

logger = logging.getLogger(__name__)

_SUFFIX = ".hnsw"
_PARTIAL = ".partial"


class Snapshots:
    """The snapshots in a folder, which holds nothing else.

    Args:
        folder: where they lie; it is made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, key: int, graph: Graph) -> str:
        """Write a graph that nobody changes meanwhile; its name, under which it is there from now on.

        Raises:
            OSError: it cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f"{key}{_PARTIAL}"
        try:
            _save(graph, partial)
            with partial.open("rb") as file:
                token = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            partial.rename(self._path(token))
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        _sync_folder(self._folder)
        return token

    def read(self, token: str, dimensions: int) -> Graph | None:
        """A graph as it was written; None where it is not there, or is not what was written."""
        path = self._path(token)
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            logger.warning("the snapshot %s cannot be read (%s); its graph is built anew", path, error)
            return None
        if found != token:
            logger.warning("the snapshot %s is damaged; its graph is built anew", path)
            return None
        index = new_index(dimensions)
        try:
            index.load_index(str(path))
        except RuntimeError as error:
            logger.warning("the snapshot %s cannot be read (%s); its graph is built anew", path, error)
            return None
        return Graph(index)

    def delete(self, token: str) -> None:
        """Delete one that no collection names any more."""
        with suppress(OSError):
            self._path(token).unlink(missing_ok=True)

    def keep_only(self, tokens: Collection[str]) -> None:
        """Delete all others, and what was written by half; nobody may be writing one."""
        kept = {self._path(token).name for token in tokens}
        with suppress(OSError):
            for path in self._folder.iterdir():
                if path.name not in kept and path.suffix in (_SUFFIX, _PARTIAL):
                    path.unlink(missing_ok=True)

    def _path(self, token: str) -> Path:
        return self._folder / f"{token}{_SUFFIX}"


def _save(graph: Graph, path: Path) -> None:
    graph.index.save_index(str(path))
    # hnswlib does not ask whether its writes succeeded.
    expected, written = graph.index.index_file_size(), path.stat().st_size
    if written != expected:
        raise OSError(f"only {written} of {expected} bytes could be written")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
