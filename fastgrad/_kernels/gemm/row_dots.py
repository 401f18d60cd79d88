"""chains (rows, n) += A (rows, k) · B (k, n) where B lies along k: inner products, side by side.

Lanes are columns, because a chain of the contract is one lane: B is transposed in registers, a
block of lanes x lanes at a time, and used at once for all rows. The chains are registers through
the whole loop over k. Those of one or two rows would wait for their own FMAs: two groups of columns
take turns, one of them runs while the other is shuffled.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from ..codegen.calls import VectorFunction, vector_function
from ..codegen.simd import I64, Simd, Value, at_most, for_range, i64
from ..codegen.target import Isa, current
from .args import Rows
from .packing import load_transposed


class RowDots(NamedTuple):
    """For whole blocks of lanes steps of k; the steps that are left are the caller's."""

    rows: int  # most_rows or fewer
    n: int
    k: int
    a: Rows  # (rows, k)
    b: int  # unit stride along k
    b_column: int
    to: Rows
    single: int  # 1: never two groups, whose columns would push each other out of L1
    ahead: int  # bytes: with single groups, B is fetched so far ahead


def most_rows(isa: Isa) -> int:
    """A quarter of the registers are chains; a block of B takes another half."""
    return isa.registers // 4


@vector_function(RowDots)
def row_dots(ops: Simd, p: RowDots) -> None:
    b = ops.builder
    done = b.append_basic_block("done")
    switch = b.switch(p.rows, done)
    below, height = 0, 1
    while height <= most_rows(current().isa):  # with rows between, the last one is there twice
        case = b.append_basic_block(f"rows{height}")
        for rows in range(below + 1, height + 1):
            switch.add_case(i64(rows), case)
        b.position_at_end(case)
        if height <= 2:
            # with more than one group left, a pair whose second one is not full
            pairs = b.and_(b.add(p.n, i64(ops.lanes - 1)), i64(-2 * ops.lanes))
            pairs = at_most(b, p.n, pairs)
            pairs = b.select(b.icmp_signed("!=", p.single, i64(0)), i64(0), pairs)
            _columns(height, 2)(ops, p._replace(n=pairs))
            to = p.to._replace(data=b.add(p.to.data, b.mul(pairs, i64(ops.itemsize))))
            from_b = b.add(p.b, b.mul(pairs, p.b_column))
            # two chains take as long as one
            _columns(2, 1)(ops, p._replace(n=b.sub(p.n, pairs), b=from_b, to=to))
        else:
            _columns(height, 1)(ops, p)
        b.branch(done)
        below, height = height, 2 * height
    b.position_at_end(done)


@functools.cache
def _columns(height: int, groups: int) -> VectorFunction:
    """So many groups of columns at a time, for so many rows."""

    def emit(ops: Simd, p: RowDots) -> None:
        b, lanes = ops.builder, ops.lanes
        whole_k = b.sub(p.k, b.srem(p.k, i64(lanes)))
        last_row, last = b.sub(p.rows, i64(1)), b.sub(p.n, i64(1))
        # a row past the edge is the last one again, and so is its chain
        rows = [at_most(b, i64(r), last_row) for r in range(height)]
        from_a = [b.add(p.a.data, b.mul(p.a.row, r)) for r in rows]
        starts = [b.alloca(I64) for _ in range(groups * lanes)]  # of the columns
        chains = [b.alloca(ops.float) for _ in range(groups * height)]  # registers, in the end
        with for_range(b, p.n, groups * lanes) as j:
            for i, start in enumerate(starts):
                # a column past the edge is the last one again: read twice, never stored
                column = at_most(b, b.add(j, i64(i)), last)
                b.store(b.add(p.b, b.mul(column, p.b_column)), start)
            masks = [ops.lanes_left(b.sub(p.n, j), g) for g in range(groups)]
            offset = b.mul(j, i64(ops.itemsize))
            places = [b.add(b.add(p.to.data, b.mul(p.to.row, r)), offset) for r in rows]
            kept = [(place, g) for g in range(groups) for place in places]
            for chain, (place, g) in zip(chains, kept, strict=True):
                b.store(ops.load(place, g * ops.bytes, masks[g]).ir, chain)
            with for_range(b, whole_k, lanes) as k:
                along = b.mul(k, i64(ops.itemsize))
                for g in range(groups):
                    columns = [b.add(b.load(s), along) for s in starts[g * lanes :][:lanes]]
                    if groups == 1:
                        for column in columns:
                            ops.prefetch(b.add(column, p.ahead), write=False)
                    block = load_transposed(ops, columns)
                    for row, chain in zip(from_a, chains[g * height :], strict=False):
                        x, at = Value(ops, b.load(chain)), b.add(row, along)
                        for s, step in enumerate(block):
                            x = ops.fma(ops.broadcast(at, s * ops.itemsize), step, x)
                        b.store(x.ir, chain)
            for chain, (place, g) in zip(chains, kept, strict=True):
                ops.store(Value(ops, b.load(chain)), place, g * ops.bytes, masks[g])

    return VectorFunction(emit, RowDots, f"dots_{height}x{groups}")
