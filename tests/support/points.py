"""float64 arguments for the accuracy of our functions: where they are hard, and everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fastgrad._kernels.formulas import activations, elementary

Array = np.ndarray[Any, np.dtype[Any]]
K = elementary.FLOAT64
LN2 = float(np.log(2.0))

# Where a function is neither constant nor a power of x, and where its errors are largest.
RANGE = {
    "exp": (-746, 710), "log": (0.3, 3), "tanh": (-20, 20), "erf": (-6.5, 6.5), "erfc": (-6, 27.3),
    "sigmoid": (-746, 40), "silu": (-752, 40), "gelu": (-39, 9), "gelu_tanh": (-22, 9),
}  # fmt: skip
HARD = {
    "exp": (-0.4, 0.4), "log": (0.7, 1.42), "tanh": (0.1, 0.9), "erf": (0.9, 1.3),
    "erfc": (6, 7), "sigmoid": (-1.2, -1.09), "silu": (-37.1, -36.4), "gelu": (-9, -1),
    "gelu_tanh": (-3, 3), "silu_backward": (-3, 3), "gelu_backward": (-3, 0.5),
    "gelu_tanh_backward": (-3, 3),
}  # fmt: skip
UNIT = ("sigmoid_backward", "tanh_backward")  # of an output


def crossings(name: str) -> Array:
    """Where results pass a power of two: of errors of one size those below it are the most ulps."""
    powers = 2.0 ** -np.arange(1074.0)
    few = powers[:60]
    if name == "exp":
        return np.arange(-1074, 1024) * LN2
    if name == "log":
        return np.exp(np.concatenate([2.0 ** np.arange(-40, 9), -(2.0 ** np.arange(-40, 9))]))
    if name in ("tanh", "erf"):
        x = _solve(getattr(math, name), few[1:], 0.0, 6.0)
        return np.concatenate([x, -x])
    if name == "erfc":
        return _solve(lambda x: -math.erfc(x), -powers, -6.0, 27.3)
    if name == "sigmoid":
        return _solve(_sigmoid, powers[1:], -745.0, 40.0)
    if name == "silu":
        left = _solve(lambda z: z * _sigmoid(z), -powers[2:], -752.0, -1.3, falling=True)
        return np.concatenate([left, 2.0 ** np.arange(10)])
    return np.array([])


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else math.exp(x)


def _solve(
    f: Callable[[float], float], values: Array, low: float, high: float, falling: bool = False
) -> Array:
    """values (n,) -> where f, monotonic from low to high, takes them: by bisection."""
    found = []
    for value in values.tolist():
        a, b = low, high
        for _ in range(64):
            middle = (a + b) / 2
            a, b = (middle, b) if (f(middle) < value) != falling else (a, middle)
        found.append(a)
    return np.array(found)


@cache
def centres(name: str) -> Array:
    return np.concatenate([thresholds(name), crossings(name)])


def thresholds(name: str) -> Array:
    """Where the code of a function goes over to another piece, and zeros."""
    halves = (np.arange(-1076, 1025) + 0.5) * LN2  # exp's argument is reduced to the nearest n·ln2
    positive = halves[halves > 0]
    base = name.removesuffix("_backward")
    if name in UNIT:
        return np.array([0.5, 1.0, 2.0**-53, 0.25])
    if base == "log":
        whole = 2.0 ** np.arange(-1074, 1024)
        return np.concatenate([whole, whole[60:] * np.sqrt(0.5)])
    if base == "exp":
        ends = [709.782712893384, -708.3964185322641, -745.1332191019411, *K.exp_ends]
        return np.concatenate([halves, ends])
    if base == "tanh":
        near = positive[positive < 50] / 2
        return np.concatenate([near, -near, [K.tanh_end, -K.tanh_end, 1.0]])
    if base in ("sigmoid", "silu"):
        found = halves[(-760 < halves) & (halves < 60)]
        return np.concatenate(
            [found, K.logistic_ends, K.silu_lows, [-1.2784645427610738, 36.74, -36.74]]
        )
    if base in ("erf", "erfc"):
        near = np.sqrt(positive[positive < 800])
        ends = [1.0, K.erf_end, K.erfc_end, 26.543258454250980, 27.226017111108366]
        return np.concatenate([near, -near, ends, np.negative(ends)])
    if base == "gelu":
        near = np.sqrt(2 * positive[positive < 800])
        ends = [*K.gelu_lows, -0.7517915246935645, 37.5193793471445, 38.4674056172]
        return np.concatenate([near, -near, ends, np.negative(ends)])
    if base == "gelu_tanh":
        v = halves[(-760 < halves) & (halves < 60)]
        z = np.cbrt(v)
        for _ in range(100):  # Newton's; v(z) is monotonic
            square = z * z
            z -= (z * (activations.SLOPE + activations.CUBIC * square) - v) / (
                activations.SLOPE + 3 * activations.CUBIC * square
            )
        return np.concatenate([z, K.gelu_tanh_lows, [K.gelu_tanh_end, -0.7524614220710162]])
    raise KeyError(name)


def points(name: str, rng: np.random.Generator, n: int) -> Array:
    """n finite arguments, in no order: 4 parts of 10 all exponents alike, 3 where the function
    varies, 2 where it is hard, 1 near thresholds and crossings."""
    parts = [n - 3 * n // 10 - 2 * n // 10 - n // 10, 3 * n // 10, 2 * n // 10, n // 10]
    base = name.removesuffix("_backward")
    x = np.concatenate(
        [
            _all_exponents(name, rng, parts[0]),
            rng.uniform(*((-1, 1) if name in UNIT else RANGE[base]), parts[1]),
            rng.uniform(*HARD.get(name, HARD[base]), parts[2]),
            _near(rng, name, parts[3]),
        ]
    )
    if name in UNIT:  # an output: at most 1 in magnitude, sigmoid's positive
        x = np.divide(1, x, where=np.abs(x) > 1, out=x.copy())
    if base == "log":
        return np.where(x == 0, 1.0, np.abs(x))  # log(0) is no number; it is tried elsewhere
    return np.abs(x) if name == "sigmoid_backward" else x


def _all_exponents(name: str, rng: np.random.Generator, n: int) -> Array:
    """Every exponent equally likely; one significand in sixteen all zeros, one all ones."""
    bits = rng.integers(0, 2**64, n, dtype=np.uint64)
    bits[::16] &= np.uint64(0xFFF0000000000000)
    bits[1::16] |= np.uint64(0x000FFFFFFFFFFFFF)
    x = bits.view(np.float64)
    return np.where(np.isfinite(x), x, 1.0)


def _near(rng: np.random.Generator, name: str, n: int) -> Array:
    """Half within 64 floats of a centre, half at relative distances of 2^-50 to 2^-4."""
    x = rng.choice(centres(name), n)
    steps = rng.integers(-64, 65, n // 2)
    near = (x[: n // 2].view(np.int64) + steps).view(np.float64)
    distance = rng.choice([-1.0, 1.0], n - n // 2) * 2.0 ** rng.uniform(-50, -4, n - n // 2)
    x = np.concatenate([near, x[n // 2 :] * (1 + distance)])
    return np.where(np.isfinite(x), x, 1.0)
