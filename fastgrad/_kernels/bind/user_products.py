"""matmul, matmul_nt, matmul_tn of a user's compiled function: checked, and on to gemm.py.

What is not plain (errors, casts, stacks of b, overlaps, what no kernel can write) is left to
Python: the answer is then CAREFUL, with nothing written.
"""

from __future__ import annotations

from typing import Any

from numba.extending import register_jitable

from ..codegen.memory import call_kernel, word
from ..gemm.dispatch import GEMM
from ..runtime.jit import OPTIONS, register, slot, stamp
from .records import (
    CAREFUL,
    DONE,
    FLAGS,
    FRESH,
    FUNCTION,
    LENGTHS,
    NDIM,
    NUMBER,
    OPERANDS,
    READ_ONLY,
    WANTED,
    are_apart,
    column,
    expect,
    float_size,
    is_dense,
    matrix,
    turned,
)

_NT, _TN = NUMBER["matmul_nt"], NUMBER["matmul_tn"]


@register_jitable(**OPTIONS)
def _shapes_fit(a, b, c, turn_a, turn_b):  # type: ignore[no-untyped-def]
    """numpy's rules for a (..., m, k) . b (..., k, n) -> c; a wanted c gets its lengths."""
    of_a, of_b, of_c = word(a, NDIM), word(b, NDIM), word(c, NDIM)
    if of_a == 0 or of_b == 0:
        return False
    stack_a = of_a - 2 if of_a > 2 else 0
    stack_b = of_b - 2 if of_b > 2 else 0
    stack = stack_a if stack_a > stack_b else stack_b
    rows, columns = 1 if of_a > 1 else 0, 1 if of_b > 1 else 0
    if of_c != stack + rows + columns:
        return False
    for i in range(stack):
        in_a = word(a, LENGTHS + stack_a - 1 - i) if i < stack_a else 1
        in_b = word(b, LENGTHS + stack_b - 1 - i) if i < stack_b else 1
        if in_a != in_b and in_a != 1 and in_b != 1:
            return False
        if not expect(c, stack - 1 - i, in_b if in_a == 1 else in_a):
            return False
    last_a, last_b = LENGTHS + of_a - 1, LENGTHS + of_b - 1
    k_at_a = last_a - 1 if of_a > 1 and turn_a else last_a
    k_at_b = last_b - 1 if of_b > 1 and not turn_b else last_b
    if word(a, k_at_a) != word(b, k_at_b):
        return False
    if of_a > 1 and not expect(c, stack, word(a, last_a + last_a - 1 - k_at_a)):
        return False
    return of_b == 1 or expect(c, stack + rows, word(b, last_b + last_b - 1 - k_at_b))


def user_product(dtype: str) -> Any:
    version = stamp()
    gemm = slot(GEMM, "float32")
    nt, tn = _NT, _TN

    def kernel_user_product(p):  # type: ignore[no-untyped-def]
        _ = version
        d = word(p, 0)
        turn_a, turn_b = word(d, FUNCTION) == tn, word(d, FUNCTION) == nt
        a, b, c = word(d, OPERANDS), word(d, OPERANDS + 1), word(d, OPERANDS + 2)
        accumulate, flags = word(d, OPERANDS + 3), word(c, FLAGS)
        if not _shapes_fit(a, b, c, turn_a, turn_b):
            return CAREFUL
        if accumulate != 0 and flags & (WANTED | FRESH) != 0:
            return CAREFUL
        if flags & WANTED != 0:
            return DONE
        size, of_a, of_b = float_size(a), word(a, NDIM), word(b, NDIM)
        if size == 0 or float_size(b) != size or float_size(c) != size:
            return CAREFUL
        if flags & READ_ONLY != 0 or of_b > 2 or (of_a > 2 and turn_a):
            return CAREFUL
        left, even = matrix(a)
        right, _ = matrix(b)
        to, even_to = column(c, size) if of_b == 1 else matrix(c)
        if of_a > 1 and turn_a:
            left = turned(left)
        if of_b == 1 or turn_b:
            right = turned(right)
        if not even or not even_to or not (is_dense(to, size) or is_dense(turned(to), size)):
            return CAREFUL
        if flags & FRESH == 0:
            if not are_apart(to, left, size) or not are_apart(to, right, size):
                return CAREFUL
        return call_kernel(gemm + (size >> 3), (
            left[1], right[3], left[3], left[0], left[2], left[4], right[0], right[2], right[4],
            to[0], to[2], to[4], 0, 0, 0, 0, accumulate, 0,
        ))  # fmt: skip

    return kernel_user_product


USER_PRODUCT = register("user_product", user_product, ("float32",))
