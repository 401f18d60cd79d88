"""Emitted loops of the few-rows path: some steps of k over a run of columns; the end of a block."""

from __future__ import annotations

import functools
from typing import NamedTuple

from llvmlite import ir

from ..codegen.calls import VectorFunction, vector_function
from ..codegen.simd import Simd, for_range, i64
from ..codegen.target import Isa, current
from . import thresholds
from .args import Matrix, Rows
from .microkernel import relu_threshold

# Rows of C that are in registers at a time: 3 rows are 2 and 1.
STEP_ROWS = (4, 2, 1)
ROW_STREAMS = 4


def steps_at_a_time(isa: Isa, rows: int) -> int:
    """How many steps of k: rows x steps elements of A stay in registers over a run.

    Of one row memory is the limit, and so many rows of B are the streams it serves best.
    """
    return ROW_STREAMS if rows == 1 else max(1, isa.rows * isa.vectors * 2 // 3 // rows)


class RowSteps(NamedTuple):
    """to (rows, n) += A (rows, k) · B (k, n), step by step in increasing k."""

    rows: int  # one of STEP_ROWS
    n: int
    k: int
    a: Matrix
    b: Rows
    to: Rows


@vector_function(RowSteps)
def row_steps(ops: Simd, p: RowSteps) -> None:
    b = ops.builder
    done = b.append_basic_block("done")
    switch = b.switch(p.rows, done)
    for rows in STEP_ROWS:
        case = b.append_basic_block(f"rows{rows}")
        switch.add_case(i64(rows), case)
        b.position_at_end(case)
        _all_steps(ops, p, rows)
        b.branch(done)
    b.position_at_end(done)


def _all_steps(ops: Simd, p: RowSteps, rows: int) -> None:
    b = ops.builder
    steps = steps_at_a_time(current().isa, rows)
    whole = b.sub(p.k, b.srem(p.k, i64(steps)))

    def go(some: VectorFunction, k: ir.Value) -> None:
        a = p.a._replace(data=b.add(p.a.data, b.mul(k, p.a.column)))
        from_b = p.b._replace(data=b.add(p.b.data, b.mul(k, p.b.row)))
        some(ops, p._replace(a=a, b=from_b))

    with for_range(b, whole, steps) as k:
        go(_some_steps(rows, steps), k)
    with for_range(b, b.sub(p.k, whole)) as k:
        go(_some_steps(rows, 1), b.add(whole, k))


@functools.cache
def _some_steps(rows: int, steps: int) -> VectorFunction:
    """So many steps from the first one on, whatever p.k is."""

    def emit(ops: Simd, p: RowSteps) -> None:
        b = ops.builder
        rows_of_a = [b.add(p.a.data, b.mul(p.a.row, i64(r))) for r in range(rows)]
        xs = [
            [ops.broadcast(b.add(row, b.mul(p.a.column, i64(s)))) for s in range(steps)]
            for row in rows_of_a
        ]
        from_b = [b.add(p.b.data, b.mul(p.b.row, i64(s))) for s in range(steps)]
        # what is fetched is of this run: a short one is soon at its next steps
        long = b.icmp_signed(">=", p.n, i64(4 * thresholds.ROW_AHEAD // ops.itemsize))
        ahead = b.select(long, i64(thresholds.ROW_AHEAD), b.mul(p.b.row, i64(steps)))
        chains_at = [b.add(p.to.data, b.mul(p.to.row, i64(r))) for r in range(rows)]

        def vector(offset: ir.Value, mask: ir.Value | None) -> None:
            if rows == 1 and steps > 1 and mask is None:
                for row in from_b:
                    ops.prefetch(b.add(b.add(row, offset), ahead), write=False)
            chains = [ops.load(b.add(at, offset), 0, mask) for at in chains_at]
            for s in range(steps):
                column = ops.load(b.add(from_b[s], offset), 0, mask)
                chains = [ops.fma(xs[r][s], column, chain) for r, chain in enumerate(chains)]
            for at, chain in zip(chains_at, chains, strict=True):
                ops.store(chain, b.add(at, offset), 0, mask)

        ops.over_columns(p.n, vector)

    return VectorFunction(emit, RowSteps, f"steps_{rows}x{steps}")


class Finish(NamedTuple):
    """A row: to = relu((old + chains) + bias), and chains = +0.0 for the next block of k.

    A step is the itemsize, or 0 for one vector that serves all columns, as -0.0 does where nothing
    is to be added: x + -0.0 has the bits of x.
    """

    n: int
    chains: int
    old: int
    old_step: int
    bias: int
    bias_step: int
    relu: int
    to: int


@vector_function(Finish)
def finish(ops: Simd, p: Finish) -> None:
    b = ops.builder
    threshold = relu_threshold(ops, p.relu)

    def vector(offset: ir.Value, mask: ir.Value | None) -> None:
        j = b.sdiv(offset, i64(ops.itemsize))
        x = ops.load(b.add(p.old, b.mul(j, p.old_step)), 0, mask)
        x = x + ops.load(b.add(p.chains, offset), 0, mask)
        x = x + ops.load(b.add(p.bias, b.mul(j, p.bias_step)), 0, mask)
        ops.store(ops.select(x <= threshold, 0.0, x), b.add(p.to, offset), 0, mask)
        ops.store(ops.constant(0.0), b.add(p.chains, offset), 0, mask)

    ops.over_columns(p.n, vector)
