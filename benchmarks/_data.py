"""Operands and checked results for the benchmarks, made once a process.

asv_runner times a benchmark that has a setup() one call at a time, clock included: microseconds on
a call of one. So there is no setup() here, but factories that remember; a call to one costs 0.1 us.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

import fastgrad

Array = Any

DTYPES = ["float32", "float64"]
PRODUCTS = {"nn": fastgrad.matmul, "nt": fastgrad.matmul_nt, "tn": fastgrad.matmul_tn}

# Layers (batch, in, out): digits in and out, MNIST in and hidden, a transformer's MLP up.
LAYERS = {
    "32x64x128": (32, 64, 128),
    "32x128x10": (32, 128, 10),
    "128x784x512": (128, 784, 512),
    "128x512x512": (128, 512, 512),
    "256x768x3072": (256, 768, 3072),
}


class Product(NamedTuple):
    """a, b as stored for the form; left, right are views with left @ right the product."""

    a: Array
    b: Array
    left: Array
    right: Array
    out: Array


class Layer(NamedTuple):
    """x (N, K), weight (K, M), bias (M,), grad (N, M); y, z and dx, dw, db are written."""

    x: Array
    weight: Array
    bias: Array
    grad: Array
    y: Array
    z: Array
    dx: Array
    dw: Array
    db: Array


@cache
def product(form: str, dtype: str, m: int, k: int = 0, n: int = 0) -> Product:
    """C (m, n) = A·B, A·Bᵀ or Aᵀ·B, A·B of (m, k) and (k, n), all m by default; checked."""
    k, n = k or m, n or m
    rng = np.random.default_rng(m)
    a = rng.standard_normal((k, m) if form == "tn" else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if form == "nt" else (k, n)).astype(dtype)
    left, right = a.T if form == "tn" else a, b.T if form == "nt" else b
    out = np.full((m, n), np.nan, dtype)
    PRODUCTS[form](a, b, out)
    check(out, left @ right, k)
    return Product(a, b, left, right, out)


@cache
def layer(size: str | tuple[int, int, int], dtype: str, activation: str | None = None) -> Layer:
    """A layer after a forward and a backward, both checked against the mathematics in numpy.

    size: a name in LAYERS, or (batch, in, out).
    """
    n, k, m = LAYERS[size] if isinstance(size, str) else size
    rng = np.random.default_rng(n + k + m)
    shapes = ((n, k), (k, m), (m,), (n, m))
    x, weight, bias, grad = (rng.standard_normal(s).astype(dtype) for s in shapes)
    weight /= np.sqrt(np.array(k, dtype))
    y, z, dx, dw, db = (np.full(s, np.nan, dtype) for s in ((n, m), (n, m), (n, k), (k, m), (m,)))
    data = Layer(x, weight, bias, grad, y, z, dx, dw, db)
    fastgrad.linear_forward(x, weight, bias, activation, y, z)
    exact = x @ weight + bias
    h = grad
    if activation:
        check(z, exact, k)
        exact = fastgrad.reference.activation_value(activation, z)
        h = grad * fastgrad.reference.activation_derivative(activation, z)
    check(y, exact, k)
    backward(data, activation)
    for gradient, expected in ((dx, h @ weight.T), (dw, x.T @ h), (db, h.sum(0))):
        check(gradient, expected, max(n, m))
    return data


def backward(data: Layer, activation: str | None) -> Any:
    """fastgrad.linear_backward with every argument a training step gives it."""
    x, weight, _, grad, y, z, *outs = data
    return fastgrad.linear_backward(
        grad, x, weight, activation, output=y, preactivation=z, out=tuple(outs)
    )


def check(actual: Array, expected: Array, terms: int) -> None:
    """Both are right to rounding: sums of ``terms`` products of size about 1."""
    bound = 32 * np.sqrt(terms) * np.finfo(actual.dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=bound, atol=bound)
