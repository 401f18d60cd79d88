"""The backward of a linear layer: H = G * act'(.), dX = H . W^T, dW = X^T . H, db = column sums.

H is formed once, block by block, in scratch of bounded size. Blocks of rows and of columns are
multiples of KC, so that the products over them, the first written and the rest accumulated, have
the bits of the whole (promise 6 of the contract). Without an activation G is used where it lies.
"""

from __future__ import annotations

from typing import Any

from numba.extending import register_jitable

from .elementwise import BACKWARD
from .gemm import GEMM
from .jit import OK, OPTIONS, OUT_OF_MEMORY, register, slot, stamp
from .lowlevel import call_kernel, word
from .pack import copy
from .reduce import COLSUM
from .scratch import ARENA_BYTES, HEADER, acquire, release
from .target import KC

# The descriptor, 64-bit words; strides in bytes; dx, dw, db: 0 where not needed.
DESCRIPTOR = (
    "n", "k", "m",
    "g", "g_row", "g_column",
    "x", "x_row", "x_column",
    "w", "w_row", "w_column",
    "saved", "saved_row", "saved_column",
    "dx", "dx_row", "dx_column",
    "dw", "dw_row", "dw_column",
    "db",
    "activation", "accumulate_x", "accumulate_w", "accumulate_b",
)  # fmt: skip

# One block of H: it is read by two products while it is in L2.
H_BYTES = 1 << 20
assert 2 * H_BYTES + HEADER <= ARENA_BYTES, "an arena holds a block of H and one of what was saved"


@register_jitable(**OPTIONS)
def _products(d, gemm, colsum, rows, columns, r, c, h, h_row, h_column, acc_x, acc_w, acc_b):  # type: ignore[no-untyped-def]
    """What a block of H at row r (bytes of rows of X, dX) and column c adds to dX, dW, db."""
    k = word(d, 1)
    x, x_row, x_column = word(d, 6), word(d, 7), word(d, 8)
    w, w_row, w_column = word(d, 9), word(d, 10), word(d, 11)
    dx, dx_row, dx_column = word(d, 15), word(d, 16), word(d, 17)
    dw, dw_row, dw_column = word(d, 18), word(d, 19), word(d, 20)
    db = word(d, 21)
    status = OK
    if db != 0:
        status = call_kernel(colsum, (rows, columns, h, h_row, db + c * h_column, acc_b))
    if dw != 0 and status == OK:
        status = call_kernel(gemm, (
            k, columns, rows, x + r * x_row, x_column, x_row, h, h_row, h_column,
            dw + c * dw_column, dw_row, dw_column, 0, 0, 0, 0, acc_w, 0))  # fmt: skip
    if dx != 0 and status == OK:
        status = call_kernel(gemm, (
            rows, k, columns, h, h_row, h_column, w + c * w_column, w_column, w_row,
            dx + r * dx_row, dx_row, dx_column, 0, 0, 0, 0, acc_x, 0))  # fmt: skip
    return status


def linear_backward(dtype: str) -> Any:
    version = stamp()
    size = 4 if dtype == "float32" else 8
    kc = KC[dtype]
    gemm, colsum, backward = slot(GEMM, dtype), slot(COLSUM, dtype), slot(BACKWARD, dtype)
    h_bytes, header = H_BYTES, HEADER

    def kernel_linear_backward(d):  # type: ignore[no-untyped-def]
        _ = version
        n, m = word(d, 0), word(d, 2)
        g, g_row, g_column = word(d, 3), word(d, 4), word(d, 5)
        saved, saved_row, saved_column = word(d, 12), word(d, 13), word(d, 14)
        activation = word(d, 22)
        acc_x, acc_w, acc_b = word(d, 23), word(d, 24), word(d, 25)
        if n == 0 or m == 0 or (activation == 0 and g_column == size):
            return _products(d, gemm, colsum, n, m, 0, 0, g, g_row, size, acc_x, acc_w, acc_b)
        arena = acquire()
        if arena == 0:
            return OUT_OF_MEMORY
        h = arena + header
        s_block = h + h_bytes
        width = min(m, kc)
        height = max(1, h_bytes // (width * size * kc)) * kc
        status = OK
        for r in range(0, n, height):
            rows = min(height, n - r)
            for c in range(0, m, width):
                columns = min(width, m - c)
                h_row = columns * size
                from_g, from_g_row = g + r * g_row + c * g_column, g_row
                if g_column != size:
                    copy(size, (rows, columns, from_g, g_row, g_column, h, h_row))
                    from_g, from_g_row = h, h_row
                if activation != 0:
                    s, s_row = saved + r * saved_row + c * saved_column, saved_row
                    if saved_column != size:
                        copy(size, (rows, columns, s, saved_row, saved_column, s_block, h_row))
                        s, s_row = s_block, h_row
                    status = call_kernel(
                        backward + 2 * activation,
                        (rows, columns, from_g, from_g_row, s, s_row, h, h_row),
                    )
                if status == OK:
                    status = _products(d, gemm, colsum, rows, columns, r, c, h, h_row, size,
                                       1 if c > 0 else acc_x, 1 if r > 0 else acc_w,
                                       1 if r > 0 else acc_b)  # fmt: skip
                if status != OK:
                    release(arena)
                    return status
        release(arena)
        return OK

    return kernel_linear_backward


BACKWARD_KERNEL = register("linear_backward", linear_backward)
