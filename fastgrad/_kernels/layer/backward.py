"""The backward of a linear layer: H = G * act'(.), dX = H . W^T, dW = X^T . H, db = column sums.

G is read once: a block of H is formed, and its columns summed on the way, in scratch that stays in
cache while both products read it. Blocks of rows and of columns are multiples of KC, so that the
products over them, the first written and the rest accumulated, have the bits of the whole (promise
6 of the contract). Without an activation a block of G is used where it lies.
"""

from __future__ import annotations

from typing import Any

from ..codegen.integers import ceil_div, least, most, pick, quotient
from ..codegen.memory import call_kernel, in_memory, word
from ..codegen.target import KC
from ..formulas.elementwise import BACKWARD
from ..gemm import thresholds
from ..gemm.blocked import BLOCKS
from ..gemm.dispatch import GEMM
from ..gemm.few_rows import STREAM, STREAM_TASK
from ..gemm.macrokernel import BLOCK, PACK_B
from ..gemm.packing import COPY, copy
from ..gemm.reduce import add_blocks, column_sums
from ..runtime.jit import OK, OUT_OF_MEMORY, register, slot, stamp
from ..runtime.scratch import ARENA_BYTES, HEADER, acquire, release
from ..runtime.thread_pool import FORK_JOIN, ensure, threads_in_force

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

# A task that forms H and db: task t has `wide` columns from t * wide on; strides in bytes.
PLAN = (
    "rows", "columns",
    "g", "g_row", "g_column",
    "saved", "saved_row", "saved_column",
    "h", "h_row",  # where H is written; h 0: H is G
    "db", "accumulate_b",  # 0: not wanted
    "activation",
    "wide",
)  # fmt: skip

# One block of H: it is read by two products while it is in L2.
H_BYTES = 1 << 20
_PAD = 64  # bytes a row, so that rows do not share cache sets


def form_h(dtype: str) -> Any:
    """A task: columns of a block of H, and what they add to db."""
    version = stamp()
    size = 4 if dtype == "float32" else 8
    kc_max, backward, header = KC[dtype], slot(BACKWARD, dtype), HEADER
    row = kc_max * size  # of what is gathered, and of the sums
    assert HEADER + (kc_max + 1) * row <= ARENA_BYTES

    def kernel_form_h(d):  # type: ignore[no-untyped-def]
        _ = version
        p, task = word(d, 0), word(d, 1)
        wide = word(p, 13)
        first = task * wide
        columns = least(wide, word(p, 1) - first)
        g_row, g_column = word(p, 3), word(p, 4)
        s_row, s_column = word(p, 6), word(p, 7)
        g, saved = word(p, 2) + first * g_column, word(p, 5) + first * s_column
        h, h_row, db, activation = word(p, 8), word(p, 9), word(p, 10), word(p, 12)
        scratch = acquire()
        if scratch == 0:
            return OUT_OF_MEMORY
        sums = scratch + header
        gathered = sums + row
        if h != 0:
            h += first * size
        if db != 0:
            db += first * size
        status, add = OK, word(p, 11)
        if word(p, 0) == 0 and db != 0 and add == 0:
            column_sums(size, (0, columns, db, 0, db))  # zeros
        for r in range(0, word(p, 0), kc_max):
            rows = least(kc_max, word(p, 0) - r)
            from_g, from_row = g + r * g_row, g_row
            if activation == 0:
                if h != 0:
                    copy(size, (rows, columns, from_g, g_row, g_column, h + r * h_row, h_row))
                    from_g, from_row = h + r * h_row, h_row
                column_sums(size, (rows, columns, from_g, from_row, sums))
            else:
                column_sums(size, (0, columns, sums, 0, sums))  # zeros
                if g_column != size:
                    copy(size, (rows, columns, from_g, g_row, g_column, h + r * h_row, h_row))
                    from_g, from_row = h + r * h_row, h_row
                s, at_row = saved + r * s_row, s_row
                if s_column != size:
                    copy(size, (rows, columns, s, s_row, s_column, gathered, row))
                    s, at_row = gathered, row
                status |= call_kernel(
                    backward + 2 * activation,
                    (rows, columns, from_g, from_row, s, at_row, h + r * h_row, h_row, sums),
                )
            if db != 0:
                add_blocks(size, (columns, db if add != 0 else sums, sums,
                                  1 if add != 0 else 0, 0, db))  # fmt: skip
                add = 1
        release(scratch)
        return status

    return kernel_form_h


def some_products(dtype: str) -> Any:
    """A task: the t-th of the gemm descriptors that lie side by side."""
    version = stamp()
    number = slot(GEMM, dtype)

    def kernel_some_products(d):  # type: ignore[no-untyped-def]
        _ = version
        p = word(d, 0) + 144 * word(d, 1)
        return call_kernel(number, (
            word(p, 0), word(p, 1), word(p, 2), word(p, 3), word(p, 4), word(p, 5),
            word(p, 6), word(p, 7), word(p, 8), word(p, 9), word(p, 10), word(p, 11),
            word(p, 12), word(p, 13), word(p, 14), word(p, 15), word(p, 16), word(p, 17),
        ))  # fmt: skip

    return kernel_some_products


def linear_backward(dtype: str) -> Any:
    version = stamp()
    size = 4 if dtype == "float32" else 8
    kc = KC[dtype]
    gemm, backward = slot(GEMM, dtype), slot(BACKWARD, dtype)
    block, blocks, pack_b = slot(BLOCK, dtype), slot(BLOCKS, dtype), slot(PACK_B, dtype)
    stream, stream_task = slot(STREAM, dtype), slot(STREAM_TASK, dtype)
    form, products = slot(FORM_H, dtype), slot(SOME_PRODUCTS, dtype)
    fork_join = FORK_JOIN
    h_bytes, header, pad = H_BYTES, HEADER, _PAD
    fork_fmas, pair_fmas = thresholds.FORK_FMAS * 4 // size, thresholds.PAIR_FMAS * 4 // size
    fmas_per_ns = thresholds.FMAS_PER_NS * 4 // size

    def kernel_linear_backward(d):  # type: ignore[no-untyped-def]
        _ = version
        n, k, m = word(d, 0), word(d, 1), word(d, 2)
        g_row, g_column = word(d, 4), word(d, 5)
        x_row, x_column = word(d, 7), word(d, 8)
        w_row, w_column = word(d, 10), word(d, 11)
        s_row, s_column = word(d, 13), word(d, 14)
        dx, dx_row, dx_column = word(d, 15), word(d, 16), word(d, 17)
        dw, dw_row, dw_column = word(d, 18), word(d, 19), word(d, 20)
        db, activation = word(d, 21), word(d, 22)
        if activation != 0:
            status = ensure(backward + 2 * activation)
            if status != OK:
                return status
        threads = threads_in_force() if n * k * m >= fork_fmas // 2 else 1
        in_place = activation == 0 and (g_column == size or m <= 1)
        width = most(least(m, kc), 1)
        height = most(quotient(h_bytes, width * size * kc), 1) * kc
        if in_place and n * m * size <= h_bytes:
            width, height = most(m, 1), most(n, 1)
        h = arena = 0
        h_row = width * size + (pad if width * size % 512 == 0 else 0)
        if not in_place:
            arena = acquire()
            if arena == 0:
                return OUT_OF_MEMORY
            h = arena + header
        status = OK
        for r in range(0, most(n, 1), height):
            rows = least(height, n - r)
            for c in range(0, most(m, 1), width):
                columns = least(width, m - c)
                g = word(d, 3) + r * g_row + c * g_column
                if db != 0 or not in_place:
                    parts = threads if rows * columns >= 1 << 14 else 1
                    wide = most(64, ceil_div(columns, parts))
                    plan = in_memory((
                        rows, columns, g, g_row, size if in_place else g_column,
                        word(d, 12) + r * s_row + c * s_column, s_row, s_column, h, h_row,
                        db + c * size if db != 0 else 0, 1 if r > 0 else word(d, 25),
                        activation, wide,
                    ))  # fmt: skip
                    tasks = ceil_div(columns, wide)
                    status |= call_kernel(fork_join, (form, plan, tasks, rows * columns))
                from_h, from_row = h, h_row
                if in_place:
                    from_h, from_row = g, g_row
                fmas = rows * columns * k
                alone = 1 if threads > 1 and fmas < pair_fmas and dx != 0 and dw != 0 else 0
                acc_x, acc_w = word(d, 23), word(d, 24)
                acc_x, acc_w = pick(c, 1, acc_x), pick(r, 1, acc_w)
                to_dx = (
                    rows, k, columns, from_h, from_row, size,
                    word(d, 9) + c * w_column, w_column, w_row,
                    dx + r * dx_row, dx_row, dx_column, 0, 0, 0, 0, acc_x, alone,
                )  # fmt: skip
                to_dw = (
                    k, columns, rows, word(d, 6) + r * x_row, x_column, x_row,
                    from_h, from_row, size,
                    dw + c * dw_column, dw_row, dw_column, 0, 0, 0, 0, acc_w, alone,
                )  # fmt: skip
                two = in_memory(to_dx + to_dw)
                if status != OK:
                    break
                if alone != 0:
                    for number in (gemm, block, blocks, pack_b, stream, stream_task):
                        status |= ensure(number)
                    if status != OK:
                        break
                    ns = quotient(2 * fmas, fmas_per_ns)
                    status |= call_kernel(fork_join, (products, two, 2, ns))
                else:
                    if dx != 0:
                        status |= call_kernel(products, (two, 0))
                    if dw != 0:
                        status |= call_kernel(products, (two, 1))
            if status != OK:
                break
        if arena != 0:
            release(arena)
        return status

    return kernel_linear_backward


FORM_H = register("form_h", form_h, uses=(COPY,))
SOME_PRODUCTS = register("some_products", some_products)
BACKWARD_KERNEL = register("linear_backward", linear_backward)
