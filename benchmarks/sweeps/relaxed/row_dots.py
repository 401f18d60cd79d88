"""chains (rows, n) += A (rows, k) · B (k, n) where both lie along k, with lanes along k and summed.

In place of fastgrad/_kernels/gemm/row_dots.py in the copy that price.py measures; same arguments.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir

from ..codegen.calls import vector_function
from ..codegen.simd import Simd, Value, at_most, for_range, i64
from ..codegen.target import Isa
from .args import Rows
from .sums import lane_sums

COLUMNS = 8  # chains, for each of one or two rows


class RowDots(NamedTuple):
    """For whole vectors of k; the steps that are left are the caller's."""

    rows: int
    n: int
    k: int
    a: Rows  # (rows, k)
    b: int  # unit stride along k
    b_column: int
    to: Rows
    single: int  # these two are for the contract's
    ahead: int


def most_rows(isa: Isa) -> int:
    return isa.registers // 4


@vector_function(RowDots)
def row_dots(ops: Simd, p: RowDots) -> None:
    b, itemsize = ops.builder, ops.itemsize
    bytes_of_k = b.mul(b.sub(p.k, b.srem(p.k, i64(ops.lanes))), i64(itemsize))
    group = min(COLUMNS, ops.lanes)
    sums = [b.alloca(ops.float) for _ in range(2 * group)]  # registers, once LLVM promotes them
    pairs, last = b.and_(p.rows, i64(-2)), b.sub(p.n, i64(1))
    with for_range(b, p.n, group) as j:
        starts = []
        for i in range(group):
            # a column past the edge is the last one again: read twice, never stored
            column = at_most(b, b.add(j, i64(i)), last)
            starts.append(b.add(p.b, b.mul(column, p.b_column)))
        mask = ops.first(b.sub(p.n, j))
        if group < ops.lanes:
            mask = b.and_(mask, ops.first(i64(group)))
        to = b.add(p.to.data, b.mul(j, i64(itemsize)))

        def some_rows(first: ir.Value, count: int) -> None:
            """Reads starts, mask and to of this turn only, before the next one begins."""
            for s in sums[: count * group]:
                b.store(ops.constant(0.0).ir, s)
            from_a = [b.add(p.a.data, b.mul(p.a.row, b.add(first, i64(r)))) for r in range(count)]
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
                place = b.add(to, b.mul(p.to.row, b.add(first, i64(r))))
                ops.store(ops.load(place, 0, mask) + total, place, 0, mask)

        with for_range(b, pairs, 2) as r:
            some_rows(r, 2)
        with b.if_then(b.icmp_signed("!=", pairs, p.rows)):
            some_rows(pairs, 1)
