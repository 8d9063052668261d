"""Images on their way into a collection, as many at once as a server takes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from app.client.errors import Refused
from app.client.given import text
from app.client.images import FilePart, ImageLike, check_several, sendable
from app.client.task import json_bytes
from app.client.wire import (
    BLOCK_BYTES,
    BLOCK_IMAGES,
    TOO_LARGE,
    Call,
    Json,
    Request,
    is_too_much,
    objects,
    segment,
)


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """An image that becomes an item of a collection.

    Args:
        image: the image.
        id: by default the hash of its file; the same id again replaces.
        metadata: what searches filter by, and answers repeat.
    """

    image: ImageLike
    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


Uploads: TypeAlias = Iterable[Upload | ImageLike] | Mapping[str, ImageLike]
"""Images, with or without ids and metadata, or by their ids."""


class Adding:
    """Images that are added in one request or several.

    Args:
        collection: its name.
        uploads: the images.
        thumbnails: whether the server keeps a small picture of each.

    Raises:
        InvalidInput: one is no image or its id is none, or they are a single one.
        OSError: the pixels of a PIL image cannot be read.
    """

    def __init__(self, collection: str, uploads: Uploads, *, thumbnails: bool) -> None:
        check_several(uploads)
        if isinstance(uploads, Mapping):
            uploads = [Upload(image, text("id", id_)) for id_, image in uploads.items()]
        self._path = f"/index/{segment('collection', collection)}/items/"
        self._thumbnails = thumbnails
        self._uploads = [each if isinstance(each, Upload) else Upload(each) for each in uploads]
        self._images = [sendable(each.image) for each in self._uploads]
        self._left = self._places()
        self._most = BLOCK_IMAGES
        self._sent: list[int] = []
        self._results: dict[int, Json] = {}

    @property
    def results(self) -> list[Json]:
        """What became of each image, in their order."""
        return [self._results[place] for place in sorted(self._results)]

    def call(self) -> Call[list[Json]] | None:
        """What adds the next images; None once all are added.

        Raises:
            InvalidInput: the metadata of one cannot be written as JSON.
            OSError: a file cannot be read.
        """
        self._left = [places for places in self._left if places]
        if not self._left:
            return None
        block: dict[int, str | FilePart] = {}
        size = 0
        for place in self._left[0][: self._most]:
            image = self._images[place]
            if isinstance(image, FilePart):
                size += image.size
                if block and size > BLOCK_BYTES:
                    break
                # One that is too large for that is alone, and read while it is sent.
                image = image.loaded() if size <= BLOCK_BYTES else image
            block[place] = image
        self._sent = list(block)
        return Call(self._request(list(block.values())), self._read)

    def answered(self, results: list[Json]) -> None:
        """Note what became of the images of the last call."""
        self._results |= zip(self._sent, results, strict=True)
        del self._left[0][: len(self._sent)]

    def refused(self, error: Refused) -> None:
        """See to it that the next call is for fewer images. What is too large alone fails alone.

        Raises:
            Refused: that all further ones would be refused too.
        """
        if not is_too_much(error):
            raise error
        if len(self._sent) > 1:
            self._most = len(self._sent) // 2
        elif error.status == TOO_LARGE:
            self.answered([_too_large(self._uploads[self._sent[0]].id, error.message)])
        else:
            raise error

    def _places(self) -> list[list[int]]:
        """The places of images that may share a request: a form takes files only, and ids for all of them or
        none.
        """
        kinds: dict[tuple[bool, bool], list[int]] = {}
        for place, (each, image) in enumerate(zip(self._uploads, self._images, strict=True)):
            if each.id is not None:
                text("id", each.id)
            kinds.setdefault((isinstance(image, str), each.id is None), []).append(place)
        return list(kinds.values())

    def _request(self, images: Sequence[str | FilePart]) -> Request:
        uploads = [self._uploads[place] for place in self._sent]
        files = [image for image in images if isinstance(image, FilePart)]
        if not files:
            items = [
                {"id": each.id, "metadata": each.metadata, "image_url": url}
                for each, url in zip(uploads, images, strict=True)
            ]
            body = json_bytes("items", {"items": items, "thumbnails": self._thumbnails})
            return Request("POST", self._path, json=body)
        form: Json = {
            "metadata": [json_bytes("metadata", each.metadata).decode() for each in uploads],
            "thumbnails": "true" if self._thumbnails else "false",
        }
        if uploads[0].id is not None:
            form["id"] = [each.id for each in uploads]
        return Request("POST", self._path, form=form, files=files)

    def _read(self, body: Json) -> list[Json]:
        results = objects(body["items"])
        if len(results) != len(self._sent):
            raise KeyError(len(self._sent))
        return results


def _too_large(item_id: str | None, message: str) -> Json:
    """What a server tells of an image beyond its limit, for one that is beyond that of a proxy."""
    return {
        "id": item_id,
        "status": "error",
        "replaced": None,
        "regions": 0,
        "sha256": None,
        "warnings": [],
        "error_code": "image_too_large",
        "error_message": message,
    }
