"""The contract's sum by the scalar formula, compiled: what reference.contract_matmul gives.

Plain loops over LLVM's fused multiply-add, nothing of fastgrad's. contract/test_formula.py compares
the two, which is why this one, a thousand times as fast, may stand in for the other. For a CPU
without fused multiply-add a step is a product and a sum, each rounded: promises 1 to 3 hold there.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic
from numpy.typing import NDArray

from fastgrad._kernels.codegen.target import KC, current
from fastgrad.cli import _bits_formula

Array = NDArray[Any]


@intrinsic  # type: ignore[untyped-decorator]
def _fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if current().isa.fma:
            return builder.fma(*args)
        return builder.fadd(builder.fmul(args[0], args[1]), args[2])

    return a(a, b, c), codegen


@numba.njit(fastmath=False, error_model="numpy", cache=True)  # type: ignore[untyped-decorator]
def _sum(a, b, kc, written, added):  # type: ignore[no-untyped-def]
    """written = (B0 + B1) + ..., added = ((added + B0) + B1) + ...; all C-contiguous."""
    m, depth = a.shape
    n = b.shape[1]
    chains = np.empty(n, a.dtype)
    for i in range(m):
        for start in range(0, depth, kc):
            chains[:] = 0.0
            for k in range(start, min(start + kc, depth)):
                x = a[i, k]
                for j in range(n):
                    chains[j] = _fma(x, b[k, j], chains[j])
            for j in range(n):
                written[i, j] = written[i, j] + chains[j] if start else chains[j]
                added[i, j] += chains[j]


def contract_both(a: Array, b: Array, old: Array | None = None) -> tuple[Array, Array]:
    """a (M, K) · b (K, N) written, and added to old (M, N)."""
    m, n = a.shape[0], b.shape[1]
    if numba.config.DISABLE_JIT:
        return _bits_formula.product(a, b, np.zeros((m, n), a.dtype) if old is None else old)
    if m > n:  # a long inner loop; a·b = b·a
        written, added = contract_both(b.T, a.T, None if old is None else old.T)
        return written.T.copy(), added.T.copy()
    written = np.zeros((m, n), a.dtype)
    added = written.copy() if old is None else np.array(old, a.dtype, order="C")
    if a.shape[1]:
        _sum(np.array(a, order="C"), np.array(b, order="C"), KC[a.dtype.name], written, added)
    return written, added


def contract_product(a: Array, b: Array) -> Array:
    """a (M, K) · b (K, N) -> (M, N)"""
    return contract_both(a, b)[0]
