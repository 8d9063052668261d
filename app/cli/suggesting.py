"""Looking at unlabelled images for those that a head is least sure of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from app.cli.embedding import Embedder
from app.cli.indexing import Watcher
from app.cli.printing import printable
from app.client import AsyncSightgraph
from app.core.errors import InvalidParams, UnsupportedTarget
from app.core.operation import Operation
from app.core.resolver import validated
from classifiers.head import Head, stacked
from classifiers.rows import Values
from classifiers.sources.targets import PROMINENT_FACE, WHOLE_IMAGE
from classifiers.split import Seen
from classifiers.suggestion import Candidate, Shortlist, uncertainties_of

# So many files are embedded before their vectors are looked at, and those that stand out are kept.
_FILES_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """An unlabelled region. `vectors` has one for each embedding of the head."""

    id: str
    vectors: Sequence[Values]
    phash: int | None


@dataclass(slots=True)
class Tally:
    """What became of the images: `looked` at, of which some were left out or failed."""

    looked: int = 0
    trained_on: int = 0
    without_region: int = 0
    whole_instead: int = 0
    failed: int = 0


@dataclass(slots=True)
class Suggesting:
    """One run over unlabelled images.

    Args:
        head: serves the collection.
        seen: what is labelled already.
        count: how many are wanted.
        max_distance: in how many bits perceptual hashes of copies differ at most.
    """

    head: Head
    seen: Seen
    count: int
    max_distance: int
    tally: Tally = field(default_factory=Tally)
    _shortlist: Shortlist = field(init=False)

    def __post_init__(self) -> None:
        self._shortlist = Shortlist(self.count, self.max_distance)

    def suggested(self) -> list[Candidate]:
        """Those to label next, those that teach most first."""
        return self._shortlist.suggested()

    async def look_at_files(
        self, folder: Path, paths: Sequence[str], embedder: Embedder, watcher: Watcher
    ) -> None:
        """Look at the images of a folder.

        Raises:
            SourceError: the server cannot embed any image.
            ClickException: it makes vectors that the head cannot read, or does not work.
        """
        for start in range(0, len(paths), _FILES_AT_ONCE):
            done = await embedder.embed(folder, paths[start : start + _FILES_AT_ONCE], watcher)
            self._check_spaces(done.spaces)
            self.tally.looked += done.failed + done.without_region
            self.tally.failed += done.failed
            self.tally.without_region += done.without_region
            self.tally.whole_instead += done.whole_instead
            found = sorted(done.files.items())
            self._look_at([Looked(path, file.vectors, file.phash) for path, file in found], watcher)

    async def look_at_items(self, server: AsyncSightgraph, collection: str, watcher: Watcher) -> None:
        """Look at the items of a collection of the server's index, which was checked.

        Raises:
            ClickException: it became another one, or the server does not work.
        """
        # A hash of a part of an image is none of the photo.
        whole = self.head.card.target == WHOLE_IMAGE
        async for page in server.vectors(collection):
            self._check_spaces([page["space"]])
            found = []
            for item in page["items"]:
                if not item["vectors"]:
                    self.tally.looked += 1
                    self.tally.without_region += 1
                for region in item["vectors"]:
                    phash = int(region["phash"], 16) if whole and region["phash"] is not None else None
                    found.append(Looked(item["id"], [np.array(region["vector"], np.float32)], phash))
                watcher.seen()
            self._look_at(found, watcher)

    def check_collection(self, collection: dict[str, Any], operation: Operation | None) -> None:
        """See to it that the vectors of a collection of the index are what the head reads.

        Args:
            collection: as the server describes it.
            operation: that of the head, where it is known here, for the defaults of its params.

        Raises:
            ClickException: they are not; the message tells what differs.
        """
        card, name = self.head.card, collection["name"]
        if len(card.embeddings) != 1:
            joined = " + ".join(embedding.operation for embedding in card.embeddings)
            raise click.ClickException(
                f"The classifier reads {joined} together, and a collection of the index has one of them. "
                "Give a --folder."
            )
        if not collection["items"]:
            raise click.ClickException(f"The collection '{name}' of the index has no items.")
        (embedding,) = card.embeddings
        wanted: dict[str, Any] = {"operation": embedding.operation, "target": card.target}
        has = {"operation": collection["operation"], "target": collection["target"]}
        region = {"target": card.target}
        if card.target == PROMINENT_FACE:
            region["face_context"] = card.face_context
        params = _all_params(operation, {**embedding.params, **region}) or {**embedding.params, **region}
        for key, value in params.items():
            wanted[key], has[key] = value, collection["params"].get(key, value)
        for key, value in wanted.items():
            if has[key] != value:
                raise click.ClickException(
                    printable(
                        f"The collection '{name}' of the index has the {key} {has[key]}, and the classifier "
                        f"was trained with {value}. Give a collection of its kind, or a --folder."
                    )
                )
        self._check_spaces([collection["space"]])

    def _check_spaces(self, served: Sequence[str | None]) -> None:
        card = self.head.card
        for embedding, own, other in zip(card.embeddings, card.spaces, served, strict=True):
            if None not in (own, other) and own != other:
                raise click.ClickException(
                    printable(
                        f"The classifier '{card.collection}' was trained on vectors of {own}, and those of "
                        f"{embedding.operation} are now of {other}: they do not compare. Train it again, or "
                        "give the server the model that it was trained with."
                    )
                )

    def _look_at(self, found: Sequence[Looked], watcher: Watcher) -> None:
        """Keep what stands out."""
        card = self.head.card
        unknown = []
        for each in found:
            self._check_dimensions([len(vector) for vector in each.vectors])
            if self.seen.holds_photo(each.id, each.phash, self.max_distance):
                self.tally.trained_on += 1
            elif not all(np.isfinite(vector).all() for vector in each.vectors):
                self.tally.failed += 1
                watcher.failed(each.id, "its vector holds values that are not finite")
            else:
                unknown.append(each)
        self.tally.looked += len(found)
        vectors = stacked([each.vectors for each in unknown], card.dimensions)
        probabilities = self.head.probabilities(vectors)
        unsure = uncertainties_of(self.head, vectors)
        self._shortlist.offer(
            Candidate(each.id, row, float(value), each.vectors, each.phash)
            for each, row, value in zip(unknown, probabilities, unsure, strict=True)
        )

    def _check_dimensions(self, found: Sequence[int]) -> None:
        card = self.head.card
        for embedding, own, other in zip(card.embeddings, card.dimensions, found, strict=True):
            if own != other:
                raise click.ClickException(
                    printable(
                        f"The classifier '{card.collection}' reads {own} numbers of {embedding.operation}, "
                        f"and the server's vectors have {other}. Train it again."
                    )
                )


def _all_params(operation: Operation | None, params: dict[str, Any]) -> dict[str, Any] | None:
    """With the defaults, as a collection of the index declares them; None where they are not known."""
    if operation is None:
        return None
    try:
        whole = validated(operation, params).model_dump(mode="json", exclude={"crop_format", "target"})
    except (InvalidParams, UnsupportedTarget):
        return None
    if "face_context" not in params:
        # What is looked at is no face.
        whole.pop("face_context", None)
    return whole
