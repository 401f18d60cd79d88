"""What is known of arguments when a user's function is compiled: numba's types, checked.

A default is given as types.Omitted, or to an overload as the value itself. An argument of a wrong
type is a TypingError with the words of the TypeError from Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.np import numpy_support
from numpy.typing import NDArray

from .._kernels.runtime import compiler
from .._ops import checks

OPTIONS: Any = compiler.OPTIONS  # or those of the user's function would be taken

_SAMPLES: tuple[tuple[Any, Any], ...] = (
    (types.Boolean, False),
    (types.Integer, 0),
    (types.Float, 0.0),  # of 64 bits
    (types.Complex, 0j),
    (types.UnicodeType, ""),
    (types.BaseTuple, ()),
    (types.List | types.ListType, []),
    (types.NoneType, None),
)


def is_none(given: Any) -> bool:
    if isinstance(given, types.Omitted):
        return given.value is None
    return given is None or isinstance(given, types.NoneType)


def sample(given: Any) -> Any:
    """A Python value of a numba type; of an array one without elements."""
    if not isinstance(given, types.Type):
        return given
    if isinstance(given, types.Omitted):
        return given.value
    if isinstance(given, types.Literal):
        return given.literal_value
    if isinstance(given, types.Array):
        return np.empty((0,) * given.ndim, numpy_support.as_dtype(given.dtype))
    if given == types.float32:
        return np.float32(0)
    for kind, value in _SAMPLES:
        if isinstance(given, kind):
            return value
    return type(str(given), (), {"__module__": "numba"})()


@contextmanager
def typing() -> Iterator[None]:
    """An error of a check of types is numba's."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise TypingError(str(error)) from None


def array(function: str, name: str, given: Any) -> NDArray[Any]:
    """A sample of an array that is computed with."""
    return checks.ndarray(function, name, sample(given))


def array_or_none(function: str, name: str, given: Any) -> NDArray[Any] | None:
    return None if is_none(given) else array(function, name, present(given))


def present(given: Any) -> Any:
    """Of what may be None when it runs, the type if it is not."""
    return given.type if isinstance(given, types.Optional) else given


def flag(function: str, name: str, given: Any) -> None:
    if isinstance(given, types.Number | types.UnicodeType):
        kind = type(sample(given)).__name__  # the value, which Python shows, is not known
        raise TypeError(f"{function}: {name} is {kind}, expected True or False")
    checks.flag(function, name, sample(given))


def result(function: str, name: str, out: Any, ndim: int, dtype: np.dtype[Any]) -> Any:
    """The type of a result: of ``out``, or of a new array."""
    if is_none(out):
        return types.Array(numpy_support.from_dtype(dtype), ndim, "C")
    try:
        checks.output(function, name, sample(out), _SHAPE, dtype)
    except ValueError:
        pass  # of lengths, which are looked at when it runs
    return out


class _Shape(tuple[int, ...]):
    """Stands in a message for lengths that are not known yet."""

    def __repr__(self) -> str:
        return "shape"

    __str__ = __repr__


_SHAPE = _Shape()


def activation(function: str, given: Any) -> str | bool | None:
    """The constant name, None, or True for a name that is known when it runs."""
    if isinstance(present(given), types.UnicodeType):
        return True
    name = sample(given)
    if name is not None and not isinstance(name, str):
        checks.activation(function, name)
    return name


def items(function: str, name: str, given: Any, each: str) -> Sequence[Any]:
    """Types of the items of a tuple of three; of a default its values, as Omitted."""
    if isinstance(given, types.Omitted | tuple):
        return [types.Omitted(value) for value in sample(given)]
    if not isinstance(given, types.BaseTuple):
        checks.triple(function, name, sample(given), each)
    checks.triple(function, name, tuple(given), each)
    return tuple(given)
