"""chains (rows, n) += A (rows, k) · B (k, n) where B lies along k: inner products, side by side.

Lanes are columns, because a chain of the contract is one lane: B is transposed in registers, a
block of lanes x lanes at a time, and used at once for all rows. Two groups of columns take turns,
so that the chains of one run while the other is shuffled.
"""

from __future__ import annotations

from typing import NamedTuple

from ..codegen.calls import vector_function
from ..codegen.simd import I64, Simd, at_most, for_range, i64
from .args import Matrix, Rows
from .packing import load_transposed

GROUPS = 2


class RowDots(NamedTuple):
    """For whole blocks of lanes steps of k; the steps that are left are the caller's."""

    rows: int
    n: int
    k: int
    a: Matrix
    b: int  # unit stride along k
    b_column: int
    to: Rows


@vector_function(RowDots)
def row_dots(ops: Simd, p: RowDots) -> None:
    b, lanes = ops.builder, ops.lanes
    whole_k = b.sub(p.k, b.srem(p.k, i64(lanes)))
    last = b.sub(p.n, i64(1))
    starts = [b.alloca(I64) for _ in range(GROUPS * lanes)]  # of the columns
    with for_range(b, p.n, GROUPS * lanes) as j:
        for i, start in enumerate(starts):
            # a column past the edge is the last one again: read twice, never stored
            column = at_most(b, b.add(j, i64(i)), last)
            b.store(b.add(p.b, b.mul(column, p.b_column)), start)
        offset = b.mul(j, i64(ops.itemsize))
        masks = [ops.lanes_left(b.sub(p.n, j), g) for g in range(GROUPS)]
        with for_range(b, whole_k, lanes) as k:
            along, from_a = b.mul(k, i64(ops.itemsize)), b.add(p.a.data, b.mul(k, p.a.column))
            for g in range(GROUPS):
                with b.if_then(b.icmp_signed("<", b.add(j, i64(g * lanes)), p.n)):
                    block = load_transposed(
                        ops, [b.add(b.load(s), along) for s in starts[g * lanes : (g + 1) * lanes]]
                    )
                    with for_range(b, p.rows) as r:
                        place = b.add(b.add(p.to.data, b.mul(p.to.row, r)), offset)
                        chain = ops.load(place, g * ops.bytes, masks[g])
                        at = b.add(from_a, b.mul(p.a.row, r))
                        for step in block:
                            chain = ops.fma(ops.broadcast(at), step, chain)
                            at = b.add(at, p.a.column)
                        ops.store(chain, place, g * ops.bytes, masks[g])
