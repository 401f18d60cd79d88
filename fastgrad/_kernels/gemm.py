"""C (m, n) = epilogue(A (m, k) . B (k, n)): the loops around the register tile.

Two paths, chosen by shape and layout, the same bits from both:
    direct   tiles straight on the operands' own strides, one strip of B after another
    packed   B in blocks of KC x NC, A in blocks of a few tiles' rows that stay in L2 while the
             strips of B, a tile wide, pass by
k is always cut at multiples of KC (the contract), each block a pass over C.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .activations import RELU
from .elementwise import VALUE
from .jit import OK, OUT_OF_MEMORY, register, slot, stamp
from .lowlevel import call_kernel, word
from .microkernel import TILE_ARGS, emit_tile_table
from .pack import copy
from .scratch import ARENA_BYTES, HEADER, acquire, release
from .simd import FLOAT, I64, i64
from .target import KC, current

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
)  # fmt: skip
WORDS = len(DESCRIPTOR)

# Packing pays when B is read by more rows than this and the product is larger than that. From
# benchmarks/sweeps/blocks.py.
DIRECT_ROWS = 24
DIRECT_FMAS = 1 << 20
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


def _look_up(name: str, values: Callable[[], tuple[int, ...]]) -> Any:
    """An intrinsic f(i): the i-th of the target's values, the last one from there on.

    A tuple in a closure would do, but numba makes a branch of every element.
    """

    def look_up(typing_context: Any, index: Any) -> Any:
        def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            kind = ir.ArrayType(I64, len(values()))
            table = b.module.globals.get(name)
            if table is None:
                table = ir.GlobalVariable(b.module, kind, name)
                table.linkage, table.global_constant = "internal", True
                table.initializer = ir.Constant(kind, list(values()))
            last = i64(kind.count - 1)
            i = b.select(b.icmp_signed("<", args[0], last), args[0], last)
            return b.load(b.gep(table, [i64(0), i]))

        return types.intp(types.intp), codegen

    return intrinsic(look_up)


# rows left -> index of the tile to take next; that index -> its rows
next_tile = _look_up("fastgrad_next_tile", lambda: (*current().isa.row_plan, 0))
tile_rows = _look_up("fastgrad_tile_rows", lambda: current().isa.tile_rows)


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


def gemm(dtype: str) -> Any:
    version = stamp()
    isa = current().isa
    size = 4 if dtype == "float32" else 8
    kc_max, nc_max = KC[dtype], isa.block_columns(dtype, size)
    mc_max = isa.block_rows // isa.rows * isa.rows
    rows_max, columns, lanes, vectors = isa.rows, isa.columns(size), isa.lanes(size), isa.vectors
    # one line beyond a power of two, so that the rows of a panel do not share cache sets
    panel_row = kc_max * size + 64
    a_bytes, header = mc_max * panel_row, HEADER
    assert HEADER + a_bytes + kc_max * nc_max * size <= ARENA_BYTES
    relu, value_slot = RELU, slot(VALUE, dtype)
    direct_rows, direct_fmas = DIRECT_ROWS, DIRECT_FMAS

    def kernel_gemm(d):  # type: ignore[no-untyped-def]
        _ = version
        m, n, k = word(d, 0), word(d, 1), word(d, 2)
        a, a_row, a_k = word(d, 3), word(d, 4), word(d, 5)
        b, b_k, b_column = word(d, 6), word(d, 7), word(d, 8)
        c, c_row, c_column = word(d, 9), word(d, 10), word(d, 11)
        z, z_row, bias = word(d, 12), word(d, 13), word(d, 14)
        activation, accumulate = word(d, 15), word(d, 16)
        if m == 0 or n == 0 or (k == 0 and accumulate != 0):
            return OK
        if c_column != size and n > 1:  # C has unit stride along m: the transposed product
            m, n = n, m
            a, a_row, a_k, b, b_k, b_column = b, b_column, b_k, a, a_k, a_row
            c_row = c_column
        to, to_row = c, c_row
        if z != 0:
            to, to_row = z, z_row
        relu_in_tile = 1 if activation == relu and z == 0 else 0
        after_tile = relu_in_tile == 0 and (activation != 0 or z != 0)  # from z, or in place, to y
        zeros = minus_zeros(size)

        packed = b_column != size and n > 1 and k > 0
        packed = packed or (m > direct_rows and m * n * k > direct_fmas)
        nc_step, mc_step, scratch, a_block, b_block = columns, m, 0, 0, 0
        by_k = a_row == size and a_k != size  # pack A as it lies in memory: k by k, or row by row
        if packed:
            # equal blocks, in whole tiles
            nc_step = (-(-n // -(-n // nc_max)) + columns - 1) // columns * columns
            mc_step = (-(-m // -(-m // mc_max)) + rows_max - 1) // rows_max * rows_max
            scratch = acquire()
            if scratch == 0:
                return OUT_OF_MEMORY
            a_block = scratch + header
            b_block = a_block + a_bytes

        for j0 in range(0, n, nc_step):
            nc = min(nc_step, n - j0)
            k0 = 0
            while True:
                kc = min(kc_max, k - k0)
                last = k0 + kc >= k
                add_old = k0 > 0 or accumulate != 0
                pace = (rows_max << 32) // kc if kc > 0 else 0
                b_from, bk, strip = b + k0 * b_k + j0 * b_column, b_k, columns * b_column
                if packed:
                    bk, strip = columns * size, columns * size * kc
                    chunk = K_CHUNK if b_column == size else kc
                    for kk in range(0, kc, chunk):
                        for j in range(0, nc, columns):
                            copy(size, (min(chunk, kc - kk), min(columns, nc - j),
                                        b_from + kk * b_k + j * b_column, b_k, b_column,
                                        b_block + j * kc * size + kk * bk, bk))  # fmt: skip
                    b_from = b_block
                for i0 in range(0, m, mc_step):
                    mc = min(mc_step, m - i0)
                    a_from, ar, ak = a + i0 * a_row + k0 * a_k, a_row, a_k
                    if packed and by_k:
                        for kk in range(0, kc, K_CHUNK):
                            i = 0
                            while i < mc:
                                r = tile_rows(next_tile(mc - i))
                                into = a_block + (i * kc + kk * r) * size
                                copy(size, (min(K_CHUNK, kc - kk), r,
                                            a_from + i * size + kk * a_k, a_k, size,
                                            into, r * size))  # fmt: skip
                                i += r
                        a_from, ar = a_block, size
                    elif packed:
                        ar, ak = panel_row, size
                        copy(size, (mc, kc, a_from, a_row, a_k, a_block, ar))
                        a_from = a_block
                    for j in range(0, nc, columns):
                        w = min(columns, nc - j)
                        v = (w + lanes - 1) // lanes  # vectors, the last one masked
                        here = (j0 + j) * size
                        b_strip = b_from + (j // columns) * strip
                        i = 0
                        while i < mc:
                            t = next_tile(mc - i)
                            r = tile_rows(t)
                            panel = a_from + i * ar
                            if packed and by_k:
                                panel, ak = a_from + i * kc * size, r * size
                            at = to + (i0 + i) * to_row + here
                            tile(size, 0 if t == 0 and w == columns else t * vectors + v, (
                                kc, panel, ar, ak, b_strip, bk,
                                at, to_row, at if add_old else zeros, to_row if add_old else 0,
                                bias + here if last and bias != 0 else zeros,
                                relu_in_tile if last else 0,
                                w - (v - 1) * lanes, pace))  # fmt: skip
                            if last and after_tile:
                                y = c + (i0 + i) * c_row + here
                                words = (r, w, at, to_row, y, c_row)
                                status = call_kernel(value_slot + 2 * activation, words)
                                if status != OK:
                                    if packed:
                                        release(scratch)
                                    return status
                            i += r
                k0 += kc_max
                if k0 >= k:
                    break
        if packed:
            release(scratch)
        return OK

    return kernel_gemm


GEMM = register("gemm", gemm)
