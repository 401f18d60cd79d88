"""Products with a long k and a small C: as many blocks of k at a time as the threads want.

Assumptions: no bias and no activation; B has unit stride along n. Each block of KC steps goes into
a buffer of its own, and the buffers are added in the order of k: the sum that one thread would
form. The buffers, a ring, lie in one arena.
"""

from __future__ import annotations

from typing import Any

from ..codegen.calls import call
from ..codegen.integers import ceil_div, least, most, pick, quotient
from ..codegen.structs import on_stack
from ..runtime.pool_kernels import fork_join
from ..runtime.registry import Floats, kernel
from ..runtime.scratch import ARENA_BYTES, HEADER, acquire, release
from ..runtime.table import OK, OUT_OF_MEMORY
from . import thresholds
from .args import BlockPlan, Epilogue, Fold, Gemm, Matrix, Panels, Rows
from .macrokernel import macrokernel
from .panels import panels_of
from .reduce import fold


@kernel(Gemm)
def split_k(t: Floats) -> Any:
    size, kc_max, lanes = t.size, t.kc, t.lanes
    _, vectors_of, row_plan_of = panels_of(t)
    block, add_up = t[macrokernel], t[fold]

    def body(p):  # type: ignore[no-untyped-def]
        m, n, k, a, b = p.m, p.n, p.k, p.a, p.b
        arena = acquire()
        if arena == 0:
            return OUT_OF_MEMORY
        buffers, step = arena + HEADER, m * n * size
        ring = thresholds.RING_OF_A_THREAD * p.threads
        ring = most(least(quotient(ARENA_BYTES - HEADER, step), ring), 1)
        width = vectors_of(m, n, kc_max) * lanes
        status = OK
        for k0 in range(0, k, ring * kc_max):
            some = least(ring * kc_max, k - k0)
            count = ceil_div(some, kc_max)
            nothing = Rows(data=0, row=0)
            plan = on_stack(BlockPlan(
                m=m, n=n, k=some,
                a=Matrix(data=a.data + k0 * a.column, row=a.row, column=a.column),
                b=Panels(data=b.data + k0 * b.row, row=b.row, panel=width * size),
                to=Rows(data=buffers, row=n * size), to_chunk=step,
                epilogue=Epilogue(accumulate=0, bias=0, relu=0, y=nothing, activation=0),
                a_panels=0, copy=0, copy_step=0, copies=0,
                rows=m, row_blocks=1, columns=n, column_groups=1,
                depth=kc_max, width=width, row_plan=row_plan_of(m, n, kc_max),
            ))  # fmt: skip
            ns = quotient(m * n * some * size, 4 * thresholds.FMAS_PER_NS)
            status |= fork_join(block, plan, count, ns)
            status |= call(add_up, Fold(
                rows=m, columns=n, blocks=count, first=buffers, step=step, to=p.to,
                accumulate=pick(k0, 1, p.epilogue.accumulate),
            ))  # fmt: skip
        release(arena)
        return status

    return body
