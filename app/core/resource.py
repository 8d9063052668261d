"""Resources: what the server keeps for its operations, and what changes while it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.core.errors import TaskError


class Resource(Protocol):
    """A collection of vectors, or a trained classifier."""

    @property
    def state(self) -> str:
        """What a result's key says of it: another one after every change."""

    @property
    def spaces(self) -> Mapping[str, str]:
        """The needs of an operation whose vectors must lie in a known space, each with that space."""


@dataclass(frozen=True)
class Uses:
    """That an operation works with a resource, which its params name.

    Args:
        kind: of the resource, and the name under which `run` takes it.
        name: which of that kind, from the params.
        bind: the params with what the resource decides filled in. Applied twice it changes nothing more.
        warn: what to tell the client of that, from the params as they were given and the resource.
    """

    kind: str
    name: Callable[[Any], str]
    bind: Callable[[Any, Any], Any] = lambda params, _: params
    warn: Callable[[Any, Any], tuple[str, ...]] = lambda _, __: ()


Resources = Mapping[tuple[str, str], Resource | TaskError]
"""The resources that a request's tasks name, by kind and name; where there is none, the reason."""
