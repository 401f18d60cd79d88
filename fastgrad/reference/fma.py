"""fma(a, b, c): a·b + c with one rounding, on numpy arrays of float32 or float64, broadcast.

numpy has no fused multiply-add, and math.fma is scalar and newer than the oldest supported Python.
Every operation below is an IEEE one rounded to nearest, so the bits are the same on every machine.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Where the error-free transforms of float64 hold, with room to spare: nothing overflows (splitting
# multiplies by 2^27), and the last bit of an exact product, 2^-106 of it, is still a float64.
_OPERAND_MAX = 2.0**990
_PRODUCT_MIN, _PRODUCT_MAX = 2.0**-900, 2.0**1000
_SPLITTER = 2.0**27 + 1.0


def fma(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> Any:
    """a, b, c (broadcast together) -> a·b + c, correctly rounded for every input.

    dtype: np.result_type of the three, float32 or float64 (Python scalars take the arrays' dtype);
    TypeError for any other. A numpy scalar when all three are scalars. Warns of nothing.
    """
    dtype = np.result_type(a, b, c)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"fma: the arguments have dtype {dtype}; pass float32 or float64")
    shape = np.broadcast_shapes(np.shape(a), np.shape(b), np.shape(c))
    x, y, z = (np.atleast_1d(np.asarray(v, dtype=dtype)) for v in (a, b, c))
    with np.errstate(all="ignore"):
        out = _fma32(x, y, z) if dtype == np.float32 else _fma64(x, y, z)
    return out.reshape(shape)[()]


def _two_sum(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """s, e with s = fl(x + y) and s + e = x + y exactly (Knuth; e is NaN where s is not finite)."""
    s = x + y
    t = s - x
    return s, (x - (s - t)) + (y - t)


def _sum_to_odd(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """x + y rounded to odd: cut off, then the last bit is set if anything was cut off.

    A later rounding to at least two bits fewer then gives what one rounding would have given.
    """
    s, e = _two_sum(x, y)
    inexact = (np.abs(e) > 0).astype(np.int64)  # False for NaN, so Inf and NaN keep their bits
    bits = s.view(np.int64)
    # The nearest double lies beyond the sum where e has the other sign: one step back cuts it off.
    beyond = (bits ^ e.view(np.int64)) >> 63
    beyond &= -inexact
    bits += beyond
    bits |= inexact
    return s


def _fma32(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any]) -> NDArray[Any]:
    # 24 + 24 bits fit in 53 and the exponents in float64's, so the product is exact.
    product = np.multiply(a, b, dtype=np.float64)
    return _sum_to_odd(product, c.astype(np.float64)).astype(np.float32)


def _split(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    t = x * _SPLITTER
    high = t - (t - x)
    return high, x - high


def _fma64(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any]) -> NDArray[Any]:
    """Boldo and Melquiond, Emulation of FMA and correctly rounded sums (2008), inside its range."""
    ah, al = _split(a)
    bh, bl = _split(b)
    product = a * b
    error = ((ah * bh - product) + ah * bl + al * bh) + al * bl  # Dekker: a·b = product + error
    th, tl = _two_sum(c, error)
    vh, vl = _two_sum(product, th)
    out: NDArray[Any] = vh + _sum_to_odd(tl, vl)

    size = np.abs(product)
    safe = (size > _PRODUCT_MIN) & (size < _PRODUCT_MAX) & (np.abs(c) < _PRODUCT_MAX)
    safe &= (np.abs(a) < _OPERAND_MAX) & (np.abs(b) < _OPERAND_MAX)
    if not safe.all():
        _repair(out, a, b, c, ~safe)
    return out


def _repair(
    out: NDArray[Any], a: NDArray[Any], b: NDArray[Any], c: NDArray[Any], where: NDArray[Any]
) -> None:
    """Write the elements of out outside the safe range, each by the first rule that fits."""
    index = np.nonzero(where)
    x, y, z = (np.broadcast_to(v, out.shape)[index] for v in (a, b, c))
    product = x * y
    exact = (x == 0) | (y == 0) | ~np.isfinite(x) | ~np.isfinite(y)  # a zero, an infinity or NaN
    result = np.where(exact, product + z, z)
    # A finite product plus Inf or NaN is that, even where the product's float64 is Inf: z stands.
    # A non-zero product plus a zero is the product; if it underflows, with its own sign.
    result = np.where(~exact & (z == 0), product, result)
    for i in np.nonzero(~exact & (z != 0) & np.isfinite(z))[0]:
        result[i] = _rational(float(x[i]), float(y[i]), float(z[i]))
    out[index] = result


def _rational(a: float, b: float, c: float) -> float:
    value = Fraction(a) * Fraction(b) + Fraction(c)
    try:
        return float(value)  # int / int rounds once, to nearest even, subnormals included
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
