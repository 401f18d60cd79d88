"""Errors of our float32 functions over ranges of bit patterns, in compiled loops.

The oracle is the C library in float64, within a few units of its last place: 1e-8 of float32's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

from support.applied import apply

Array = np.ndarray[Any, np.dtype[Any]]
CHUNK = 1 << 15  # floats at a time, which stay in cache
ROOT_HALF = math.sqrt(0.5)
SLOPE = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715
PHI0 = 1 / math.sqrt(2 * math.pi)
# numba compiles it into the loops: the same as IEEE, no exceptions
jit = numba.njit(fastmath=False, error_model="numpy")


@jit
def _sigmoid(x):  # type: ignore[no-untyped-def]
    return 1 / (1 + math.exp(-x))


@jit
def _gate(v, slope):  # type: ignore[no-untyped-def]
    e = math.exp(-min(max(v, -700.0), 700.0))
    s = 1 / (1 + e)
    return s, slope * s * (e * s)


# name -> f(x) -> exact; z below -1e4 is taken for it, so that no Inf meets a zero
VALUES: dict[str, Callable[[float], float]] = {
    "exp": jit(lambda x: math.exp(x)),
    "log": jit(lambda x: math.log(x)),
    "tanh": jit(lambda x: math.tanh(x)),
    "erf": jit(lambda x: math.erf(x)),
    "erfc": jit(lambda x: math.erfc(x)),
    "sigmoid": jit(lambda x: _sigmoid(x)),
    "silu": jit(lambda z: max(z, -1e4) * _sigmoid(max(z, -1e4))),
    "gelu": jit(lambda z: max(z, -1e4) * (math.erfc(-max(z, -1e4) * ROOT_HALF) / 2)),
    "gelu_tanh": jit(
        lambda z: max(z, -1e4) * _sigmoid(SLOPE * (max(z, -1e4) + CUBIC * max(z, -1e4) ** 3))
    ),
}


@jit
def _inside(z):  # type: ignore[no-untyped-def]
    return min(max(z, -1e4), 1e4)


@jit
def _gelu_terms(z):  # type: ignore[no-untyped-def]
    z = _inside(z)
    return math.erfc(-z * ROOT_HALF) / 2, z * math.exp(-z * z / 2) * PHI0


@jit
def _silu_terms(z):  # type: ignore[no-untyped-def]
    return _gate(_inside(z), _inside(z))


@jit
def _gelu_tanh_terms(z):  # type: ignore[no-untyped-def]
    z = _inside(z)
    cube = CUBIC * z * z * z
    return _gate(SLOPE * (z + cube), SLOPE * (z + 3 * cube))


# name -> f(saved) -> the two terms of the derivative
DERIVATIVES: dict[str, Callable[[float], tuple[float, float]]] = {
    "sigmoid_backward": jit(lambda y: (y * (1 - y), 0.0)),
    "tanh_backward": jit(lambda y: ((1 - y) * (1 + y), 0.0)),
    "silu_backward": _silu_terms,
    "gelu_backward": _gelu_terms,
    "gelu_tanh_backward": _gelu_tanh_terms,
}
QUADRATIC = ("gelu", "gelu_tanh", "gelu_backward", "gelu_tanh_backward")
EPS, TINY, NORMAL, TOP = 2.0**-23, 2.0**-149, 2.0**-126, 2.0**128
ROUNDED = ("log", "tanh", "erf", "erfc")  # also below NORMAL; the others are +0.0 there
EDGE = 1.001  # NORMAL times that: where rounding errors decide


@jit
def _distance(got, exact):  # type: ignore[no-untyped-def]
    """|got - exact|, both capped at 2^128; two NaNs are equal, one alone is far off."""
    if math.isnan(got) or math.isnan(exact):
        return 0.0 if math.isnan(got) and math.isnan(exact) else math.inf
    return abs(min(max(got, -TOP), TOP) - min(max(exact, -TOP), TOP))


@jit
def _per_ulp(exact):  # type: ignore[no-untyped-def]
    """1/ulp of float32 in the binade of a float64, whose exponent is read off its pattern."""
    exponent = ((np.float64(exact).view(np.int64) >> 52) & 0x7FF) - 1023
    return np.int64((1023 + 23 - min(max(exponent, -126), 127)) << 52).view(np.float64)


@cache
def _loop(name: str) -> Callable[..., Any]:
    """f(x, g, y, h) -> the largest error of y = f(x), in ulp or in units of the bound; its index.

    Of a derivative y is for a gradient of 1, and h for g, in [1, 2).
    """
    function, is_rounded = VALUES.get(name) or DERIVATIVES[name], name in ROUNDED
    is_silu = name == "silu"
    derivative, quadratic = name in DERIVATIVES, name in QUADRATIC

    @jit
    def of_value(x, g, y, h):  # type: ignore[no-untyped-def]
        worst, at = -1.0, 0
        for i in range(x.size):
            exact = function(np.float64(x[i]))
            error = _distance(np.float64(y[i]), exact)
            near_0 = (quadratic or is_silu) and abs(x[i]) < 4 * NORMAL  # x/2, rounded
            if near_0 and quadratic:
                error -= TINY
            if not is_rounded and not near_0 and abs(y[i]) < NORMAL:  # so it is +0.0
                error = 0.0 if y[i] == 0.0 and abs(exact) < EDGE * NORMAL else math.inf
            elif quadratic:
                if error > 0:
                    error /= EPS * (1 + np.float64(x[i]) ** 2) * abs(exact)
            elif error > 0:
                error *= _per_ulp(exact)
            if not error <= worst:
                worst, at = (error, i) if error == error else (math.inf, i)
        return worst, at

    @jit
    def of_derivative(x, g, y, h):  # type: ignore[no-untyped-def]
        worst, at = -1.0, 0
        for i in range(x.size):
            a, b = function(np.float64(x[i]))
            w = np.float64(g[i])
            error, error_with_g = _distance(y[i], a + b), _distance(h[i], w * (a + b))
            is_small = abs(a + b) < EDGE * NORMAL
            if abs(y[i]) < NORMAL:
                error = 0.0 if is_small and y[i] == 0.0 else math.inf
            if abs(h[i]) < NORMAL:
                error_with_g = 0.0 if is_small and h[i] == 0.0 else math.inf
            elif is_small:  # act' is rounded, of a saved output that is subnormal itself
                error_with_g -= (w + 0.5) * TINY
            error = max(error, error_with_g / w)
            if error > 0:
                unit = EPS * (abs(a) + abs(b))
                error /= unit * (1 + np.float64(x[i]) ** 2) if quadratic else unit
            if not error <= worst:
                worst, at = (error, i) if error == error else (math.inf, i)
        return worst, at

    return of_derivative if derivative else of_value


def gradients(bits: Array) -> Array:
    """bits (n,) -> g (n,) in [1, 2) whose significands depend on them like random ones."""
    mixed = bits.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(41)
    return (mixed.astype(np.uint32) | np.uint32(0x3F800000)).view(np.float32)


def saved(name: str, bits: Array) -> Array:
    """The patterns as floats; a saved output is at most 1 in magnitude, sigmoid's positive."""
    x = bits.view(np.float32)
    if name == "tanh_backward":
        return x[np.abs(x) <= 1]
    return x[(x >= 0) & (x <= 1)] if name == "sigmoid_backward" else x


def _flat(x: Array, g: Array, y: Array, h: Array) -> bool:
    """Whether the errors at both ends are the largest, x being neighbours of one sign.

    They are where y is constant and the function is monotonic: all are for |x| <= 2^-10 or >= 8.
    """
    size = abs(float(x[0]))
    if not (size <= 2.0**-10 or 8 <= size < math.inf) or not (y == y[0]).all():
        return False
    return y is h or (float(y[0]) in (0.0, 0.5, 1.0) and bool((h == g * y[0]).all()))


def sweep(name: str, start: int, stop: int, stride: int = 1) -> tuple[int, float, float]:
    """Every stride-th pattern of start <= i < stop -> floats tried, worst error and where.

    A derivative is tried with a gradient of 1 and with another. start is a multiple of CHUNK.
    """
    tried, worst, at = 0, -1.0, math.nan
    loop = _loop(name)
    for first in range(start, stop, CHUNK * stride):
        last = min(first + CHUNK * stride, stop)
        bits = np.arange(first, last, stride, dtype=np.int64).astype(np.uint32)
        x = saved(name, bits)
        if x.size == 0:
            continue
        tried += x.size
        if name in DERIVATIVES:
            g = gradients(x.view(np.uint32))
            y, h = apply(name, np.ones_like(x), x), apply(name, g, x)
        else:
            g, y = x, apply(name, x)
            h = y
        if stride == 1 and _flat(x, g, y, h):
            x, g, y, h = x[[0, -1]], g[[0, -1]], y[[0, -1]], h[[0, -1]]
        error, index = loop(x, g, y, h)
        if error > worst:
            worst, at = error, float(x[index])
    return tried, worst, at
