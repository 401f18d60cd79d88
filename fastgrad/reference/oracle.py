"""The scalar formula of the contract, for the CPU that numba compiles for: what kernels must give.

Tests and ``fastgrad check`` compare with it. On a CPU without fused multiply-add every step is a
multiplication and an addition instead, each rounded, in the same order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.codegen import target
from .._kernels.formulas import activations
from ._contract import contract_matmul
from .lanes import Floats, Lanes

Array = NDArray[Any]


class _UnfusedLanes(Lanes):
    """Formulas as SIMD code without fused multiply-add computes them."""

    def fma(self, a: Floats | float, b: Floats | float, c: Floats | float) -> Floats:
        with np.errstate(all="ignore"):
            return Floats(np.asarray(self._float(a) * self._float(b) + self._float(c)))


def has_fma() -> bool:
    return target.current().isa.fma


def chain(a: Array, b: Array) -> Array:
    """a (m, k) · b (k, n) -> (m, n), k of one block: one chain an element, from +0.0."""
    if has_fma():
        return contract_matmul(a, b)
    total = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    with np.errstate(all="ignore"):
        for k in range(a.shape[1]):
            total = a[:, k, None] * b[k] + total
    return total


def product(a: Array, b: Array, old: Array) -> tuple[Array, Array]:
    """a (m, k) · b (k, n) written, and added to old (m, n): blocks of KC, in their order."""
    kc = target.KC[a.dtype.name]
    written: Array | None = None
    with np.errstate(all="ignore"):
        for k in range(0, a.shape[1], kc):
            block = chain(a[:, k : k + kc], b[k : k + kc])
            old = old + block
            written = block if written is None else written + block
    return np.zeros_like(old) if written is None else written, old


def value(activation: str | None, z: Array) -> Array:
    """act(z)"""
    if activation is None:
        return z
    return lanes(z.dtype)(activations.BY_NAME[activation].value, z)


def backward(activation: str | None, g: Array, saved: Array) -> Array:
    """H = G ∘ act', rounded; saved is Y or Z, as the activation wants."""
    if activation is None:
        return g
    return lanes(g.dtype)(activations.BY_NAME[activation].backward, g, saved)


def lanes(dtype: np.dtype[Any]) -> Lanes:
    """What formulas run on."""
    return Lanes(dtype) if has_fma() else _UnfusedLanes(dtype)
