"""A logistic regression out of a file that joblib wrote, of which nothing is run.

A pickle is a program: it names functions, and says what they are called with. Here no unpickler runs it. Its
instructions are followed on data alone, a name in it is never looked up, and of what it calls only that is
understood which a LogisticRegression is written with: the model, arrays, numbers. All else refuses the file.
"""

import io
import math
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.wording import shortened
from classifiers.legacy.compression import MAX_BYTES, CompressionRefused, unpacked

# A regression has 200.
_MAX_INSTRUCTIONS = 10_000

_MODELS = (
    "sklearn.linear_model._logistic.LogisticRegression",
    "sklearn.linear_model.logistic.LogisticRegression",
)
_WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
_ARRAY = "numpy.ndarray"
_DTYPE = "numpy.dtype"
_SCALARS = ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar")
KNOWN = frozenset((*_MODELS, _WRAPPER, _ARRAY, _DTYPE, *_SCALARS))
_CODES = frozenset(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"))


class PickleRefused(ValueError):
    """A file is not what joblib writes of a LogisticRegression. Nothing of it was run."""


@dataclass(frozen=True, slots=True, eq=False)
class LegacyModel:
    """The attributes of a LogisticRegression, and all names that its file holds."""

    attributes: Mapping[str, object]
    names: tuple[str, ...]


def read(data: bytes) -> LegacyModel:
    """The model in a file.

    Raises:
        PickleRefused: there is none, or more than that.
    """
    try:
        reader = _Reader(unpacked(data))
        model = reader.result()
    except PickleRefused:
        raise
    except CompressionRefused as error:
        raise PickleRefused(str(error)) from None
    # What pickletools raises on instructions that are cut off or make no sense.
    except (ValueError, ArithmeticError) as error:
        raise PickleRefused(f"it is damaged: {shortened(str(error), 120)}") from None
    if not (isinstance(model, _Made) and model.name in _MODELS and model.state is not None):
        raise PickleRefused("it holds no LogisticRegression")
    return LegacyModel(model.state, tuple(reader.names))


@dataclass(frozen=True, slots=True, eq=False)
class _Name:
    """What the file calls by a name, and what nobody looks up."""

    dotted: str


@dataclass(slots=True, eq=False)
class _DType:
    """A type of numbers; the order of their bytes is told after it was made."""

    code: str
    order: str = "="

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


@dataclass(slots=True, eq=False)
class _Made:
    """An object of the file, as its name and its attributes."""

    name: str
    state: dict[str, Any] | None = None


class _Reader:
    """Follows the instructions of a pickle between which joblib has written the bytes of arrays."""

    def __init__(self, data: bytes) -> None:
        self.names: dict[str, None] = {}
        self._stream = io.BytesIO(data)
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        """What the pickle is of."""
        # It reads no byte before the instruction is asked for, so that arrays can be read between two.
        for count, (instruction, argument, _) in enumerate(pickletools.genops(self._stream)):
            if count > _MAX_INSTRUCTIONS:
                raise PickleRefused(f"it has more than {_MAX_INSTRUCTIONS:,} instructions")
            self._follow(instruction.name, argument)
        if self._stream.read(1):
            raise PickleRefused("it goes on after what it holds")
        return self._pop()

    def _follow(self, instruction: str, argument: Any) -> None:
        push = self._stack.append
        match instruction:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "NONE":
                push(None)
            case "NEWTRUE" | "NEWFALSE":
                push(instruction == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                push(argument)
            case "SHORT_BINUNICODE" | "BINUNICODE" | "SHORT_BINBYTES" | "BINBYTES":
                push(argument)
            case "MARK":
                self._marks.append(len(self._stack))
            case "EMPTY_TUPLE":
                push(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                push(tuple(reversed([self._pop() for _ in range(int(instruction[-1]))])))
            case "TUPLE":
                push(tuple(self._since_mark()))
            case "EMPTY_DICT":
                push({})
            case "SETITEM":
                value, key = self._pop(), self._pop()
                self._set([key, value])
            case "SETITEMS":
                self._set(self._since_mark())
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._top()
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._top()
            case "BINGET" | "LONG_BINGET":
                if argument not in self._memo:
                    raise PickleRefused("it is damaged: it recalls what it never told")
                push(self._memo[argument])
            case "GLOBAL":
                push(self._named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = self._pop(), self._pop()
                push(self._named(module, name))
            case "NEWOBJ" | "REDUCE":
                arguments, called = self._pop(), self._pop()
                push(_called(called, arguments))
            case "BUILD":
                state, made = self._pop(), self._pop()
                push(self._built(made, state))
            case other:
                raise PickleRefused(f"it has the instruction {other}, with which no such model is written")

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise PickleRefused("it is damaged: an instruction lacks what it is for")
        return self._stack.pop()

    def _top(self) -> Any:
        top = self._pop()
        self._stack.append(top)
        return top

    def _since_mark(self) -> list[Any]:
        if not self._marks:
            raise PickleRefused("it is damaged: an instruction lacks its mark")
        start = self._marks.pop()
        since = self._stack[start:]
        del self._stack[start:]
        return since

    def _set(self, items: list[Any]) -> None:
        attributes = self._top()
        keys, values = items[::2], items[1::2]
        # Nothing else is hashed: the hash of tuples in tuples in tuples may take for ever.
        if not isinstance(attributes, dict) or len(keys) != len(values):
            raise PickleRefused("it is damaged: attributes without names")
        if not all(isinstance(key, str) for key in keys):
            raise PickleRefused("it names attributes by what is no text")
        attributes.update(zip(keys, values, strict=True))

    def _named(self, module: object, name: object = None) -> _Name:
        dotted = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else ""
        if dotted not in KNOWN:
            told = f"'{shortened(dotted)}'" if dotted else "what is no name"
            raise PickleRefused(f"it names {told}, which is no part of such a model")
        self.names[dotted] = None
        return _Name(dotted)

    def _built(self, made: object, state: object) -> object:
        """An object with its attributes; in the place of a wrapper comes the array that follows it."""
        if isinstance(made, _DType) and isinstance(state, tuple):
            return _ordered(made, state)
        if isinstance(made, _Made) and made.state is None and isinstance(state, dict):
            if made.name == _WRAPPER:
                return self._array(state)
            made.state = state
            return made
        raise PickleRefused("it gives attributes to what has none")

    def _array(self, wrapper: Mapping[str, object]) -> NDArray[Any]:
        shape, kind, order = (wrapper.get(name) for name in ("shape", "dtype", "order"))
        subclass = wrapper.get("subclass")
        if (
            not (isinstance(subclass, _Name) and subclass.dotted == _ARRAY)
            or not isinstance(kind, _DType)
            or not (isinstance(order, str) and order in ("C", "F"))
            or not (isinstance(shape, tuple) and len(shape) <= 2)
            or not all(type(length) is int and 0 <= length <= MAX_BYTES for length in shape)
        ):
            raise PickleRefused("it has an array that is no plain matrix of numbers")
        # Files of joblib before 1.2 do not align arrays.
        if wrapper.get("numpy_array_alignment_bytes") is not None:
            self._bytes(self._bytes(1)[0])
        values = np.frombuffer(self._bytes(math.prod(shape) * kind.dtype.itemsize), kind.dtype)
        return values.reshape(shape, order="F" if order == "F" else "C")

    def _bytes(self, count: int) -> bytes:
        found = self._stream.read(count)
        if len(found) != count:
            raise PickleRefused("it ends before its arrays do")
        return found


def _called(called: object, arguments: object) -> object:
    """What a call makes; only these are understood."""
    name = called.dotted if isinstance(called, _Name) else ""
    match arguments:
        case () if name in _MODELS or name == _WRAPPER:
            return _Made(name)
        case (str(code), _, _) if name == _DTYPE:
            if code not in _CODES:
                raise PickleRefused(f"it has an array of {shortened(code, 16)}: of objects, or of no numbers")
            return _DType(code)
        case (_DType() as kind, bytes(value)) if name in _SCALARS and len(value) == kind.dtype.itemsize:
            return np.frombuffer(value, kind.dtype)[0].item()
    raise PickleRefused(f"it calls {name or 'what is no name'} as no such model does")


def _ordered(kind: _DType, state: tuple[Any, ...]) -> _DType:
    """A type of numbers with the order of their bytes; it has neither fields nor shape."""
    if len(state) < 5 or any(part is not None for part in state[2:5]):
        raise PickleRefused("it has an array whose values are no plain numbers")
    order = state[1]
    if not (isinstance(order, str) and order in ("<", ">", "=", "|")):
        raise PickleRefused("it has an array whose bytes are in no known order")
    kind.order = order
    return kind
