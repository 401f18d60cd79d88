"""A stack of products, matrix by matrix, in one loop that threads share.

Assumptions: the matrices of C do not overlap, those of Z neither; the matrices of A, of B, of C and
of Z and the biases each lie at one stride. Small products go through the one loop of
stack_tiles.py, where B lies along k behind a transpose of some matrices at a time; larger ones are
products like any other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..codegen.calls import call, nth, subroutine
from ..codegen.integers import ceil_div, least, most, pick, quotient
from ..codegen.structs import view
from ..formulas.activations import RELU
from ..runtime.pool_kernels import ensure, fork_join, run_task, threads_in_force
from ..runtime.registry import Floats, kernel, task
from ..runtime.scratch import HEADER, acquire, release
from ..runtime.table import OK, OUT_OF_MEMORY
from . import thresholds
from .args import IN_JOB, Copy, Formula, Matrix, Product, Rows
from .dispatch import ensured, gemm
from .elementwise import VALUE
from .microkernel import minus_zeros
from .packing import copy
from .stack_tiles import ADDED, FINISHED, STORED, Matrices, stack_tiles


class Stack(NamedTuple):
    """The product of the first matrices, and the steps to those of the following ones."""

    first: Product
    matrices: int  # of matrices
    a_step: int
    b_step: int
    c_step: int
    z_step: int
    bias_step: int
    of_task: int  # matrices of a task; filled in by ``stack``


def _behind(t: Floats) -> Any:
    size, value = t.size, t[VALUE]

    @subroutine
    def behind(plan, i, count):  # type: ignore[no-untyped-def]
        """C of some matrices from what the tiles have written, which is Z where Z is wanted: by
        whole vectors where there is no gap."""
        p = plan.first
        c, z, z_row, z_step = p.c, p.c.data, p.c.row, plan.c_step
        if p.z.data != 0:
            z, z_row, z_step = p.z.data, p.z.row, plan.z_step
        together, rows, columns = 1, p.m, p.n
        if z_step == p.m * z_row and plan.c_step == p.m * c.row:
            together, rows = count, count * p.m
        if z_row == p.n * size and c.row == z_row:
            rows, columns = 1, rows * p.n
        status = OK
        for j in range(i, i + count, together):
            status |= call(nth(value, p.activation), Formula(
                rows=rows, columns=columns, x=Rows(data=z + j * z_step, row=z_row),
                y=Rows(data=c.data + j * plan.c_step, row=c.row),
            ))  # fmt: skip
        return status

    return behind


def _tiles(t: Floats) -> Any:
    size, lanes, loop, transpose = t.size, t.lanes, t[stack_tiles], t[copy]
    columns_max, behind = t.isa.columns(size), _behind(t)

    @subroutine
    def tiles(plan, begin, end):  # type: ignore[no-untyped-def]
        """Small products; C has unit stride along n. Some matrices at a time, which stay in cache,
        where more than one panel of columns reads A, B is to be transposed before, or C is read
        again."""
        p = plan.first
        n, a, b, c, c_step = p.n, p.a, p.b, p.c, plan.c_step
        to, to_row = c.data, c.row
        relu = 1 if p.activation == RELU and p.z.data == 0 else 0
        again = p.z.data != 0 or p.activation != relu * RELU
        if p.z.data != 0:
            to, to_row, c_step = p.z.data, p.z.row, plan.z_step
        bias, epilogue = pick(p.bias, p.bias, minus_zeros(size)), STORED
        if p.accumulate != 0:
            epilogue = ADDED
        elif p.bias != 0 or relu != 0:
            epilogue = FINISHED
        panels = ceil_div(n, columns_max)
        width = ceil_div(ceil_div(n, lanes), panels) * lanes
        gathers = b.column != size and n > 1
        some, arena, status = end - begin, 0, OK
        if gathers or panels > 1 or again:
            one = most(most(p.m, n), most(1, p.k))
            some = least(some, most(1, quotient(thresholds.STACK_BYTES, one * one * size)))
        if gathers:
            arena = acquire()
            if arena == 0:
                return OUT_OF_MEMORY
        b_row, b_step = pick(arena, some * n * size, b.row), pick(arena, n * size, plan.b_step)
        for i in range(begin, end, some):
            count, from_b = least(some, end - i), b.data + i * plan.b_step
            if gathers:
                together = pick(plan.b_step - n * b.column, 1, count)
                for j in range(0, count, together):
                    source = Matrix(data=from_b + j * plan.b_step, row=b.row, column=b.column)
                    rows = Rows(data=arena + HEADER + j * b_step, row=b_row)
                    call(transpose, Copy(rows=p.k, columns=together * n, source=source, to=rows))
                from_b = arena + HEADER
            for j in range(0, n, width):
                columns = least(width, n - j)
                call(loop, Matrices(
                    matrices=count, m=p.m, n=columns, k=p.k,
                    a=Matrix(data=a.data + i * plan.a_step, row=a.row, column=a.column),
                    b=Rows(data=from_b + j * size, row=b_row),
                    c=Rows(data=to + i * c_step + j * size, row=to_row),
                    a_step=plan.a_step, b_step=b_step, c_step=c_step,
                    vectors=ceil_div(columns, lanes), epilogue=epilogue,
                    bias=bias + pick(p.bias, i * plan.bias_step + j * size, 0),
                    bias_step=pick(p.bias, plan.bias_step, 0), relu=relu,
                ))  # fmt: skip
            if again:
                status |= behind(plan, i, count)
        if arena != 0:
            release(arena)
        return status

    return tiles


@task(Stack)
def stack_task(t: Floats) -> Any:
    """Some matrices, on this thread."""
    size, kc, product, tiles = t.size, t.kc, t[gemm], _tiles(t)

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, Stack)
        first = plan.first
        a, b, c, z, bias = first.a, first.b, first.c, first.z, first.bias
        begin = p.task * plan.of_task
        end, status = least(begin + plan.of_task, plan.matrices), OK
        fmas = first.m * first.n * first.k
        in_rows = c.column == size or first.n == 1
        if in_rows and 0 < fmas <= thresholds.STACK_FMAS and first.k <= kc:
            return tiles(plan, begin, end)
        for i in range(begin, end):
            status |= call(product, Product(
                m=first.m, n=first.n, k=first.k,
                a=Matrix(data=a.data + i * plan.a_step, row=a.row, column=a.column),
                b=Matrix(data=b.data + i * plan.b_step, row=b.row, column=b.column),
                c=Matrix(data=c.data + i * plan.c_step, row=c.row, column=c.column),
                z=Rows(data=pick(z.data, z.data + i * plan.z_step, 0), row=z.row),
                bias=pick(bias, bias + i * plan.bias_step, 0), activation=first.activation,
                accumulate=first.accumulate, alone=first.alone,
            ))  # fmt: skip
        return status

    return body


@kernel(Stack)
def stack(t: Floats) -> Any:
    """Where the products are large, one after another on all threads; else some on each."""
    size, one, ensure_product, value = t.size, t[stack_task], ensured(t), t[VALUE]

    def body(p):  # type: ignore[no-untyped-def]
        if p.matrices == 0:
            return OK
        elements = p.first.m * p.first.n
        fmas = elements * p.first.k
        ns = thresholds.STACK_NS * p.matrices
        ns += quotient(p.matrices * fmas * size, 4 * thresholds.FMAS_PER_NS)
        threads = 1
        activation = p.first.activation
        if p.first.z.data != 0 or (activation != 0 and activation != RELU):
            status = ensure(nth(value, activation))
            if status != OK:
                return status
            ns += quotient(p.matrices * elements * size, thresholds.FORMULA_BYTES_PER_NS)
        if ns >= thresholds.STACK_FORK_NS:
            threads = threads_in_force()
        p.of_task = p.matrices
        p.first.alone = 0
        if threads == 1 or p.matrices == 1 or fmas * size >= 4 * thresholds.PAIR_FMAS:
            return run_task(one, p, 0)
        status = ensure_product(p.first.m, p.first.n, p.first.k)
        if status != OK:
            return status
        p.first.alone = IN_JOB
        p.of_task = ceil_div(p.matrices, least(p.matrices, thresholds.TASKS_OF_A_THREAD * threads))
        return fork_join(one, p, ceil_div(p.matrices, p.of_task), ns)

    return body
