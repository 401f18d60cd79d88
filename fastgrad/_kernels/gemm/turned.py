"""Products with a narrow C whose A lies along m (dW of a layer with few outputs): the transposed
product, into scratch, and back.

Tiles of the product itself would read A a few rows at a time, from lines that are far apart; of the
transposed one it is the operand that streams by, in whole vectors.

Assumptions: B and C have unit stride along n, A along m; no bias, no activation.
"""

from __future__ import annotations

from typing import Any

from ..codegen.calls import call, inlined
from ..codegen.integers import ceil_div, least, most, quotient
from ..codegen.structs import on_stack, view
from ..runtime.pool_kernels import ensure, fork_join, run_task
from ..runtime.registry import Floats, kernel, task
from ..runtime.scratch import ARENA_BYTES, HEADER, acquire, release
from ..runtime.table import OK, OUT_OF_MEMORY
from . import thresholds
from .args import Copy, Epilogue, Gemm, Matrix, PartPlan, Rows
from .blocked import blocked
from .macrokernel import macrokernel
from .packing import copy


@task(PartPlan, uses=(copy,))
def turned_part(t: Floats) -> Any:
    """Some rows of C: columns of the transposed product."""
    size, product, pack = t.size, t[blocked], t[copy]
    assert 2 * thresholds.TURN_BYTES <= ARENA_BYTES - HEADER

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, PartPlan)
        whole, i = plan.whole, p.task * plan.rows
        rows, n = least(plan.rows, whole.m - i), whole.n
        a, b, c, c_row = whole.a, whole.b, whole.to.data + i * whole.to.row, whole.to.row
        accumulate = whole.epilogue.accumulate
        arena = acquire()
        if arena == 0:
            return OUT_OF_MEMORY
        turned = Rows(data=arena + HEADER, row=plan.rows * size + 64)  # of another place in L1 each
        if accumulate != 0:
            call(pack, Copy(rows=n, columns=rows,
                            source=Matrix(data=c, row=size, column=c_row), to=turned))  # fmt: skip
        status = call(product, Gemm(
            m=n, n=rows, k=whole.k, a=Matrix(data=b.data, row=b.column, column=b.row),
            b=Matrix(data=a.data + i * a.row, row=a.column, column=a.row), to=turned,
            epilogue=Epilogue(accumulate=accumulate, bias=0, relu=0, y=Rows(data=0, row=0),
                              activation=0),
            threads=1,
        ))  # fmt: skip
        if status == OK:
            source = Matrix(data=turned.data, row=size, column=turned.row)
            call(pack, Copy(rows=rows, columns=n, source=source, to=Rows(data=c, row=c_row)))
        release(arena)
        return status

    return body


@inlined
def may_be_turned(m, n, k, size):  # type: ignore[no-untyped-def]
    """Whether a product (m, k) · (k, n) is one for this path, if it meets the assumptions."""
    if n * size > thresholds.TURN_ROW or k * (m - n) < thresholds.TURN_READS * m * n:
        return 0
    return 1


@kernel(Gemm)
def turned(t: Floats) -> Any:
    size, columns = t.size, t.isa.columns(t.size)
    part, product, block = t[turned_part], t[blocked], t[macrokernel]

    def body(p):  # type: ignore[no-untyped-def]
        m, n = p.m, p.n
        room = quotient(thresholds.TURN_BYTES, n * size * columns)
        parts = most(ceil_div(ceil_div(m, columns), most(room, 1)), p.threads)
        rows = ceil_div(ceil_div(m, columns), parts) * columns
        plan = on_stack(PartPlan(whole=p, rows=rows, columns=n, beside=1))
        parts = ceil_div(m, rows)
        if p.threads == 1:
            status = OK
            for i in range(parts):
                status |= run_task(part, plan, i)
            return status
        status = ensure(product) | ensure(block)
        if status != OK:
            return status
        ns = quotient(m * n * p.k * size, 4 * thresholds.FMAS_PER_NS)
        return fork_join(part, plan, parts, ns)

    return body
