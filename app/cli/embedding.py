"""Vectors of image files, made by a server."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app.cli.folder import read, reason
from app.cli.indexing import Watcher
from app.cli.vector_cache import Entry, VectorCache
from app.client import Answer, AsyncSightgraph, Refused, TaskResult
from app.core.errors import (
    DeadlineExceeded,
    InvalidParams,
    ModelUnavailable,
    RegionNotFound,
    UnsupportedOperation,
    UnsupportedTarget,
)
from app.core.geometry import Box
from app.core.target import FaceContext
from classifiers.measures import BRIGHTNESS, SIZE, size_of
from classifiers.rows import DEFAULT_FACE_CONTEXT, Embedding, SourceError, Values
from classifiers.sources.targets import PROMINENT_FACE, WHOLE_IMAGE

# The server refuses a whole request for a bad file; elsewhere the refusal is not about the file.
_ABOUT_THE_FILE = (400, 413, 500)
# Every further image would fail alike.
_SAME_FOR_ALL = tuple(
    error.code for error in (ModelUnavailable, UnsupportedOperation, UnsupportedTarget, InvalidParams)
)
_HASH = "phash"
_PROPERTIES = "properties"


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """What a server made of a file. `vectors` are in the order of the embeddings."""

    sha256: str
    vectors: Sequence[Values]
    phash: int | None
    slices: Mapping[str, str]
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class EmbeddedFiles:
    """What became of files.

    `files` are those that have vectors, by their paths. The others failed, or are images without the region.
    `whole_instead` counts those in `files` whose vectors are of the whole image, for want of a person.
    `spaces` are those of the vectors.
    """

    spaces: Sequence[str | None]
    files: dict[str, Embedded] = field(default_factory=dict)
    failed: int = 0
    without_region: int = 0
    whole_instead: int = 0


@dataclass(slots=True)
class Embedder:
    """Has the images of folders embedded, several at once.

    A file that cannot be embedded is told to the watcher and counted. Vectors of whole images are kept
    between runs, by the contents of the file and the space.

    Args:
        server: does the work.
        embeddings: what is made of each image.
        target: of which region.
        cache: where vectors are kept.
        workers: requests at once.
        face_context: where a prominent face is looked for.
    """

    server: AsyncSightgraph
    embeddings: Sequence[Embedding]
    target: str
    cache: VectorCache
    workers: int = 4
    face_context: FaceContext = DEFAULT_FACE_CONTEXT
    _spaces: list[str | None] = field(init=False)

    def __post_init__(self) -> None:
        self._spaces = [None] * len(self.embeddings)

    async def embed(self, folder: Path, paths: Sequence[str], watcher: Watcher) -> EmbeddedFiles:
        """Embed files of a folder.

        Raises:
            SourceError: the server cannot embed any image, or its engine became another one meanwhile.
            Refused, Unreachable: the server does not work.
        """
        done = EmbeddedFiles(self._spaces)
        left = iter(paths)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.workers):
                    group.create_task(self._work(folder, left, done, watcher))
        except ExceptionGroup as several:
            # The first is why; the others were cut off by it.
            raise several.exceptions[0] from None
        return done

    async def _work(
        self,
        folder: Path,
        left: Iterator[str],
        done: EmbeddedFiles,
        watcher: Watcher,
    ) -> None:
        for path in left:
            try:
                found = await self._of_file(folder, path, done)
            except _FileFailed as error:
                done.failed += 1
                watcher.failed(path, str(error))
            else:
                if found is not None:
                    done.files[path] = found
            watcher.seen()

    async def _of_file(self, folder: Path, path: str, done: EmbeddedFiles) -> Embedded | None:
        """What a file gives; None where the image has not the region."""
        try:
            path.encode()
            file = await asyncio.to_thread(read, folder, path)
            known = self._known(file.sha256)
            if known is not None:
                return Embedded(file.sha256, known.vectors, known.phash, known.slices, known.measures)
            answer = await self.server.analyze(folder / path, self._tasks())
            if _codes(answer) & {DeadlineExceeded.code}:
                # What the engines took to load is not taken again.
                answer = await self.server.analyze(folder / path, self._tasks())
        except UnicodeEncodeError:
            raise _FileFailed("its name is not UTF-8, and cannot be an id; rename it") from None
        except OSError as error:
            raise _FileFailed(reason(error)) from None
        except Refused as error:
            if error.status not in _ABOUT_THE_FILE:
                raise
            raise _FileFailed(error.message) from None
        return self._of_answer(file.sha256, answer, done)

    def _tasks(self) -> list[dict[str, Any]]:
        shared: dict[str, Any] = {"target": self.target}
        if self.target != WHOLE_IMAGE:
            shared["crop_format"] = "none"
        if self.target == PROMINENT_FACE:
            shared["face_context"] = self.face_context
        tasks = [
            {"operation_id": str(number), "type": each.operation, "params": {**each.params, **shared}}
            for number, each in enumerate(self.embeddings)
        ]
        return [
            *tasks,
            {"operation_id": _HASH, "type": "hash_perceptual"},
            {"operation_id": _PROPERTIES, "type": "image_properties", "params": shared},
        ]

    def _of_answer(self, sha256: str, answer: Answer, done: EmbeddedFiles) -> Embedded | None:
        vectors = []
        whole_instead = False
        for number, embedding in enumerate(self.embeddings):
            result = answer[str(number)]
            if result.error_code == RegionNotFound.code:
                done.without_region += 1
                return None
            vectors.append(self._vector(number, embedding, result))
            whole_instead |= self.target != WHOLE_IMAGE and result.cropped_image_bbox is None
        done.whole_instead += whole_instead
        hashed = answer[_HASH]
        phash = int(hashed.data["phash"], 16) if hashed.ok else None
        slices = {} if answer.image is None else {"format": answer.image.format}
        measures = _measures(answer[_PROPERTIES])
        if self.target == WHOLE_IMAGE:
            self.cache.put(sha256, self._asked(), Entry(vectors, phash, slices, measures))
        return Embedded(sha256, vectors, phash, slices, measures)

    def _vector(self, number: int, embedding: Embedding, result: TaskResult) -> Values:
        if result.error_code in _SAME_FOR_ALL:
            raise SourceError(f"{embedding.operation}: {result.error_message}")
        if not result.ok:
            raise _FileFailed(f"{embedding.operation}: {result.error_message}")
        vector, space = result.vector, None if result.model is None else result.model.space
        if vector is None:
            raise SourceError(
                f"{embedding.operation} gives no vector of one region; name an operation that embeds, such "
                f"as embed_hog_hsv."
            )
        if self._spaces[number] not in (None, space):
            raise SourceError(
                f"{embedding.operation}: the server's engine became another one while the images were "
                f"embedded; start again."
            )
        self._spaces[number] = space
        return vector

    def _known(self, sha256: str) -> Entry | None:
        """What was kept of a file, once the server has told which spaces it serves."""
        if self.target != WHOLE_IMAGE or None in self._spaces:
            return None
        return self.cache.get(sha256, self._asked())

    def _asked(self) -> str:
        """What the vectors depend on beside the image."""
        return json.dumps([*map(asdict, self.embeddings), *self._spaces], sort_keys=True)


def _measures(result: TaskResult) -> dict[str, float]:
    """Of the region, as a server measures what it classifies; none from one that cannot."""
    if not result.ok:
        return {}
    properties = result.data
    file = properties["file"]
    box = result.box or Box(0, 0, file["width"], file["height"])
    return {BRIGHTNESS: properties["brightness"], SIZE: size_of(box.width, box.height)}


class _FileFailed(Exception):
    """A file cannot be embedded; the next one may be."""


def _codes(answer: Answer) -> set[str | None]:
    return {result.error_code for result in answer.values()}
