"""acc (rows, n) += A (rows, k) . B (k, n) where both lie along k, with lanes along k and summed.

In place of fastgrad/_kernels/gemm/row_dots.py in the copy that price.py measures; same arguments.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..codegen.simd import Simd, Value, for_range, i64, new_function
from ..codegen.target import current
from .sums import lane_sums

COLUMNS = 8  # chains, for each of one or two rows


@intrinsic(prefer_literal=True)
def run_dots(typing_context: Any, itemsize: Any, words: Any) -> Any:
    """(rows, n, k, a, a_row, a_k, b, b_column, acc, acc_row); A has unit stride along k."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        function = _emit(b.module, signature.args[0].literal_value)
        b.call(function, cgutils.unpack_tuple(b, args[1]))
        return context.get_dummy_value()

    return types.void(itemsize, types.UniTuple(types.intp, 10)), codegen


def _emit(module: ir.Module, itemsize: int) -> ir.Function:
    isa = current().isa
    name = f"fastgrad_dots_f{8 * itemsize}"
    if name in module.globals:
        return module.globals[name]
    function, b = new_function(module, name, 10)
    rows, n, k, a, a_row, _a_k, columns, b_column, acc, acc_row = function.args
    ops = Simd(b, itemsize, isa.lanes(itemsize), isa.fma)
    bytes_of_k = b.mul(b.sub(k, b.srem(k, i64(ops.lanes))), i64(itemsize))
    group = min(COLUMNS, ops.lanes)
    sums = [b.alloca(ops.float) for _ in range(2 * group)]  # registers, once LLVM promotes them
    pairs, last = b.and_(rows, i64(-2)), b.sub(n, i64(1))
    with for_range(b, n, group) as j:
        starts = []
        for i in range(group):
            # a column past the edge is the last one again: read twice, never stored
            column = b.add(j, i64(i))
            column = b.select(b.icmp_signed("<", column, last), column, last)
            starts.append(b.add(columns, b.mul(column, b_column)))
        mask = ops.first(b.sub(n, j))
        if group < ops.lanes:
            mask = b.and_(mask, ops.first(i64(group)))
        to = b.add(acc, b.mul(j, i64(itemsize)))

        def some_rows(first: ir.Value, count: int) -> None:
            """Reads starts, mask and to of this turn only, before the next one begins."""
            for s in sums[: count * group]:
                b.store(ops.constant(0.0).ir, s)
            from_a = [b.add(a, b.mul(a_row, b.add(first, i64(r)))) for r in range(count)]
            with for_range(b, bytes_of_k, ops.bytes) as along:
                xs = [ops.load(b.add(row, along)) for row in from_a]
                for i, start in enumerate(starts):
                    y = ops.load(b.add(start, along))
                    for r, x in enumerate(xs):
                        s = sums[r * group + i]
                        b.store(ops.fma(x, y, Value(ops, b.load(s))).ir, s)
            for r in range(count):
                total = lane_sums(
                    ops, [Value(ops, b.load(s)) for s in sums[r * group : (r + 1) * group]]
                )
                place = b.add(to, b.mul(acc_row, b.add(first, i64(r))))
                ops.store(ops.load(place, 0, mask) + total, place, 0, mask)

        with for_range(b, pairs, 2) as r:
            some_rows(r, 2)
        with b.if_then(b.icmp_signed("!=", pairs, rows)):
            some_rows(pairs, 1)
    b.ret_void()
    return function
