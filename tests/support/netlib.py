"""The GEMM part of netlib's level-3 BLAS testers (sblat3, dblat3), stated anew for our products.

Facts taken from them: the sizes 0 1 2 3 5 9 of m, n and k, alpha 0 1 0.7, beta 0 1 1.3, op(A) and
op(B) each N, T or C, together 17,496 calls; entries drawn from (-0.5, 0.5), one column zero but on
the diagonal; leading dimensions one above the least, rogue values in the gaps; and the test ratio,

    max |C - expected| / (eps·(|alpha|·|op(A)|·|op(B)| + |beta|·|C_old|)) < 16

elementwise (not divided where that is 0), with no input and no gap of an output changed.

What differs. Our products have alpha = 1 and beta = 0 or 1, so alpha is multiplied into A before
the call, and beta = 1.3 into C, each rounded; the ratio counts both roundings against us, and alpha
exercises other data (zeros among them), not code of its own. With beta = 0 C holds NaN: a product
that reads it fails. With T and C one thing for real numbers, they are asked for differently, so
that the nine forms are nine calls. Both orders of storage are taken, as by the tester of CBLAS.
Expected values are in the next wider precision, not in the one under test; gaps are NaN.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from support.layouts import Array, Placed, place

SIZES = (0, 1, 2, 3, 5, 9)
ALPHAS = (0.0, 1.0, 0.7)
BETAS = (0.0, 1.0, 1.3)
CALLS = len(SIZES) ** 3 * 9 * len(ALPHAS) * len(BETAS)
THRESHOLD = 16.0
ORDERS: dict[str, tuple[int, int]] = {"columns": (1, 0), "rows": (0, 1)}
WIDE: dict[str, Any] = {"float32": np.float64, "float64": np.longdouble}  # of expected values


class Products(NamedTuple):
    """What is judged: f(a, b, out, accumulate) -> out."""

    nn: Callable[..., Any]
    nt: Callable[..., Any]
    tn: Callable[..., Any]


# op(A), op(B) -> the call for A and B as they are stored; "C" is a transposed view, "T" a function
FORMS: dict[str, Callable[..., Any]] = {
    "NN": lambda f, a, b, c, add: f.nn(a, b, c, add),
    "NT": lambda f, a, b, c, add: f.nt(a, b, c, add),
    "NC": lambda f, a, b, c, add: f.nn(a, b.T, c, add),
    "TN": lambda f, a, b, c, add: f.tn(a, b, c, add),
    "CN": lambda f, a, b, c, add: f.nn(a.T, b, c, add),
    "TT": lambda f, a, b, c, add: f.nn(b, a, c.T, add).T,
    "TC": lambda f, a, b, c, add: f.tn(a, b.T, c, add),
    "CT": lambda f, a, b, c, add: f.nt(a.T, b, c, add),
    "CC": lambda f, a, b, c, add: f.nn(a.T, b.T, c, add),
}


class Outcome(NamedTuple):
    calls: int
    worst: float  # test ratio


def ratio(c: Array, high: Array, low: Array, gauge: Array) -> float:
    """The test ratio of c: expected is high + low (both float64), of gauge (float64)."""
    if c.size == 0:
        return 0.0
    error = np.abs(np.atleast_1d((high - c) + low)) / float(np.finfo(c.dtype).eps)
    return float(np.max(np.divide(error, gauge, out=error, where=gauge != 0)))


def run(
    products: Products,
    dtype: str,
    order: str,
    sizes: Iterable[tuple[int, int, int]],
    rng: np.random.Generator,
) -> Outcome:
    """All forms, alphas and betas for every (m, n, k): 81 calls each.

    Raises AssertionError naming the call whose ratio is not below 16 or that wrote elsewhere.
    """
    outcomes = [_size(products, dtype, order, size, rng) for size in sizes]
    return Outcome(sum(o.calls for o in outcomes), max(o.worst for o in outcomes))


def every(m: Iterable[int], n: Iterable[int], k: Iterable[int]) -> list[tuple[int, int, int]]:
    return list(itertools.product(m, n, k))


def _size(
    products: Products, dtype: str, order: str, size: tuple[int, int, int], rng: Any
) -> Outcome:
    m, n, k = size
    a, b = _draw(m, k, dtype, rng), _draw(k, n, dtype, rng)
    wide = WIDE[dtype]
    exact = a.astype(wide) @ b.astype(wide)
    absolute = np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64))
    b_of = {kind: _store(b, kind, order) for kind in "NT"}
    calls, worst = 0, 0.0
    for alpha, beta in itertools.product(map(a.dtype.type, ALPHAS), map(a.dtype.type, BETAS)):
        a_of = {kind: _store(alpha * a, kind, order) for kind in "NT"}
        old = _draw(m, n, dtype, rng)
        start = np.full_like(old, np.nan) if beta == 0 else beta * old
        expected = wide(alpha) * exact + wide(beta) * old
        high = expected.astype(np.float64)
        low = (expected - high).astype(np.float64)
        gauge = float(alpha) * absolute + float(beta) * np.abs(old.astype(np.float64))
        for form, product in FORMS.items():
            what = f"{form}, {dtype}, {order}, m n k {size}, alpha {alpha}, beta {beta}"
            left, right = a_of[_stored(form[0])], b_of[_stored(form[1])]
            out = place(start, ORDERS[order], pad=1)
            result = product(products, left.array, right.array, out.array, bool(beta != 0))
            assert _same_memory(result, out.array), f"{what}: returns another array than out"
            found = ratio(out.array, high, low, gauge)
            assert found < THRESHOLD, f"{what}: the test ratio is {found}"
            out.array.view(f"i{out.array.itemsize}")[...] = -1  # the rogue value
            assert (out.memory == 0xFF).all(), f"{what}: writes outside of out"
            calls, worst = calls + 1, max(worst, found)
        for stored, values in ((a_of, alpha * a), (b_of, b)):
            for kind, placed in stored.items():
                again = _store(values, kind, order)
                assert np.array_equal(placed.memory, again.memory), f"{what}: changes an input"
    return Outcome(calls, worst)


def _draw(rows: int, columns: int, dtype: str, rng: np.random.Generator) -> Array:
    values = rng.uniform(-0.5, 0.5, (rows, columns))
    if columns > 3:
        zero = columns // 2 - 1
        values[np.arange(rows) != zero, zero] = 0
    return values.astype(dtype)


def _stored(kind: str) -> str:
    return "N" if kind == "N" else "T"


def _store(values: Array, kind: str, order: str) -> Placed:
    return place(values if kind == "N" else values.T, ORDERS[order], pad=1)


def _same_memory(x: Array, y: Array) -> bool:
    return x.ctypes.data == y.ctypes.data and x.shape == y.shape and x.strides == y.strides
