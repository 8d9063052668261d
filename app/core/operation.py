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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from app.core.artifacts import Region, Vector
from app.core.errors import RegistryError, TaskError
from app.core.key import digest
from app.core.resource import Uses
from app.core.weights import Placement, Weights


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
        """These params as `run` sees them: what lies outside the key is at its default, or None without
        one."""
        fields = type(self).model_fields
        return self.model_copy(
            update={
                name: None
                if fields[name].is_required()
                else fields[name].get_default(call_default_factory=True)
                for name in self._outside_key()
            }
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


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """A model that can be loaded: where it comes from, what it costs and what identifies it.

    Args:
        name: unique among all engines.
        weights: its files.
        licence: of the weights, as an SPDX identifier where there is one.
        load: imports what it needs and answers the loaded engine.
        batch: the number of items beyond which one call gains nothing.
        limits: what it cannot do.
        input_size: what an image is scaled to, for people.
        cost_ms: for one item on two cores without a GPU, as measured; for people.
        memory_bytes: what it occupies when loaded; the size of its files where nothing is said.
        write_random: writes files like those of the weights, of full size and with seeded random values,
            into a folder; for measurements on machines that reach no hub.
    """

    name: str
    weights: Weights
    licence: str
    load: Callable[[Placement], Any]
    batch: int = 1
    limits: str = ""
    input_size: str = ""
    cost_ms: int | None = None
    memory_bytes: int | None = None
    write_random: Callable[[Path], None] | None = None

    @property
    def bytes_when_loaded(self) -> int:
        return self.memory_bytes or self.weights.size_bytes


@dataclass(frozen=True, slots=True)
class Chosen:
    """The engine that serves a node, as it stood when the node was planned.

    `fingerprint` identifies its weights, `source` says where they come from, and `caution` what every result
    made with it must say. `instead_of` is the engine that would be preferred and cannot serve yet.
    """

    spec: EngineSpec
    fingerprint: str
    source: str = ""
    caution: str = ""
    instead_of: EngineSpec | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def key(self) -> str:
        """What a result's key says of its engine."""
        return digest(self.spec.name, self.fingerprint)


class ImageRef:
    """The request's own image, as one region: the whole of it."""


IMAGE = ImageRef()


class Wanted(StrEnum):
    """What a task must give that another one refers to."""

    BOXES = "boxes"
    VECTORS = "vectors"


# A param that names another task says so in its JSON schema: forms offer the tasks that there are.
TaskId = Annotated[str, Field(min_length=1, max_length=128, json_schema_extra={"format": "task-id"})]


@dataclass(frozen=True)
class TaskRef:
    """Another task of the same request. `field` is the param that names it, for messages.

    Several of one operation that want vectors must have theirs in one space. Without `wanted` any result
    will do.
    """

    operation_id: str
    field: str
    wanted: Wanted | None = None


@dataclass(frozen=True)
class Ref:
    """An operation with its params, as a dependency."""

    operation: "Operation"
    params: Params


@dataclass(frozen=True)
class Given:
    """Values that the client gave, texts say: one item each, whatever the image."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Gathered:
    """All items of a source as one list, for every item of the operation that needs it."""

    source: "TaskRef | Ref"


Source = ImageRef | TaskRef | Ref | Given | Gathered
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
    needs: Callable[..., Needs]
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
    inline: bool = False
    engine_for: Callable[[Any], Collection[str] | None] | None = None
    space_family: str | Callable[[Any], str] | None = None
    of_text: Callable[[Any, str], Ref] | None = None
    uses: Uses | None = None
    example: Params | None = None

    @cached_property
    def takes_no_params(self) -> bool:
        """Whether a task needs to give none."""
        return not any(field.is_required() for field in self.params.model_fields.values())

    @cached_property
    def example_params(self) -> Params | None:
        """The params of a task that gives none; where a field is required, the declared example."""
        return self.params() if self.takes_no_params else self.example

    @property
    def gives_vectors(self) -> bool:
        return self.output is Vector

    def may_be_served_by(self, params: Params) -> tuple[EngineSpec, ...]:
        """The engines that can do what the params ask."""
        names = None if self.engine_for is None else self.engine_for(params)
        return tuple(spec for spec in self.engines if names is None or spec.name in names)

    def space(self, params: Params, version: int, engine: Chosen | None) -> str:
        """What makes two of this operation's vectors comparable: code, preprocessing, model, weights.

        Args:
            params: of the node that gives them.
            version: of the operation that made them, this one or the one that it passes on.
            engine: that made them.
        """
        family = self.space_family or self.type
        code = f"{family(params) if callable(family) else family}/{version}"
        return code if engine is None else f"{code}/{engine.name}/{engine.fingerprint[:12]}"

    def __repr__(self) -> str:
        return f"<operation {self.type}>"


F = TypeVar("F", bound=Callable[..., Any])


def operation(
    *,
    params: type[Params] = NoParams,
    needs: Callable[..., Needs],
    engine: EngineSpec | Sequence[EngineSpec] = (),
    version: int = 1,
    public: bool = True,
    expands: bool = False,
    batch: int = 1,
    finds: Callable[[Region, Any], Sequence[Region]] | None = None,
    crop: Callable[[Any], Ref | None] | None = None,
    model_of: str | None = None,
    inline: bool = False,
    engine_for: Callable[[Any], Collection[str] | None] | None = None,
    space_family: str | Callable[[Any], str] | None = None,
    of_text: Callable[[Any, str], Ref] | None = None,
    uses: Uses | None = None,
    example: Params | None = None,
) -> Callable[[F], Operation]:
    """Declare the decorated function as the `run` of an operation of the same name.

    Args:
        params: what a client may choose.
        needs: a pure function from params, and the resource where one is used, to the named inputs of `run`.
        engine: the engine that serves it, or several that do the same job in order of preference: the first
            that is ready. One that gives vectors is served by the first alone, whose space is the
            operation's.
        version: raised whenever the same input would give another result.
        public: False for a stage, which tasks share but no client asks for.
        expands: True for the one kind of operation that turns found regions into a list of items.
        batch: how many items one call of an operation without an engine takes.
        finds: the regions that a result located; makes the task a possible target of others.
        crop: the stage that encodes the crop which the answer shows.
        model_of: the need whose engine made the answer, where the operation has no engine itself.
        inline: True for one so cheap that it is run at once, on the event loop, and takes no lane.
        engine_for: the names of the engines that can do what the params ask; None for any.
        space_family: what the space of its vectors begins with, where several operations share one or the
            params make several; the type by default.
        of_text: what embeds a text in the space of its vectors, from the params and the text.
        uses: the resource that it works with.
        example: params of a typical task, where a field is required.

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
        if inline and engines:
            raise RegistryError(f"{name}: has an engine, and cannot be inline")
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
            batch=batch,
            finds=finds,
            crop=crop,
            model_of=model_of,
            inline=inline,
            engine_for=engine_for,
            space_family=space_family,
            of_text=of_text,
            uses=uses,
            example=example,
        )
        sample = declared.example_params
        if sample is None and public:
            raise RegistryError(f"{name}: has a required param, and gives no example")
        if uses is not None and uses.kind not in parameters:
            raise RegistryError(f"{name}: uses a {uses.kind}, and its run takes none")
        # What one that uses a resource needs is known with the resource only.
        if sample is not None and not expands and uses is None:
            inputs = parameters - {"params", "engine"}
            named = set(needs(sample))
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
