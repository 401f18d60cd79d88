"""A user's module: its functions are cached on disk. ``python user_module.py WHAT`` runs it."""

from __future__ import annotations

import os
import sys

import numpy as np
from numba import njit

if os.environ.get("WITHOUT_FASTGRAD") != "1":
    import fastgrad


@njit(cache=True, fastmath=True)
def layer(x, weight, bias):  # type: ignore[no-untyped-def]
    return fastgrad.linear_forward(x, weight, bias, "relu")


@njit(cache=True, nogil=True)
def step(g, x, weight):  # type: ignore[no-untyped-def]
    grads = fastgrad.linear_backward(g, x, weight, needs=(False, True, True))
    fastgrad.sgd_step(weight, grads.weight, 0.5)
    return grads


def data():  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(5)
    shapes = (6, 11), (11, 9), (9,), (6, 9)
    return tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes)


def main(what: str) -> None:
    x, weight, bias, g = data()
    if what == "abi":
        from fastgrad._kernels.runtime.table import TABLE

        TABLE[0] += 1
    try:
        y = layer(x, weight, bias)
    except RuntimeError as error:
        print(error)
        return
    grads = step(g, x, weight.copy())
    print(sum(f.stats.cache_hits[f.signatures[0]] for f in (layer, step) if f.stats.cache_hits))
    print(y.tobytes().hex(), grads.weight.tobytes().hex(), grads.bias.tobytes().hex())
    try:
        layer(x, weight[1:], bias)
    except ValueError as error:
        print(error)


if __name__ == "__main__":
    main(sys.argv[1])
