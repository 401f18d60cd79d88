"""The macro-kernel: one block of C, tile by tile.

Assumptions: C has unit stride along n; B lies in micro-panels a tile wide, whose rows have unit
stride (packed, or the user's own memory); A has any strides, or lies in packed panels a tile high;
``depth`` is what one task has of k, cut at multiples of KC. A task is run by whichever thread
claims it, and writes what no other task of its job touches.

With a ``copy``, B is packed on the way: the first tiles of a micro-panel, which read it where it
lies, store what they read, and the tiles below read the copy, from L2. A pass of its own would
read and write as much, with nothing to compute meanwhile. These tiles fetch the next micro-panel, a
line of each of its rows: rows are far apart, and no prefetcher finds the next one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..codegen.calls import call, nth, subroutine
from ..codegen.integers import least, pick, quotient, remainder
from ..codegen.structs import on_stack, view
from ..runtime.registry import Floats, task
from ..runtime.table import OK
from . import thresholds
from .args import BlockPlan, Formula, Matrix, Panels, Rows
from .elementwise import VALUE
from .microkernel import (
    LINE,
    Tile,
    call_tile,
    fetching_index,
    minus_zeros,
    next_rows,
    packing_index,
    tile_index,
)


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


@task(BlockPlan)
def macrokernel(t: Floats) -> Any:
    """Find the block of the task and go over its tiles."""
    size = t.size
    over_tiles = tiles_of(t)

    def body(p):  # type: ignore[no-untyped-def]
        plan = view(p.plan, BlockPlan)
        row, column = quotient(p.task, plan.column_groups), remainder(p.task, plan.column_groups)
        chunk, row = quotient(row, plan.row_blocks), remainder(row, plan.row_blocks)
        i, j, k = row * plan.rows, column * plan.columns, chunk * plan.depth
        a, b, to, y = plan.a, plan.b, plan.to, plan.epilogue.y
        bias = plan.epilogue.bias
        return over_tiles(plan, on_stack(
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
            )
        ))  # fmt: skip

    return body


def tiles_of(t: Floats) -> Any:
    """The loop over the tiles of a block."""
    size, kc_max, lanes, isa = t.size, t.kc, t.lanes, t.isa
    whole_rows, whole_columns = isa.rows, isa.columns(size)
    index_step, first_packing = tile_index(isa, 2, 0), packing_index(isa, 0)
    least_packing, vector_bytes = isa.packing_vectors, isa.vector_bytes
    first_fetching = fetching_index(isa, 0)
    value = t[VALUE]

    @subroutine
    def over_tiles(plan, block):  # type: ignore[no-untyped-def]
        rows, columns, depth = block.rows, block.columns, block.depth
        a, a_row, a_k = block.a.data, block.a.row, block.a.column
        to_row, y_row, bias = block.to.row, block.y.row, block.bias
        old_in_c, relu = plan.epilogue.accumulate, plan.epilogue.relu
        width, zeros, copy = plan.width, minus_zeros(size), plan.copy
        short = 1 if depth < thresholds.FETCH_K else 0
        # where writing C's rows is most of the work
        along_rows = depth <= thresholds.OUTER_K and copy == 0 and plan.row_plan != 0
        panels, copy_step, copies = plan.a_panels, plan.copy_step, plan.copies
        status = OK
        i = j = line = 0
        while True:
            w = least(width, columns - j)
            vectors = quotient(w + lanes - 1, lanes)  # the last one masked
            height = next_rows(pick(plan.row_plan, plan.row_plan, vectors), rows - i)
            panel = a + i * a_row
            if panels:
                panel, a_k = a + i * depth * size, height * size
            c = block.to.data + i * to_row + j * size
            b, b_row = block.b.data + quotient(j, width) * block.b.panel, block.b.row
            masked = (height - whole_rows) | (w - whole_columns) | short
            index = pick(masked, (vectors - 1) * index_step + height, 0)  # 0 fetches C on the way
            packed = copy + quotient(j, width) * copy_step
            ahead, ahead_row, line = b, 0, pick(i, line + LINE, 0)
            if copy != 0 and vectors >= least_packing:
                whole = height == whole_rows and line < w * size
                fetches = copies != 0 and whole and j + width < columns
                if fetches:
                    ahead, ahead_row = b + block.b.panel + line, b_row
                if i == 0 and copies != 0:
                    index = first_packing + vectors
                else:
                    index = pick(fetches, first_fetching + vectors, index)
                    b, b_row = packed, vectors * vector_bytes
            add, k = old_in_c, 0
            while True:
                kc = least(kc_max, depth - k)
                ends = 1 if k + kc >= depth else 0
                call_tile(size, index, Tile(
                    kc=kc,
                    a=Matrix(data=panel + k * a_k, row=a_row, column=a_k),
                    b=Rows(data=b + k * b_row, row=b_row),
                    c=Rows(data=c, row=to_row),
                    old=Rows(data=pick(add, c, zeros), row=add * to_row),
                    bias=pick(ends * bias, bias + j * size, zeros),
                    relu=ends * relu,
                    plain=pick(add | ends * (bias | relu), 0, 1),
                    tail=w - (vectors - 1) * lanes,
                    copy=packed + k * vectors * vector_bytes,
                    ahead=Rows(data=ahead + k * ahead_row, row=ahead_row),
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
