"""The two tasks that a product is made of: pack a part of B, compute a block of C.

A task is a kernel of (address of its plan, number of the task), run by whichever thread claims it.
The plan is written by gemm.py and read by all.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..codegen.integers import least, most, pick, quotient, remainder
from ..codegen.memory import call_kernel, word
from ..codegen.simd import FLOAT, I64, i64
from ..codegen.target import KC, current
from ..formulas.elementwise import VALUE
from ..runtime.jit import OK, OUT_OF_MEMORY, register, slot, stamp
from ..runtime.scratch import HEADER, acquire, release
from . import thresholds
from .microkernel import TILE_ARGS, emit_tile_table, tile_index
from .packing import COPY, copy

# A block task, 64-bit words; strides in bytes. Task t has the rows, columns and chunk of k with
# t = (chunk * row_blocks + row) * column_groups + column.
PLAN = (
    "m", "n", "k",
    "a", "a_row", "a_k",
    "b", "b_k", "b_strip",  # rows of unit stride; from one strip, a tile wide, to the next
    "to", "to_row", "to_chunk",  # where tiles are written, unit stride along n
    "add_old",  # 1: to what is there
    "bias",  # unit stride, or 0
    "relu",  # 1 or 0, in the tile
    "y", "y_row", "activation",  # from `to` to y, behind the tile; y 0: nothing
    "pack_a",
    "rows", "row_blocks", "columns", "column_groups",
    "depth",  # steps of k in a chunk
    "strip",  # columns of B in a strip: a tile's
    "row_plan",  # vectors of the tiles that rows are cut for
)  # fmt: skip
# How A is read
IN_PLACE, BY_ROWS, BY_K = 0, 1, 2

# A packing task. Task t has strips t * strips ... of B's block.
PACK_PLAN = ("b", "b_k", "b_column", "kc", "n", "block", "strips", "strip")
K_CHUNK = 32  # steps of k packed at a time: a line stays in L1 for all the panels it is part of


@intrinsic(prefer_literal=True)
def tile(typing_context: Any, itemsize: Any, index: Any, words: Any) -> Any:
    """Call the ``index``-th tile of the target's table with TILE_ARGS."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        table = emit_tile_table(b.module, current().isa, signature.args[0].literal_value)
        function = b.load(b.gep(table, [i64(0), args[1]]))
        b.call(function, [b.extract_value(args[2], i) for i in range(len(TILE_ARGS))])
        return context.get_dummy_value()

    return types.void(itemsize, types.intp, types.UniTuple(types.intp, len(TILE_ARGS))), codegen


@intrinsic
def next_rows(typing_context: Any, plan: Any, left: Any) -> Any:
    """Rows of the tile to take next, of ``left``: by the plan for tiles of ``plan`` vectors."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        isa = current().isa
        rows = [[0] * (2 * isa.most_rows + 1), *([*isa.next_rows(v), isa.tile_rows[v - 1][0]]
                for v in range(1, isa.vectors + 1))]  # fmt: skip
        one = ir.ArrayType(I64, len(rows[0]))
        table = b.module.globals.get("fastgrad_next_rows")
        if table is None:
            table = ir.GlobalVariable(b.module, ir.ArrayType(one, len(rows)), "fastgrad_next_rows")
            table.linkage, table.global_constant = "internal", True
            table.initializer = ir.Constant(table.value_type, [ir.Constant(one, r) for r in rows])
        last = i64(one.count - 1)
        left = b.select(b.icmp_signed("<", args[1], last), args[1], last)
        return b.load(b.gep(table, [i64(0), args[0], left]))

    return types.intp(types.intp, types.intp), codegen


@intrinsic(prefer_literal=True)
def minus_zeros(typing_context: Any, itemsize: Any) -> Any:
    """Address of one tile row of -0.0, which changes nothing it is added to."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        size = signature.args[0].literal_value
        name = f"fastgrad_minus_zeros_f{8 * size}"
        found = b.module.globals.get(name)
        if found is None:
            kind = ir.ArrayType(FLOAT[size], current().isa.columns(size))
            found = ir.GlobalVariable(b.module, kind, name)
            found.linkage, found.global_constant, found.align = "internal", True, 64
            found.initializer = ir.Constant(kind, [-0.0] * kind.count)
        return b.ptrtoint(found, I64)

    return types.intp(itemsize), codegen


def block(dtype: str) -> Any:
    version = stamp()
    isa = current().isa
    size = 4 if dtype == "float32" else 8
    kc_max, value_slot = KC[dtype], slot(VALUE, dtype)
    lanes, index_step = isa.lanes(size), tile_index(isa, 2, 0)
    whole_rows, whole_columns = isa.rows, isa.columns(size)
    header = HEADER
    k_chunk, outer_k, fetch_k = K_CHUNK, thresholds.OUTER_K, thresholds.FETCH_K

    def kernel_gemm_block(d):  # type: ignore[no-untyped-def]
        _ = version
        p, task = word(d, 0), word(d, 1)
        m, n, k = word(p, 0), word(p, 1), word(p, 2)
        a_row, a_k = word(p, 4), word(p, 5)
        b_k, strip_bytes = word(p, 7), word(p, 8)
        to_row, add_old, bias, relu = word(p, 10), word(p, 12), word(p, 13), word(p, 14)
        y, y_row, activation = word(p, 15), word(p, 16), word(p, 17)
        pack_a, tile_columns, row_plan = word(p, 18), word(p, 24), word(p, 25)
        row, column = quotient(task, word(p, 22)), remainder(task, word(p, 22))
        chunk, row = quotient(row, word(p, 20)), remainder(row, word(p, 20))

        i0, j0, k0 = row * word(p, 19), column * word(p, 21), chunk * word(p, 23)
        mc, nc = least(word(p, 19), m - i0), least(word(p, 21), n - j0)
        depth = least(word(p, 23), k - k0)
        a = word(p, 3) + i0 * a_row + k0 * a_k
        b = word(p, 6) + k0 * b_k + quotient(j0, tile_columns) * strip_bytes
        to = word(p, 9) + i0 * to_row + j0 * size + chunk * word(p, 11)
        if bias != 0:
            bias += j0 * size
        if y != 0:
            y += i0 * y_row + j0 * size
        zeros = minus_zeros(size)
        pace = quotient(whole_rows << 32, most(least(kc_max, depth), 1))
        short = 1 if depth < fetch_k else 0
        along_rows = depth <= outer_k  # C's rows, where writing them is most of the work

        scratch = 0
        if pack_a != IN_PLACE:
            scratch = acquire()
            if scratch == 0:
                return OUT_OF_MEMORY
            if pack_a == BY_K:
                for kk in range(0, depth, k_chunk):
                    i = 0
                    while i < mc:
                        r = next_rows(row_plan, mc - i)
                        into = scratch + header + (i * depth + kk * r) * size
                        some = least(k_chunk, depth - kk)
                        copy(size, (some, r, a + i * size + kk * a_k, a_k, size, into, r * size))
                        i += r
                a_row = size
            else:
                # one line beyond a power of two: rows of a panel do not share cache sets
                panel_row = depth * size + 64
                copy(size, (mc, depth, a, a_row, a_k, scratch + header, panel_row))
                a_row, a_k = panel_row, size
            a = scratch + header

        status = OK
        i = j = 0
        while True:
            w = least(tile_columns, nc - j)
            v = quotient(w + lanes - 1, lanes)  # vectors, the last one masked
            r = next_rows(row_plan, mc - i)
            panel = a + i * a_row
            if pack_a == BY_K:
                panel, a_k = a + i * depth * size, r * size
            at = to + i * to_row + j * size
            masked = (r - whole_rows) | (w - whole_columns) | short  # 0: the tile that fetches C
            index = pick(masked, (v - 1) * index_step + r, 0)
            from_b = b + quotient(j, tile_columns) * strip_bytes
            old, k_done = add_old, 0
            while True:
                kc = least(kc_max, depth - k_done)
                ends = 1 if k_done + kc >= depth else 0
                tile(size, index, (
                    kc, panel + k_done * a_k, a_row, a_k, from_b + k_done * b_k, b_k,
                    at, to_row, pick(old, at, zeros), old * to_row,
                    pick(ends * bias, bias + j * size, zeros), ends * relu,
                    pick(old | ends * (bias | relu), 0, 1),
                    w - (v - 1) * lanes, pace))  # fmt: skip
                old = 1
                k_done += kc_max
                if k_done >= depth:
                    break
            if y != 0:
                words = (r, w, at, to_row, y + i * y_row + j * size, y_row)
                status |= call_kernel(value_slot + 2 * activation, words)
            if along_rows:
                j += tile_columns
                if j >= nc:
                    j = 0
                    i += r
                    if i >= mc:
                        break
            else:
                i += r
                if i >= mc:
                    i = 0
                    j += tile_columns
                    if j >= nc:
                        break
        if scratch != 0:
            release(scratch)
        return status

    return kernel_gemm_block


def pack_b(dtype: str) -> Any:
    version = stamp()
    size = 4 if dtype == "float32" else 8

    def kernel_pack_b(d):  # type: ignore[no-untyped-def]
        _ = version
        p, task = word(d, 0), word(d, 1)
        b, b_k, b_column = word(p, 0), word(p, 1), word(p, 2)
        kc, to, strips, tile_columns = word(p, 3), word(p, 5), word(p, 6), word(p, 7)
        first = task * strips * tile_columns
        last = least(first + strips * tile_columns, word(p, 4))
        row = tile_columns * size
        chunk = K_CHUNK if b_column == size else most(kc, 1)
        for kk in range(0, kc, chunk):
            for j in range(first, last, tile_columns):
                copy(size, (least(chunk, kc - kk), least(tile_columns, last - j),
                            b + kk * b_k + j * b_column, b_k, b_column,
                            to + (quotient(j, tile_columns) * kc + kk) * row, row))  # fmt: skip
        return OK

    return kernel_pack_b


BLOCK = register("gemm_block", block, uses=(COPY,))
PACK_B = register("pack_b", pack_b, uses=(COPY,))
