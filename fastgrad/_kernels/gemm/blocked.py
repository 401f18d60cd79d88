"""The general path: B in packed blocks of KC x NC that all threads share, a pass over C for each.

Assumptions: those of macrokernel.py. Tasks are blocks of C. Each packs the rows of A that it
needs, a few tiles' worth that stay in L2 while the micro-panels of B pass by. What gains nothing by
packing is read where it lies. Where the product is too short for threads to wait for each other at
every block, C is cut into a few parts instead, each a product that one thread does alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..codegen.calls import call, subroutine
from ..codegen.integers import ceil_div, least, most, pick, quotient, remainder
from ..codegen.structs import on_stack, view
from ..runtime.pool_kernels import ensure, fork_join, run_task
from ..runtime.registry import Floats, kernel, task
from ..runtime.scratch import ARENA_BYTES, HEADER, acquire, release
from ..runtime.table import OK, OUT_OF_MEMORY
from . import thresholds
from .args import (
    BY_K,
    BY_ROWS,
    IN_PLACE,
    BlockPlan,
    Epilogue,
    Gemm,
    Matrix,
    PackPlan,
    Panels,
    PartPlan,
    Rows,
)
from .macrokernel import macrokernel, pack_b


class Layout(NamedTuple):
    """How a product is cut, whatever the number of threads."""

    width: int  # columns of a micro-panel
    row_plan: int  # vectors of the tiles that rows are cut for
    depth: int  # steps of k packed at a time
    packed: int  # where B is packed to; 0: it is read where it lies
    pack_a: int
    rows: int  # of a task on one thread
    columns: int  # NC: of B packed at a time


@subroutine
def cheapest_cut(m, n, tasks, most_across, least_down, most_down, threads):  # type: ignore[no-untyped-def]
    """How many blocks of C side by side and, in the lower half of the word, one below the other.

    The cost is what is packed and read: A (m rows) once for each block beside another, B (n
    columns) once for each below another. If neither count is a multiple of ``threads``, the last
    round of tasks leaves threads idle, so there are more blocks below.
    """
    cut, cheapest = (1 << 32) | 1, 1 << 62
    for across in range(1, least(tasks, most_across) + 1):
        if remainder(tasks, across) == 0:
            down = most(least_down, least(quotient(tasks, across), most_down))
            if remainder(across, threads) != 0:
                down = ceil_div(down, threads) * threads
            if across * m + down * n < cheapest:
                cut, cheapest = (across << 32) | down, across * m + down * n
    return cut


@task(PartPlan)
def part(t: Floats) -> Any:
    """A part of C, alone."""
    size, whole_product = t.size, t[blocked]

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, PartPlan)
        whole, rows, columns = plan.whole, plan.rows, plan.columns
        i = quotient(p.task, plan.beside) * rows
        j = remainder(p.task, plan.beside) * columns
        a, b, to, e = whole.a, whole.b, whole.to, whole.epilogue
        return call(whole_product, Gemm(
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


def _in_parts(t: Floats) -> Any:
    size, lanes = t.size, t.lanes
    rows_max, columns_max = t.isa.rows, t.isa.columns(size)
    part_task, block, pack = t[part], t[macrokernel], t[pack_b]

    @subroutine
    def in_parts(p):  # type: ignore[no-untyped-def]
        """Parts of C, each a product of its own: a few for each thread."""
        m, n = p.m, p.n
        tasks = thresholds.PARTS_OF_A_THREAD * p.threads
        cut = cheapest_cut(m, n, tasks, 2 * ceil_div(n, columns_max), 0, tasks, 1)
        across = cut >> 32
        rows = ceil_div(ceil_div(m, rows_max), quotient(tasks, across)) * rows_max
        columns = ceil_div(ceil_div(n, lanes), across) * lanes
        beside = ceil_div(n, columns)
        plan = on_stack(PartPlan(whole=p, rows=rows, columns=columns, beside=beside))
        status = ensure(block) | ensure(pack)
        if status != OK:
            return status
        ns = quotient(m * n * p.k * size, 4 * thresholds.FMAS_PER_NS)
        return fork_join(part_task, plan, beside * ceil_div(m, rows), ns)

    return in_parts


def _layout(t: Floats) -> Any:
    size, lanes, isa = t.size, t.lanes, t.isa
    rows_max, columns_max, most_vectors = isa.rows, isa.columns(size), isa.vectors
    nc_max, depth_max, a_bytes = isa.block_columns, t.kc * isa.block_chains, isa.a_bytes
    most_panels = nc_max // columns_max
    assert HEADER + depth_max * nc_max * size <= ARENA_BYTES >= 2 * a_bytes

    @subroutine
    def lay_out(p, to):  # type: ignore[no-untyped-def]
        """Fill a Layout: widths, and what is packed."""
        m, n, k, a, b = p.m, p.n, p.k, p.a, p.b
        panels = ceil_div(n, columns_max)
        # micro-panels of equal vectors: of 5, 3 and 2, not 4 and 1
        vectors = ceil_div(ceil_div(least(n, nc_max), lanes), least(panels, most_panels))
        to.width, to.row_plan = vectors * lanes, pick(panels - 1, most_vectors, vectors)
        panels = ceil_div(n, to.width)
        depth = least(depth_max, most(k, 1))
        large = m * n * k > thresholds.DIRECT_FMAS
        to.packed = 0
        if (b.column != size and n > 1) or (m > thresholds.DIRECT_ROWS and large):
            to.packed = 1
        to.pack_a, to.rows, to.columns, to.depth = IN_PLACE, m, n, depth
        by_k = a.row == size and a.column != size
        read_often = panels > thresholds.DIRECT_PANELS and (by_k or depth > thresholds.OUTER_K)
        if large and (read_often or (by_k and a.column >= thresholds.FAR_BYTES)):
            to.pack_a = BY_K if by_k else BY_ROWS
            rows = quotient(a_bytes, depth * size + 64)
            to.rows = ceil_div(ceil_div(m, rows_max), ceil_div(m, rows)) * rows_max
        if to.packed != 0:
            to.columns = ceil_div(panels, ceil_div(n, nc_max)) * to.width
        return OK

    return lay_out


def _over_k(t: Floats) -> Any:
    size, rows_max = t.size, t.isa.rows
    block, pack = t[macrokernel], t[pack_b]

    @subroutine
    def over_k(p, layout, j0):  # type: ignore[no-untyped-def]
        """The columns of C from j0: for each block of k, pack B and go over all rows."""
        m, n, k, threads = p.m, least(layout.columns, p.n - j0), p.k, p.threads
        a, b, to, e = p.a, p.b, p.to, p.epilogue
        width, here = layout.width, j0 * size
        panels, rows, groups = ceil_div(n, width), layout.rows, 1
        if threads > 1:
            most_blocks = most(ceil_div(m, rows_max) // thresholds.TASK_TILES, 1)
            tasks = thresholds.TASKS_OF_A_THREAD * threads
            cut = cheapest_cut(m, n, tasks, panels, ceil_div(m, rows), most_blocks, threads)
            groups, rows = cut >> 32, 2 * ceil_div(m, 2 * (cut & 0xFFFFFFFF))
        group_panels = ceil_div(panels, groups)
        groups, row_blocks = ceil_div(panels, group_panels), ceil_div(m, rows)
        status = OK
        k0 = 0
        while True:
            kc = least(layout.depth, k - k0)
            last = 1 if k0 + kc >= k else 0
            source = b.data + k0 * b.row + j0 * b.column
            row, panel = b.row, width * b.column
            if layout.packed != 0:
                of_task = ceil_div(panels, 2 * threads)
                packing = on_stack(PackPlan(
                    b=Matrix(data=source, row=b.row, column=b.column), kc=kc, n=n,
                    to=layout.packed, panels=of_task, width=width,
                ))  # fmt: skip
                tasks = ceil_div(panels, of_task)
                if threads > 1:
                    status |= fork_join(pack, packing, tasks, quotient(kc * n, 4))
                else:
                    for index in range(tasks):
                        status |= run_task(pack, packing, index)
                source, row, panel = layout.packed, width * size, width * size * kc
            plan = on_stack(BlockPlan(
                m=m, n=n, k=kc,
                a=Matrix(data=a.data + k0 * a.column, row=a.row, column=a.column),
                b=Panels(data=source, row=row, panel=panel),
                to=Rows(data=to.data + here, row=to.row), to_chunk=0,
                epilogue=Epilogue(
                    accumulate=pick(k0, 1, e.accumulate),
                    bias=pick(last * e.bias, e.bias + here, 0), relu=last * e.relu,
                    y=Rows(data=pick(last * e.y.data, e.y.data + here, 0), row=e.y.row),
                    activation=e.activation,
                ),
                pack_a=layout.pack_a, rows=rows, row_blocks=row_blocks,
                columns=group_panels * width, column_groups=groups,
                depth=kc, width=width, row_plan=layout.row_plan,
            ))  # fmt: skip
            if threads > 1:
                ns = quotient(m * n * kc * size, 4 * thresholds.FMAS_PER_NS)
                status |= fork_join(block, plan, row_blocks * groups, ns)
            else:
                for index in range(row_blocks * groups):
                    status |= run_task(block, plan, index)
            k0 += layout.depth
            if k0 >= k or status != OK:
                return status

    return over_k


@kernel(Gemm)
def blocked(t: Floats) -> Any:
    size = t.size
    in_parts, lay_out, over_k = _in_parts(t), _layout(t), _over_k(t)

    def body(p):  # type: ignore[no-untyped-def]
        if p.threads > 1 and p.m * p.n * p.k * size < 4 * thresholds.PARTS_FMAS:
            return in_parts(p)
        layout = on_stack(
            Layout(width=0, row_plan=0, depth=0, packed=0, pack_a=0, rows=0, columns=0)
        )
        lay_out(p, layout)
        arena = 0
        if layout.packed != 0:
            arena = acquire()
            if arena == 0:
                return OUT_OF_MEMORY
            layout.packed = arena + HEADER
        status = OK
        for j in range(0, p.n, layout.columns):
            status |= over_k(p, layout, j)
            if status != OK:
                break
        if arena != 0:
            release(arena)
        return status

    return body
