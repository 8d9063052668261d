"""The registry: a frozen map from type to operation, discovered at start-up."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType, ModuleType

from app.core.errors import RegistryError, UnsupportedOperation
from app.core.operation import EngineSpec, Gathered, Operation, Ref
from app.core.plugins import plugin_modules
from app.core.wording import shortened

_LONGEST_CHAIN = 64


class Registry(Mapping[str, Operation]):
    """Frozen name -> operation, stages included. Iterates in order of type.

    Raises:
        RegistryError: two operations share a type, or one needs an operation that is not registered
            or needs itself without end.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        by_type: dict[str, Operation] = {}
        for operation in operations:
            other = by_type.get(operation.type)
            if other is not None:
                raise RegistryError(
                    f"{operation.type}: declared twice, in {other.module} and in {operation.module}"
                )
            by_type[operation.type] = operation
        self._operations = MappingProxyType(dict(sorted(by_type.items())))
        for operation in self._operations.values():
            # What one that uses a resource needs is known with the resource only.
            if operation.example_params is not None and operation.uses is None:
                self._check_needs(Ref(operation, operation.example_params), ())
        self._check_engine_names()

    def __getitem__(self, type_: str) -> Operation:
        return self._operations[type_]

    def __iter__(self) -> Iterator[str]:
        return iter(self._operations)

    def __len__(self) -> int:
        return len(self._operations)

    @property
    def public(self) -> dict[str, Operation]:
        """The operations that a task may ask for."""
        return {name: op for name, op in self._operations.items() if op.public}

    @property
    def engines(self) -> dict[str, EngineSpec]:
        """Every engine by its name."""
        return {spec.name: spec for op in self._operations.values() for spec in op.engines}

    def find(self, type_: str) -> Operation:
        """The public operation of this type.

        Raises:
            UnsupportedOperation: there is none; the message names the nearest type.
        """
        public = self.public
        if type_ in public:
            return public[type_]
        near = difflib.get_close_matches(type_, public, n=1, cutoff=0.7)
        hint = f"Did you mean '{near[0]}'?" if near else f"Supported types: {', '.join(public)}."
        raise UnsupportedOperation(f"Unsupported operation type '{shortened(type_)}'. {hint}")

    def _check_needs(self, ref: Ref, path: tuple[Ref, ...]) -> None:
        operation = ref.operation
        if self._operations.get(operation.type) is not operation:
            asker = path[-1].operation.type if path else operation.type
            raise RegistryError(f"{asker}: needs '{operation.type}', which is not registered")
        if ref in path:
            names = " -> ".join(step.operation.type for step in (*path, ref))
            raise RegistryError(f"{operation.type}: needs itself: {names}")
        if len(path) > _LONGEST_CHAIN:
            raise RegistryError(f"{path[0].operation.type}: needs itself without end")
        for need in operation.needs(ref.params).values():
            source = need.source if isinstance(need, Gathered) else need
            if isinstance(source, Ref):
                self._check_needs(source, (*path, ref))

    def _check_engine_names(self) -> None:
        """A setting and a result's key know an engine by its name alone."""
        by_name: dict[str, EngineSpec] = {}
        for operation in self._operations.values():
            for spec in operation.engines:
                if by_name.setdefault(spec.name, spec) != spec:
                    raise RegistryError(f"{operation.type}: another engine is also named '{spec.name}'")


def discover(package: str) -> Registry:
    """Every operation of a package's modules and of the installed `sightgraph.operations` plugins.

    Raises:
        RegistryError: a module cannot be imported, declares no operation, or breaks a rule of the
            registry. The message names it.
    """
    root = importlib.import_module(package)
    modules = [
        f"{package}.{module.name}"
        for module in pkgutil.iter_modules(root.__path__)
        if not module.name.startswith("_")
    ]
    found: list[Operation] = []
    for name in dict.fromkeys([*modules, *plugin_modules()]):
        found.extend(declared_in(_imported(name)))
    return Registry(found)


def declared_in(module: ModuleType) -> list[Operation]:
    """The operations that a module declares itself, not those that it imports."""
    operations = [
        value
        for value in vars(module).values()
        if isinstance(value, Operation) and value.module == module.__name__
    ]
    if not operations:
        raise RegistryError(f"{module.__name__}: declares no operation")
    return operations


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except RegistryError:
        raise
    except Exception as error:
        raise RegistryError(f"{name}: cannot be imported: {error}") from error
