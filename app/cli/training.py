"""Training classifiers from a source: rows, heads, and what they came to."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.connection import connected
from app.cli.embedding import EmbeddedFiles, Embedder
from app.cli.folder import contents, image_suffixes
from app.cli.labelled_folder import FolderSource
from app.cli.printing import printable
from app.cli.progress import Bar, image_bars
from app.cli.vector_cache import VectorCache
from app.core.target import FaceContext
from classifiers.rows import Embedding, Source
from classifiers.sources.download import is_web_address
from classifiers.sources.http import HttpSource
from classifiers.sources.jsonl import JsonlSource
from classifiers.sources.targets import WHOLE_IMAGE, face_context_of

if TYPE_CHECKING:
    from rich.progress import Progress

DEFAULT_EMBEDDING = Embedding("embed_hog_hsv")


@dataclass(frozen=True, slots=True)
class Stated:
    """What the user says of the rows of a source; of the rest holds what the source tells, or the defaults.

    Args:
        embeddings: what the vectors are, or shall be.
        target: of which region.
        face_context: where prominent faces are looked for.
        spaces: of which spaces vectors are that are made already, by operation.
        group_by: which files of a folder are of one photo.
    """

    embeddings: Sequence[Embedding] = ()
    target: str | None = None
    face_context: FaceContext | None = None
    spaces: Mapping[str, str] = field(default_factory=dict)
    group_by: re.Pattern[str] | None = None


def is_folder(source: str) -> bool:
    return not is_web_address(source) and Path(source).is_dir()


@contextmanager
def opened(
    source: str,
    stated: Stated,
    *,
    server: str | None,
    offline: bool,
    data: Path,
) -> Iterator[Source]:
    """A source by its address: a URL, a folder of images, or a file of JSON lines.

    Args:
        source: the address.
        stated: what the user says of its rows.
        server: what embeds the images of a folder; the application in this process by default.
        offline: whether that keeps off the network for model weights.
        data: the data folder; vectors of images are kept there.

    Raises:
        SourceError: it is none, or its folders are not arranged in classes.
    """
    if is_web_address(source):
        http = HttpSource(
            source,
            stated.embeddings,
            stated.target,
            face_context=stated.face_context,
            spaces=stated.spaces,
        )
        try:
            yield http
        finally:
            http.close()
    elif is_folder(source):
        with ExitStack() as stack:
            yield _folder(Path(source), stated, server, offline, data, stack)
    else:
        yield JsonlSource(
            Path(source),
            stated.embeddings,
            stated.target,
            face_context=stated.face_context,
            spaces=stated.spaces,
        )


def _folder(
    folder: Path,
    stated: Stated,
    server: str | None,
    offline: bool,
    data: Path,
    stack: ExitStack,
) -> FolderSource:
    embeddings, target = stated.embeddings or (DEFAULT_EMBEDDING,), stated.target or WHOLE_IMAGE
    face_context = face_context_of(target, stated.face_context)
    walked = contents(folder, image_suffixes())
    bars = image_bars()
    for path, why in walked.closed:
        _tell(path, why)
    embed = _Embedding(embeddings, target, face_context, server, offline, data, stack, bars)
    return FolderSource(
        folder,
        walked.images,
        embeddings,
        target,
        embed=embed,
        tell=_tell,
        face_context=face_context,
        group_by=stated.group_by,
    )


def _tell(path: str, why: str) -> None:
    click.echo(printable(f"{path}: {why}"), err=True)


class _Embedding:
    """Embeds the images of one collection after the other, and waits for it.

    The server is reached when the first one is: a source whose folders are wrong starts none.

    Args:
        stack: closes what is opened here.
    """

    def __init__(
        self,
        embeddings: Sequence[Embedding],
        target: str,
        face_context: FaceContext,
        server: str | None,
        offline: bool,
        data: Path,
        stack: ExitStack,
        bars: "Progress",
    ) -> None:
        self._embeddings = embeddings
        self._target = target
        self._face_context = face_context
        self._server = server
        self._offline = offline
        self._data = data
        self._stack = stack
        self._bars = bars
        self._reached: Callable[[Path, Sequence[str], Bar], EmbeddedFiles] | None = None

    def __call__(self, name: str, folder: Path, paths: Sequence[str]) -> EmbeddedFiles:
        if self._reached is None:
            self._reached = self._reach()
        with self._bars:
            task = self._bars.add_task(printable(name), total=len(paths))
            return self._reached(folder, paths, Bar(self._bars, task))

    def _reach(self) -> Callable[[Path, Sequence[str], Bar], EmbeddedFiles]:
        # Training blocks; the server in this process goes on beside it, in a thread of its own.
        from anyio.from_thread import start_blocking_portal

        portal = self._stack.enter_context(start_blocking_portal())
        connection = portal.wrap_async_context_manager(
            connected(self._server, self._offline, needs_index=False)
        )
        server = connection.__enter__()
        # What goes wrong here is no concern of the server, which would make a group of it.
        self._stack.callback(connection.__exit__, None, None, None)
        cache = VectorCache(self._data / "training_vectors.sqlite")
        self._stack.callback(cache.close)
        embedder = Embedder(server, self._embeddings, self._target, cache, face_context=self._face_context)

        def embed(folder: Path, paths: Sequence[str], bar: Bar) -> EmbeddedFiles:
            embedding = portal.start_task_soon(embedder.embed, folder, paths, bar)
            try:
                return embedding.result()
            finally:
                # Where the user interrupts.
                embedding.cancel()

        return embed
