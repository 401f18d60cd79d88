"""acc (rows, n) += A (rows, k) . B (k, n) where B lies along k: dot products, side by side.

Lanes are columns, because a chain of the contract is one lane: B is transposed in registers, a
block of lanes x lanes at a time, and used at once. Two groups of columns take turns, so that the
chains of one run while the other is shuffled.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import paths
from .pack import load_transposed
from .reduce import lanes_left
from .simd import I64, Simd, Value, for_range, i64, new_function
from .target import current

GROUPS = 2


@intrinsic(prefer_literal=True)
def run_dots(typing_context: Any, itemsize: Any, rows: Any, words: Any) -> Any:
    """acc += for whole blocks of lanes steps of k; the steps that are left are the caller's.

    (n, k, a, a_row, a_k, b, b_column, acc, acc_row); acc has unit stride along n.
    """

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        size = signature.args[0].literal_value
        values = [b.extract_value(args[2], i) for i in range(9)]
        by_rows(b, args[1], lambda rows: b.call(_emit(b.module, size, rows), values))
        return context.get_dummy_value()

    return types.void(itemsize, types.intp, types.UniTuple(types.intp, 9)), codegen


def by_rows(b: ir.IRBuilder, rows: ir.Value, emit: Any) -> None:
    """``emit(1)`` ... ``emit(RUN_ROWS)``, the one for ``rows``."""
    done = b.append_basic_block("done")
    switch = b.switch(rows, done)
    for r in range(1, paths.RUN_ROWS + 1):
        case = b.append_basic_block(f"rows{r}")
        switch.add_case(i64(r), case)
        b.position_at_end(case)
        emit(r)
        b.branch(done)
    b.position_at_end(done)


def _emit(module: ir.Module, itemsize: int, rows: int) -> ir.Function:
    isa = current().isa
    name = f"fastgrad_dots_f{8 * itemsize}_{rows}"
    if name in module.globals:
        return module.globals[name]
    function, b = new_function(module, name, 9)
    n, k, a, a_row, a_k, columns, b_column, acc, acc_row = function.args
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
        places = [  # of the accumulators, group by group
            (b.add(b.add(acc, b.mul(acc_row, i64(r))), offset), g)
            for g in range(GROUPS)
            for r in range(rows)
        ]
        chains = [b.alloca(ops.float) for _ in places]  # registers, once LLVM has promoted them
        for chain, (place, g) in zip(chains, places, strict=True):
            b.store(ops.load(place, g * ops.bytes, masks[g]).ir, chain)
        with for_range(b, whole_k, lanes) as kk:
            along = b.mul(kk, i64(itemsize))
            for g in range(GROUPS):
                block = load_transposed(
                    ops, [b.add(b.load(s), along) for s in starts[g * lanes : (g + 1) * lanes]]
                )
                for r in range(rows):
                    chain = chains[g * rows + r]
                    x = Value(ops, b.load(chain))
                    at = b.add(b.add(a, b.mul(a_row, i64(r))), b.mul(kk, a_k))
                    for step in block:
                        x = ops.fma(ops.broadcast(at), step, x)
                        at = b.add(at, a_k)
                    b.store(x.ir, chain)
        for chain, (place, g) in zip(chains, places, strict=True):
            ops.store(Value(ops, b.load(chain)), place, g * ops.bytes, masks[g])
    b.ret_void()
    return function
