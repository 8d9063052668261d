"""Training rows from a file with one JSON object a line.

    {"photo_id": "a.jpg", "label": true, "embedding": [0.1, 0.2]}

Further keys of a row: `embeddings` in place of `embedding`, an object of vectors by operation; `space`, or
`spaces` by operation; `phash` (16 hexadecimal digits); `metadata` or `slices`, by which reports are broken
down; `measures`, with which what a server is asked is compared later: `brightness` (mean luma, 0 to 255) and
`size` (square root of the area in pixels); `collection`. The first line may be settings: `target`,
`embeddings` (operations, or objects with `operation` and `params`) and `spaces` in their order.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import pydantic_core
from pydantic import Field, ValidationError

from app.core.wording import quoted, shortened
from classifiers.rows import Embedding, SourceError, TrainingSet, Values
from classifiers.sources.assembly import Assembly, Found, vector_of
from classifiers.sources.fields import (
    AnyLabel,
    EmbeddingFields,
    Fields,
    MeasureFields,
    Name,
    Numbers,
    OperationName,
    PerceptualHash,
    Slices,
    wrong_fields,
)
from classifiers.sources.targets import WHOLE_IMAGE, target_named

# Far beyond any row; a file without line ends is not read into memory as a whole.
MAX_LINE_BYTES = 10_000_000


class _Settings(Fields, extra="forbid"):
    target: str | None = None
    embeddings: Annotated[list[OperationName | EmbeddingFields], Field(min_length=1)] | None = None
    spaces: list[str | None] | None = None


class _Row(Fields, extra="forbid"):
    photo_id: Name
    label: AnyLabel
    embedding: Numbers | None = None
    embeddings: dict[str, Numbers | None] | None = None
    space: str | None = None
    spaces: dict[str, str] | None = None
    phash: PerceptualHash | None = None
    metadata: Slices | None = None
    slices: Slices | None = None
    measures: MeasureFields | None = None
    collection: Name | None = None


class JsonlSource:
    """The collections of a file; rows that name none are in one that is called as the file.

    Args:
        file: the file.
        embeddings: what made the vectors, where the file does not tell.
        target: which region they are of, where the file does not tell; the whole image by default.
    """

    def __init__(self, file: Path, embeddings: Sequence[Embedding] = (), target: str | None = None) -> None:
        self._file = file
        self._embeddings = tuple(embeddings)
        self._target = target
        self._spaces: tuple[str | None, ...] = ()
        self._assemblies: dict[str, Assembly] | None = None

    def collections(self) -> Sequence[str]:
        return list(self._read())

    def training_set(self, name: str) -> TrainingSet:
        assemblies = self._read()
        if name not in assemblies:
            known = shortened(", ".join(assemblies), 500)
            raise SourceError(f"{self._file}: no collection is called {quoted(name)}. There are: {known}.")
        return assemblies[name].training_set()

    def _read(self) -> dict[str, Assembly]:
        """The rows by collection. The file is read once."""
        if self._assemblies is None:
            assemblies: dict[str, Assembly] = {}
            for number, line in self._lines():
                place = f"{self._file.name} line {number}"
                if number == 1 and _is_settings(line):
                    self._take_settings(line, place)
                else:
                    self._take_row(line, place, assemblies)
            if not assemblies:
                raise SourceError(f"{self._file}: has no rows.")
            self._assemblies = assemblies
        return self._assemblies

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        try:
            with self._file.open("rb") as opened:
                number = 0
                while line := opened.readline(MAX_LINE_BYTES + 1):
                    number += 1
                    if len(line) > MAX_LINE_BYTES:
                        raise SourceError(
                            f"{self._file.name} line {number}: is over {MAX_LINE_BYTES:,} bytes; each row is "
                            f"a line."
                        )
                    line = line.removeprefix(b"\xef\xbb\xbf").strip()
                    if line:
                        yield number, line
        except OSError as error:
            raise SourceError(f"{self._file}: {error.strerror or type(error).__name__}.") from None

    def _take_settings(self, line: bytes, place: str) -> None:
        try:
            settings = _Settings.model_validate_json(line)
        except ValidationError as error:
            raise wrong_fields(error, place, known=_Settings.model_fields) from None
        if settings.target is not None:
            stated = target_named(settings.target, f"{place}: target")
            if self._target not in (None, stated):
                raise SourceError(f"{place}: target: is {stated}, and --target {self._target}.")
            self._target = stated
        if settings.embeddings is not None:
            embeddings = tuple(
                Embedding(each) if isinstance(each, str) else each.embedding() for each in settings.embeddings
            )
            if self._embeddings not in ((), embeddings):
                raise SourceError(
                    f"{place}: embeddings: are {_told(embeddings)}, and --embedding says otherwise."
                )
            self._declare(embeddings, place)
        if settings.spaces is not None:
            if len(settings.spaces) != len(self._embeddings):
                raise SourceError(
                    f"{place}: spaces: are {len(settings.spaces)}, and there are {len(self._embeddings)} "
                    f"embeddings."
                )
            self._spaces = tuple(settings.spaces)

    def _declare(self, embeddings: tuple[Embedding, ...], place: str) -> None:
        names = [embedding.operation for embedding in embeddings]
        for name in names:
            if names.count(name) > 1:
                raise SourceError(
                    f"{place}: embeddings: {name} is there twice; a row has one vector of each."
                )
        self._embeddings = embeddings

    def _take_row(self, line: bytes, place: str, assemblies: dict[str, Assembly]) -> None:
        try:
            row = _Row.model_validate_json(line)
        except ValidationError as error:
            raise wrong_fields(error, place, known=_Row.model_fields) from None
        if not self._embeddings:
            self._declare(_of_first(row, place), place)
        vectors, spaces = self._vectors(row, place), self._row_spaces(row, place)
        name = row.collection or self._file.stem
        if name not in assemblies:
            assemblies[name] = Assembly(name, self._target or WHOLE_IMAGE, self._embeddings, self._spaces)
        slices = {**(row.metadata or {}), **(row.slices or {})}
        measures = {} if row.measures is None else row.measures.measures()
        assemblies[name].add(
            Found(place, row.photo_id, row.label, vectors, spaces, row.phash, slices, measures)
        )

    def _vectors(self, row: _Row, place: str) -> list[Values | None]:
        if row.embeddings is not None:
            if row.embedding is not None:
                raise SourceError(f"{place}: has both embedding and embeddings; give one of them.")
            self._check_names(row.embeddings, f"{place}: embeddings")
            return [
                None
                if (numbers := row.embeddings.get(name)) is None
                else vector_of(numbers, f"{place}: {name}")
                for name in self._names
            ]
        if row.embedding is None:
            return [None] * len(self._embeddings)
        if len(self._embeddings) > 1:
            raise SourceError(
                f"{place}: embedding: is one vector, and there are {len(self._embeddings)} embeddings: give "
                f"`embeddings`, by {_told(self._embeddings)}."
            )
        return [vector_of(row.embedding, f"{place}: embedding")]

    def _row_spaces(self, row: _Row, place: str) -> list[str | None]:
        if row.spaces is not None:
            self._check_names(row.spaces, f"{place}: spaces")
            return [row.spaces.get(name) for name in self._names]
        if row.space is not None and len(self._embeddings) > 1:
            raise SourceError(
                f"{place}: space: is one, and there are {len(self._embeddings)} embeddings: give `spaces`, "
                f"by {_told(self._embeddings)}."
            )
        return [row.space] * len(self._embeddings)

    @property
    def _names(self) -> list[str]:
        return [embedding.operation for embedding in self._embeddings]

    def _check_names(self, named: Iterable[str], place: str) -> None:
        unknown = [name for name in named if name not in self._names]
        if unknown:
            raise SourceError(
                f"{place}: {quoted(unknown[0])} is none of the embeddings here, {_told(self._embeddings)}."
            )


def _is_settings(line: bytes) -> bool:
    try:
        first = pydantic_core.from_json(line)
    except ValueError:
        return False
    return isinstance(first, dict) and "photo_id" not in first and "label" not in first


def _of_first(row: _Row, place: str) -> tuple[Embedding, ...]:
    """What made the vectors, where nothing but the first row tells it."""
    if not row.embeddings:
        raise SourceError(
            f"{place}: nothing tells which operation made the vectors: give --embedding, or a first line "
            '{"embeddings": ["embed_clip_vit_b_32"]}.'
        )
    return tuple(Embedding(name) for name in row.embeddings)


def _told(embeddings: Sequence[Embedding]) -> str:
    return ", ".join(embedding.operation for embedding in embeddings)
