"""Products with few rows: B passes by once, row by row, and C waits in cache.

A register tile of a few rows would wait for its own FMAs (1 x 2 chains hide nothing) and read B
in panels a tile wide, which memory serves badly. Here some steps of k are taken at a time over a
whole run of columns: the chains rest in memory between, which rounds nothing. Products with few
columns are the same task, transposed.

Assumptions: A, B and C have any strides; B that lies along k is transposed on the way, by pieces;
a C without unit stride along n is kept in scratch rows and copied when a run is complete.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..codegen.calls import call, inlined, nth, subroutine
from ..codegen.integers import ceil_div, least, most, pick, quotient, remainder
from ..codegen.memory import table, word
from ..codegen.structs import load, on_stack, view
from ..runtime.pool_kernels import fork_join, run_task
from ..runtime.registry import Floats, kernel, task
from ..runtime.scratch import ARENA_BYTES, HEADER, acquire, release
from ..runtime.table import L2_BYTES, OK, OUT_OF_MEMORY
from . import thresholds
from .args import Copy, Formula, Gemm, Matrix, Rows, RunsPlan
from .elementwise import VALUE
from .microkernel import minus_zeros
from .packing import copy
from .row_dots import RowDots, most_rows, row_dots
from .row_steps import STEP_ROWS, Finish, RowSteps, finish, row_steps

_VECTOR_BYTES = 64  # room for the longest vector
MOST_ROWS = 16


class Run(NamedTuple):
    """Some columns of C, and scratch for them: rows of ``step`` columns."""

    columns: int
    a: Matrix  # (m, k), as it lies or, for dots, along k
    b: Matrix  # (k, columns)
    to: Matrix  # (m, columns)
    bias: int
    y: int
    chains: int  # m rows: the chains of the block of k that is under way
    kept: int  # m rows: C, where C itself has no unit stride
    spread: int  # one vector: a bias that all columns share
    gathered: int  # rows of B, transposed
    row: int  # bytes of each row of scratch


def _multiply(t: Floats) -> Any:
    size, lanes, kc_max, rows_of_dots = t.size, t.lanes, t.kc, most_rows(t.isa)
    pack, dots, steps = t[copy], t[row_dots], t[row_steps]

    @subroutine
    def multiply(plan, run, k0, kc):  # type: ignore[no-untyped-def]
        """The chains += A (m, kc) · B (kc, columns), for one block of k."""
        m, a, b, columns = plan.m, run.a, run.b, run.columns
        from_a, from_b = a.data + k0 * a.column, b.data + k0 * b.row
        gather = b.column != size
        done = 0
        if gather and b.row == size:
            rows, row = from_a, a.row
            if a.column != size:  # too long to be there
                rows, row = run.gathered + lanes * run.row, kc_max * size
                source = Matrix(data=from_a, row=a.row, column=a.column)
                call(pack, Copy(rows=m, columns=kc, source=source, to=Rows(data=rows, row=row)))
            ahead = 0
            far = plan.n * plan.k * size > word(table(), L2_BYTES)
            if far and plan.k * size >= thresholds.FAR_BYTES_OF_ROW:
                ahead = thresholds.FAR_AHEAD
            crowded = lanes > thresholds.CROWD and (b.column & (thresholds.CROWD_BYTES - 1)) == 0
            single = 1 if ahead != 0 or crowded else 0
            for i in range(0, m, rows_of_dots):
                call(dots, RowDots(
                    rows=least(rows_of_dots, m - i), n=columns, k=kc,
                    a=Rows(data=rows + i * row, row=row), b=from_b, b_column=b.column,
                    to=Rows(data=run.chains + i * run.row, row=run.row),
                    single=single, ahead=ahead,
                ))  # fmt: skip
            done = kc - remainder(kc, lanes)
        piece = thresholds.PIECE_K
        if m == 1 or m == 2 or m == 4:  # one group of rows, so B is read once anyway
            piece = kc
        if gather:
            piece = thresholds.GATHER_K
        for k in range(done, kc, most(piece, 1)):
            some = least(piece, kc - k)
            rows, row = from_b + k * b.row, b.row
            if gather:
                source = Matrix(data=rows, row=b.row, column=b.column)
                rows, row = run.gathered, run.row
                call(pack, Copy(rows=some, columns=columns, source=source,
                                to=Rows(data=rows, row=row)))  # fmt: skip
            i = 0
            while i < m:
                group = least(STEP_ROWS[0], m - i)
                group = pick(group & 1, 1, group)
                group = pick(m - i - 3, group, 2)  # 3 rows are 2 and 1
                call(steps, RowSteps(
                    rows=group, n=columns, k=some,
                    a=Matrix(data=from_a + i * a.row + k * a.column, row=a.row, column=a.column),
                    b=Rows(data=rows, row=row),
                    to=Rows(data=run.chains + i * run.row, row=run.row),
                ))  # fmt: skip
                i += group
        return OK

    return multiply


def _end_block(t: Floats) -> Any:
    size, lanes = t.size, t.lanes
    pack, end = t[copy], t[finish]

    @subroutine
    def end_block(plan, run, add, ends):  # type: ignore[no-untyped-def]
        """C = or += the chains, which then start anew; with ``ends`` + bias, relu."""
        bias, to = plan.bias, run.to
        dense = to.column == size
        zeros = minus_zeros(size)
        for i in range(plan.m):
            target = to.data + i * to.row if dense else run.kept + i * run.row
            plus, plus_step = zeros, 0
            if ends != 0 and run.bias != 0:
                plus, plus_step = run.bias + i * bias.row, size
                if bias.column == 0:
                    call(pack, Copy(rows=1, columns=lanes,
                                    source=Matrix(data=plus, row=0, column=0),
                                    to=Rows(data=run.spread, row=0)))  # fmt: skip
                    plus, plus_step = run.spread, 0
            call(end, Finish(
                n=run.columns, chains=run.chains + i * run.row,
                old=pick(add, target, zeros), old_step=add * size,
                bias=plus, bias_step=plus_step, relu=ends * plan.relu, to=target,
            ))  # fmt: skip
        return OK

    return end_block


@task(RunsPlan, uses=(copy,))
def runs(t: Floats) -> Any:
    """The columns of a task, run by run."""
    size, lanes, kc_max = t.size, t.lanes, t.kc
    multiply, end_block = _multiply(t), _end_block(t)
    pack, end, value = t[copy], t[finish], t[VALUE]

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, RunsPlan)
        m, k, b, to = plan.m, plan.k, plan.b, plan.to
        first = p.task * plan.columns
        last = least(first + plan.columns, plan.n)
        arena = acquire()
        if arena == 0:
            return OUT_OF_MEMORY
        step = most(
            thresholds.RUN_COLUMNS, quotient(thresholds.RUN_BYTES, size * m * lanes) * lanes
        )
        if b.column != size:
            step = thresholds.GATHER_COLUMNS
        row, chains = step * size, arena + HEADER
        gathered = chains + 2 * m * row + _VECTOR_BYTES
        a = load(plan.a)
        if b.column != size and b.row == size and a.column != size:
            packed = gathered + thresholds.GATHER_K * row
            if packed + m * k * size <= arena + ARENA_BYTES:  # A along k, too
                to_a = Rows(data=packed, row=k * size)
                call(pack, Copy(rows=m, columns=k, source=a, to=to_a))
                a = Matrix(data=packed, row=k * size, column=size)
        zeros, dense, status = minus_zeros(size), to.column == size, OK
        for i in range(m):  # the first run starts with whatever was in the scratch
            call(end, Finish(
                n=least(step, last - first), chains=chains + i * row, old=zeros, old_step=0,
                bias=zeros, bias_step=0, relu=0, to=chains + (m + i) * row,
            ))  # fmt: skip
        for j in range(first, last, step):
            run = on_stack(Run(
                columns=least(step, last - j), a=a,
                b=Matrix(data=b.data + j * b.column, row=b.row, column=b.column),
                to=Matrix(data=to.data + j * to.column, row=to.row, column=to.column),
                bias=pick(plan.bias.data, plan.bias.data + j * plan.bias.column, 0),
                y=pick(plan.y.data, plan.y.data + j * size, 0),
                chains=chains, kept=chains + m * row, spread=chains + 2 * m * row,
                gathered=gathered, row=row,
            ))  # fmt: skip
            kept = Rows(data=run.kept, row=row)
            if not dense and plan.accumulate != 0:
                call(pack, Copy(rows=m, columns=run.columns, source=run.to, to=kept))
            k0 = 0
            while True:
                kc = least(kc_max, k - k0)
                multiply(plan, run, k0, kc)
                add = 1 if k0 > 0 or plan.accumulate != 0 else 0
                end_block(plan, run, add, 1 if k0 + kc >= k else 0)
                k0 += kc_max
                if k0 >= k:
                    break
            if not dense:
                call(pack, Copy(
                    rows=run.columns, columns=m,
                    source=Matrix(data=run.kept, row=size, column=row),
                    to=Rows(data=run.to.data, row=run.to.column),
                ))  # fmt: skip
            if run.y != 0:
                status |= call(nth(value, plan.activation), Formula(
                    rows=m, columns=run.columns, x=Rows(data=run.to.data, row=to.row),
                    y=Rows(data=run.y, row=plan.y.row),
                ))  # fmt: skip
        release(arena)
        return status

    return body


@inlined
def may_be_few(m, n):  # type: ignore[no-untyped-def]
    """Whether a product (m, n) is one for this path, whatever its strides."""
    return 1 if m <= MOST_ROWS or n <= thresholds.FEW_ROWS else 0


@kernel(Gemm)
def few_rows(t: Floats) -> Any:
    """The tasks, on the product or on its transpose."""
    size, run_task_of = t.size, t[runs]

    def body(p):  # type: ignore[no-untyped-def]
        m, n, a, b, to, e = p.m, p.n, p.a, p.b, p.to, p.epilogue
        transposed = e.y.data == 0 and n < m and n <= thresholds.FEW_ROWS
        long = m if transposed else n
        ns = quotient(long * p.k * size, thresholds.BYTES_PER_NS)
        part = long
        if p.threads > 1 and ns > thresholds.FEW_ROWS_FORK_NS:
            unit = thresholds.FEW_ROWS_COLUMNS
            part = ceil_div(ceil_div(long, 2 * p.threads), unit) * unit
        plan = on_stack(RunsPlan(
            m=m, n=n, k=p.k, a=a, b=b, to=Matrix(data=to.data, row=to.row, column=size),
            accumulate=e.accumulate, bias=Matrix(data=e.bias, row=0, column=size), relu=e.relu,
            y=e.y, activation=e.activation, columns=part,
        ))  # fmt: skip
        if transposed:
            plan.m, plan.n = n, m
            plan.a.data, plan.a.row, plan.a.column = b.data, b.column, b.row
            plan.b.data, plan.b.row, plan.b.column = a.data, a.column, a.row
            plan.to.row, plan.to.column = size, to.row
            plan.bias.row, plan.bias.column = size, 0
        if part == long:
            return run_task(run_task_of, plan, 0)
        return fork_join(run_task_of, plan, ceil_div(long, part), ns)

    return body
