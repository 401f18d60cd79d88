"""linear_forward and linear_backward of a user's compiled function: checked, and on to the kernels.

What is not plain is left to Python, as in user_products.py.
"""

from __future__ import annotations

from typing import Any

from numba.extending import register_jitable

from ..codegen.memory import call_kernel, word
from ..formulas.activations import TABLE
from ..gemm.dispatch import GEMM
from ..layer.backward import BACKWARD_KERNEL
from ..runtime.jit import OPTIONS, register, slot, stamp
from .records import (
    CAREFUL,
    DONE,
    FLAGS,
    FRESH,
    LENGTHS,
    NDIM,
    OPERANDS,
    READ_ONLY,
    WANTED,
    are_apart,
    expect,
    float_size,
    is_dense,
    matrix,
    turned,
)
from .texts import code_of

_ROWS = tuple((row.name, row.code) for row in TABLE)
_OF_OUTPUT = sum(1 << row.code for row in TABLE if row.saved == "output")


@register_jitable(forceinline=True, **OPTIONS)
def _is_layer(x, weight):  # type: ignore[no-untyped-def]
    """x (..., k), weight (k, m)"""
    of_x = word(x, NDIM)
    if of_x == 0 or word(weight, NDIM) != 2:
        return False
    return word(x, LENGTHS + of_x - 1) == word(weight, LENGTHS)


@register_jitable(**OPTIONS)
def _has_rows_of(y, x, length):  # type: ignore[no-untyped-def]
    """y (..., length) where x is (..., k); a wanted y gets these lengths. No y is right, too."""
    if y == 0:
        return True
    ndim = word(x, NDIM)
    if word(y, NDIM) != ndim:
        return False
    for axis in range(ndim - 1):
        if not expect(y, axis, word(x, LENGTHS + axis)):
            return False
    return expect(y, ndim - 1, length)


@register_jitable(forceinline=True, **OPTIONS)
def _has_lengths(r, ndim, first, last):  # type: ignore[no-untyped-def]
    """A vector (last,) or matrix (first, last); a wanted one gets them. None is right, too."""
    if r == 0:
        return True
    if word(r, NDIM) != ndim or (ndim == 2 and not expect(r, 0, first)):
        return False
    return expect(r, ndim - 1, last)


@register_jitable(forceinline=True, **OPTIONS)
def _flags(r):  # type: ignore[no-untyped-def]
    return word(r, FLAGS) if r != 0 else FRESH


@register_jitable(forceinline=True, **OPTIONS)
def _is_of(r, size):  # type: ignore[no-untyped-def]
    return r == 0 or float_size(r) == size


@register_jitable(forceinline=True, **OPTIONS)
def _matrix_or_none(r):  # type: ignore[no-untyped-def]
    if r == 0:
        return (0, 0, 0, 0, 0), True
    return matrix(r)


def user_forward(dtype: str) -> Any:
    version = stamp()
    gemm = slot(GEMM, "float32")

    def kernel_user_forward(p):  # type: ignore[no-untyped-def]
        _ = version
        d = word(p, 0)
        x, weight, bias = word(d, OPERANDS), word(d, OPERANDS + 1), word(d, OPERANDS + 2)
        y, z = word(d, OPERANDS + 4), word(d, OPERANDS + 5)
        code = code_of(word(d, OPERANDS + 3))
        if code < 0 or not _is_layer(x, weight):
            return CAREFUL
        m = word(weight, LENGTHS + 1)
        if not _has_lengths(bias, 1, 0, m) or not _has_rows_of(z, x, m):
            return CAREFUL
        if not _has_rows_of(y, x, m):
            return CAREFUL
        if word(y, FLAGS) & WANTED != 0:
            return DONE
        size = float_size(x)
        if size == 0 or float_size(weight) != size or float_size(y) != size:
            return CAREFUL
        if not _is_of(bias, size) or not _is_of(z, size):
            return CAREFUL
        left, even = matrix(x)
        right, _ = matrix(weight)
        to_y, even_y = matrix(y)
        to_z, even_z = _matrix_or_none(z)
        row, _ = _matrix_or_none(bias)
        if not even or not even_y or not even_z or (row[4] != size and row[3] > 1):
            return CAREFUL
        if (word(y, FLAGS) | _flags(z)) & READ_ONLY != 0:
            return CAREFUL
        if not is_dense(to_y, size) or not is_dense(to_z, size):
            return CAREFUL
        if word(y, FLAGS) & FRESH == 0:
            if not are_apart(to_y, left, size) or not are_apart(to_y, right, size):
                return CAREFUL
            if not are_apart(to_y, row, size) or not are_apart(to_y, to_z, size):
                return CAREFUL
        if not are_apart(to_z, left, size) or not are_apart(to_z, right, size):
            return CAREFUL
        if not are_apart(to_z, row, size):
            return CAREFUL
        return call_kernel(gemm + (size >> 3), (
            left[1], m, left[3], left[0], left[2], left[4], right[0], right[2], right[4],
            to_y[0], to_y[2], to_y[4], to_z[0], to_z[2], row[0], code, 0, 0,
        ))  # fmt: skip

    return kernel_user_forward


def user_backward(dtype: str) -> Any:
    version = stamp()
    backward, of_output = slot(BACKWARD_KERNEL, "float32"), _OF_OUTPUT

    def kernel_user_backward(p):  # type: ignore[no-untyped-def]
        _ = version
        d = word(p, 0)
        at = d + 8 * OPERANDS
        g, x, weight = word(at, 0), word(at, 1), word(at, 2)
        code = code_of(word(at, 3))
        dx = word(at, 9) if word(at, 6) != 0 else 0
        dw = word(at, 10) if word(at, 7) != 0 else 0
        db = word(at, 11) if word(at, 8) != 0 else 0
        add_x, add_w, add_b = word(at, 12), word(at, 13), word(at, 14)
        if code < 0 or not _is_layer(x, weight):
            return CAREFUL
        saved = g
        if code > 0:
            saved = word(at, 4) if (of_output >> code) & 1 == 1 else word(at, 5)
        k, m = word(weight, LENGTHS), word(weight, LENGTHS + 1)
        if saved == 0 or not _has_rows_of(g, x, m) or not _has_rows_of(saved, x, m):
            return CAREFUL
        if not _has_rows_of(dx, x, k) or not _has_lengths(dw, 2, k, m):
            return CAREFUL
        if not _has_lengths(db, 1, 0, m):
            return CAREFUL
        if add_x | add_w | add_b != 0 and word(at, 15) == 0:
            return CAREFUL  # to add to nothing is an error
        flags = _flags(dx) | _flags(dw) | _flags(db)
        if flags & WANTED != 0:
            return DONE
        size = float_size(x)
        if size == 0 or float_size(weight) != size or float_size(g) != size:
            return CAREFUL
        if not _is_of(saved, size) or not _is_of(dx, size) or not _is_of(dw, size):
            return CAREFUL
        if not _is_of(db, size) or flags & READ_ONLY != 0:
            return CAREFUL
        grad, even_g = matrix(g)
        left, even_x = matrix(x)
        right, _ = matrix(weight)
        kept, even_s = matrix(saved)
        to_x, even_dx = _matrix_or_none(dx)
        to_w, _ = _matrix_or_none(dw)
        to_b, _ = _matrix_or_none(db)
        if not even_g or not even_x or not even_s or not even_dx:
            return CAREFUL
        if not is_dense(to_x, size) and not is_dense(turned(to_x), size):
            return CAREFUL
        if not is_dense(to_w, size) and not is_dense(turned(to_w), size):
            return CAREFUL
        if to_b[4] != size and to_b[3] > 1:
            return CAREFUL
        for r, to in ((dx, to_x), (dw, to_w), (db, to_b)):
            if _flags(r) & FRESH == 0:
                for read in (grad, left, right, kept):
                    if not are_apart(to, read, size):
                        return CAREFUL
        if not are_apart(to_x, to_w, size) or not are_apart(to_x, to_b, size):
            return CAREFUL
        if not are_apart(to_w, to_b, size):
            return CAREFUL
        return call_kernel(backward + (size >> 3), (
            left[1], k, m, grad[0], grad[2], grad[4], left[0], left[2], left[4],
            right[0], right[2], right[4], kept[0], kept[2], kept[4],
            to_x[0], to_x[2], to_x[4], to_w[0], to_w[2], to_w[4], to_b[0], code,
            add_x & 1 if _flags(dx) & FRESH == 0 else 0,
            add_w & 1 if _flags(dw) & FRESH == 0 else 0,
            add_b & 1 if _flags(db) & FRESH == 0 else 0,
        ))  # fmt: skip

    return kernel_user_backward


USER_FORWARD = register("user_forward", user_forward, ("float32",))
USER_BACKWARD = register("user_backward", user_backward, ("float32",))
