"""The backward of a stack of layers, in one loop that threads share.

H of some layers is formed in scratch, or is G where it lies; then both products of these layers are
stacks of products (gemm/stack.py). Layers that are large, or whose H is, go one after another
through the kernel of one layer. The bits are those of S calls: no sum is cut otherwise.

Assumptions: the layers' parts of each array lie at one stride, those of outputs do not overlap. A
step of dX that is 0 says that x is one for all layers: then dX is the sum of theirs, in order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..codegen.calls import call, nth, subroutine
from ..codegen.integers import ceil_div, least, most, pick, quotient
from ..codegen.structs import load, on_stack, view
from ..gemm import thresholds
from ..gemm.args import IN_JOB, Matrix, Product, Rows
from ..gemm.dispatch import ensured
from ..gemm.elementwise import BACKWARD
from ..gemm.stack import Stack, stack_task
from ..runtime.pool_kernels import ensure, fork_join, run_task, threads_in_force
from ..runtime.registry import Floats, kernel, task
from ..runtime.scratch import HEADER, acquire, release
from ..runtime.table import OK, OUT_OF_MEMORY
from .args import ActivationGradientPlan, Backward
from .backward import H_BYTES, activation_gradient, linear_backward


class BackwardStack(NamedTuple):
    """The backward of the first layer, and the steps to what the following ones have."""

    first: Backward
    layers: int
    g_step: int
    x_step: int
    w_step: int
    saved_step: int
    dx_step: int
    dw_step: int
    db_step: int
    of_task: int  # layers of a task; filled in by ``backward_stack``


def _form_h(t: Floats) -> Any:
    gradient = t[activation_gradient]

    @subroutine
    def form_h(plan, begin, count, h, h_row, h_step):  # type: ignore[no-untyped-def]
        """H of some layers, and their db; h 0: H is G."""
        p, status = plan.first, OK
        g, s = load(p.g), load(p.saved)
        for j in range(count):
            i = begin + j
            status |= run_task(gradient, on_stack(ActivationGradientPlan(
                rows=p.n, columns=p.m,
                g=Matrix(data=g.data + i * plan.g_step, row=g.row, column=g.column),
                saved=Matrix(data=s.data + i * plan.saved_step, row=s.row, column=s.column),
                h=Rows(data=pick(h, h + j * h_step, 0), row=h_row),
                db=pick(p.db, p.db + i * plan.db_step, 0), accumulate_b=p.accumulate_b,
                activation=p.activation, wide=p.m,
            )), 0)  # fmt: skip
        return status

    return form_h


def _products(t: Floats) -> Any:
    size, some = t.size, t[stack_task]

    @subroutine
    def products(plan, i, count, h, h_row, h_step, add):  # type: ignore[no-untyped-def]
        """dX and dW of some layers; ``add``: whether dX is added to what is there."""
        p, status, none = plan.first, OK, Rows(data=0, row=0)
        x, w, dx, dw = load(p.x), load(p.w), load(p.dx), load(p.dw)
        if dx.data != 0:
            status |= run_task(some, on_stack(Stack(
                first=Product(
                    m=p.n, n=p.k, k=p.m, a=Matrix(data=h, row=h_row, column=size),
                    b=Matrix(data=w.data + i * plan.w_step, row=w.column, column=w.row),
                    c=Matrix(data=dx.data + i * plan.dx_step, row=dx.row, column=dx.column),
                    z=none, bias=0, activation=0, accumulate=add, alone=p.alone,
                ),
                matrices=count, a_step=h_step, b_step=plan.w_step, c_step=plan.dx_step,
                z_step=0, bias_step=0, of_task=count,
            )), 0)  # fmt: skip
        if dw.data != 0:
            status |= run_task(some, on_stack(Stack(
                first=Product(
                    m=p.k, n=p.m, k=p.n,
                    a=Matrix(data=x.data + i * plan.x_step, row=x.column, column=x.row),
                    b=Matrix(data=h, row=h_row, column=size),
                    c=Matrix(data=dw.data + i * plan.dw_step, row=dw.row, column=dw.column),
                    z=none, bias=0, activation=0, accumulate=p.accumulate_w, alone=p.alone,
                ),
                matrices=count, a_step=plan.x_step, b_step=h_step, c_step=plan.dw_step,
                z_step=0, bias_step=0, of_task=count,
            )), 0)  # fmt: skip
        return status

    return products


@task(BackwardStack, uses=(activation_gradient, stack_task))
def backward_of_some(t: Floats) -> Any:
    """Some layers, on this thread."""
    size, form_h, products = t.size, _form_h(t), _products(t)

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, BackwardStack)
        one = plan.first
        begin = p.task * plan.of_task
        end, status = least(begin + plan.of_task, plan.layers), OK
        in_place = one.activation == 0 and (one.g.column == size or one.m <= 1)
        h, h_row, h_step, arena = 0, one.m * size, one.n * one.m * size, 0
        together = most(1, quotient(thresholds.STACK_BYTES, most(h_step, 1)))
        if in_place:
            h_row, h_step = one.g.row, plan.g_step
        else:
            arena = acquire()
            if arena == 0:
                return OUT_OF_MEMORY
            h = arena + HEADER
        i = begin
        while i < end and status == OK:
            count, add = least(together, end - i), one.accumulate_x
            if plan.dx_step == 0 and plan.layers > 1:  # dX of all is one
                if i > 0:
                    add = 1
                elif add == 0:
                    count = 1
            if arena != 0 or one.db != 0:
                status |= form_h(plan, i, count, h, h_row, h_step)
            from_h = pick(arena, h, one.g.data + i * plan.g_step)
            status |= products(plan, i, count, from_h, h_row, h_step, add)
            i += count
        if arena != 0:
            release(arena)
        return status

    return body


def _one_by_one(t: Floats) -> Any:
    whole = t[linear_backward]

    @subroutine
    def one_by_one(plan):  # type: ignore[no-untyped-def]
        """Each layer on all threads."""
        p, status = plan.first, OK
        one = on_stack(load(p))
        for i in range(plan.layers):
            one.g.data = p.g.data + i * plan.g_step
            one.x.data = p.x.data + i * plan.x_step
            one.w.data = p.w.data + i * plan.w_step
            one.saved.data = p.saved.data + i * plan.saved_step
            one.dx.data = pick(p.dx.data, p.dx.data + i * plan.dx_step, 0)
            one.dw.data = pick(p.dw.data, p.dw.data + i * plan.dw_step, 0)
            one.db = pick(p.db, p.db + i * plan.db_step, 0)
            if i > 0 and plan.dx_step == 0:
                one.accumulate_x = 1
            one.alone = 0
            status |= call(whole, one)
        return status

    return one_by_one


@kernel(BackwardStack)
def backward_stack(t: Floats) -> Any:
    """Where layers are large, one after another on all threads; else some on each."""
    size, kc, one_by_one, derivative = t.size, t.kc, _one_by_one(t), t[BACKWARD]
    some, ensure_product = t[backward_of_some], ensured(t)

    def body(p):  # type: ignore[no-untyped-def]
        one, threads = p.first, 1
        n, k, m = one.n, one.k, one.m
        fmas = n * k * m
        is_sum = p.dx_step == 0 and one.dx.data != 0
        most_fmas = 2 * thresholds.FORK_FMAS if is_sum else 4 * thresholds.PAIR_FMAS
        if p.layers == 1 or fmas * size >= most_fmas or m > kc or n * m * size > H_BYTES:
            return one_by_one(p)
        ns = p.layers * thresholds.STACK_LAYER_NS
        ns += quotient(2 * p.layers * fmas * size, 4 * thresholds.FMAS_PER_NS)
        if one.activation != 0:
            ns += quotient(p.layers * n * m * size, thresholds.FORMULA_BYTES_PER_NS)
        if ns >= thresholds.STACK_FORK_NS and not is_sum:
            threads = threads_in_force()
        p.of_task, one.alone = p.layers, 0
        if threads == 1:
            return run_task(some, p, 0)
        status = ensure_product(n, k, m) | ensure_product(k, m, n)
        if one.activation != 0:
            status |= ensure(nth(derivative, one.activation))
        if status != OK:
            return status
        one.alone = IN_JOB
        p.of_task = ceil_div(p.layers, least(p.layers, thresholds.TASKS_OF_A_THREAD * threads))
        return fork_join(some, p, ceil_div(p.layers, p.of_task), ns)

    return body
