"""Sums in the contract's order: columns of a matrix, and blocks of k that lie side by side."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..codegen.memory import word
from ..codegen.simd import I64, Simd, Value, for_range, i64, new_function
from ..codegen.target import current
from ..runtime.jit import OK, register, stamp

_GROUP = 8  # vectors of columns at a time: enough chains to hide the latency of an addition


@intrinsic(prefer_literal=True)
def column_sums(typing_context: Any, itemsize: Any, words: Any) -> Any:
    """One block: out[c] = the chain over rows of h[r, c]; (rows, columns, h, row, out).

    h and out have unit stride along columns.
    """

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        function = _emit(b.module, signature.args[0].literal_value)
        b.call(function, cgutils.unpack_tuple(b, args[1]))
        return context.get_dummy_value()

    return types.void(itemsize, types.UniTuple(types.intp, 5)), codegen


def _emit(module: ir.Module, itemsize: int) -> ir.Function:
    isa = current().isa
    name = f"fastgrad_column_sums_f{8 * itemsize}"
    if name in module.globals:
        return module.globals[name]
    function, b = new_function(module, name, 5)
    rows, columns, h, row, out = function.args
    ops = Simd(b, itemsize, isa.lanes(itemsize), isa.fma)
    sums = [b.alloca(ops.float) for _ in range(_GROUP)]  # registers, once LLVM has promoted them
    with for_range(b, columns, _GROUP * ops.lanes) as c:
        offset = b.mul(c, i64(itemsize))
        masks = [lanes_left(ops, b.sub(columns, c), g) for g in range(_GROUP)]
        for s in sums:
            b.store(ops.constant(0.0).ir, s)
        with for_range(b, rows) as r:
            here = b.add(b.add(h, offset), b.mul(r, row))
            for g, s in enumerate(sums):
                x = ops.load(here, g * ops.bytes, masks[g])
                b.store((Value(ops, b.load(s)) + x).ir, s)
        for g, s in enumerate(sums):
            ops.store(Value(ops, b.load(s)), b.add(out, offset), g * ops.bytes, masks[g])
    b.ret_void()
    return function


def lanes_left(ops: Simd, columns: ir.Value, group: int) -> ir.Value:
    """Mask of the group-th vector of a row of ``columns``."""
    b = ops.builder
    left = b.sub(columns, i64(group * ops.lanes))
    left = b.select(b.icmp_signed("<", left, i64(ops.lanes)), left, i64(ops.lanes))
    return ops.first(b.select(b.icmp_signed(">", left, i64(0)), left, ir.Constant(I64, 0)))


@intrinsic(prefer_literal=True)
def add_blocks(typing_context: Any, itemsize: Any, words: Any) -> Any:
    """A row of n: to = ((start + block 0) + block 1) + ...; (n, start, first, count, step, to)."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        function = _emit_add_blocks(b.module, signature.args[0].literal_value)
        b.call(function, [b.extract_value(args[1], i) for i in range(6)])
        return context.get_dummy_value()

    return types.void(itemsize, types.UniTuple(types.intp, 6)), codegen


def _emit_add_blocks(module: ir.Module, itemsize: int) -> ir.Function:
    isa = current().isa
    name = f"fastgrad_add_blocks_f{8 * itemsize}"
    if name in module.globals:
        return module.globals[name]
    function, b = new_function(module, name, 6)
    n, start, first, count, step, to = function.args
    ops = Simd(b, itemsize, isa.lanes(itemsize), isa.fma)
    sums = b.alloca(ops.float)
    with for_range(b, n, ops.lanes) as i:
        offset = b.mul(i, i64(itemsize))
        mask = lanes_left(ops, b.sub(n, i), 0)
        b.store(ops.load(b.add(start, offset), 0, mask).ir, sums)
        with for_range(b, count) as block:
            x = ops.load(b.add(b.add(first, offset), b.mul(block, step)), 0, mask)
            b.store((Value(ops, b.load(sums)) + x).ir, sums)
        ops.store(Value(ops, b.load(sums)), b.add(to, offset), 0, mask)
    b.ret_void()
    return function


# rows, columns, blocks, their first address, bytes from one to the next, to, to_row, accumulate
def fold(dtype: str) -> Any:
    """to (rows, columns) = or += blocks of the same shape, dense, added in order."""
    version = stamp()
    size = 4 if dtype == "float32" else 8

    def kernel_fold(d):  # type: ignore[no-untyped-def]
        _ = version
        rows, columns, count, block, step = (
            word(d, 0),
            word(d, 1),
            word(d, 2),
            word(d, 3),
            word(d, 4),
        )
        to, to_row, accumulate = word(d, 5), word(d, 6), word(d, 7)
        for _row in range(rows):
            if accumulate != 0:
                add_blocks(size, (columns, to, block, count, step, to))
            else:
                add_blocks(size, (columns, block, block + step, count - 1, step, to))
            block += columns * size
            to += to_row
        return OK

    return kernel_fold


FOLD = register("fold", fold)
