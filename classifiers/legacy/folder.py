"""The folder of image_embed's classifiers: which it has, and what is in their files.

It holds a pickle of each version, and `best_models.json`, which names the best one of each collection and
tells what that one reads.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from app.core.wording import explain, quoted
from classifiers.durable import read_bounded
from classifiers.head import Floats
from classifiers.legacy.compression import MAX_BYTES
from classifiers.legacy.pickles import LegacyModel, PickleRefused, read
from classifiers.rows import Embedding, SourceError
from classifiers.sources.fields import Fields, OperationName
from classifiers.sources.image_embed import other_vectors
from classifiers.sources.targets import target_named
from classifiers.stored import BEST

Plain = bool | int | float | str

# Of what image_embed makes; no file tells how the vectors of several embeddings are joined.
_LENGTHS = {
    "embed_clip_vit_b_32": 512,
    "embed_dino_v2": 768,
    "embed_dino_v3": 1024,
    "embed_dino_v3_patch": 1024,
}
_FILE_NAME = re.compile(r"collection_(\d+)_\w*classifier")
_OPERATION: TypeAdapter[str] = TypeAdapter(OperationName)
_PARAMETERS = ("C", "class_weight", "solver", "fit_intercept", "max_iter", "random_state")


class ConversionRefused(Exception):
    """A file is no classifier of image_embed, or too little is known of it; the message tells the remedy."""


class Entry(Fields):
    """What `best_models.json` tells of a classifier; the oldest ones tell the name of the file alone."""

    model_file: str
    derivative_type: str | None = None
    embedding_type: str | None = None
    dimensionality: int | None = None


_ENTRIES: TypeAdapter[dict[str, str | Entry]] = TypeAdapter(dict[str, str | Entry])


@dataclass(frozen=True, slots=True)
class Listed:
    """A classifier in a folder. Of a file that the folder does not name, the collection may be unknown."""

    folder: Path
    collection: str | None
    entry: Entry


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A classifier that can be converted, read wholly.

    `spaces` are those of the vectors that it reads, where somebody tells them. `names` are all that its
    pickle names; `weights` [d] and `bias` [1] give the log-odds of true.
    """

    collection: str
    file: Path
    size: int
    sha256: str
    target: str
    embeddings: tuple[Embedding, ...]
    spaces: tuple[str | None, ...]
    dimensions: tuple[int, ...]
    names: tuple[str, ...]
    weights: Floats
    bias: Floats
    parameters: dict[str, Plain]
    written_by: Plain | None


def listed(path: Path) -> list[Listed]:
    """The classifiers that a folder names, or the one of a file.

    Raises:
        ConversionRefused: it cannot be told which these are.
    """
    if path.is_dir():
        named = _named(path)
        if named is None:
            raise ConversionRefused(f"It has no {BEST}, as image_embed writes it; give one of its files.")
        return named
    for each in _named(path.parent) or ():
        if each.entry.model_file == path.name:
            return [each]
    # What is told of another version of the collection need not hold for this one.
    told = _FILE_NAME.match(path.name)
    return [Listed(path.parent, told and told[1], Entry(model_file=path.name))]


def opened(
    classifier: Listed,
    *,
    embeddings: Sequence[Embedding] = (),
    target: str | None = None,
    spaces: Mapping[str, str] | None = None,
) -> Found:
    """Read a classifier; nothing of its file is run.

    Args:
        classifier: which one.
        embeddings: what it reads, where its folder does not tell.
        target: of which region, where its folder does not tell.
        spaces: of which spaces its vectors are, by operation; no folder tells.

    Raises:
        ConversionRefused: it is none, or too little is known of it, or it reads other vectors than those that
            are made here.
    """
    spaces = spaces or {}
    entry = classifier.entry
    if not classifier.collection:
        raise ConversionRefused("nothing tells of which collection it is: give --collection")
    if Path(entry.model_file).name != entry.model_file:
        raise ConversionRefused(f"{BEST} names the file {quoted(entry.model_file)}, which is not beside it")
    embeddings = _embeddings(entry) or tuple(embeddings)
    if not embeddings:
        raise ConversionRefused("nothing tells which embedding it reads: give --embedding")
    target = _target(entry) or target
    if target is None:
        raise ConversionRefused("nothing tells which region it looks at: give --target")
    differing = other_vectors([embedding.operation for embedding in embeddings], spaces)
    if differing is not None:
        raise ConversionRefused(differing)
    file = classifier.folder / entry.model_file
    if not file.is_file():
        raise ConversionRefused("there is no such file")
    try:
        data = read_bounded(file, MAX_BYTES)
        model = read(data)
    except OSError as error:
        raise ConversionRefused(f"it cannot be read: {error.strerror or error}") from None
    except PickleRefused as error:
        raise ConversionRefused(f"{error}; nothing of it was run") from None
    weights, bias = _line(model)
    if entry.dimensionality not in (None, len(weights)):
        raise ConversionRefused(
            f"it reads {len(weights)} values, and {BEST} says {entry.dimensionality}: the two do not belong "
            f"together"
        )
    parameters = {name: _plain(model.attributes.get(name)) for name in _PARAMETERS}
    return Found(
        collection=classifier.collection,
        file=file,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        target=target,
        embeddings=tuple(embeddings),
        spaces=tuple(spaces.get(embedding.operation) for embedding in embeddings),
        dimensions=_dimensions(embeddings, len(weights)),
        names=model.names,
        weights=weights,
        bias=bias,
        parameters={name: value for name, value in parameters.items() if value is not None},
        written_by=_plain(model.attributes.get("_sklearn_version")),
    )


def _named(folder: Path) -> list[Listed] | None:
    """What its `best_models.json` names; None where there is none."""
    try:
        entries = _ENTRIES.validate_json(read_bounded(folder / BEST, MAX_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConversionRefused(f"{BEST} cannot be read: {error.strerror or error}.") from None
    except ValidationError as error:
        told = explain(error.errors(include_url=False), whole="content")
        raise ConversionRefused(f"{BEST} is none of image_embed's: {told}.") from None
    return [
        Listed(folder, collection, Entry(model_file=entry) if isinstance(entry, str) else entry)
        for collection, entry in entries.items()
    ]


def _embeddings(entry: Entry) -> tuple[Embedding, ...]:
    if entry.embedding_type is None:
        return ()
    names = entry.embedding_type.split("+")
    try:
        return tuple(Embedding(_OPERATION.validate_python(name)) for name in names)
    except ValidationError:
        raise ConversionRefused(
            f"{BEST} says that it reads {quoted(entry.embedding_type)}, which are no names of operations"
        ) from None


def _target(entry: Entry) -> str | None:
    if entry.derivative_type is None:
        return None
    try:
        return target_named(entry.derivative_type, f"{BEST}: derivative_type")
    except SourceError as error:
        raise ConversionRefused(str(error).removesuffix(".")) from None


def _line(model: LegacyModel) -> tuple[Floats, Floats]:
    """Weights [d] and bias [1] of the log-odds of true."""
    classes, weights, bias = (_array(model, name) for name in ("classes_", "coef_", "intercept_"))
    if classes.dtype.kind not in "biu" or classes.tolist() != [False, True]:
        raise ConversionRefused(f"it tells {quoted(classes.tolist())} apart, and not false from true")
    if model.attributes.get("multi_class") == "multinomial":
        # What scikit-learn makes of two labels then depends on its version.
        raise ConversionRefused("it was fitted as multinomial, which image_embed does not do")
    if not weights.size or weights.shape != (1, weights.size) or bias.shape != (1,):
        raise ConversionRefused(
            f"its weights have the shapes {list(weights.shape)} and {list(bias.shape)}, not those of one line"
        )
    if not all(each.dtype.kind == "f" and np.isfinite(each).all() for each in (weights, bias)):
        raise ConversionRefused("its weights are not all finite numbers")
    return weights[0].astype(np.float64), bias.astype(np.float64)


def _array(model: LegacyModel, name: str) -> NDArray[Any]:
    found = model.attributes.get(name)
    if not isinstance(found, np.ndarray):
        raise ConversionRefused(f"its {name} is no array: it was not trained")
    return found


def _dimensions(embeddings: Sequence[Embedding], width: int) -> tuple[int, ...]:
    """How long the vectors of each embedding are."""
    names = [embedding.operation for embedding in embeddings]
    if len(names) == 1 and names[0] not in _LENGTHS:
        return (width,)
    lengths = tuple(_LENGTHS[name] for name in names if name in _LENGTHS)
    if len(lengths) < len(names):
        raise ConversionRefused(
            f"nothing tells how its {width} values are divided among {' and '.join(names)}: of image_embed's "
            f"embeddings only {', '.join(_LENGTHS)} are known. Train it anew"
        )
    if sum(lengths) != width:
        raise ConversionRefused(f"it reads {width} values, and {' and '.join(names)} make {sum(lengths)}")
    return lengths


def _plain(value: object) -> Plain | None:
    """A value as a card takes it; None where it takes none such."""
    if isinstance(value, str):
        return value if value.isascii() and value.isprintable() and len(value) <= 64 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int) else None
