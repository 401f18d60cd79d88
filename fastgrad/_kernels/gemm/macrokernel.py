"""The macro-kernel: one block of C, tile by tile; and the task that packs a part of B.

Assumptions: C has unit stride along n; B lies in micro-panels a tile wide, whose rows have unit
stride (packed, or the user's own memory); A has any strides, or is packed here for this task alone;
``depth`` is what one task has of k, cut at multiples of KC. A task is run by whichever thread
claims it, and writes what no other task of its job touches.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..codegen.calls import call, inlined, nth, subroutine
from ..codegen.integers import least, most, pick, quotient, remainder
from ..codegen.structs import on_stack, view
from ..runtime.registry import Floats, task
from ..runtime.scratch import HEADER, acquire, release
from ..runtime.table import OK, OUT_OF_MEMORY
from . import thresholds
from .args import BY_K, IN_PLACE, BlockPlan, Copy, Formula, Matrix, PackPlan, Panels, Rows
from .elementwise import VALUE
from .microkernel import Tile, call_tile, minus_zeros, next_rows, tile_index
from .packing import copy


class Block(NamedTuple):
    """A task's part of the product."""

    rows: int
    columns: int
    depth: int
    a: Matrix  # (rows, depth)
    b: Panels
    to: Rows
    bias: int
    y: Rows
    pace: int  # see Tile


@task(BlockPlan, uses=(copy,))
def macrokernel(t: Floats) -> Any:
    """Find the block of the task, pack its A if that pays, and go over its tiles."""
    size = t.size
    pack_a, over_tiles, pace_of = _pack_a(t), tiles_of(t), pace(t)

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, BlockPlan)
        row, column = quotient(p.task, plan.column_groups), remainder(p.task, plan.column_groups)
        chunk, row = quotient(row, plan.row_blocks), remainder(row, plan.row_blocks)
        i, j, k = row * plan.rows, column * plan.columns, chunk * plan.depth
        a, b, to, y = plan.a, plan.b, plan.to, plan.epilogue.y
        bias = plan.epilogue.bias
        block = on_stack(
            Block(
                rows=least(plan.rows, plan.m - i),
                columns=least(plan.columns, plan.n - j),
                depth=least(plan.depth, plan.k - k),
                a=Matrix(data=a.data + i * a.row + k * a.column, row=a.row, column=a.column),
                b=Panels(
                    data=b.data + k * b.row + quotient(j, plan.width) * b.panel,
                    row=b.row,
                    panel=b.panel,
                ),
                to=Rows(data=to.data + i * to.row + j * size + chunk * plan.to_chunk, row=to.row),
                bias=pick(bias, bias + j * size, 0),
                y=Rows(data=pick(y.data, y.data + i * y.row + j * size, 0), row=y.row),
                pace=pace_of(least(plan.depth, plan.k - k)),
            )
        )
        if plan.pack_a == IN_PLACE:
            return over_tiles(plan, block)
        arena = acquire()
        if arena == 0:
            return OUT_OF_MEMORY
        pack_a(plan, block, arena + HEADER)
        status = over_tiles(plan, block)
        release(arena)
        return status

    return body


def _pack_a(t: Floats) -> Any:
    size, pack = t.size, t[copy]

    @subroutine
    def pack_a(plan, block, to):  # type: ignore[no-untyped-def]
        """A of the block to a packed copy, which the block then reads instead."""
        a, rows, depth = block.a, block.rows, block.depth
        if plan.pack_a == BY_K:
            # k-major panels, each as high as the tile that will read it; some steps of k at a time
            # go to all panels, since a line of A is part of several of them
            for k in range(0, depth, thresholds.PACK_K):
                some = least(thresholds.PACK_K, depth - k)
                i = 0
                while i < rows:
                    height = next_rows(plan.row_plan, rows - i)
                    source = Matrix(
                        data=a.data + i * size + k * a.column, row=a.column, column=size
                    )
                    panel = Rows(data=to + (i * depth + k * height) * size, row=height * size)
                    call(pack, Copy(rows=some, columns=height, source=source, to=panel))
                    i += height
            a.row = size
        else:
            # one line beyond a power of two: rows of a panel do not share cache sets
            row = depth * size + 64
            call(pack, Copy(rows=rows, columns=depth, source=a, to=Rows(data=to, row=row)))
            a.row, a.column = row, size
        a.data = to
        return OK

    return pack_a


def pace(t: Floats) -> Any:
    """How fast the prefetch of C moves down its rows, so that it is through when a tile is."""
    kc_max, whole_rows = t.kc, t.isa.rows

    @inlined
    def pace_of(depth):  # type: ignore[no-untyped-def]
        return quotient(whole_rows << 32, most(least(kc_max, depth), 1))

    return pace_of


def tiles_of(t: Floats) -> Any:
    """The loop over the tiles of a block."""
    size, kc_max, lanes = t.size, t.kc, t.lanes
    whole_rows, whole_columns = t.isa.rows, t.isa.columns(size)
    index_step = tile_index(t.isa, 2, 0)
    value = t[VALUE]

    @subroutine
    def over_tiles(plan, block):  # type: ignore[no-untyped-def]
        rows, columns, depth = block.rows, block.columns, block.depth
        a, a_row, a_k = block.a.data, block.a.row, block.a.column
        to_row, y_row, bias = block.to.row, block.y.row, block.bias
        old_in_c, relu = plan.epilogue.accumulate, plan.epilogue.relu
        width, zeros = plan.width, minus_zeros(size)
        short = 1 if depth < thresholds.FETCH_K else 0
        along_rows = depth <= thresholds.OUTER_K  # where writing C's rows is most of the work
        by_k = plan.pack_a == BY_K
        status = OK
        i = j = 0
        while True:
            w = least(width, columns - j)
            vectors = quotient(w + lanes - 1, lanes)  # the last one masked
            height = next_rows(plan.row_plan, rows - i)
            panel = a + i * a_row
            if by_k:
                panel, a_k = a + i * depth * size, height * size
            c = block.to.data + i * to_row + j * size
            b = block.b.data + quotient(j, width) * block.b.panel
            masked = (height - whole_rows) | (w - whole_columns) | short
            index = pick(masked, (vectors - 1) * index_step + height, 0)  # 0 fetches C on the way
            add, k = old_in_c, 0
            while True:
                kc = least(kc_max, depth - k)
                ends = 1 if k + kc >= depth else 0
                call_tile(size, index, Tile(
                    kc=kc,
                    a=Matrix(data=panel + k * a_k, row=a_row, column=a_k),
                    b=Rows(data=b + k * block.b.row, row=block.b.row),
                    c=Rows(data=c, row=to_row),
                    old=Rows(data=pick(add, c, zeros), row=add * to_row),
                    bias=pick(ends * bias, bias + j * size, zeros),
                    relu=ends * relu,
                    plain=pick(add | ends * (bias | relu), 0, 1),
                    tail=w - (vectors - 1) * lanes,
                    pace=block.pace,
                ))  # fmt: skip
                add = 1
                k += kc_max
                if k >= depth:
                    break
            if block.y.data != 0:
                status |= call(nth(value, plan.epilogue.activation), Formula(
                    rows=height, columns=w, x=Rows(data=c, row=to_row),
                    y=Rows(data=block.y.data + i * y_row + j * size, row=y_row),
                ))  # fmt: skip
            if along_rows:
                j += width
                if j >= columns:
                    j = 0
                    i += height
                    if i >= rows:
                        return status
            else:
                i += height
                if i >= rows:
                    i = 0
                    j += width
                    if j >= columns:
                        return status

    return over_tiles


@task(PackPlan, uses=(copy,))
def pack_b(t: Floats) -> Any:
    """Some micro-panels of a block of B."""
    size, pack = t.size, t[copy]

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, PackPlan)
        b, kc, width = plan.b, plan.kc, plan.width
        first = p.task * plan.panels * width
        last = least(first + plan.panels * width, plan.n)
        row = width * size
        chunk = thresholds.PACK_K if b.column == size else most(kc, 1)
        for k in range(0, kc, chunk):
            for j in range(first, last, width):
                source = Matrix(data=b.data + k * b.row + j * b.column, row=b.row, column=b.column)
                to = Rows(data=plan.to + (quotient(j, width) * kc + k) * row, row=row)
                call(pack, Copy(rows=least(chunk, kc - k), columns=least(width, last - j),
                                source=source, to=to))  # fmt: skip
        return OK

    return body
