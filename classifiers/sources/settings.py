"""What is known of the vectors in a file: by its first line, and by what the user says."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import pydantic_core
from pydantic import Field, ValidationError

from app.core.target import FaceContext
from app.core.wording import quoted
from classifiers.rows import Embedding, SourceError
from classifiers.sources.assembly import Assembly
from classifiers.sources.fields import EmbeddingFields, Fields, OperationName, wrong_fields
from classifiers.sources.targets import WHOLE_IMAGE, face_context_of, target_named


class _Line(Fields, extra="forbid"):
    target: str | None = None
    face_context: FaceContext | None = None
    embeddings: Annotated[list[OperationName | EmbeddingFields], Field(min_length=1)] | None = None
    spaces: list[str | None] | None = None


class Settings:
    """What is known so far. What the user says is not overruled: where a file says otherwise, it is refused.

    Args:
        embeddings: of those in the file the ones that are read, all by default; or what made the vectors.
        target: which region they are of; the whole image by default.
        face_context: where their prominent faces were looked for.
        spaces: of which spaces they are, by operation.
    """

    def __init__(
        self,
        embeddings: Sequence[Embedding],
        target: str | None,
        face_context: FaceContext | None,
        spaces: Mapping[str, str],
    ) -> None:
        self.embeddings = tuple(embeddings)
        # All that the file has; none where it does not say.
        self._declared: tuple[Embedding, ...] = ()
        self._target = target
        self._face_context = face_context
        self._stated = spaces
        self._spaces: tuple[str | None, ...] = ()

    @property
    def present(self) -> tuple[Embedding, ...]:
        """What a row may have: what the file declares, else what the user says."""
        return self._declared or self.embeddings

    @property
    def is_declared(self) -> bool:
        """Whether a row has nothing else."""
        return bool(self._declared)

    def assembly(self, name: str) -> Assembly:
        """For the rows of a collection."""
        target = self._target or WHOLE_IMAGE
        return Assembly(
            name,
            target,
            self.embeddings,
            self._spaces,
            stated=self._stated,
            face_context=face_context_of(target, self._face_context),
        )

    def take(self, line: bytes, place: str) -> None:
        """Take a line of settings.

        Raises:
            SourceError: it is none, or contradicts what the user says.
        """
        try:
            settings = _Line.model_validate_json(line)
        except ValidationError as error:
            raise wrong_fields(error, place, known=_Line.model_fields) from None
        if settings.target is not None:
            target = target_named(settings.target, f"{place}: target")
            if self._target not in (None, target):
                raise SourceError(f"{place}: target: is {target}, and --target {self._target}.")
            self._target = target
        if settings.face_context is not None:
            if self._face_context not in (None, settings.face_context):
                raise SourceError(
                    f"{place}: face_context: is {settings.face_context}, and --face-context "
                    f"{self._face_context}."
                )
            self._face_context = settings.face_context
        if settings.embeddings is not None:
            self.declare(
                [
                    Embedding(each) if isinstance(each, str) else each.embedding()
                    for each in settings.embeddings
                ],
                place,
            )
        if settings.spaces is not None:
            self._take_spaces(settings.spaces, place)

    def declare(self, embeddings: Sequence[Embedding], place: str) -> None:
        """Take what the file has, and of that what the user asks for.

        Raises:
            SourceError: the file has not what the user asks for, or something twice.
        """
        by_name: dict[str, Embedding] = {}
        for embedding in embeddings:
            if by_name.setdefault(embedding.operation, embedding) is not embedding:
                raise SourceError(
                    f"{place}: embeddings: {embedding.operation} is there twice; a row has one vector of "
                    f"each."
                )
        for asked in self.embeddings:
            found = by_name.get(asked.operation)
            if found is None or (asked.params and asked.params != found.params):
                told = f" with the params {quoted(asked.params)}" if asked.params else ""
                raise SourceError(
                    f"{place}: embeddings: are {joined(embeddings)}, and --embedding says otherwise: "
                    f"{asked.operation}{told}."
                )
        chosen = dict.fromkeys(names(self.embeddings or embeddings))
        self.embeddings = tuple(by_name[name] for name in chosen)
        self._declared = tuple(embeddings)

    def _take_spaces(self, spaces: Sequence[str | None], place: str) -> None:
        present = names(self.present)
        if len(spaces) != len(present):
            raise SourceError(f"{place}: spaces: are {len(spaces)}, and there are {len(present)} embeddings.")
        by_name = dict(zip(present, spaces, strict=True))
        self._spaces = tuple(by_name[name] for name in names(self.embeddings))


def is_settings(line: bytes) -> bool:
    try:
        first = pydantic_core.from_json(line)
    except ValueError:
        return False
    return isinstance(first, dict) and "photo_id" not in first and "label" not in first


def names(embeddings: Sequence[Embedding]) -> list[str]:
    return [embedding.operation for embedding in embeddings]


def joined(embeddings: Sequence[Embedding]) -> str:
    return ", ".join(names(embeddings))
