"""How long do stacks of small matrices take, and how do they compare with numpy?

A stack of products, and a stack of layers as an ensemble has them: S weights, each with its rows.
time / numpy's: lower is better. float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

import fastgrad

from ._abba import ratio
from ._base import Timed, warm
from ._data import check

Call = Callable[[], object]
STACKS = {  # matrices, rows, in, out
    "256 of 8x8x8": (256, 8, 8, 8),
    "64 of 32x64x32": (64, 32, 64, 32),
    "8 of 32x128x128": (8, 32, 128, 128),
}


@cache
def products(name: str) -> tuple[Call, Call]:
    """Ours and numpy's, which are equal to rounding."""
    s, n, k, m = STACKS[name]
    rng = np.random.default_rng(s)
    a, b = (rng.standard_normal(shape, np.float32) for shape in ((s, n, k), (s, k, m)))
    out, theirs = np.full((2, s, n, m), np.nan, np.float32)

    def ours() -> object:
        return fastgrad.matmul(a, b, out)

    def numpys() -> object:
        return np.matmul(a, b, out=theirs)

    ours()
    numpys()
    check(out, theirs, k)
    return ours, numpys


@cache
def layers(name: str) -> tuple[Call, Call]:
    """Forward and backward of S layers with relu: ours in two calls, numpy's in seven."""
    s, n, k, m = STACKS[name]
    rng = np.random.default_rng(s)
    shapes = ((s, n, k), (s, k, m), (s, m), (s, n, m))
    x, weight, bias, grad = (rng.standard_normal(shape, np.float32) for shape in shapes)
    mine, numpys = ([np.full_like(like, np.nan) for like in (grad, x, weight, bias)] for _ in "ab")
    h = np.empty_like(grad)

    def ours() -> None:
        y, *gradients = mine
        fastgrad.linear_forward(x, weight, bias, "relu", out=y)
        fastgrad.linear_backward(grad, x, weight, "relu", output=y, out=tuple(gradients))

    def theirs() -> None:
        y, dx, dw, db = numpys
        np.matmul(x, weight, out=y)
        np.add(y, bias[:, None], out=y)
        np.maximum(y, 0, out=y)
        np.multiply(grad, y > 0, out=h)
        np.matmul(h, weight.swapaxes(1, 2), out=dx)
        np.matmul(x.swapaxes(1, 2), h, out=dw)
        np.sum(h, axis=1, out=db)

    ours()
    theirs()
    for found, expected in zip(mine, numpys, strict=True):
        check(found, expected, k + n)
    return ours, theirs


for _name in STACKS:
    warm(products, _name)
    warm(layers, _name)


class Stacks(Timed):
    """stack: how many, of rows x in x out."""

    version = "1"
    params = [list(STACKS)]
    param_names = ["stack"]

    def time_matmul(self, name: str) -> None:
        products(name)[0]()

    def time_layers(self, name: str) -> None:
        layers(name)[0]()


class Ratio(Timed):
    version = "1"
    params = [list(STACKS)]
    param_names = ["stack"]
    unit = "time / numpy's"

    def track_matmul_over_numpy(self, name: str) -> float:
        return ratio(*products(name))

    def track_layers_over_numpy(self, name: str) -> float:
        return ratio(*layers(name))
