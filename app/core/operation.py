"""The declaration of an operation: one file gives everything that the server knows of it.

    class Params(TargetParams):
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
        \"\"\"What the client may choose, described and bounded.\"\"\"

    def needs(params: Params) -> Needs:
        return {"crop": regions.ref(params)}

    @operation(params=Params, needs=needs, engine=ENGINE)
    def measure(crop: Sequence[Crop], params: Params, engine: Engine) -> list[Measure | TaskError]:
        \"\"\"The first line is the catalog's summary.\"\"\"

`run` is batch-first: every need arrives as a sequence under its own name, all of one length, and a list
of that length goes back, also when it is zero. An item that cannot be done is a `TaskError` in its place.
"""

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from app.core.artifacts import Region
from app.core.errors import RegistryError, TaskError
from app.core.key import digest


class OutsideKey:
    """Marks a field of Params that does not change what `run` computes on an item.

    Such fields choose the inputs or the presentation. `run` sees them at their defaults, so that it
    cannot come to depend on them.
    """


OUTSIDE_KEY = OutsideKey()


class Params(BaseModel):
    """Base of every operation's params: frozen, strict, unknown fields refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)

    @property
    def is_plural(self) -> bool:
        """Whether the answer is a list of items and not one result."""
        return False

    def computing(self) -> "typing.Self":
        """These params as `run` sees them: what lies outside the key is at its default."""
        fields = type(self).model_fields
        return self.model_copy(
            update={name: fields[name].get_default(call_default_factory=True) for name in self._outside_key()}
        )

    def canonical(self) -> dict[str, Any]:
        """The fields that a result depends on, defaults filled in, as JSON values."""
        return self.model_dump(mode="json", exclude=self._outside_key())

    def chosen(self) -> dict[str, Any]:
        """The same without those at their defaults, for people."""
        return self.model_dump(mode="json", exclude=self._outside_key(), exclude_defaults=True)

    @classmethod
    def _outside_key(cls) -> set[str]:
        return {name for name, field in cls.model_fields.items() if OUTSIDE_KEY in field.metadata}


class NoParams(Params):
    """For operations that have nothing to choose."""


class Weights(Protocol):
    """An engine's files, as far as planning needs to know them."""

    @property
    def source(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """The digest that identifies the weights; may read files, but loads no model."""

    @property
    def size_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """A model that can be loaded: where it comes from, what it costs and what identifies it.

    `load` imports what it needs and answers the loaded engine. `batch` is the number of items beyond
    which one call gains nothing. `limits` says what it cannot do.
    """

    name: str
    weights: Weights
    licence: str
    load: Callable[[], Any]
    batch: int = 1
    limits: str = ""


class ImageRef:
    """The request's own image, as one region: the whole of it."""


IMAGE = ImageRef()


@dataclass(frozen=True)
class TaskRef:
    """Another task of the same request. `field` is the param that names it, for messages.

    With `locates`, that task must be one that finds boxes.
    """

    operation_id: str
    field: str
    locates: bool = False


@dataclass(frozen=True)
class Ref:
    """An operation with its params, as a dependency."""

    operation: "Operation"
    params: Params


Source = ImageRef | TaskRef | Ref
Needs = Mapping[str, Source]


@dataclass(frozen=True, slots=True)
class Selection:
    """What an expanding operation answers: the regions it chose, and what the client should know."""

    regions: tuple[Region, ...]
    warnings: tuple[str, ...] = ()


# Inside the class, `type` is a field.
ParamsType = type[Params]


@dataclass(frozen=True, eq=False)
class Operation:
    """A declared kind of computation. Made by `@operation`; callable by tests through `run`."""

    type: str
    summary: str
    description: str
    module: str
    params: ParamsType
    needs: Callable[[Any], Needs]
    run: Callable[..., Any]
    output: Any
    engines: tuple[EngineSpec, ...] = ()
    version: int = 1
    public: bool = True
    expands: bool = False
    batch: int = 1
    finds: Callable[[Region, Any], Sequence[Region]] | None = None
    crop: Callable[[Any], Ref | None] | None = None
    model_of: str | None = None

    @cached_property
    def default_params(self) -> Params | None:
        """The params of a task that gives none; None where a field is required."""
        if any(field.is_required() for field in self.params.model_fields.values()):
            return None
        return self.params()

    def space(self, engine: EngineSpec | None) -> str:
        """What makes two of this operation's vectors comparable: code, model, weights."""
        version = f"{self.type}/{self.version}"
        if engine is None:
            return version
        return f"{version}/{engine.name}/{engine.weights.fingerprint[:12]}"

    def __repr__(self) -> str:
        return f"<operation {self.type}>"


F = TypeVar("F", bound=Callable[..., Any])


def operation(
    *,
    params: type[Params] = NoParams,
    needs: Callable[[Any], Needs],
    engine: EngineSpec | Sequence[EngineSpec] = (),
    version: int = 1,
    public: bool = True,
    expands: bool = False,
    batch: int = 1,
    finds: Callable[[Region, Any], Sequence[Region]] | None = None,
    crop: Callable[[Any], Ref | None] | None = None,
    model_of: str | None = None,
) -> Callable[[F], Operation]:
    """Declare the decorated function as the `run` of an operation of the same name.

    Args:
        params: what a client may choose.
        needs: a pure function from params to the named inputs of `run`.
        engine: the engine that serves it, or several that do the same job in order of preference.
        version: raised whenever the same input would give another result.
        public: False for a stage, which tasks share but no client asks for.
        expands: True for the one kind of operation that turns found regions into a list of items.
        batch: how many items one call of an operation without an engine takes.
        finds: the regions that a result located; makes the task a possible target of others.
        crop: the stage that encodes the crop which the answer shows.
        model_of: the need whose engine made the answer, where the operation has no engine itself.

    Raises:
        RegistryError: the declaration is malformed; the message names the operation.
    """
    engines = (engine,) if isinstance(engine, EngineSpec) else tuple(engine)

    def declare(run: F) -> Operation:
        name = run.__name__
        lines = inspect.cleandoc(run.__doc__ or "").splitlines()
        if not lines or not lines[0].strip():
            raise RegistryError(f"{name}: the first line of its docstring is the summary, and is missing")
        parameters = set(inspect.signature(run).parameters)
        if "params" not in parameters:
            raise RegistryError(f"{name}: its run takes no params")
        if bool(engines) != ("engine" in parameters):
            raise RegistryError(
                f"{name}: declares {len(engines)} engines, and its run takes "
                f"{'one' if 'engine' in parameters else 'none'}"
            )
        declared = Operation(
            type=name,
            summary=lines[0].strip(),
            description="\n".join(lines[1:]).strip(),
            module=run.__module__,
            params=params,
            needs=needs,
            run=run,
            output=_output_of(run, expands),
            engines=engines,
            version=version,
            public=public,
            expands=expands,
            batch=max([batch, *(spec.batch for spec in engines)]),
            finds=finds,
            crop=crop,
            model_of=model_of,
        )
        example = declared.default_params
        if example is not None and not expands:
            inputs = parameters - {"params", "engine"}
            named = set(needs(example))
            if inputs != named:
                raise RegistryError(f"{name}: run takes {sorted(inputs)}, but needs() names {sorted(named)}")
        return declared

    return declare


def _output_of(run: Callable[..., Any], expands: bool) -> Any:
    """The type of one item's result, from the annotation `list[T]` or `list[T | TaskError]`."""
    answer = typing.get_type_hints(run).get("return")
    if expands:
        if answer is not Selection:
            raise RegistryError(f"{run.__name__}: an expanding run returns a Selection")
        return Region
    if typing.get_origin(answer) is not list:
        raise RegistryError(f"{run.__name__}: run returns a list with one result an item")
    (item,) = typing.get_args(answer)
    if typing.get_origin(item) not in (typing.Union, types.UnionType):
        return item
    kinds = [kind for kind in typing.get_args(item) if kind is not TaskError]
    return kinds[0] if len(kinds) == 1 else typing.Union[tuple(kinds)]  # noqa: UP007


def engine_key(engine: EngineSpec | None) -> str | None:
    """What a result's key says of its engine."""
    return None if engine is None else digest(engine.name, engine.weights.fingerprint)
