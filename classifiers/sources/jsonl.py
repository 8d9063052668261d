"""Training rows from a file with one JSON object a line.

    {"photo_id": "a.jpg", "label": true, "embedding": [0.1, 0.2]}

Further keys of a row: `embeddings` in place of `embedding`, an object of vectors by operation; `space`, or
`spaces` by operation; `phash` (16 hexadecimal digits); `metadata` or `slices`, by which reports are broken
down; `measures`, with which what a server is asked is compared later: `brightness` (mean luma, 0 to 255) and
`size` (square root of the area in pixels); `collection`. The first line may be settings: `target`,
`face_context` of faces, `embeddings` (operations, or objects with `operation` and `params`) and `spaces` in
their order.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from app.core.target import FaceContext
from app.core.wording import quoted, shortened
from classifiers.rows import Embedding, SourceError, TrainingSet, Values
from classifiers.sources.assembly import Assembly, Found, vector_of
from classifiers.sources.fields import (
    AnyLabel,
    Fields,
    MeasureFields,
    Name,
    Numbers,
    PerceptualHash,
    Slices,
    wrong_fields,
)
from classifiers.sources.settings import Settings, is_settings, joined, names

# Far beyond any row; a file without line ends is not read into memory as a whole.
MAX_LINE_BYTES = 10_000_000


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
        embeddings: of those in the file the ones that are read, all by default; or what made the vectors,
            where the file does not tell.
        target: which region they are of, where the file does not tell; the whole image by default.
        face_context: where their prominent faces were looked for, where the file does not tell.
        spaces: of which spaces they are, by operation, where the file does not tell.
    """

    def __init__(
        self,
        file: Path,
        embeddings: Sequence[Embedding] = (),
        target: str | None = None,
        *,
        face_context: FaceContext | None = None,
        spaces: Mapping[str, str] | None = None,
    ) -> None:
        self._file = file
        self._settings = Settings(embeddings, target, face_context, spaces or {})
        self._assemblies: dict[str, Assembly] | None = None
        self._unread: dict[str, None] = {}

    def collections(self) -> Sequence[str]:
        return list(self._read())

    def training_set(self, name: str) -> TrainingSet:
        assemblies = self._read()
        if name not in assemblies:
            known = shortened(", ".join(assemblies), 500)
            raise SourceError(f"{self._file}: no collection is called {quoted(name)}. There are: {known}.")
        unread = ", ".join(self._unread)
        return assemblies[name].training_set(
            [f"Left aside, as --embedding names others: {unread}."] if unread else ()
        )

    def _read(self) -> dict[str, Assembly]:
        """The rows by collection. The file is read once."""
        if self._assemblies is None:
            assemblies: dict[str, Assembly] = {}
            for number, line in self._lines():
                place = f"{self._file.name} line {number}"
                if number == 1 and is_settings(line):
                    self._settings.take(line, place)
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

    def _take_row(self, line: bytes, place: str, assemblies: dict[str, Assembly]) -> None:
        try:
            row = _Row.model_validate_json(line)
        except ValidationError as error:
            raise wrong_fields(error, place, known=_Row.model_fields) from None
        if not self._settings.embeddings:
            self._settings.declare(_of_first(row, place), place)
        vectors, spaces = self._vectors(row, place), self._row_spaces(row, place)
        name = row.collection or self._file.stem
        if name not in assemblies:
            assemblies[name] = self._settings.assembly(name)
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
            wanted = names(self._settings.embeddings)
            self._unread |= dict.fromkeys(name for name in row.embeddings if name not in wanted)
            return [
                None
                if (numbers := row.embeddings.get(name)) is None
                else vector_of(numbers, f"{place}: {name}")
                for name in wanted
            ]
        if row.embedding is None:
            return [None] * len(self._settings.embeddings)
        present = self._settings.present
        if len(present) > 1:
            raise SourceError(
                f"{place}: embedding: is one vector, and there are {len(present)} embeddings: give "
                f"`embeddings`, by {joined(present)}."
            )
        return [vector_of(row.embedding, f"{place}: embedding")]

    def _row_spaces(self, row: _Row, place: str) -> list[str | None]:
        if row.spaces is not None:
            self._check_names(row.spaces, f"{place}: spaces")
            return [row.spaces.get(name) for name in names(self._settings.embeddings)]
        present = self._settings.present
        if row.space is not None and len(present) > 1:
            raise SourceError(
                f"{place}: space: is one, and there are {len(present)} embeddings: give `spaces`, "
                f"by {joined(present)}."
            )
        return [row.space] * len(self._settings.embeddings)

    def _check_names(self, named: Iterable[str], place: str) -> None:
        """A file that declares nothing may have more in its rows than was asked for."""
        present = self._settings.present
        unknown = [name for name in named if name not in names(present)]
        if self._settings.is_declared and unknown:
            raise SourceError(
                f"{place}: {quoted(unknown[0])} is none of the embeddings here, {joined(present)}."
            )


def _of_first(row: _Row, place: str) -> tuple[Embedding, ...]:
    """What made the vectors, where nothing but the first row tells it."""
    if not row.embeddings:
        raise SourceError(
            f"{place}: nothing tells which operation made the vectors: give --embedding, or a first line "
            '{"embeddings": ["embed_clip_vit_b_32"]}.'
        )
    return tuple(Embedding(name) for name in row.embeddings)
