"""Vector formulas on numpy arrays: `Lanes(dtype)` is the `ops` that a formula f(ops, x, ...) takes.

In: arrays of any shape, float32 or float64. Out: the bits that the SIMD back end computes, lane by
lane, since + - * / and fma are correctly rounded in both. Values are wrapped, so that a formula
which uses anything outside the interface of the two back ends fails here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .fma import fma as _fma

_INTS: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.float32): np.dtype(np.uint32),
    np.dtype(np.float64): np.dtype(np.uint64),
}


class _Value:
    """One vector; arithmetic with numpy arrays, truth values and indexing are errors."""

    __slots__ = ("array",)
    __hash__ = None  # type: ignore[assignment]
    __array_ufunc__ = None

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __bool__(self) -> bool:
        raise TypeError("a formula cannot branch on a vector value: use ops.select")


class Mask(_Value):
    """A vector of booleans."""

    __slots__ = ()

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.array & _same(self, other))

    def __or__(self, other: Mask) -> Mask:
        return Mask(self.array | _same(self, other))

    def __invert__(self) -> Mask:
        return Mask(~self.array)


class Ints(_Value):
    """A vector of unsigned integers of the float's width, which wrap around."""

    __slots__ = ()

    def _operand(self, other: Ints | int) -> np.ndarray:
        if isinstance(other, int) and not isinstance(other, bool):
            dtype = self.array.dtype
            return np.array(other & (2 ** (8 * dtype.itemsize) - 1), dtype)
        return _same(self, other)

    def __add__(self, other: Ints | int) -> Ints:
        return Ints(_quiet(np.add, self.array, self._operand(other)))

    def __sub__(self, other: Ints | int) -> Ints:
        return Ints(_quiet(np.subtract, self.array, self._operand(other)))

    def __rsub__(self, other: int) -> Ints:
        return Ints(_quiet(np.subtract, self._operand(other), self.array))

    def __and__(self, other: Ints | int) -> Ints:
        return Ints(self.array & self._operand(other))

    def __or__(self, other: Ints | int) -> Ints:
        return Ints(self.array | self._operand(other))

    def __xor__(self, other: Ints | int) -> Ints:
        return Ints(self.array ^ self._operand(other))

    def __lshift__(self, count: int) -> Ints:
        return Ints(self.array << self._count(count))

    def __rshift__(self, count: int) -> Ints:
        return Ints(self.array >> self._count(count))

    def _count(self, count: int) -> np.ndarray:
        # A shift by the width or more is undefined in LLVM, so it is an error here.
        if not isinstance(count, int) or not 0 <= count < 8 * self.array.dtype.itemsize:
            raise TypeError(f"shift count {count!r} is not a Python int within the width")
        return np.array(count, self.array.dtype)

    __radd__ = __add__
    __rand__ = __and__
    __ror__ = __or__
    __rxor__ = __xor__


class Floats(_Value):
    """A vector of float32 or float64; Python floats are rounded to that dtype."""

    __slots__ = ()

    def _operand(self, other: Floats | float) -> np.ndarray:
        if isinstance(other, float):
            return np.array(other, self.array.dtype)
        return _same(self, other)

    def __add__(self, other: Floats | float) -> Floats:
        return Floats(_quiet(np.add, self.array, self._operand(other)))

    def __radd__(self, other: float) -> Floats:
        return Floats(_quiet(np.add, self._operand(other), self.array))

    def __sub__(self, other: Floats | float) -> Floats:
        return Floats(_quiet(np.subtract, self.array, self._operand(other)))

    def __rsub__(self, other: float) -> Floats:
        return Floats(_quiet(np.subtract, self._operand(other), self.array))

    def __mul__(self, other: Floats | float) -> Floats:
        return Floats(_quiet(np.multiply, self.array, self._operand(other)))

    def __rmul__(self, other: float) -> Floats:
        return Floats(_quiet(np.multiply, self._operand(other), self.array))

    def __truediv__(self, other: Floats | float) -> Floats:
        return Floats(_quiet(np.divide, self.array, self._operand(other)))

    def __rtruediv__(self, other: float) -> Floats:
        return Floats(_quiet(np.divide, self._operand(other), self.array))

    def __neg__(self) -> Floats:
        return Floats(-self.array)

    def __lt__(self, other: Floats | float) -> Mask:
        return Mask(_quiet(np.less, self.array, self._operand(other)))

    def __le__(self, other: Floats | float) -> Mask:
        return Mask(_quiet(np.less_equal, self.array, self._operand(other)))

    def __gt__(self, other: Floats | float) -> Mask:
        return Mask(_quiet(np.greater, self.array, self._operand(other)))

    def __ge__(self, other: Floats | float) -> Mask:
        return Mask(_quiet(np.greater_equal, self.array, self._operand(other)))

    def __eq__(self, other: Floats | float) -> Mask:  # type: ignore[override]
        return Mask(_quiet(np.equal, self.array, self._operand(other)))

    def __ne__(self, other: Floats | float) -> Mask:  # type: ignore[override]
        return Mask(_quiet(np.not_equal, self.array, self._operand(other)))


class Lanes:
    """`ops` on numpy arrays: `Lanes(dtype)(formula, x)` is formula(ops, x), array in, array out."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype not in _INTS:
            raise TypeError(f"Lanes: dtype {self.dtype} is neither float32 nor float64")
        self._ints = _INTS[self.dtype]

    def __call__(self, formula: Callable[..., Floats], *arrays: np.ndarray) -> np.ndarray:
        """arrays (...) of exactly `self.dtype` -> formula(self, *arrays) (...), of the same."""
        return formula(self, *map(self.vector, arrays)).array

    def vector(self, array: np.ndarray) -> Floats:
        """array (...) -> a float vector of one lane an element."""
        array = np.asarray(array)
        if array.dtype != self.dtype:
            raise TypeError(f"Lanes: array is {array.dtype}, not {self.dtype}")
        return Floats(array)

    def fma(self, a: Floats | float, b: Floats | float, c: Floats | float) -> Floats:
        """a*b + c, rounded once."""
        with np.errstate(all="ignore"):
            return Floats(np.asarray(_fma(self._float(a), self._float(b), self._float(c))))

    def select(self, mask: Mask, a: Floats | float, b: Floats | float) -> Floats:
        """a where the mask is set, else b; the lane that is not taken has no influence."""
        if type(mask) is not Mask:
            raise TypeError(f"select takes a mask, not {type(mask).__name__}")
        return Floats(np.where(mask.array, self._float(a), self._float(b)))

    def bits(self, x: Floats) -> Ints:
        """The bit patterns of x."""
        return Ints(np.ascontiguousarray(self._float(x)).view(self._ints).reshape(x.array.shape))

    def from_bits(self, i: Ints) -> Floats:
        """The inverse of `bits`."""
        if type(i) is not Ints:
            raise TypeError(f"from_bits takes an integer vector, not {type(i).__name__}")
        return Floats(np.ascontiguousarray(i.array).view(self.dtype).reshape(i.array.shape))

    def abs(self, x: Floats) -> Floats:
        """x with its sign bit cleared."""
        return Floats(np.asarray(np.abs(self._float(x))))

    def copysign(self, magnitude: Floats | float, sign: Floats) -> Floats:
        """magnitude with the sign bit of `sign`."""
        return Floats(np.asarray(np.copysign(self._float(magnitude), self._float(sign))))

    def _float(self, x: Floats | float) -> np.ndarray:
        if isinstance(x, float):
            return np.array(x, self.dtype)
        if type(x) is not Floats or x.array.dtype != self.dtype:
            raise TypeError(
                f"expected a {self.dtype} vector or a Python float, not {type(x).__name__}"
            )
        return x.array


def _same(a: _Value, b: object) -> np.ndarray:
    if type(b) is not type(a) or b.array.dtype != a.array.dtype:  # type: ignore[attr-defined]
        raise TypeError(f"{type(a).__name__} cannot be combined with {type(b).__name__}")
    return b.array  # type: ignore[attr-defined]


def _quiet(operation: np.ufunc, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # Inf, NaN and wrapped integers are results here, not accidents.
    with np.errstate(all="ignore"):
        return np.asarray(operation(a, b))
