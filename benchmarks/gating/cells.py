"""The cells of the gate: twenty questions, each answered in milliseconds, over all that users call.

``CELLS[name]()`` checks a result and gives the function to be timed; an AttributeError there says
that this commit does not have it yet.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from shared import data

import fastgrad

Call = Callable[[], Any]


def _product(form: str, m: int, k: int, n: int, dtype: str) -> Call:
    p = data.product(form, dtype, m, k, n)
    return partial(data.PRODUCTS[form], p.a, p.b, p.out)


def _layer(backward: bool, name: str | None, n: int, k: int, m: int, dtype: str) -> Call:
    d = data.layer((n, k, m), dtype, name)
    if not backward:
        return partial(fastgrad.linear_forward, d.x, d.weight, d.bias, name, d.y, d.z)
    function: Any = fastgrad.linear_backward
    outs = d.dx, d.dw, d.db
    return partial(function, d.grad, d.x, d.weight, name, d.y, d.z, (True,) * 3, outs)


def _train_step() -> Call:
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((32, 64)).astype("float32"), rng.integers(0, 10, 32)
    model = fastgrad.MLP((64, 128, 10), optimizer=fastgrad.SGD(1e-6))
    if not 1.0 < model.train_step(x, labels) < 10.0:
        raise ArithmeticError("train_step: this is not the loss of an untrained net")
    return partial(model.train_step, x, labels)


CELLS: dict[str, Callable[[], Call]] = {
    "call.matmul 4x4 float64": partial(_product, "nn", 4, 4, 4, "float64"),
    "call.forward 8x16x8 float64": partial(_layer, False, "relu", 8, 16, 8, "float64"),
    "call.backward 8x16x8 float64": partial(_layer, True, "relu", 8, 16, 8, "float64"),
    "kernel.nn 256 float32": partial(_product, "nn", 256, 256, 256, "float32"),
    "kernel.nt 256 float32": partial(_product, "nt", 256, 256, 256, "float32"),
    "kernel.tn 256 float32": partial(_product, "tn", 256, 256, 256, "float32"),
    "kernel.nn 256 float64": partial(_product, "nn", 256, 256, 256, "float64"),
    "kernel.nn 768 float32": partial(_product, "nn", 768, 768, 768, "float32"),
    "kernel.nn 1x784x512 float32": partial(_product, "nn", 1, 784, 512, "float32"),
    "kernel.tn 64x20000x64 float32": partial(_product, "tn", 64, 20000, 64, "float32"),
    "kernel.nt 512x512x2 float32": partial(_product, "nt", 512, 512, 2, "float32"),
    "layer.forward 32x64x128 float32": partial(_layer, False, "relu", 32, 64, 128, "float32"),
    "layer.backward 32x64x128 float32": partial(_layer, True, "relu", 32, 64, 128, "float32"),
    "layer.forward gelu 128x784x512 float32": partial(
        _layer, False, "gelu", 128, 784, 512, "float32"
    ),
    "layer.backward relu 128x784x512 float32": partial(
        _layer, True, "relu", 128, 784, 512, "float32"
    ),
    "layer.backward tanh 128x128x128 float64": partial(
        _layer, True, "tanh", 128, 128, 128, "float64"
    ),
    "train.step 64-128-10 b32 float32": _train_step,
}
