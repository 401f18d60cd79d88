"""Several threads: C is cut into parts, each a product that one thread does alone.

A part packs what it needs itself, on the way to its tiles: no thread waits for another before all
are done, and what two of them pack is read from the cache that they share.
"""

from __future__ import annotations

from typing import Any

from ..codegen.calls import call, subroutine
from ..codegen.integers import ceil_div, least, most, pick, quotient, remainder
from ..codegen.structs import on_stack, view
from ..runtime.pool_kernels import ensure, fork_join
from ..runtime.registry import Floats, kernel, task
from ..runtime.table import OK
from . import thresholds
from .args import Epilogue, Gemm, Matrix, PartPlan, Rows
from .blocked import blocked
from .macrokernel import macrokernel


@task(PartPlan)
def part(t: Floats) -> Any:
    """A part of C, alone."""
    size, product = t.size, t[blocked]

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, PartPlan)
        whole, rows, columns = plan.whole, plan.rows, plan.columns
        i = quotient(p.task, plan.beside) * rows
        j = remainder(p.task, plan.beside) * columns
        a, b, to, e = whole.a, whole.b, whole.to, whole.epilogue
        return call(product, Gemm(
            m=least(rows, whole.m - i), n=least(columns, whole.n - j), k=whole.k,
            a=Matrix(data=a.data + i * a.row, row=a.row, column=a.column),
            b=Matrix(data=b.data + j * b.column, row=b.row, column=b.column),
            to=Rows(data=to.data + i * to.row + j * size, row=to.row),
            epilogue=Epilogue(
                accumulate=e.accumulate, bias=pick(e.bias, e.bias + j * size, 0), relu=e.relu,
                y=Rows(data=pick(e.y.data, e.y.data + i * e.y.row + j * size, 0), row=e.y.row),
                activation=e.activation,
            ),
            threads=1,
        ))  # fmt: skip

    return body


@subroutine
def cheapest_cut(m, n, parts, most_across):  # type: ignore[no-untyped-def]
    """How many parts side by side: what they read, A once for each, B for each row of parts."""
    cut, cheapest = 1, 1 << 62
    for across in range(1, least(parts, most_across) + 1):
        if remainder(parts, across) == 0:
            cost = across * m + quotient(parts, across) * n
            if cost < cheapest:
                cut, cheapest = across, cost
    return cut


@kernel(Gemm)
def parts(t: Floats) -> Any:
    size, lanes = t.size, t.lanes
    rows_max, columns_max = t.isa.rows, t.isa.columns(size)
    part_task, product, block = t[part], t[blocked], t[macrokernel]

    def body(p):  # type: ignore[no-untyped-def]
        m, n = p.m, p.n
        fmas = m * n * p.k
        of_a_thread = thresholds.PARTS_OF_A_THREAD
        if fmas * size >= 4 * thresholds.MORE_PARTS_FMAS:
            of_a_thread = thresholds.MORE_PARTS_OF_A_THREAD
        count = of_a_thread * p.threads
        most_across = most(2 * ceil_div(n, columns_max), 1)
        if p.k <= thresholds.OUTER_K and m >= count * rows_max:
            most_across = 1  # C is the work, and a part of its rows is the next one's neighbour
        across = cheapest_cut(m, n, count, most_across)
        rows = ceil_div(ceil_div(m, rows_max), quotient(count, across)) * rows_max
        columns = ceil_div(ceil_div(n, lanes), across) * lanes
        beside = ceil_div(n, columns)
        plan = on_stack(PartPlan(whole=p, rows=rows, columns=columns, beside=beside))
        status = ensure(product) | ensure(block)
        if status != OK:
            return status
        ns = quotient(fmas * size, 4 * thresholds.FMAS_PER_NS)
        ns = most(ns, quotient(m * n * size, thresholds.BYTES_PER_NS))
        return fork_join(part_task, plan, beside * ceil_div(m, rows), ns)

    return body
