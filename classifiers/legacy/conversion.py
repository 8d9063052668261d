"""From a classifier of image_embed to a version on the shelf.

What a file cannot show is taken on trust: that the classifier is that of its collection, and that the
operations here make the vectors on which it was trained. On which photos that was is not known, so it is not
judged: any photo may be one of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from classifiers.card import CalibrationCard, Card, DataCard, EmbeddingCard, ModelCard, ThresholdCard
from classifiers.head import Calibration, Network, arrays_of
from classifiers.legacy.folder import Found
from classifiers.plots import shown
from classifiers.shelf import Shelf, version_name
from classifiers.sources.labels import NEGATIVE, POSITIVE
from classifiers.split import Seen

_UNKNOWN_SPACE = "not known: nothing tells whether the embeddings here are those on which it was trained"
# As `predict` decides.
_THRESHOLD = ThresholdCard(value=0.5, aim="as image_embed", met=True)


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of a classifier.

    `is_new` is False where the same file had been converted before, for the same spaces; `serves` is what
    serves now.
    """

    version: str
    is_new: bool
    serves: str | None


def _now() -> datetime:
    return datetime.now(UTC)


def convert(found: Found, shelf: Shelf, *, clock: Callable[[], datetime] = _now) -> Converted:
    """Store a classifier as a version. It serves where none did before; else a person decides.

    Raises:
        ShelfError: (classifiers.shelf) it cannot be written, or somebody trains the collection.
    """
    name = found.collection
    with shelf.training(name):
        for stored in shelf.stored(name):
            if stored.card is not None and _is_of(stored.card, found):
                return Converted(stored.version, False, shelf.best(name))
        width = len(found.weights)
        line = Network(np.zeros(width), np.ones(width), ((found.weights[:, None], found.bias),))
        arrays = arrays_of(line, Calibration())
        at = clock()
        card = _card(found, version_name(at, arrays), at)
        shelf.store(card, arrays, Seen.of([]), _page(card))
        shelf.promote(name, card.version, card.model.reason, instead_of=None, at=at)
        return Converted(card.version, True, shelf.best(name))


def _is_of(card: Card, found: Found) -> bool:
    return (card.settings.get("sha256"), card.spaces) == (found.sha256, found.spaces)


def _card(found: Found, version: str, at: datetime) -> Card:
    file = found.file.name.encode("utf-8", "replace").decode()
    seed = found.parameters.get("random_state")
    return Card(
        collection=found.collection,
        version=version,
        created=at,
        target=found.target,
        embeddings=tuple(
            EmbeddingCard.model_validate({"operation": one.operation, "params": dict(one.params)})
            for one in found.embeddings
        ),
        spaces=found.spaces,
        dimensions=found.dimensions,
        labels=(NEGATIVE, POSITIVE),
        positive=POSITIVE,
        threshold=_THRESHOLD,
        model=ModelCard(
            kind="logistic_regression",
            parameters=dict(found.parameters),
            reason=f"converted from {file} of image_embed",
        ),
        calibration=CalibrationCard(method="none", losses={}),
        data=DataCard(digest="", rows=0, photos=0, groups=0, moved=0, sides={}),
        seed=seed if isinstance(seed, int) else 0,
        software={} if found.written_by is None else {"scikit-learn": str(found.written_by)},
        settings={"converted_from": file, "sha256": found.sha256},
    )


def _page(card: Card) -> str:
    reads = f"{' + '.join(one.operation for one in card.embeddings)} of {card.target}"
    told = {
        "Version": card.version,
        "Reads": f"{reads}, {sum(card.dimensions)} values",
        "From": f"{card.settings['converted_from']}, SHA-256 {card.settings['sha256']}",
        "Written by": f"scikit-learn {card.software.get('scikit-learn', 'of an unknown version')}",
        "Quality": "Not judged: on which photos it was trained is not known, so no test would be fair.",
        "Space": " + ".join(space or _UNKNOWN_SPACE for space in card.spaces),
    }
    rows = "".join(f"<dt>{name}</dt><dd>{shown(text)}</dd>" for name, text in told.items())
    title = f"{shown(card.collection)}: converted from image_embed"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title></head><body><h1>{title}</h1><dl>{rows}</dl></body></html>\n"
    )
