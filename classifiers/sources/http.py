"""Training rows from a server that answers as image_embed's source of them does.

`GET /collections.json` lists the collections, and `GET /collections/{id}/training_data.json?embedding_type=`
the rows of one. Answers are JSON, or pages of HTML that show it.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from app.core.target import FaceContext
from app.core.wording import quoted, shortened
from classifiers.rows import Embedding, SourceError, TrainingSet, Values
from classifiers.sources.assembly import Assembly, Found, vector_of
from classifiers.sources.download import Downloads, is_web_address, shown
from classifiers.sources.fields import AnyLabel, Fields, Name, Numbers, OperationName, wrong_fields
from classifiers.sources.image_embed import other_vectors
from classifiers.sources.page import json_in
from classifiers.sources.targets import face_context_of, target_named

T = TypeVar("T")

_LISTING = "/collections.json"


class _Focus(Fields):
    derivative_type_name: str | None = None
    embedding_type_name: OperationName | None = None


class _Collection(Fields):
    id: Name
    name: str | None = None
    collection_focus: _Focus | None = None

    @property
    def told(self) -> str:
        return f"collection {self.id}" + (f" ('{shortened(self.name)}')" if self.name else "")


class _Row(Fields):
    photo_id: Name
    label: AnyLabel
    embedding: Numbers | None = None


_COLLECTIONS = TypeAdapter(list[_Collection])
_ROWS = TypeAdapter(list[_Row])


class HttpSource:
    """The collections of a server, by their ids.

    Args:
        url: of the server, with the path before `/collections.json`.
        embeddings: what is asked for, joined by photo_id where it is several; the collection's own by
            default.
        target: which region they are of; the collection's own by default.
        downloads: how answers come here.
        face_context: where their prominent faces were looked for.
        spaces: of which spaces the vectors are, by operation; the answers do not tell.

    Raises:
        SourceError: the URL is none.
    """

    def __init__(
        self,
        url: str,
        embeddings: Sequence[Embedding] = (),
        target: str | None = None,
        downloads: Downloads | None = None,
        *,
        face_context: FaceContext | None = None,
        spaces: Mapping[str, str] | None = None,
    ) -> None:
        try:
            base = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise SourceError(f"{quoted(url)} is no address: {error}.") from None
        if not is_web_address(url):
            raise SourceError(f"{quoted(url)} is no http or https address.")
        self._base = base.copy_with(path=base.path.removesuffix(_LISTING))
        self._embeddings = tuple(embeddings)
        self._target = target
        self._downloads = downloads or Downloads()
        self._face_context = face_context
        self._spaces = spaces or {}

    def close(self) -> None:
        self._downloads.close()

    def collections(self) -> Sequence[str]:
        return [collection.id for collection in self._listed]

    def training_set(self, name: str) -> TrainingSet:
        """The rows of a collection, by its id or its name.

        Raises:
            SourceError: also where the vectors are others than those that are made here.
        """
        collection = self._collection(name)
        focus = collection.collection_focus or _Focus()
        embeddings = self._embeddings
        if not embeddings:
            if focus.embedding_type_name is None:
                raise _without(collection, "embedding_type_name", "--embedding")
            embeddings = (Embedding(focus.embedding_type_name),)
        target = self._target
        if target is None:
            if focus.derivative_type_name is None:
                raise _without(collection, "derivative_type_name", "--target")
            place = f"{collection.told}: collection_focus.derivative_type_name"
            target = target_named(focus.derivative_type_name, place)
        differing = other_vectors([embedding.operation for embedding in embeddings], self._spaces)
        if differing is not None:
            raise SourceError(f"{collection.told}: {differing}.")
        assembly = Assembly(
            collection.id,
            target,
            embeddings,
            stated=self._spaces,
            face_context=face_context_of(target, self._face_context),
        )
        tables = [list(self._rows(collection, embedding)) for embedding in embeddings]
        for row in tables[0] if len(tables) == 1 else _joined(tables):
            assembly.add(row)
        return assembly.training_set()

    @cached_property
    def _listed(self) -> list[_Collection]:
        listed = self._read(self._url(_LISTING), _COLLECTIONS, shown(self._base), "collections")
        ids = [collection.id for collection in listed]
        for id_ in ids:
            if ids.count(id_) > 1:
                raise SourceError(f"{shown(self._base)}: two collections have the id {quoted(id_)}.")
        return listed

    def _collection(self, name: str) -> _Collection:
        by_id = [each for each in self._listed if each.id == name]
        found = by_id or [each for each in self._listed if each.name == name]
        if len(found) == 1:
            return found[0]
        known = ", ".join(each.id + (f" ({each.name})" if each.name else "") for each in self._listed)
        problem = "several collections are" if found else "no collection is"
        raise SourceError(
            f"{shown(self._base)}: {problem} called {quoted(name)}. "
            f"There are: {shortened(known, 500) or 'none'}."
        )

    def _rows(self, collection: _Collection, embedding: Embedding) -> Iterator[Found]:
        url = self._url(f"/collections/{quote(collection.id, safe='')}/training_data.json")
        url = url.copy_merge_params({"embedding_type": embedding.operation})
        source = f"{collection.told}, {embedding.operation}"
        rows = self._read(url, _ROWS, source, "rows")
        for number, row in enumerate(rows):
            place = f"{source}: rows[{number}]"
            vector = None if row.embedding is None else vector_of(row.embedding, f"{place}.embedding")
            yield Found(place, row.photo_id, row.label, (vector,), (None,))

    def _url(self, path: str) -> httpx.URL:
        return self._base.copy_with(path=self._base.path.rstrip("/") + path)

    def _read(self, url: httpx.URL, shape: TypeAdapter[T], place: str, root: str) -> T:
        text = self._downloads.text(url)
        problem: ValidationError | None = None
        for candidate in json_in(text):
            try:
                return shape.validate_json(candidate)
            except ValidationError as error:
                # What is no JSON at all tells less than what is wrong JSON.
                if problem is None or _is_no_json(problem):
                    problem = error
        if problem is None or _is_no_json(problem):
            beginning = quoted(shortened(text.strip(), 80))
            raise SourceError(f"{shown(url)}: answers neither JSON nor a page with JSON, but {beginning}.")
        raise wrong_fields(problem, place, root=root)


def _joined(tables: Sequence[Sequence[Found]]) -> Iterator[Found]:
    """The rows of several embeddings as rows of one photo each, in the order in which the photos come.

    Raises:
        SourceError: an embedding has a photo twice, or two of them have other labels for it.
    """
    vectors: dict[str, list[Values | None]] = {}
    firsts: dict[str, Found] = {}
    for number, table in enumerate(tables):
        places: dict[str, str] = {}
        for row in table:
            if row.photo_id in places:
                raise SourceError(
                    f"{row.place}: photo_id: {quoted(row.photo_id)} is also that of {places[row.photo_id]}: "
                    f"where embeddings are joined, each has a photo once."
                )
            places[row.photo_id] = row.place
            first = firsts.setdefault(row.photo_id, row)
            if row.label != first.label:
                raise SourceError(
                    f"{row.place}: label: is {quoted(row.label)}, and {quoted(first.label)} in "
                    f"{first.place}, for the photo {quoted(row.photo_id)}."
                )
            vectors.setdefault(row.photo_id, [None] * len(tables))[number] = row.vectors[0]
    for photo_id, first in firsts.items():
        yield Found(first.place, photo_id, first.label, vectors[photo_id], (None,) * len(tables))


def _without(collection: _Collection, field: str, option: str) -> SourceError:
    return SourceError(
        f"{collection.told}: has no collection_focus.{field}; set it there, or give {option} here."
    )


def _is_no_json(error: ValidationError) -> bool:
    return error.errors(include_url=False)[0]["type"] == "json_invalid"
