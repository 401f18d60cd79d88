"""The backward of a linear layer: H = G ∘ act'(.), dX = H·Wᵀ, dW = Xᵀ·H, db = column sums of H.

G is read once: a block of H is formed, and its columns summed on the way, in scratch that stays in
cache while both products read it. Blocks of rows and of columns are multiples of KC, so that the
products over them, the first written and the rest accumulated, have the bits of the whole (promise
6 of the contract). Without an activation a block of G is used where it lies.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..codegen.calls import call, inlined, nth, subroutine
from ..codegen.integers import ceil_div, least, most, pick, quotient
from ..codegen.structs import load, on_stack, view
from ..gemm import thresholds
from ..gemm.args import ALONE, IN_JOB, Copy, Matrix, Product, Rows
from ..gemm.dispatch import ensured, gemm
from ..gemm.elementwise import BACKWARD, Derivative
from ..gemm.packing import copy
from ..gemm.reduce import AddBlocks, ColumnSums, add_blocks, column_sums
from ..runtime.pool_kernels import ensure, fork_join, run_task, threads_in_force
from ..runtime.registry import Floats, kernel, task
from ..runtime.scratch import ARENA_BYTES, HEADER, acquire, release
from ..runtime.table import OK, OUT_OF_MEMORY
from .args import ActivationGradientPlan, Backward, PairPlan

# One block of H: it is read by two products while it is in L2.
H_BYTES = 1 << 20
_PAD = 64  # bytes a row, so that rows do not share cache sets
_SHARED = 1 << 14  # elements of H that are worth several threads


def _some_rows(t: Floats) -> Any:
    size, pack, scratch_row = t.size, t[copy], t.kc * t.size
    sum_up, derivative = t[column_sums], t[BACKWARD]

    @subroutine
    def some_rows(plan, r, rows, first, columns, sums, gathered):  # type: ignore[no-untyped-def]
        """H of rows from r on and columns from first on, at most KC each; their sums."""
        g, s, h = plan.g, plan.saved, plan.h
        from_g, g_row = g.data + r * g.row + first * g.column, g.row
        to_h = h.data + r * h.row + first * size
        gather = plan.activation != 0 and g.column != size
        if gather or (plan.activation == 0 and h.data != 0):
            source = Matrix(data=from_g, row=g.row, column=g.column)
            call(pack, Copy(rows=rows, columns=columns, source=source,
                            to=Rows(data=to_h, row=h.row)))  # fmt: skip
            from_g, g_row = to_h, h.row
        if plan.activation == 0:
            call(sum_up, ColumnSums(rows=rows, columns=columns, h=Rows(data=from_g, row=g_row),
                                    out=sums))  # fmt: skip
            return OK
        call(sum_up, ColumnSums(rows=0, columns=columns, h=Rows(data=sums, row=0), out=sums))  # 0
        from_s, s_row = s.data + r * s.row + first * s.column, s.row
        if s.column != size:
            source = Matrix(data=from_s, row=s.row, column=s.column)
            to = Rows(data=gathered, row=scratch_row)
            call(pack, Copy(rows=rows, columns=columns, source=source, to=to))
            from_s, s_row = to.data, to.row
        return call(nth(derivative, plan.activation), Derivative(
            rows=rows, columns=columns, x=Rows(data=from_g, row=g_row),
            s=Rows(data=from_s, row=s_row), y=Rows(data=to_h, row=h.row), sums=sums,
        ))  # fmt: skip

    return some_rows


@task(ActivationGradientPlan, uses=(copy,))
def activation_gradient(t: Floats) -> Any:
    """Columns of a block of H, and what they add to db."""
    size, kc = t.size, t.kc
    some_rows, sum_up, add_up = _some_rows(t), t[column_sums], t[add_blocks]
    assert HEADER + (kc + 1) * kc * size <= ARENA_BYTES

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, ActivationGradientPlan)
        first = p.task * plan.wide
        columns = least(plan.wide, plan.columns - first)
        arena = acquire()
        if arena == 0:
            return OUT_OF_MEMORY
        sums, db = arena + HEADER, pick(plan.db, plan.db + first * size, 0)
        gathered = sums + kc * size
        status, add = OK, plan.accumulate_b
        if plan.rows == 0 and db != 0 and add == 0:
            call(sum_up, ColumnSums(rows=0, columns=columns, h=Rows(data=db, row=0), out=db))  # 0
        for r in range(0, plan.rows, kc):
            rows = least(kc, plan.rows - r)
            status |= some_rows(plan, r, rows, first, columns, sums, gathered)
            if db != 0:
                call(add_up, AddBlocks(n=columns, start=pick(add, db, sums), first=sums,
                                       blocks=pick(add, 1, 0), step=0, to=db))  # fmt: skip
                add = 1
        release(arena)
        return status

    return body


@task(PairPlan)
def product_of_pair(t: Floats) -> Any:
    """dX, or dW. A task that forms H itself waits for no line that another core has written."""
    product, gradient = t[gemm], t[activation_gradient]

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, PairPlan)
        status, arena = OK, 0
        if plan.forms != 0:
            arena = acquire()
            if arena == 0:
                return OUT_OF_MEMORY
            some = plan.h
            own = on_stack(ActivationGradientPlan(
                rows=some.rows, columns=some.columns, g=load(some.g), saved=load(some.saved),
                h=Rows(data=arena + HEADER, row=some.h.row), db=pick(p.task, some.db, 0),
                accumulate_b=some.accumulate_b, activation=some.activation, wide=some.columns,
            ))  # fmt: skip
            status = run_task(gradient, own, 0)
        if status != OK:
            release(arena)
            return status
        if p.task == 0:
            plan.dx.a.data = pick(arena, arena + HEADER, plan.dx.a.data)
            status |= call(product, plan.dx)
        else:
            plan.dw.b.data = pick(arena, arena + HEADER, plan.dw.b.data)
            status |= call(product, plan.dw)
        if arena != 0:
            release(arena)
        return status

    return body


class HBlock(NamedTuple):
    """Rows r ... and columns c ... of H."""

    r: int
    c: int
    rows: int
    columns: int
    h: Rows  # where its elements are, or are to be


def _form_h(t: Floats) -> Any:
    gradient = t[activation_gradient]

    @inlined
    def form_h(plan, threads):  # type: ignore[no-untyped-def]
        """Write the block of H, unless G itself is used, and add its sums to db."""
        elements = plan.rows * plan.columns
        plan.wide = most(64, ceil_div(plan.columns, threads if elements >= _SHARED else 1))
        tasks = ceil_div(plan.columns, plan.wide)
        if tasks == 1:
            return run_task(gradient, plan, 0)
        return fork_join(gradient, plan, tasks, elements)

    return form_h


def _products(t: Floats) -> Any:
    size, one, gradient = t.size, t[product_of_pair], t[activation_gradient]
    ensure_product = ensured(t)

    @inlined
    def products(p, block, pair, forms, of_h):  # type: ignore[no-untyped-def]
        """What the block of H adds to dX and dW: side by side where they are a pair."""
        r, c, rows, columns, h = block.r, block.c, block.rows, block.columns, block.h
        x, w, dx, dw = p.x, p.w, p.dx, p.dw
        alone = pick(pair, IN_JOB, p.alone)
        none = Rows(data=0, row=0)
        plan = on_stack(PairPlan(
            dx=Product(
                m=rows, n=p.k, k=columns, a=Matrix(data=h.data, row=h.row, column=size),
                b=Matrix(data=w.data + c * w.column, row=w.column, column=w.row),
                c=Matrix(data=dx.data + r * dx.row, row=dx.row, column=dx.column),
                z=none, bias=0, activation=0, accumulate=pick(c, 1, p.accumulate_x), alone=alone,
            ),
            dw=Product(
                m=p.k, n=columns, k=rows,
                a=Matrix(data=x.data + r * x.row, row=x.column, column=x.row),
                b=Matrix(data=h.data, row=h.row, column=size),
                c=Matrix(data=dw.data + c * dw.column, row=dw.row, column=dw.column),
                z=none, bias=0, activation=0, accumulate=pick(r, 1, p.accumulate_w), alone=alone,
            ),
            forms=forms, h=load(of_h),
        ))  # fmt: skip
        status = OK
        if pair != 0:
            status |= ensure_product(rows, p.k, columns) | ensure_product(p.k, columns, rows)
            status |= ensure(gradient)
            if status != OK:
                return status
            ns = quotient(2 * rows * columns * p.k * size, 4 * thresholds.FMAS_PER_NS)
            return fork_join(one, plan, 2, ns)
        if dx.data != 0:
            status |= run_task(one, plan, 0)
        if dw.data != 0:
            status |= run_task(one, plan, 1)
        return status

    return products


@kernel(Backward)
def linear_backward(t: Floats) -> Any:
    size, kc, derivative = t.size, t.kc, t[BACKWARD]
    form_h, products = _form_h(t), _products(t)

    def body(p):  # type: ignore[no-untyped-def]
        n, k, m, g, s = p.n, p.k, p.m, p.g, p.saved
        if p.activation != 0:
            status = ensure(nth(derivative, p.activation))
            if status != OK:
                return status
        large = p.alone == 0 and n * k * m * size >= 2 * thresholds.FORK_FMAS
        in_place = 1 if p.activation == 0 and (g.column == size or m <= 1) else 0
        width = most(least(m, kc), 1)
        height = most(quotient(H_BYTES, width * size * kc), 1) * kc
        if in_place != 0 and n * m * size <= H_BYTES:
            width, height = most(m, 1), most(n, 1)
        tall = m <= thresholds.FEW_OUTPUTS and k < thresholds.FEW_INPUTS
        tall = tall and n * k * m * size >= 4 * thresholds.PAIR_FMAS
        if in_place == 0 and m > 1 and (k < thresholds.LEAST_INPUTS or tall):
            p.alone, large = ALONE, False
        threads = threads_in_force() if large else 1
        h_row = width * size + (_PAD if width * size % 512 == 0 else 0)
        arena = 0
        if in_place == 0:
            arena = acquire()
            if arena == 0:
                return OUT_OF_MEMORY
        status = OK
        for r in range(0, most(n, 1), height):
            for c in range(0, most(m, 1), width):
                h, row = arena + HEADER, h_row
                if in_place != 0:
                    h, row = g.data + r * g.row + c * size, g.row
                block = on_stack(HBlock(
                    r=r, c=c, rows=least(height, n - r), columns=least(width, m - c),
                    h=Rows(data=h, row=row),
                ))  # fmt: skip
                of_h = on_stack(ActivationGradientPlan(
                    rows=block.rows, columns=block.columns,
                    g=Matrix(data=g.data + r * g.row + c * g.column, row=g.row,
                             column=pick(in_place, size, g.column)),
                    saved=Matrix(data=s.data + r * s.row + c * s.column, row=s.row,
                                 column=s.column),
                    h=Rows(data=pick(in_place, 0, h), row=row),
                    db=pick(p.db, p.db + c * size, 0), accumulate_b=pick(r, 1, p.accumulate_b),
                    activation=p.activation, wide=block.columns,
                ))  # fmt: skip
                pair = 0  # dX and dW side by side, each from an H of its own
                if threads > 1 and p.dx.data != 0 and p.dw.data != 0:
                    fmas = block.rows * block.columns * k
                    pair = 1 if fmas * size < 4 * thresholds.PAIR_FMAS else 0
                forms = pair if in_place == 0 else 0
                if forms == 0 and (p.db != 0 or in_place == 0):
                    status |= form_h(of_h, threads)
                if status == OK:
                    status |= products(p, block, pair, forms, of_h)
                if status != OK:
                    break
            if status != OK:
                break
        if arena != 0:
            release(arena)
        return status

    return body
