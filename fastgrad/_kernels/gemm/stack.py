"""A stack of products, matrix by matrix, in one loop that threads share.

Assumptions: the matrices of C do not overlap; the matrices of A, of B and of C each lie at one
stride. Small products, whose operands are read where they lie, go from tile to tile without a call
of a kernel between them; larger ones are products like any other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..codegen.calls import call, subroutine
from ..codegen.integers import ceil_div, least, pick, quotient
from ..codegen.structs import on_stack, view
from ..runtime.pool_kernels import ensure, fork_join, run_task, threads_in_force
from ..runtime.registry import Floats, kernel, task
from ..runtime.table import OK
from . import thresholds
from .args import BlockPlan, Epilogue, Matrix, Panels, Product, Rows
from .blocked import blocked
from .dispatch import gemm
from .few_rows import few_rows, runs
from .macrokernel import Block, macrokernel, tiles_of


class Stack(NamedTuple):
    """The product of the first matrices, and the steps to those of the following ones."""

    first: Product  # without z, bias and activation
    matrices: int  # of matrices
    a_step: int
    b_step: int
    c_step: int
    of_task: int  # matrices of a task; filled in by ``stack``


def _tiles(t: Floats) -> Any:
    size, lanes, most_vectors = t.size, t.lanes, t.isa.vectors
    columns_max, over_tiles = t.isa.columns(size), tiles_of(t)

    @subroutine
    def tiles(plan, begin, end):  # type: ignore[no-untyped-def]
        """Small products: C has unit stride along n, and so has B."""
        p, nothing = plan.first, Rows(data=0, row=0)
        panels = ceil_div(p.n, columns_max)
        vectors = ceil_div(ceil_div(p.n, lanes), panels)
        width = vectors * lanes
        a, b, to = p.a, p.b, Rows(data=p.c.data, row=p.c.row)
        from_b = Panels(data=b.data, row=b.row, panel=width * b.column)
        shape = on_stack(BlockPlan(
            m=p.m, n=p.n, k=p.k, a=a, b=from_b, to=to, to_chunk=0,
            epilogue=Epilogue(accumulate=pick(p.accumulate, 1, 0), bias=0, relu=0, y=nothing,
                              activation=0),
            a_panels=0, copy=0, copy_step=0, copies=0,
            rows=p.m, row_blocks=1, columns=p.n, column_groups=1, depth=p.k,
            width=width, row_plan=pick(panels - 1, most_vectors, vectors),
        ))  # fmt: skip
        block = on_stack(Block(
            rows=p.m, columns=p.n, depth=p.k, a=a, b=from_b, to=to, bias=0, y=nothing,
        ))  # fmt: skip
        for i in range(begin, end):
            block.a.data = a.data + i * plan.a_step
            block.b.data = b.data + i * plan.b_step
            block.to.data = to.data + i * plan.c_step
            over_tiles(shape, block)
        return OK

    return tiles


@task(Stack)
def stack_task(t: Floats) -> Any:
    """Some matrices, on this thread."""
    size, product, tiles = t.size, t[gemm], _tiles(t)

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, Stack)
        first = plan.first
        a, b, c = first.a, first.b, first.c
        begin = p.task * plan.of_task
        end, status = least(begin + plan.of_task, plan.matrices), OK
        dense = (c.column == size or first.n == 1) and (b.column == size or first.n == 1)
        fmas = first.m * first.n * first.k
        if dense and 0 < fmas <= thresholds.STACK_FMAS:
            return tiles(plan, begin, end)
        for i in range(begin, end):
            status |= call(product, Product(
                m=first.m, n=first.n, k=first.k,
                a=Matrix(data=a.data + i * plan.a_step, row=a.row, column=a.column),
                b=Matrix(data=b.data + i * plan.b_step, row=b.row, column=b.column),
                c=Matrix(data=c.data + i * plan.c_step, row=c.row, column=c.column),
                z=first.z, bias=0, activation=0, accumulate=first.accumulate, alone=first.alone,
            ))  # fmt: skip
        return status

    return body


@kernel(Stack)
def stack(t: Floats) -> Any:
    """Where the products are large, one after another on all threads; else some on each."""
    size, one, product = t.size, t[stack_task], t[gemm]
    block, blocks, rows, rows_task = t[macrokernel], t[blocked], t[few_rows], t[runs]

    def body(p):  # type: ignore[no-untyped-def]
        fmas = p.first.m * p.first.n * p.first.k
        threads = 1
        if p.matrices * fmas * size >= 4 * thresholds.FORK_FMAS:
            threads = threads_in_force()
        p.of_task = p.matrices
        p.first.alone = 0
        if threads == 1 or p.matrices == 1 or fmas * size >= 4 * thresholds.PAIR_FMAS:
            return run_task(one, p, 0)
        status = ensure(product) | ensure(block) | ensure(blocks)
        status |= ensure(rows) | ensure(rows_task)
        if status != OK:
            return status
        p.first.alone = 1
        p.of_task = ceil_div(p.matrices, least(p.matrices, thresholds.TASKS_OF_A_THREAD * threads))
        ns = quotient(p.matrices * fmas * size, 4 * thresholds.FMAS_PER_NS)
        return fork_join(one, p, ceil_div(p.matrices, p.of_task), ns)

    return body
