"""Promise 7: every element is within the stated bound of the exact value.

|C - exact| <= (min(K, KC) + ceil(K/KC) + 2)·u·(|A|·|B| + |bias| + |C_old|) + K·(smallest subnormal)

to first order in u = eps/2; n·u/(1 - n·u) in place of n·u makes it rigorous. The exact value is
computed in integers: every float is an integer times a power of two. For long sums, up to a million
terms, products are split into two floats each, without error, and added by math.fsum.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from fastgrad import linear_backward, linear_forward, matmul
from support import edges
from support.layouts import laid_out
from support.oracles import Array

by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)
by_length = pytest.mark.parametrize("k", [30_000, 1_000_000])
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


# Long sums --------------------------------------------------------------------------------------


def _halves(x: Array) -> tuple[Array, Array]:
    """x (float64) = high + low, 26 bits each (Veltkamp)."""
    t = x * (2.0**27 + 1)
    high = t - (t - x)
    return high, x - high


class _Sums:
    """Σ_k a_k·b_k to twice the precision of float64, and Σ_k |a_k·b_k|; a, b (k,) of mild size."""

    def __init__(self, a: Array, b: Array) -> None:
        self.dtype, self.k = a.dtype, len(a)
        a, b = a.astype(np.float64), b.astype(np.float64)
        product = a * b
        (ah, al), (bh, bl) = _halves(a), _halves(b)
        error = ((ah * bh - product) + ah * bl + al * bh) + al * bl  # Dekker: a·b - product
        self.size = math.fsum(np.abs(product).tolist())
        terms = np.concatenate([product, error[error != 0]]).tolist()
        self.high = math.fsum(terms)
        self.low = math.fsum([*terms, -self.high])

    def worst(self, c: Any, *added: Any) -> float:
        """The error of c, meant to be the sum + added, in units of the bound."""
        info, kc = np.finfo(self.dtype), edges.KC[self.dtype.name]
        extra = [float(x) for x in added]
        error = abs(math.fsum([self.high, self.low, *extra, -float(c)]))
        n_u = (min(self.k, kc) + math.ceil(self.k / kc) + 2) * float(info.eps) / 2
        bound = n_u / (1 - n_u) * (self.size + sum(map(abs, extra)))
        return error / (bound + self.k * float(info.smallest_subnormal))


def test_sums_are_exact(rng: np.random.Generator) -> None:
    a, b = _cancelling(999, "float64", rng)
    sums = _Sums(a[0], b[:, 0])
    pairs = zip(a[0].tolist(), b[:, 0].tolist(), strict=True)
    exact = sum((Fraction(x) * Fraction(y) for x, y in pairs), Fraction(0))
    found = Fraction(sums.high) + Fraction(sums.low)
    assert abs(found - exact) <= abs(exact) * Fraction(2) ** -100


def test_one_long_chain_breaks_the_bound() -> None:
    """1 + 0.49·eps + 0.49·eps + … stays 1, in one chain; in the contract's blocks it does not."""
    for dtype in edges.DTYPES:
        terms = np.full(1_000_000, 0.49 * np.finfo(dtype).eps, dtype)
        terms[0] = 1
        one = np.ones_like(terms)
        sums = _Sums(terms, one)
        assert sums.worst(np.add.accumulate(terms)[-1]) > 10
        assert sums.worst(matmul(terms, one)) <= 1


def _positive(k: int, dtype: str, rng: np.random.Generator) -> tuple[Array, Array]:
    return rng.random((M, k)).astype(dtype), rng.random((k, N)).astype(dtype)


LONG = {"random": _random, "cancelling": _cancelling, "one-sided": _one_sided, "all > 0": _positive}


@pytest.mark.parametrize("data", LONG)
@by_length
@by_dtype
def test_long_sums(dtype: str, k: int, data: str, rng: np.random.Generator) -> None:
    """Up to k = 1e6: products, a row by a column, accumulated, with bias; dW and db of k rows."""
    a, b = (x[:, :2] if x.shape[0] == k else x[:2] for x in LONG[data](k, dtype, rng))
    old = rng.standard_normal((2, 2)).astype(dtype)
    products = matmul(a, b), matmul(laid_out(a, "F"), laid_out(b, "F"))
    accumulated = matmul(a, b, out=old.copy(), accumulate=True)
    biased = linear_forward(a, b, old[0])
    grads: Any = linear_backward(b, a.T, old)
    for i in range(2):
        j = 1 - i
        sums = _Sums(a[i], b[:, j])
        for c in (*(c[i, j] for c in products), grads.weight[i, j], matmul(a[i], b[:, j])):
            assert sums.worst(c) <= 1
        assert sums.worst(accumulated[i, j], old[i, j]) <= 1
        assert sums.worst(biased[i, j], old[0, j]) <= 1
    assert _Sums(np.ones(k, dtype), b[:, 0]).worst(grads.bias[0]) <= 1


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
