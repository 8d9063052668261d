"""Everything that can go wrong, as one tree.

SightgraphError
├── RegistryError               an operation's declaration is wrong; the server does not start
├── RequestError                the whole request is refused
│   ├── MalformedRequest        its structure cannot be read
│   ├── ImageUnavailable        its image cannot be downloaded
│   ├── ImageUnreadable         its image cannot be decoded
│   ├── ImageTooLarge           its upload is over the limit
│   ├── Overloaded              the server is full; try again later
│   ├── CollectionExists        a collection of this name is there already
│   ├── ModelNotFound           the server has no model of this name
│   ├── WrongState              a model cannot be fetched, loaded or unloaded as it stands
│   └── ClientLeft              nobody waits for the answer any more
└── TaskError                   one task, or one item of it, has no result
    ├── Skipped                 nothing was done; asking again gives the same
    │   ├── UnsupportedOperation
    │   ├── UnsupportedTarget
    │   ├── InvalidParams
    │   ├── InvalidReference
    │   ├── RegionNotFound
    │   ├── CollectionNotFound
    │   ├── ClassifierNotFound
    │   ├── NotPermitted
    │   └── ItemNotFound
    └── Failed                  the server tried and failed; asking again may help
        ├── ModelUnavailable
        ├── SpaceMismatch
        ├── ClassifierUnavailable
        ├── IndexUnavailable
        ├── DependencyFailed
        ├── DeadlineExceeded
        └── Internal
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

Status = Literal["success", "error", "skipped"]


class SightgraphError(Exception):
    """The root: whatever Sightgraph raises on purpose."""


class RegistryError(SightgraphError):
    """An operation's declaration is wrong. Raised at start-up and names the operation."""


class RequestError(SightgraphError):
    """The whole request is refused, or one of its items. The message goes to the client as it is."""

    code: ClassVar[str]


class MalformedRequest(RequestError):
    """The structure of the request cannot be read."""

    code = "malformed_request"


class ImageUnavailable(RequestError):
    """The image cannot be downloaded."""

    code = "image_unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__(f"Could not download image from URL: {reason}")


class ImageUnreadable(RequestError):
    """The bytes are not an image that can be decoded."""

    code = "image_unreadable"

    def __init__(self, reason: str) -> None:
        super().__init__(f"Could not process image: {reason}")


class ImageTooLarge(RequestError):
    """The upload is over the limit."""

    code = "image_too_large"


class Overloaded(RequestError):
    """The server has as much to do as it can bound."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CollectionExists(RequestError):
    """The name of a new collection is taken."""

    code = "collection_exists"


class ModelNotFound(RequestError):
    """The server has no model of this name."""

    code = "model_not_found"


class WrongState(RequestError):
    """What is wanted of a model does not fit how it stands."""

    code = "wrong_state"


class ClientLeft(RequestError):
    """The client closed its connection before the answer."""

    code = "client_left"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a task, a node or an item has no result.

    `stage` names the operation (and, where a client's own task is meant, that task) in which it
    happened; it is filled when the fault is the cause of another one.
    """

    status: Literal["error", "skipped"]
    code: str
    message: str
    stage: str | None = None
    caused_by: "Fault | None" = None

    @property
    def root(self) -> "Fault":
        """The first fault of the chain."""
        fault = self
        while fault.caused_by is not None:
            fault = fault.caused_by
        return fault


class TaskError(SightgraphError):
    """One task, or one item of it, has no result. Its siblings are not touched.

    An operation's `run` returns an instance in an item's place to fail that item alone, or raises
    one to fail the whole batch.
    """

    status: ClassVar[Literal["error", "skipped"]]
    code: ClassVar[str]

    def fault(self, stage: str | None = None) -> Fault:
        return Fault(self.status, self.code, str(self), stage)


class Skipped(TaskError):
    """Nothing was done, because of what was asked or what the image holds."""

    status = "skipped"


class UnsupportedOperation(Skipped):
    code = "unsupported_operation"


class UnsupportedTarget(Skipped):
    code = "unsupported_target"


class InvalidParams(Skipped):
    code = "invalid_params"


class InvalidReference(Skipped):
    code = "invalid_reference"


class RegionNotFound(Skipped):
    code = "region_not_found"


class CollectionNotFound(Skipped):
    code = "collection_not_found"


class ClassifierNotFound(Skipped):
    code = "classifier_not_found"


class NotPermitted(Skipped):
    """The client's key lacks the scope."""

    code = "not_permitted"


class ItemNotFound(Skipped):
    code = "item_not_found"


class Failed(TaskError):
    """The server tried and failed."""

    status = "error"


class ModelUnavailable(Failed):
    code = "model_unavailable"


class SpaceMismatch(Failed):
    """Vectors of two spaces would be compared: a model was replaced, or another one is meant."""

    code = "space_mismatch"


class ClassifierUnavailable(Failed):
    """The classifier is there and cannot be read."""

    code = "classifier_unavailable"


class IndexUnavailable(Failed):
    """The index cannot be reached, or another process holds it."""

    code = "index_unavailable"


class DependencyFailed(Failed):
    code = "dependency_failed"


class DeadlineExceeded(Failed):
    code = "deadline_exceeded"


class Internal(Failed):
    code = "internal"
