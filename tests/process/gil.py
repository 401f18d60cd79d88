"""Calls of the kernels that hold the GIL, as a plain ``@njit`` function of a user's does.

Each is long enough for the pool to wake its workers, and takes another way through the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from fastgrad._kernels.codegen import structs
from fastgrad._kernels.codegen.calls import call
from fastgrad._kernels.codegen.structs import view
from fastgrad._kernels.formulas.activations import RELU
from fastgrad._kernels.gemm.args import Product
from fastgrad._kernels.gemm.dispatch import gemm
from fastgrad._kernels.layer.args import Backward
from fastgrad._kernels.layer.backward import linear_backward
from fastgrad._kernels.runtime.registry import Floats
from fastgrad._ops.kernel_call import NO_ROWS, data, matrix

Array = np.ndarray[Any, np.dtype[np.float32]]
PRODUCT, BACKWARD = Floats("float32")[gemm], Floats("float32")[linear_backward]


@numba.njit(types.intp(types.intp))
def _product(address):  # type: ignore[no-untyped-def]
    return call(PRODUCT, view(address, Product))


@numba.njit(types.intp(types.intp))
def _backward(address):  # type: ignore[no-untyped-def]
    return call(BACKWARD, view(address, Backward))


def _status(function: Any, args: Any) -> int:
    words = np.array([*structs.words(args)], np.int64)
    return int(function(words.ctypes.data))


def _integers(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).integers(-4, 5, shape).astype(np.float32)


def _case(m: int, n: int, k: int, transposed: bool = False) -> Callable[[], None]:
    def case() -> None:
        a, b = _integers(m, k), _integers(k, n)
        c = np.full((m, n), np.nan, np.float32)
        right = np.asfortranarray(b) if transposed else b
        places = matrix(a), matrix(right), matrix(c), NO_ROWS
        assert _status(_product, Product(m, n, k, *places, 0, 0, 0, 0)) == 0
        assert (c == a @ b).all(), (m, n, k)

    return case


def _backward_case(n: int, k: int, m: int, activation: int) -> Callable[[], None]:
    def case() -> None:
        g, x, w, y = _integers(n, m), _integers(n, k), _integers(k, m), _integers(n, m)
        dx, dw, db = (np.full(s, np.nan, np.float32) for s in ((n, k), (k, m), (m,)))
        places = (matrix(z) for z in (g, x, w, y, dx, dw))
        args = Backward(n, k, m, *places, data(db), activation, 0, 0, 0, 0)
        assert _status(_backward, args) == 0
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
