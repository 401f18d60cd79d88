"""acc (rows, n) += A (rows, k) . B (k, n) where B lies along k: dot products, side by side.

Lanes are columns, because a chain of the contract is one lane: B is transposed in registers, a
block of lanes x lanes at a time, and used at once for all rows. Two groups of columns take turns,
so that the chains of one run while the other is shuffled.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..codegen.simd import I64, Simd, for_range, i64, new_function
from ..codegen.target import current
from .packing import load_transposed
from .reduce import lanes_left

GROUPS = 2


@intrinsic(prefer_literal=True)
def run_dots(typing_context: Any, itemsize: Any, words: Any) -> Any:
    """acc += for whole blocks of lanes steps of k; the steps that are left are the caller's.

    (rows, n, k, a, a_row, a_k, b, b_column, acc, acc_row); acc has unit stride along n.
    """

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
    rows, n, k, a, a_row, a_k, columns, b_column, acc, acc_row = function.args
    lanes = isa.lanes(itemsize)
    ops = Simd(b, itemsize, lanes, isa.fma)
    whole_k = b.sub(k, b.srem(k, i64(lanes)))
    last = b.sub(n, i64(1))
    starts = [b.alloca(I64) for _ in range(GROUPS * lanes)]  # of the columns
    with for_range(b, n, GROUPS * lanes) as j:
        for i, start in enumerate(starts):
            # a column past the edge is the last one again: read twice, never stored
            column = b.add(j, i64(i))
            column = b.select(b.icmp_signed("<", column, last), column, last)
            b.store(b.add(columns, b.mul(column, b_column)), start)
        offset = b.mul(j, i64(itemsize))
        masks = [lanes_left(ops, b.sub(n, j), g) for g in range(GROUPS)]
        with for_range(b, whole_k, lanes) as kk:
            along, from_a = b.mul(kk, i64(itemsize)), b.add(a, b.mul(kk, a_k))
            for g in range(GROUPS):
                with b.if_then(b.icmp_signed("<", b.add(j, i64(g * lanes)), n)):
                    block = load_transposed(
                        ops, [b.add(b.load(s), along) for s in starts[g * lanes : (g + 1) * lanes]]
                    )
                    with for_range(b, rows) as r:
                        place = b.add(b.add(acc, b.mul(acc_row, r)), offset)
                        chain = ops.load(place, g * ops.bytes, masks[g])
                        at = b.add(from_a, b.mul(a_row, r))
                        for step in block:
                            chain = ops.fma(ops.broadcast(at), step, chain)
                            at = b.add(at, a_k)
                        ops.store(chain, place, g * ops.bytes, masks[g])
    b.ret_void()
    return function
