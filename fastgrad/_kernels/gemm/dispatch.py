"""C (m, n) = epilogue(A (m, k) . B (k, n)): brought into one form, then the path for its shape.

The form: C has unit stride along n, and the last two steps of the epilogue are resolved (relu on
registers, another activation from Z to Y behind the tile). Every path is a kernel of that form:
    stream.py   few rows, or few columns: the other operand passes by once
    tall.py     long k, small C: blocks of k side by side
    dot.py      a row times a column
    blocks.py   everything else: packed blocks, shared between threads
and small products go to one task of block.py at once. The bits are the same from all; k is always
cut at multiples of KC (the contract). Thresholds: paths.py. A product that is itself a task takes
paths alone whose kernels backward.py compiles before the job.
"""

from __future__ import annotations

from typing import Any

from ..codegen.integers import ceil_div, pick
from ..codegen.memory import call_kernel, in_memory, word
from ..codegen.target import KC, current
from ..formulas.activations import RELU
from ..formulas.elementwise import VALUE
from ..runtime.jit import OK, register, slot, stamp
from ..runtime.thread_pool import ensure, threads_in_force
from . import thresholds
from .blocked import BLOCKS
from .few_rows import STREAM
from .inner_product import DOT
from .macrokernel import BLOCK, IN_PLACE
from .split_k import TALL

# The descriptor of a product, 64-bit words; strides in bytes. c and z have unit stride along n or,
# without bias, activation and z, along m.
DESCRIPTOR = (
    "m", "n", "k",
    "a", "a_row", "a_k",
    "b", "b_k", "b_column",
    "c", "c_row", "c_column",
    "z", "z_row",  # pre-activation, or 0
    "bias",  # unit stride, or 0
    "activation",  # code of activations.py
    "accumulate",
    "alone",  # 1: a task of a job, on this thread only
)  # fmt: skip


def gemm(dtype: str) -> Any:
    version = stamp()
    size = 4 if dtype == "float32" else 8
    isa = current().isa
    kc_max, columns = KC[dtype], isa.columns(size)
    lanes, most_vectors = isa.lanes(size), isa.vectors
    relu, value_slot = RELU, slot(VALUE, dtype)
    block, blocks = slot(BLOCK, dtype), slot(BLOCKS, dtype)
    stream, tall, dot = slot(STREAM, dtype), slot(TALL, dtype), slot(DOT, dtype)
    direct_fmas = thresholds.DIRECT_FMAS
    stream_rows, gather_rows = thresholds.STREAM_ROWS, thresholds.GATHER_ROWS * 4 // size
    far_rows, far_bytes = thresholds.STREAM_FAR_ROWS, thresholds.STREAM_FAR_BYTES
    stream_elements, row_elements = thresholds.STREAM_ELEMENTS, thresholds.STREAM_ROW_ELEMENTS
    column_elements, stream_columns = thresholds.STREAM_COLUMN_ELEMENTS, thresholds.STREAM_COLUMNS
    tall_bytes = thresholds.TALL_BYTES
    fork_fmas = thresholds.FORK_FMAS * 4 // size

    def kernel_gemm(d):  # type: ignore[no-untyped-def]
        _ = version
        m, n, k = word(d, 0), word(d, 1), word(d, 2)
        a, a_row, a_k = word(d, 3), word(d, 4), word(d, 5)
        b, b_k, b_column = word(d, 6), word(d, 7), word(d, 8)
        c, c_row, c_column = word(d, 9), word(d, 10), word(d, 11)
        z, z_row, bias = word(d, 12), word(d, 13), word(d, 14)
        activation, accumulate = word(d, 15), pick(word(d, 16), 1, 0)
        if m == 0 or n == 0 or (k == 0 and accumulate != 0):
            return OK
        if c_column != size and n > 1:  # C has unit stride along m: the transposed product
            m, n = n, m
            a, a_row, a_k, b, b_k, b_column = b, b_column, b_k, a, a_k, a_row
            c_row = c_column
        to, to_row, y = c, c_row, 0
        in_tile = 1 if activation == relu and z == 0 else 0
        if z != 0:
            to, to_row = z, z_row
        if in_tile == 0 and (activation != 0 or z != 0):
            y = c
            status = ensure(value_slot + 2 * activation)
            if status != OK:
                return status

        fmas = m * n * k
        few_rows = (
            (m <= stream_rows and n * k >= pick(m - 1, stream_elements, row_elements)
             and (n >= stream_columns or b_column != size))
            or (m <= far_rows and n * k * size > far_bytes and b_column == size
                and n >= stream_columns)
        )  # fmt: skip
        few_columns = (
            y == 0 and m * k >= column_elements
            and (m >= stream_columns or (n <= 4 and m >= 16))
            and (n <= gather_rows or (n <= stream_rows and a_row == size))
        )  # fmt: skip
        if m * n == 1 and k > kc_max and a_k == size and b_k == size and y == 0:
            if bias == 0 and in_tile == 0 and word(d, 17) == 0:
                return call_kernel(dot, (
                    m, n, k, a, a_row, a_k, b, b_k, b_column, to, to_row,
                    accumulate, bias, in_tile, y, c_row, activation, 1,
                ))  # fmt: skip
        stream_it = few_rows or few_columns
        threads = 1
        if fmas >= fork_fmas and word(d, 17) == 0:
            threads = threads_in_force()
        if (
            threads == 1 and not stream_it and fmas <= direct_fmas
            and (b_column == size or n == 1)
        ):  # fmt: skip
            strips = ceil_div(n, columns)
            vectors = ceil_div(ceil_div(n, lanes), strips)
            width = vectors * lanes
            plan = in_memory((
                m, n, k, a, a_row, a_k, b, b_k, width * b_column, to, to_row, 0,
                accumulate, bias, in_tile, y, c_row, activation, IN_PLACE, m, 1, n, 1,
                k, width, pick(strips - 1, most_vectors, vectors),
            ))  # fmt: skip
            return call_kernel(block, (plan, 0))
        path = blocks
        if stream_it:
            path = stream
        elif (
            threads > 1 and k > 2 * threads * kc_max and m * n * size <= tall_bytes
            and b_column == size and bias == 0 and y == 0 and in_tile == 0
        ):  # fmt: skip
            path = tall
        return call_kernel(path, (
            m, n, k, a, a_row, a_k, b, b_k, b_column, to, to_row,
            accumulate, bias, in_tile, y, c_row, activation, threads,
        ))  # fmt: skip

    return kernel_gemm


GEMM = register("gemm", gemm)
