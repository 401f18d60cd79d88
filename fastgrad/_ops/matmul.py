"""matmul, matmul_nt, matmul_tn: A·B, A·Bᵀ, Aᵀ·B with numpy's shape rules."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.bind import builtins
from .._kernels.codegen.structs import make
from .._kernels.gemm.args import Product
from .._kernels.gemm.dispatch import gemm
from . import checks
from . import layout as _layout
from .kernel_call import NO_ROWS, matrix, run

Array = NDArray[Any]


def matmul(a: Array, b: Array, out: Array | None = None, accumulate: bool = False) -> Any:
    """A·B: a (..., M, K) · b (..., K, N) -> c (..., M, N), as np.matmul shapes it.

    A 1-D a is a row, a 1-D b a column, and that dimension is missing from the result; leading
    dimensions are stacks of matrices and broadcast. Computed in np.result_type(a, b, float32);
    float32 and float64 in any strides are read where they are, integers and bools are converted.

    out (of the result's shape and dtype) is written and returned: out = A·B, or out += A·B with
    ``accumulate``. An out that overlaps a or b gets the product of what they held before.
    Each element is the sum over k of the contract (docs/contract.md): the same bits for any
    layout, batch, and CPU with fused multiply-add.

    Raises TypeError for what is not an array of real numbers, ValueError for shapes that do not
    fit, an out that cannot be written or that overlaps itself.
    """
    c = builtins.matmul(a, b, out, accumulate)
    if c is None:
        c = builtins.matmul_stack(a, b, out, accumulate)
    return _checked("matmul", a, b, out, accumulate) if c is None else c


def matmul_nt(a: Array, b: Array, out: Array | None = None, accumulate: bool = False) -> Any:
    """A·Bᵀ: a (..., M, K) · b (..., N, K) -> c (..., M, N); the bits of matmul(a, b.T).

    Everything else as in `matmul`; a 1-D b is its own transpose.
    """
    c = builtins.matmul_nt(a, b, out, accumulate)
    if c is None:
        c = builtins.matmul_nt_stack(a, b, out, accumulate)
    return _checked("matmul_nt", a, b, out, accumulate) if c is None else c


def matmul_tn(a: Array, b: Array, out: Array | None = None, accumulate: bool = False) -> Any:
    """Aᵀ·B: a (..., K, M) · b (..., K, N) -> c (..., M, N); the bits of matmul(a.T, b).

    Everything else as in `matmul`; a 1-D a is its own transpose.
    """
    c = builtins.matmul_tn(a, b, out, accumulate)
    if c is None:
        c = builtins.matmul_tn_stack(a, b, out, accumulate)
    return _checked("matmul_tn", a, b, out, accumulate) if c is None else c


# function -> (transpose a, transpose b, what K is called in a, in b, what to try if K differs)
_FORMS = {
    "matmul": (False, False, "columns", "rows", "pass b.T, or use matmul_nt"),
    "matmul_nt": (False, True, "columns", "columns", "pass b.T, or use matmul"),
    "matmul_tn": (True, False, "rows", "rows", "pass a.T, or use matmul"),
}


def _checked(function: str, a: Any, b: Any, out: Any, accumulate: Any) -> Any:
    a = checks.array(function, "a", a)
    b = checks.array(function, "b", b)
    accumulate = checks.flag(function, "accumulate", accumulate)
    if accumulate and out is None:
        raise ValueError(f"{function}: accumulate=True adds to out, but out is None; pass out")
    for name, operand in (("a", a), ("b", b)):
        if operand.ndim == 0:
            raise ValueError(
                f"{function}: {name} is 0-dimensional, expected 1 dimension or more; "
                f"use a * b for a scalar"
            )
    dtype = checks.result_dtype(a, b)
    *_, shape = _operands(function, a, b)
    result = np.empty(shape, dtype) if out is None else out
    if out is not None:
        checks.output(function, "out", out, shape, dtype)
    a, b = checks.plain(a, dtype), checks.plain(b, dtype)
    target = result
    if out is not None and (np.may_share_memory(out, a) or np.may_share_memory(out, b)):
        target = out.copy() if accumulate else np.empty(shape, dtype)
    matrices: Array = np.asarray(target)
    if a.ndim == 1:
        matrices = matrices[..., None, :] if b.ndim > 1 else matrices[..., None]
    if b.ndim == 1:
        matrices = matrices[..., None]
    if getattr(builtins, function)(a, b, target, accumulate) is None:
        left, right, _ = _operands(function, a, b)
        _run(matrices, left, right, accumulate)
    if target is not result:
        result[...] = target
    return result if out is not None or shape else result[()]


def _operands(function: str, a: Array, b: Array) -> tuple[Array, Array, tuple[int, ...]]:
    """a and b as (..., M, K) and (..., K, N), and the shape of the result."""
    transpose_a, transpose_b, in_a, in_b, remedy = _FORMS[function]
    left = a[None, :] if a.ndim == 1 else a.swapaxes(-1, -2) if transpose_a else a
    right = b[:, None] if b.ndim == 1 else b.swapaxes(-1, -2) if transpose_b else b
    k = left.shape[-1]
    if k != right.shape[-2]:
        in_a = "elements" if a.ndim == 1 else in_a
        in_b = "elements" if b.ndim == 1 else in_b
        checks.mismatch(
            function,
            f"a has {k} {in_a} but b has {right.shape[-2]} {in_b}",
            f"if b is stored transposed, {remedy}" if "b" in remedy[:7] else remedy,
            a=a,
            b=b,
        )
    stack: tuple[int, ...] = ()
    try:
        if left.ndim > 2 or right.ndim > 2:
            stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    except ValueError:
        checks.mismatch(
            function,
            f"the stacks {left.shape[:-2]} of a and {right.shape[:-2]} of b do not broadcast",
            "make their leading dimensions equal or 1",
            a=a,
            b=b,
        )
    rows = () if a.ndim == 1 else (left.shape[-2],)
    columns = () if b.ndim == 1 else (right.shape[-1],)
    return left, right, (*stack, *rows, *columns)


def _run(c: Array, a: Array, b: Array, accumulate: bool) -> None:
    """c (..., M, N) = or += a (..., M, K) · b (..., K, N), one dtype, no overlap."""
    if b.ndim == 2 and a.ndim > 2 and _layout.collapses(a) and _layout.collapses(c):
        c, a = _layout.as_rows(c), _layout.as_rows(a)
    if c.ndim == 2:
        _matrix(c, a.reshape(a.shape[-2:]), b.reshape(b.shape[-2:]), accumulate)
        return
    a = np.broadcast_to(a, (*c.shape[:-2], *a.shape[-2:]))
    b = np.broadcast_to(b, (*c.shape[:-2], *b.shape[-2:]))
    for i in np.ndindex(c.shape[:-2]):
        _matrix(c[i], a[i], b[i], accumulate)


def _matrix(c: Array, a: Array, b: Array, accumulate: bool) -> None:
    if _layout.is_writable_matrix(c):
        args = make(
            Product,
            *c.shape,
            a.shape[1],
            matrix(a),
            matrix(b),
            matrix(c),
            NO_ROWS,
            0,
            0,
            accumulate,
            0,
        )
        run(gemm, c.dtype, args)
        return
    for rows in _layout.row_blocks(c.shape[0], c.dtype, c.shape[1]):
        block = np.array(c[rows], order="C")
        _matrix(block, a[rows], b, accumulate)
        c[rows] = block
