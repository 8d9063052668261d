"""The tree of errors: what it says of itself, and what each task error tells the client."""

import re
from collections.abc import Iterator

import pytest

from app.core import errors
from app.core.errors import (
    DependencyFailed,
    Fault,
    ImageUnavailable,
    ImageUnreadable,
    Internal,
    Overloaded,
    RegionNotFound,
    RequestError,
    SightgraphError,
    TaskError,
)

# Every code that a task may answer, with its status.
STATUS_OF_CODE = {
    "unsupported_operation": "skipped",
    "unsupported_target": "skipped",
    "invalid_params": "skipped",
    "invalid_reference": "skipped",
    "region_not_found": "skipped",
    "collection_not_found": "skipped",
    "not_permitted": "skipped",
    "item_not_found": "skipped",
    "space_mismatch": "error",
    "index_unavailable": "error",
    "classifier_unavailable": "error",
    "classifier_not_found": "skipped",
    "model_unavailable": "error",
    "dependency_failed": "error",
    "deadline_exceeded": "error",
    "internal": "error",
}


def below(kind: type[SightgraphError]) -> Iterator[type[SightgraphError]]:
    """The classes of the module under one, those of its own subclasses included."""
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from below(child)


def leaves() -> list[type[TaskError]]:
    return [kind for kind in below(TaskError) if not any(below(kind))]


def drawn_parents() -> dict[str, str | None]:
    """The tree in the module's docstring: every class with the one that it hangs from."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        drawn = re.match(r"([│├└─ ]*)([A-Z]\w+)(?:  |$)", line)
        if drawn:
            depth = len(drawn[1]) // 4
            path[depth:] = [drawn[2]]
            parents[drawn[2]] = path[depth - 1] if depth else None
    return parents


def test_the_docstring_draws_the_real_tree():
    real = {kind.__name__: kind.__bases__[0].__name__ for kind in below(SightgraphError)}
    assert drawn_parents() == {"SightgraphError": None, **real}


@pytest.mark.parametrize("kind", leaves(), ids=lambda kind: kind.__name__)
def test_every_leaf_has_its_code_and_status(kind):
    assert kind.code == re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()
    assert kind.status == STATUS_OF_CODE[kind.code]
    assert kind("why").fault() == Fault(kind.status, kind.code, "why")


def test_every_code_has_its_class():
    assert {kind.code for kind in leaves()} == STATUS_OF_CODE.keys()
    assert len({kind.code for kind in leaves()}) == len(leaves())


def test_a_fault_says_where_it_happened():
    assert RegionNotFound("No face.").fault("detect").stage == "detect"
    assert RegionNotFound("No face.").fault().stage is None


def test_the_root_of_a_chain_is_its_first_fault():
    first = Internal("broken").fault("detect")
    second = Fault("error", DependencyFailed.code, "detect: broken", "embed", caused_by=first)
    third = Fault("error", DependencyFailed.code, "embed: detect: broken", caused_by=second)
    assert third.root is second.root is first.root is first


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImageUnavailable("404"), "Could not download image from URL: 404"),
        (ImageUnreadable("not an image"), "Could not process image: not an image"),
    ],
)
def test_the_messages_that_clients_know(error, message):
    assert isinstance(error, RequestError)
    assert str(error) == message


def test_a_full_server_says_when_to_come_back():
    error = Overloaded("full", retry_after=3)
    assert (str(error), error.retry_after) == ("full", 3)
