"""Training classifiers from a source: rows, heads, and what they came to."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
from classifiers.rows import Embedding, Source
from classifiers.sources.download import is_web_address
from classifiers.sources.http import HttpSource
from classifiers.sources.jsonl import JsonlSource
from classifiers.sources.targets import WHOLE_IMAGE

if TYPE_CHECKING:
    from rich.progress import Progress

DEFAULT_EMBEDDING = Embedding("embed_hog_hsv")


def is_folder(source: str) -> bool:
    return not is_web_address(source) and Path(source).is_dir()


@contextmanager
def opened(
    source: str,
    embeddings: Sequence[Embedding],
    target: str | None,
    *,
    server: str | None,
    offline: bool,
    data: Path,
) -> Iterator[Source]:
    """A source by its address: a URL, a folder of images, or a file of JSON lines.

    Args:
        source: the address.
        embeddings: what the vectors are, or shall be; by default what the source tells, or the default.
        target: of which region.
        server: what embeds the images of a folder; the application in this process by default.
        offline: whether that keeps off the network for model weights.
        data: the data folder; vectors of images are kept there.

    Raises:
        SourceError: it is none, or its folders are not arranged in classes.
    """
    if is_web_address(source):
        http = HttpSource(source, embeddings, target)
        try:
            yield http
        finally:
            http.close()
    elif is_folder(source):
        with ExitStack() as stack:
            yield _folder(
                Path(source), embeddings or (DEFAULT_EMBEDDING,), target, server, offline, data, stack
            )
    else:
        yield JsonlSource(Path(source), embeddings, target)


def _folder(
    folder: Path,
    embeddings: Sequence[Embedding],
    target: str | None,
    server: str | None,
    offline: bool,
    data: Path,
    stack: ExitStack,
) -> FolderSource:
    walked = contents(folder, image_suffixes())
    bars = image_bars()
    for path, why in walked.closed:
        _tell(path, why)
    embed = _Embedding(embeddings, target or WHOLE_IMAGE, server, offline, data, stack, bars)
    return FolderSource(folder, walked.images, embeddings, target or WHOLE_IMAGE, embed=embed, tell=_tell)


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
        server: str | None,
        offline: bool,
        data: Path,
        stack: ExitStack,
        bars: "Progress",
    ) -> None:
        self._embeddings = embeddings
        self._target = target
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
        embedder = Embedder(server, self._embeddings, self._target, cache)

        def embed(folder: Path, paths: Sequence[str], bar: Bar) -> EmbeddedFiles:
            embedding = portal.start_task_soon(embedder.embed, folder, paths, bar)
            try:
                return embedding.result()
            finally:
                # Where the user interrupts.
                embedding.cancel()

        return embed
