"""Calls of the kernels that hold the GIL, as a plain ``@njit`` function of a user's does.

Each is long enough for the pool to wake its workers, and takes another way through the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from fastgrad._kernels.codegen.memory import call_kernel
from fastgrad._kernels.formulas.activations import RELU
from fastgrad._kernels.gemm import dispatch
from fastgrad._kernels.layer import backward
from fastgrad._kernels.runtime import jit

Array = np.ndarray[Any, np.dtype[np.float32]]
PRODUCT = jit.slot(dispatch.GEMM, "float32")
BACKWARD = jit.slot(backward.BACKWARD_KERNEL, "float32")
assert len(dispatch.DESCRIPTOR) == 18 and len(backward.DESCRIPTOR) == 26


@numba.njit(types.intp(types.int64[::1]))
def _product(w):  # type: ignore[no-untyped-def]
    return call_kernel(PRODUCT, (
        w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8],
        w[9], w[10], w[11], w[12], w[13], w[14], w[15], w[16], w[17],
    ))  # fmt: skip


@numba.njit(types.intp(types.int64[::1]))
def _backward(w):  # type: ignore[no-untyped-def]
    return call_kernel(BACKWARD, (
        w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8],
        w[9], w[10], w[11], w[12], w[13], w[14], w[15], w[16], w[17],
        w[18], w[19], w[20], w[21], w[22], w[23], w[24], w[25],
    ))  # fmt: skip


def _words(names: tuple[str, ...], values: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A descriptor: a matrix fills its address and, after its name, its strides; others are 0."""
    words: dict[str, int] = {}
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            words[name] = value.ctypes.data
            if value.ndim == 2:
                own = names.index(name)
                words |= dict(zip(names[own + 1 : own + 3], value.strides, strict=True))
        else:
            words[name] = value
    assert words.keys() <= set(names)
    return np.array([words.get(name, 0) for name in names], np.int64)


def _integers(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).integers(-4, 5, shape).astype(np.float32)


def _case(m: int, n: int, k: int, transposed: bool = False) -> Callable[[], None]:
    def case() -> None:
        a, b = _integers(m, k), _integers(k, n)
        c = np.full((m, n), np.nan, np.float32)
        right = np.asfortranarray(b) if transposed else b
        values = {"m": m, "n": n, "k": k, "a": a, "b": right, "c": c}
        assert _product(_words(dispatch.DESCRIPTOR, values)) == 0
        assert (c == a @ b).all(), (m, n, k)

    return case


def _backward_case(n: int, k: int, m: int, activation: int) -> Callable[[], None]:
    def case() -> None:
        g, x, w, y = _integers(n, m), _integers(n, k), _integers(k, m), _integers(n, m)
        dx, dw, db = (np.full(s, np.nan, np.float32) for s in ((n, k), (k, m), (m,)))
        values = {
            "n": n, "k": k, "m": m, "g": g, "x": x, "w": w, "saved": y,
            "dx": dx, "dw": dw, "db": db, "activation": activation,
        }  # fmt: skip
        assert _backward(_words(backward.DESCRIPTOR, values)) == 0
        h = np.where(y <= 0, 0, g) if activation else g
        assert (dx == h @ w.T).all() and (dw == x.T @ h).all() and (db == h.sum(0)).all()

    return case


CASES = (
    _case(3, 700, 800),  # streams of B, of columns that are transposed on the way, of A
    _case(3, 700, 800, transposed=True),
    _case(700, 3, 800),
    _case(200, 200, 200),  # parts
    _case(40, 40, 5000),  # blocks of k side by side
    _case(600, 600, 600),  # packed blocks that all threads share
    _backward_case(150, 150, 160, 0),  # dX beside dW
    _backward_case(150, 150, 160, RELU),
    _backward_case(600, 20, 600, RELU),  # H by columns
)
