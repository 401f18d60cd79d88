"""Operands of a cell, what must come out, and the check that every library passes before timing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from cells import Cell

Array = Any


class WrongResult(Exception):
    """The message is a sentence that names library and cell."""


class Operands(NamedTuple):
    """Arrays as stored. Products: a, b. Layers: x, weight, bias, and for backward grad, output.

    nt stores b as (n, k), tn stores a as (k, m): what a library without these forms transposes.
    """

    a: Array  # or x
    b: Array  # or weight
    bias: Array
    grad: Array
    output: Array


def make(cell: Cell) -> Operands:
    """Standard normal numbers; output is what relu leaves: half of it zeros."""
    rng = np.random.default_rng(cell.seed)
    m, n, k = cell.m, cell.n, cell.k

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape, np.dtype(cell.dtype))

    a = normal(k, m) if cell.op == "tn" else normal(m, k)
    b = normal(n, k) if cell.op == "nt" else normal(k, n)
    bias = normal(n) if cell.op == "forward" else None
    grad = normal(m, n) if cell.op == "backward" else None
    output = np.maximum(normal(m, n), 0) if cell.op == "backward" else None
    return Operands(a, b, bias, grad, output)


def poisoned(cell: Cell) -> tuple[Array, ...]:
    """Fresh outs full of NaN: C or Y; dX, dW and db for backward."""
    m, n, k = cell.m, cell.n, cell.k
    shapes = ((m, k), (k, n), (n,)) if cell.op == "backward" else ((m, n),)
    return tuple(np.full(shape, np.nan, cell.dtype) for shape in shapes)


def expected(cell: Cell, data: Operands) -> tuple[Array, ...]:
    """The results by numpy in float64."""
    a, b, bias, grad, output = (None if x is None else x.astype(np.float64) for x in data)
    if cell.op == "backward":
        h = grad * (output > 0)
        return h @ b.T, a.T @ h, h.sum(0)
    product = (a.T if cell.op == "tn" else a) @ (b.T if cell.op == "nt" else b)
    return (np.maximum(product + bias, 0),) if cell.op == "forward" else (product,)


def check(library: str, cell: Cell, data: Operands, results: tuple[Array, ...]) -> None:
    """Raise WrongResult unless all are right to rounding.

    A result is a sum of ``terms`` products of numbers of size 1. Partial sums of one chain grow
    like a random walk and so do their rounding errors: a few times terms steps of eps, at worst of
    all elements. One product too few is a hundred times that, and more.
    """
    terms = {"backward": (cell.n, cell.m, cell.m)}.get(cell.op, (cell.k,))
    for i, (actual, exact, t) in enumerate(zip(results, expected(cell, data), terms, strict=True)):
        bound = (32 * t**0.5 + 4 * t) * np.finfo(cell.dtype).eps
        fault = ""
        if actual.dtype != cell.dtype or actual.shape != exact.shape:
            fault = f"is {actual.dtype} {actual.shape}, not {cell.dtype} {exact.shape}"
        elif not np.abs(actual - exact).max() <= bound:  # also where it is NaN
            fault = f"is off by {np.abs(actual - exact).max():.2g}, more than {bound:.2g}"
        if fault:
            raise WrongResult(f"{library} computes {cell} wrong: result {i} {fault}")
