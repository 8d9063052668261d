"""Collections: what the storage keeps, joined with the operations that embed for it."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from app.core.artifacts import Vector
from app.core.collection import VECTOR, Hit
from app.core.errors import InvalidParams, UnsupportedOperation
from app.core.filters import Filter
from app.core.operation import Operation, Ref
from app.core.plan import IMAGE_NODE
from app.core.registry import Registry
from app.core.resolver import ChooseEngine, resolve_refs, validated
from app.core.target import REGION_PARAMS
from app.core.wording import quoted
from app.index.calls import Calls
from app.index.storage import CollectionRecord, Declaration, Matrix, NewItem, Query, Storage

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_RULE = "must be 1 to 64 letters, digits and . _ -, beginning with a letter or a digit"

# Most calls take a millisecond; those that take long must not take all threads.
_THREADS = 8
_WAITING = 256
_WAITING_LONG = 3

# The stage whose hashes are kept beside the vectors of images.
PERCEPTUAL_HASH = "phash"

# Chosen when a task is answered, and no part of what a vector is.
_PRESENTATION = {"crop_format": "none"}


class Collections:
    """The collections of one server.

    Its methods and those of the storage block: run them by `call`, and those that compare all with all by
    `call_long`.

    Args:
        storage: where they are kept.
        registry: the operations that embed.
        choose_engine: which of an operation's engines serves.
        seconds: after which nobody waits for a search any more.
    """

    def __init__(
        self, storage: Storage, registry: Registry, choose_engine: ChooseEngine, seconds: float = 60.0
    ) -> None:
        self.storage = storage
        self.call = Calls(_THREADS, _WAITING, "index")
        self.call_long = Calls(1, _WAITING_LONG, "index-long")
        self._registry = registry
        self._choose_engine = choose_engine
        self._seconds = seconds

    def create(self, name: str, operation_type: str, params: Mapping[str, Any]) -> CollectionRecord:
        """Make an empty collection.

        Args:
            name: of the collection.
            operation_type: of an operation that embeds regions of an image.
            params: of the operation, the target among them.

        Raises:
            CollectionExists: the name is taken.
            InvalidParams: the name, the operation or the params do not fit.
            UnsupportedOperation: there is no such operation.
            UnsupportedTarget: the operation does not take this target.
            IndexUnavailable: the storage cannot be reached.
        """
        if not NAME.fullmatch(name):
            raise InvalidParams(f"name: {NAME_RULE}, not {quoted(name)}")
        embedding = self.embedding(operation_type, params)
        target = embedding.params.model_dump(mode="json")["target"]
        if isinstance(target, dict):
            raise InvalidParams(f"target: must be a named one for a collection, not {quoted(target)}")
        plan = resolve_refs({"vector": embedding}, self._registry, self._choose_engine)
        (task,) = plan.tasks
        if task.node is None:
            raise InvalidParams(task.fault.message if task.fault else "params: cannot be planned")
        if IMAGE_NODE not in plan.upstream(task.node):
            raise InvalidParams("params: with these the operation looks at no image")
        # With the defaults of today: those of tomorrow must not change what it holds.
        declared = embedding.params.model_dump(mode="json", exclude={"crop_format"})
        # Which weights a model has is known for certain when it has made a vector.
        space = plan.space(task.node) if plan.maker_of(task.node).engine is None else None
        declaration = Declaration(name, operation_type, {**declared, "target": target}, space)
        return self.storage.create(declaration)

    def embedding(self, operation_type: str, params: Mapping[str, Any] = MappingProxyType({})) -> Ref:
        """What embeds regions of an image.

        Raises:
            InvalidParams: the operation embeds none, or the params do not fit.
            UnsupportedOperation: there is no such operation.
            UnsupportedTarget: the operation does not take this target.
        """
        operation = self._registry.find(operation_type)
        if not embeds_regions(operation):
            able = ", ".join(op.type for op in self._registry.public.values() if embeds_regions(op))
            raise InvalidParams(f"operation: '{operation.type}' embeds no regions; these do: {able}")
        return _embedding(operation, params)

    def hashing(self) -> Ref:
        """What hashes a whole image.

        Raises:
            UnsupportedOperation: this server lacks it.
        """
        stage = self._registry.get(PERCEPTUAL_HASH)
        if stage is None:
            raise UnsupportedOperation("This server has no perceptual hashes.")
        return Ref(stage, validated(stage, {"target": "whole_image", **_PRESENTATION}))

    def find(self, name: str) -> "StoredCollection":
        """A collection, to add to and to search.

        Raises:
            CollectionNotFound: there is none of this name.
            UnsupportedOperation: this server lacks its operation.
            IndexUnavailable: the storage cannot be reached.
        """
        record = self.storage.collection(name)
        return StoredCollection(record, self.storage, self._registry, time.monotonic() + self._seconds)

    def planned_space(self, embedding: Ref) -> str | None:
        """The space of the vectors that this server would make now."""
        plan = resolve_refs({"vector": embedding}, self._registry, self._choose_engine)
        (task,) = plan.tasks
        return None if task.node is None else plan.space(task.node)

    def close(self) -> None:
        """Close the storage too."""
        self.call.close()
        self.call_long.close()
        self.storage.close()


@dataclass(frozen=True)
class StoredCollection:
    """A collection as it stood when it was looked up; `app.core.collection.Collection` for operations."""

    record: CollectionRecord
    storage: Storage
    registry: Registry
    until: float

    @property
    def name(self) -> str:
        return self.record.declared.name

    @property
    def state(self) -> str:
        return self.record.state

    @property
    def space(self) -> str | None:
        return self.record.space

    @property
    def spaces(self) -> Mapping[str, str]:
        return {} if self.space is None else {VECTOR: self.space}

    @property
    def operation(self) -> Operation:
        """What embeds for it.

        Raises:
            UnsupportedOperation: this server lacks it.
        """
        return self.registry.find(self.record.declared.operation)

    def embedding(self, chosen: Mapping[str, Any] = MappingProxyType({})) -> Ref:
        return _embedding(self.operation, {**self.record.declared.params, **chosen})

    def add(self, item: NewItem, space: str) -> bool:
        """Add an item, and tell whether it replaced another one.

        Raises:
            CollectionNotFound: it is not there any more, or was made anew under its name.
            SpaceMismatch, InvalidParams: the vectors are not of its space or dimensions.
        """
        (replaced,) = self.storage.add(self.name, [item], space, identity=self.record.identity)
        return replaced

    def nearest(self, vectors: Matrix, query: Query) -> list[list[Hit]]:
        """For each vector its hits."""
        query = replace(query, until=self.until)
        return self.storage.search(self.name, vectors, query, identity=self.record.identity)

    def hashing(self, embedding: Ref) -> Ref | None:
        """What hashes the same regions perceptually; None where the server lacks that stage."""
        stage = self.registry.get(PERCEPTUAL_HASH)
        if stage is None:
            return None
        regions = embedding.params.model_dump(mode="json", include=set(REGION_PARAMS))
        return Ref(stage, validated(stage, {**regions, **_PRESENTATION}))

    def text(self, text: str) -> Ref:
        operation = self.operation
        if operation.of_text is None:
            able = ", ".join(op.type for op in self.registry.public.values() if op.of_text)
            raise InvalidParams(
                f"text: the collection '{self.name}' holds vectors of {operation.type}, which embeds no "
                f"texts; these do: {able}"
            )
        return operation.of_text(self.embedding().params, text)

    def search(
        self, vectors: Sequence[Vector], *, k: int, min_score: float | None, filter: Filter | None
    ) -> list[list[Hit]]:
        if not vectors:
            return []
        matrix = np.stack([vector.values for vector in vectors])
        return self.nearest(matrix, Query(k=k, min_score=min_score, filter=filter))

    def near_hashes(
        self, phashes: Sequence[int], *, k: int, max_distance: int, filter: Filter | None
    ) -> list[list[tuple[Hit, int]]]:
        query = Query(k=k, filter=filter, until=self.until)
        found = [
            self.storage.near_hashes(self.name, phash, max_distance, query, identity=self.record.identity)
            for phash in phashes
        ]
        return [[(near.hit, near.distance) for near in of_one] for of_one in found]


def embeds_regions(operation: Operation) -> bool:
    """Whether an operation makes vectors of regions of an image."""
    return operation.public and operation.gives_vectors and "target" in operation.params.model_fields


def _embedding(operation: Operation, params: Mapping[str, Any]) -> Ref:
    return Ref(operation, validated(operation, {**params, **_PRESENTATION}))
