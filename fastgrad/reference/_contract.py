"""The contract's formula (docs/contract.md): the very bits of products and column sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.codegen.target import KC
from .fma import fma

Array = NDArray[Any]


def contract_matmul(
    a: Array,
    b: Array,
    *,
    kc: int | None = None,
    bias: Array | None = None,
    c_old: Array | None = None,
) -> Array:
    """a (M, K) · b (K, N) + bias (N,) -> c (M, N), with the bits that every kernel must give.

    float32 or float64, one dtype for all. c = ((c_old + B0) + B1) + …, where B_r is one chain of
    fused multiply-adds over k = r·kc … in increasing k, started at +0.0; then + bias. Without c_old
    the sum starts with B0 itself; without a block (K = 0) it is c_old, or +0.0.
    """
    _same_dtype("contract_matmul", a, b, bias, c_old)
    _check_shapes("contract_matmul", a, b, bias, c_old)
    depth, step = a.shape[1], _step("contract_matmul", kc, a.dtype)
    total = c_old
    with np.errstate(all="ignore"):
        for start in range(0, depth, step):
            block = np.zeros((a.shape[0], b.shape[1]), a.dtype)
            for k in range(start, min(start + step, depth)):
                block = fma(a[:, k, None], b[None, k, :], block)
            total = block if total is None else total + block
        if total is None:
            total = np.zeros((a.shape[0], b.shape[1]), a.dtype)
        return total.copy() if bias is None else total + bias


def contract_colsum(h: Array, *, kc: int | None = None, c_old: Array | None = None) -> Array:
    """h (N, M) -> column sums (M,), with the bits of the contract.

    Blocks of kc rows, each a chain of s = fma(1, h, s); c_old (M,) is added as in contract_matmul.
    """
    _same_dtype("contract_colsum", h, c_old)
    if h.ndim != 2 or (c_old is not None and c_old.shape != h.shape[1:]):
        old_shape = "" if c_old is None else f" and c_old {c_old.shape}"
        raise ValueError(f"contract_colsum: h {h.shape}{old_shape} are not (N, M) and (M,)")
    ones = np.ones((1, len(h)), h.dtype)
    old = None if c_old is None else c_old[None, :]
    return np.asarray(contract_matmul(ones, h, kc=kc, c_old=old)[0])


def contract_block_sum(blocks: Sequence[Array]) -> Array:
    """Gradients of the blocks of a batch, one shape and dtype -> ((B0 + B1) + B2) + ..., each +
    rounded: what MLP.fit(block_rows=) adds, whoever computed them."""
    _same_dtype("contract_block_sum", *blocks)
    shapes = {block.shape for block in blocks}
    if len(shapes) != 1:
        raise ValueError(f"contract_block_sum: blocks have shapes {sorted(shapes)}, expected one")
    total = blocks[0].copy()
    with np.errstate(all="ignore"):
        for block in blocks[1:]:
            total = total + block
    return total


def _same_dtype(function: str, *arrays: Array | None) -> None:
    given = [v for v in arrays if v is not None]
    if not all(isinstance(v, np.ndarray) for v in given):
        raise TypeError(f"{function}: an argument is no numpy.ndarray; its dtype says the bits")
    found = {v.dtype.name for v in given}
    if len(found) > 1 or not found <= {"float32", "float64"}:
        raise TypeError(f"{function}: arrays have dtypes {sorted(found)}; pass float32 or float64")


def _check_shapes(function: str, a: Array, b: Array, bias: Array | None, old: Array | None) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"{function}: a {a.shape} and b {b.shape} are not (M, K) and (K, N)")
    expected = {"bias": b.shape[1:], "c_old": (len(a), b.shape[1])}
    for (name, shape), v in zip(expected.items(), (bias, old), strict=True):
        if v is not None and v.shape != shape:
            raise ValueError(f"{function}: {name} has shape {v.shape}, expected {shape}")


def _step(function: str, kc: int | None, dtype: np.dtype[Any]) -> int:
    if kc is not None and kc < 1:
        raise ValueError(f"{function}: kc is {kc}; it must be 1 or more")
    return kc or KC[dtype.name]
