"""Promise 7: every element is within the stated bound of the exact value.

|C - exact| <= (min(K, KC) + ceil(K/KC) + 2)·u·(|A|·|B| + |bias| + |C_old|) + K·(smallest subnormal)

to first order in u = eps/2; n·u/(1 - n·u) in place of n·u makes it rigorous. The exact value is
computed in integers: every float is an integer times a power of two.
"""

from __future__ import annotations

import math
from fractions import Fraction

import edges
import numpy as np
import pytest
from layouts import laid_out
from oracles import Array

from fastgrad import linear_backward, linear_forward, matmul

by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)
by_depth = pytest.mark.parametrize("depth", edges.DEPTHS)
M, N = 3, 4


def _whole(a: Array) -> tuple[Array, int]:
    """a = integers · 2^-shift, the integers Python's own, in an object array."""
    mantissa, exponent = np.frexp(a.astype(np.float64))
    low = int(exponent.min(initial=0)) - 53
    whole = [
        int(m * 2.0**53) << (int(e) - 53 - low)
        for m, e in zip(mantissa.flat, exponent.flat, strict=True)
    ]
    return np.array(whole, dtype=object).reshape(a.shape), -low


def _worst(c: Array, a: Array, b: Array, *added: Array) -> float:
    """The largest error of c = a·b + added, in units of the bound."""
    x, shift_x = _whole(a)
    y, shift_y = _whole(b)
    scale = Fraction(1, 1 << (shift_x + shift_y))
    k, kc = a.shape[1], edges.KC[a.dtype.name]
    info = np.finfo(a.dtype)
    n_u = (min(k, kc) + math.ceil(k / kc) + 2) * Fraction(float(info.eps)) / 2
    worst = 0.0
    for i, j in np.ndindex(c.shape):
        terms = [p * q for p, q in zip(x[i], y[:, j], strict=True)]
        exact, size = sum(terms) * scale, sum(map(abs, terms)) * scale
        for extra in added:
            value = Fraction(float(np.broadcast_to(extra, c.shape)[i, j]))
            exact, size = exact + value, size + abs(value)
        bound = n_u / (1 - n_u) * size + k * Fraction(float(info.smallest_subnormal))
        error = abs(Fraction(float(c[i, j])) - exact)
        if error:
            worst = max(worst, float(error / bound) if bound else math.inf)
    return worst


def _random(k: int, dtype: str, rng: np.random.Generator) -> tuple[Array, Array]:
    a, b = rng.standard_normal((M, k)), rng.standard_normal((k, N))
    return a.astype(dtype), b.astype(dtype)


def _cancelling(k: int, dtype: str, rng: np.random.Generator) -> tuple[Array, Array]:
    """Products of widely different sizes, each one's opposite a few steps or blocks later."""
    a, b = _random(k, dtype, rng)
    a = (a * np.exp2(rng.integers(-20, 21, a.shape))).astype(dtype)
    half = k // 2
    a[:, half : 2 * half], b[half : 2 * half] = -a[:, :half], b[:half]
    return a, b


def _one_sided(k: int, dtype: str, rng: np.random.Generator) -> tuple[Array, Array]:
    """A chain that is rounded down at nearly every step: 1 + 0.49·eps + 0.49·eps + ..."""
    eps = float(np.finfo(dtype).eps)
    a, b = np.full((M, k), 0.49 * eps), np.ones((k, N))
    a[:, :: edges.KC[dtype]] = 1.0
    return a.astype(dtype), b.astype(dtype)


def _subnormal(k: int, dtype: str, rng: np.random.Generator) -> tuple[Array, Array]:
    a, b = _random(k, dtype, rng)
    tiny = math.sqrt(float(np.finfo(dtype).tiny)) / 64
    return (a * tiny).astype(dtype), (b * tiny).astype(dtype)


DATA = {
    "random": _random,
    "cancelling": _cancelling,
    "one-sided": _one_sided,
    "subnormal": _subnormal,
}


@pytest.mark.parametrize("data", DATA)
@by_depth
@by_dtype
def test_product(dtype: str, depth: str, data: str, rng: np.random.Generator) -> None:
    a, b = DATA[data](edges.depths(dtype)[depth], dtype, rng)
    old = rng.standard_normal((M, N)).astype(dtype)
    assert _worst(matmul(a, b), a, b) <= 1
    assert _worst(matmul(a, laid_out(b, "F")), a, b) <= 1
    assert _worst(matmul(a, b, out=old.copy(), accumulate=True), a, b, old) <= 1
    assert _worst(linear_forward(a, b, old[0]), a, b, old[0]) <= 1


@pytest.mark.parametrize("data", DATA)
@by_dtype
def test_backward(dtype: str, data: str, rng: np.random.Generator) -> None:
    n = edges.KC[dtype] + 1
    xt, g = DATA[data](n, dtype, rng)
    w = rng.standard_normal((M, N)).astype(dtype)
    grads = linear_backward(g, xt.T, w)
    assert grads.weight is not None and grads.bias is not None and grads.x is not None
    assert _worst(grads.weight, xt, g) <= 1
    assert _worst(grads.bias[None], np.ones((1, n), dtype), g) <= 1
    assert _worst(grads.x[:5], g[:5], np.ascontiguousarray(w.T)) <= 1


@by_dtype
def test_the_bound_is_not_idle(dtype: str, rng: np.random.Generator) -> None:
    """One-sided data come near the bound: a sum a quarter less accurate would break it."""
    a, b = _one_sided(edges.KC[dtype], dtype, rng)
    assert 0.45 < _worst(matmul(a, b), a, b) <= 1


def test_no_overflow_on_the_way() -> None:
    """The largest numbers whose product with one fits: nothing is scaled up in between."""
    for dtype in edges.DTYPES:
        top = np.finfo(dtype).max
        k = edges.KC[dtype] + 1
        a, b = np.zeros((1, k), dtype), np.ones((k, 1), dtype)
        a[0, 0], a[0, -1] = top, -top
        assert matmul(a, b)[0, 0] == 0
        a[0, -1] = 0
        assert matmul(a, b)[0, 0] == top
