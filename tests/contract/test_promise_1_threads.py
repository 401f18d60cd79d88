"""Promise 1: the same bits for any number of threads, and from run to run.

The shapes reach every path of gemm.py; where a test says that threads shared the work, the pool's
count of jobs must have grown.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

import edges
import numba
import numpy as np
import pytest
from oracles import (
    assert_same_bits,
    contract_backward,
    contract_forward,
    contract_h,
    floats,
    saved_for,
)

import fastgrad
from fastgrad._kernels import atomic, jit, pool
from fastgrad.reference import contract_matmul

THREADS = (1, 2, 3, 8)  # more than there are cores, too
by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)

# (m, n, k) of products large enough for several threads
SHAPES = {
    "parts": (65, 131, 300),
    "parts, k in blocks": (70, 100, 1100),
    "parts, tall": (1000, 40, 60),
    "stream, one row": (1, 3000, 700),
    "stream, 3 rows": (3, 1500, 300),
    "stream, 13 rows": (13, 800, 130),
    "stream from afar": (29, 900, 600),
    "stream, one column": (3000, 1, 500),
    "stream, 7 columns": (2000, 7, 200),
    "tall": (33, 17, 20000),
    "tall, one column": (5, 18, 12345),
    "outer product": (700, 800, 2),
    "dot": (1, 1, 70000),
}


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = fastgrad.get_num_threads()
    yield
    fastgrad.set_num_threads(before)


def jobs() -> int:
    """Jobs that the pool has run in this process."""
    return int(jit.TABLE[pool.TICKET]) >> 32


@by_dtype
@pytest.mark.parametrize("shape", SHAPES)
def test_products(shape: str, dtype: str, rng: np.random.Generator) -> None:
    m, n, k = SHAPES[shape]
    a, b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
    old = floats(rng, m, n, dtype=dtype)
    rows, columns = edges.sample(rng, m, 6, 64), edges.sample(rng, n, 16, 64)
    expected = contract_matmul(a[rows], b[:, columns])
    added = contract_matmul(a[rows], b[:, columns], c_old=old[np.ix_(rows, columns)])
    stored = {
        "nn": (fastgrad.matmul, a, b),
        "nt": (fastgrad.matmul_nt, a, np.ascontiguousarray(b.T)),
        "tn": (fastgrad.matmul_tn, np.ascontiguousarray(a.T), b),
    }
    whole: dict[Any, Any] = {}
    for threads in THREADS:
        fastgrad.set_num_threads(threads)
        for name, (function, left, right) in stored.items():
            what = f"{shape}, {name}, {threads} threads"
            c = function(left, right)
            assert_same_bits(c[np.ix_(rows, columns)], expected, what)
            assert_same_bits(c, whole.setdefault("c", c), what)
            out = old.copy()
            function(left, right, out=out, accumulate=True)
            assert_same_bits(out[np.ix_(rows, columns)], added, what + ", accumulated")
            assert_same_bits(out, whole.setdefault("added", out), what)


@by_dtype
def test_blocks_that_threads_share(dtype: str, rng: np.random.Generator) -> None:
    """A product beyond PARTS_FMAS: packed B is shared, two blocks of columns, three of k."""
    m, n, k = 200, edges.ISA.block_columns + 130, 2 * edges.KC[dtype] * edges.ISA.block_chains + 5
    a, b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
    bias = floats(rng, n, dtype=dtype)
    rows, columns = edges.sample(rng, m, 6, 48), edges.sample(rng, n, 64, edges.ISA.block_columns)
    z = contract_matmul(a[rows], b[:, columns], bias=bias[columns])
    first = None
    for threads in THREADS:
        fastgrad.set_num_threads(threads)
        before = jobs()
        y = fastgrad.linear_forward(a, b, bias, "relu")
        assert (jobs() > before) == (threads > 1)
        assert_same_bits(y[np.ix_(rows, columns)], np.where(z <= 0, z.dtype.type(0), z))
        assert_same_bits(y, y if first is None else first)
        first = y


@by_dtype
@pytest.mark.parametrize("activation", [None, *edges.ACTIVATIONS])
@pytest.mark.parametrize("layer", [(40, 70, 90), (300, 64, 40), (1100, 20, 30), (2, 900, 300)])
def test_layers(
    layer: tuple[int, int, int], activation: Any, dtype: str, rng: np.random.Generator
) -> None:
    n, k, m = layer
    x, w = floats(rng, n, k, dtype=dtype), floats(rng, k, m, dtype=dtype)
    bias, g = floats(rng, m, dtype=dtype), floats(rng, n, m, dtype=dtype)
    y, z = contract_forward(x, w, bias, activation)
    saved = saved_for(activation, y, z)
    h = contract_h(g, activation, next(iter(saved.values()), None))
    expected = contract_backward(h, x, w)
    for threads in THREADS:
        fastgrad.set_num_threads(threads)
        kept = np.empty_like(z)
        got = fastgrad.linear_forward(x, w, bias, activation, preactivation_out=kept)
        assert_same_bits(got, y, f"y, {threads} threads")
        assert_same_bits(kept, z, f"z, {threads} threads")
        grads = fastgrad.linear_backward(g, x, w, activation, **saved)
        for name, actual, wanted in zip("xwb", grads, expected, strict=True):
            assert_same_bits(actual, wanted, f"d{name}, {threads} threads")


def test_pairs_and_parts_are_shared(rng: np.random.Generator) -> None:
    """What the tests above take for granted: several threads do work at such sizes."""
    fastgrad.set_num_threads(2)
    x, w, g = (floats(rng, *s) for s in ((100, 80), (80, 90), (100, 90)))
    for call in (
        lambda: fastgrad.matmul(x, w),
        lambda: fastgrad.linear_backward(g, x, w),
        lambda: fastgrad.matmul(x[:1], np.tile(w, (1, 100))),
        lambda: fastgrad.matmul_tn(np.tile(x, (200, 1)), np.tile(g, (200, 1))),
    ):
        before = jobs()
        call()
        assert jobs() > before


@numba.njit
def _exchange_control_word(value):  # type: ignore[no-untyped-def]
    """The thread's floating-point control word, which becomes ``value`` if that is not 0."""
    old = atomic.control_word()
    if value != 0:
        atomic.set_control_word(value)
    return old


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="sets x86's MXCSR")
def test_flush_to_zero_of_the_caller(rng: np.random.Generator) -> None:
    """Workers take the caller's control word: all threads flush subnormal sums to zero, or none."""
    a = floats(rng, 600, 700) * np.float32(1e-20)
    b = floats(rng, 700, 500) * np.float32(1e-22)
    kept = fastgrad.matmul(a, b)
    assert (kept != 0).mean() > 0.9
    before = _exchange_control_word(0)
    flushed = []
    for threads in THREADS:
        fastgrad.set_num_threads(threads)
        _exchange_control_word(before | 0x8040)  # flush to zero, denormals are zero
        try:
            flushed.append(fastgrad.matmul(a, b))
        finally:
            _exchange_control_word(before)
        assert (flushed[-1] == 0).all(), f"{threads} threads"
    fastgrad.set_num_threads(THREADS[-1])
    assert_same_bits(fastgrad.matmul(a, b), kept, "after")
